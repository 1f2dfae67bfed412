"""The scan as clients hand it over: arrays in pixels of the object, photon counts.

Conventions and checks are those of :mod:`ptychopinn.clients.ptychodus`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptychopinn.clients.ptychodus import load_exported, scan_from_arrays
from ptychopinn.clients.running import reporting
from ptychopinn.data.scan import Scan

LOGGER = "ptychopinn"


@dataclass(frozen=True, eq=False)
class GroupedData:
    """All patterns of a scan with what is needed to reconstruct it.

    scan : the scan.  shape : (H, W) of the object that the positions index, or None.
    """

    scan: Scan
    shape: tuple[int, int] | None


class RawData:
    """One scan.

    Attributes
    ----------
    scan : the scan in the core's conventions
    diff3d : (n, N, N) counts;  probeGuess : (P, N, N);  objectGuess : (H, W) as given, or None
    xcoords, ycoords : (n,) in pixels as given;  scan_index : (n,)
    """

    def __init__(
        self,
        scan: Scan,
        *,
        xcoords: ArrayLike,
        ycoords: ArrayLike,
        probeGuess: ArrayLike,
        objectGuess: ArrayLike | None = None,
        scan_index: ArrayLike | None = None,
    ) -> None:
        self.scan = scan
        self.xcoords: NDArray[Any] = np.asarray(xcoords)
        self.ycoords: NDArray[Any] = np.asarray(ycoords)
        self.probeGuess: NDArray[Any] = np.asarray(probeGuess)
        self.objectGuess = None if objectGuess is None else np.asarray(objectGuess)
        self.scan_index = np.zeros(scan.M, int) if scan_index is None else np.asarray(scan_index)

    @property
    def diff3d(self) -> Any:
        """(n, N, N) photon counts."""
        return self.scan.diffraction

    @staticmethod
    def from_file(train_data_file_path: str | Path) -> RawData:
        """Read exported training data; ``diffraction.h5`` and ``product.h5`` of its folder stand in
        where there is no such file."""
        with reporting(LOGGER):
            scan = load_exported(Path(train_data_file_path))
        y, x = scan.positions_px.T
        return RawData(scan, xcoords=x, ycoords=y, probeGuess=scan.probe, objectGuess=scan.object)

    @staticmethod
    def from_coords_without_pc(
        xcoords: ArrayLike,
        ycoords: ArrayLike,
        diff3d: ArrayLike,
        probeGuess: ArrayLike,
        scan_index: ArrayLike | None = None,
        objectGuess: ArrayLike | None = None,
    ) -> RawData:
        """A scan from arrays: columns and rows (n,), counts (n, N, N), probe, object (H, W)."""
        with reporting(LOGGER):
            scan = scan_from_arrays(diff3d, xcoords, ycoords, probeGuess, object_guess=objectGuess)
        return RawData(
            scan,
            xcoords=xcoords,
            ycoords=ycoords,
            probeGuess=probeGuess,
            objectGuess=objectGuess,
            scan_index=scan_index,
        )

    def generate_grouped_data(
        self, N: int, K: int = 4, nsamples: int = 1, gridsize: int = 1, **options: Any
    ) -> GroupedData:
        """All patterns; the model decides how it groups them.

        ``K``, ``nsamples``, ``gridsize`` and ``options`` have no effect: every pattern is used.
        """
        if self.scan.N != N:
            raise ValueError(
                f"patterns of {N} x {N} pixels were expected, received {self.scan.N}; crop or pad "
                "them."
            )
        if nsamples < self.scan.M:
            with reporting(LOGGER) as logger:
                logger.info(
                    "no effect: number of samples = %d, every one of the %d patterns is used",
                    nsamples,
                    self.scan.M,
                )
        shape = None if self.objectGuess is None else self.objectGuess.shape[-2:]
        return GroupedData(self.scan, shape)
