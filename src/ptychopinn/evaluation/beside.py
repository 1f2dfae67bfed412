"""Measured patterns of some positions beside those that a result models there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.replay import mended_like
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import Misfit, misfit
from ptychopinn.evaluation.prediction import effects_of, match_patterns, predict
from ptychopinn.physics.effects import stored

Numbers = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Beside:
    """Patterns of the positions ``numbers`` (K,) of a result.

    measured, modelled : (K, N, N) float32 counts; bad pixels are NaN in ``measured``.
    """

    numbers: Numbers
    measured: NDArray[np.float32]
    modelled: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Compared:
    """A result and the scan it was made from, as it was mended then.

    chosen : which patterns of the scan the result has; None for all.
    """

    result: Reconstruction
    scan: Scan
    chosen: Numbers | None

    @classmethod
    def of(cls, result: Reconstruction, data: Scan) -> Compared:
        """The two together; InputError when they cannot belong to each other."""
        scan = mended_like(data, result.findings)
        return cls(result, scan, match_patterns(result, scan))

    @property
    def given_px(self) -> NDArray[np.float64]:
        """(M, 2) positions of the scan, before any refinement."""
        places = self.scan.positions_px
        return places if self.chosen is None else places[self.chosen]

    @cached_property
    def fit(self) -> Misfit:
        """That of the result, computed where it was read from a file."""
        return misfit(self.result, self.scan) if self.result.fit is None else self.result.fit

    def patterns(self, numbers: Any) -> Beside:
        """Those of some positions; only they are read and modelled.

        Raises
        ------
        InputError
            When a patch leaves the canvas, as after ``crop``.
        """
        found = np.asarray(numbers, dtype=np.intp)
        kept = stored(effect.chosen(found) for effect in effects_of(self.result))
        part = replace(
            self.result,
            positions_px=self.result.positions_px[found],
            position_covariance=None,
            effects=kept,
            fit=None,
            uncertainty=None,
            half_split=None,
        )
        modelled = np.concatenate([frames for _, frames in predict(part)])
        rows = found if self.chosen is None else self.chosen[found]
        measured = np.asarray(self.scan.diffraction[rows]).astype(np.float32)
        measured[:, ~self.scan.good_pixels] = np.nan
        return Beside(found, measured, modelled.astype(np.float32))


def telling(fit: Misfit) -> tuple[int, int, int]:
    """The positions with the smallest, the middle and the largest residual.

    Raises
    ------
    InputError
        When no pattern holds a count.
    """
    known = np.flatnonzero(np.isfinite(fit.per_pattern))
    if not known.size:
        raise InputError("a pattern with counts is needed, received none; look at the scan first.")
    order = known[np.argsort(fit.per_pattern[known], kind="stable")]
    return int(order[0]), int(order[len(order) // 2]), int(order[-1])
