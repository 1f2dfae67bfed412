"""The result of a reconstruction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import Propagation, check_experiment, propagator_of
from ptychopinn.data.findings import Finding, recorded_findings
from ptychopinn.data.scan import check_field
from ptychopinn.data.trials import EffectTrial, recorded_trials
from ptychopinn.errors import InputError, shown
from ptychopinn.physics.effects import restored, slices_of, stored
from ptychopinn.physics.geometry import position_box
from ptychopinn.physics.propagators import Propagator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ptychopinn.data.scan import Scan
    from ptychopinn.evaluation.misfit import Misfit


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One reconstructed object with what is needed to predict the patterns again. Immutable.

    Attributes
    ----------
    object : (H, W) complex64
        The canvas. Its scale is fixed by the unit of the probe.
    origin_px : (2,) int64
        Scan position (y, x) of canvas pixel [0, 0]: position r is at canvas index r - origin_px.
    weight : (H, W) float32
        How much each pixel was seen; 0 where it never was.
    slices : (K, H, W) complex64, optional
        Those of a thick sample, from the upstream one on; ``object`` is their product.
    probe : (P, N, N) complex64
        Incoherent modes in sqrt(counts).
    positions_px : (M, 2) float64
        (y, x) of every pattern used, in object pixels, where patch pixel [N/2, N/2] sits.
    pixel_size_m, energy_eV, distance_m : float, optional
        Object pixel in metres, photon energy in electron volts, sample-detector distance in metres.
    propagation, focus_distance_m : as in :class:`ptychopinn.data.scan.Scan`.
    losses : (E,) float64
        The training or refinement loss after each epoch; may be empty.
    effects : mapping from name to array
        What was found of the beam and the detector (:mod:`ptychopinn.physics.effects`):
        ``beam-current``, (M,) a factor for each pattern; ``background``, (N, N) counts;
        ``point-spread``, (1,) detector pixels; ``pattern-shift``, (M, 2) detector pixels (y, x);
        ``varying-probe``, eigenprobes and their
        coefficients; ``slices``, the number of slices and, in metres, the distance between two, the
        pixel and the wavelength.
    uncertainty : (H, W) float32, optional
        Radius r such that abs(object - truth) <= r in nine of ten pixels; infinite where nothing is
        stated (see :mod:`ptychopinn.evaluation.uncertainty`).
    position_covariance : (M, 2, 2) float64, optional
        Covariance of each position (y, x) that was refined, in square pixels, beside what all
        positions share: a shift of the whole changes no pattern, and errors of the scan axes are
        those of the object.
    half_split : (3, R) float64, optional
        Fourier ring correlation of two halves of the patterns, each refined from nothing: frequency
        as a fraction of Nyquist, correlation, and number of independent values of each ring.
    name : str
    provenance : mapping
        Plain JSON data: how the result was made.
    fit : Misfit, optional
        How well the result explains the patterns, as found by what made it; None for one that was
        read from a file, whose ``provenance["fit"]`` has the numbers.
    seconds : mapping from stage to float
        Wall time of what made it, in seconds; not stored in a file.
    backend : str, optional
        Which backend computed it.

    Raises
    ------
    InputError
        When any field breaks the contract above.
    """

    object: NDArray[np.complex64]
    origin_px: NDArray[np.int64]
    weight: NDArray[np.float32]
    probe: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    pixel_size_m: float | None = None
    energy_eV: float | None = None
    distance_m: float | None = None
    propagation: Propagation | Propagator = "far-field"
    focus_distance_m: float | None = None
    losses: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    effects: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    slices: NDArray[np.complex64] | None = None
    uncertainty: NDArray[np.float32] | None = None
    half_split: NDArray[np.float64] | None = None
    position_covariance: NDArray[np.float64] | None = None
    name: str = "reconstruction"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    fit: Misfit | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    backend: str | None = None

    def __repr__(self) -> str:
        height, width = self.object.shape
        fit = "" if self.fit is None else f", residual {self.fit.residual:.4f} ({self.fit.verdict})"
        return (
            f"Reconstruction({self.name!r}: object {height} x {width}, {len(self.positions_px)} "
            f"positions, probe {' x '.join(map(str, self.probe.shape))}{fit})"
        )

    def _repr_html_(self) -> str:
        from ptychopinn.report.notebook import result_card

        return result_card(self)

    @property
    def probe_mode_powers(self) -> NDArray[np.float64]:
        """(P,) share of each mode in the power of the probe."""
        powers = (np.abs(self.probe.astype(np.complex128)) ** 2).sum(axis=(1, 2))
        return np.asarray(powers / powers.sum())

    def __post_init__(self) -> None:
        check_field(np.asarray(self.object), "object")
        obj = np.array(self.object, dtype=np.complex64)
        if obj.ndim != 2 or obj.size == 0:
            raise InputError(
                f"object must have shape (H, W), received {obj.shape}; give one 2-D layer."
            )
        given_origin = np.asarray(self.origin_px)
        if given_origin.shape != (2,) or (given_origin != np.round(given_origin)).any():
            raise InputError(
                "origin_px must be two whole numbers (y, x), received "
                f"{shown(given_origin.tolist())}; a canvas starts at a whole pixel."
            )
        origin = given_origin.astype(np.int64)
        with np.errstate(over="ignore"):  # found below
            weight = np.array(self.weight, dtype=np.float32)
        if weight.shape != obj.shape:
            raise InputError(
                f"weight must have the object's shape {obj.shape}, received {weight.shape}; "
                "give one weight per pixel."
            )
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise InputError(
                "weight must be finite and not negative, received one that is not; "
                "use 0 for pixels that were never seen."
            )
        check_field(np.asarray(self.probe), "probe")
        probe = np.array(self.probe, dtype=np.complex64)
        if probe.ndim == 2:
            probe = probe[None]
        if probe.ndim != 3 or probe.size == 0 or probe.shape[1] != probe.shape[2]:
            raise InputError(
                f"probe must have shape (P, N, N), received {np.shape(self.probe)}; "
                "give square modes."
            )
        positions = np.array(self.positions_px, dtype=np.float64)
        if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) == 0:
            raise InputError(
                f"positions_px must have shape (M, 2) as (y, x), received {positions.shape}; "
                "give one position per pattern."
            )
        if not np.isfinite(positions).all():
            raise InputError(
                "positions_px must be finite, received NaN or infinity; remove those patterns."
            )
        check_experiment(self)
        known = restored(self.effects, len(positions), probe.shape[-1])
        effects = stored(known)
        for values in effects.values():
            values.flags.writeable = False
        object.__setattr__(self, "effects", effects)
        losses = np.array(self.losses, dtype=np.float64)
        if losses.ndim != 1:
            raise InputError(
                f"losses must have shape (E,), received {losses.shape}; give one per epoch."
            )
        try:
            json.dumps(dict(self.provenance), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"provenance must be plain JSON data, received something that is not: {error}; "
                "convert arrays and paths to lists and strings."
            ) from error
        checked: dict[str, NDArray[Any]] = {
            "object": obj,
            "origin_px": origin,
            "weight": weight,
            "probe": probe,
            "positions_px": positions,
            "losses": losses,
        }
        if self.uncertainty is not None:
            with np.errstate(over="ignore"):  # beyond all numbers: nothing is stated
                radius = np.array(self.uncertainty, dtype=np.float32)
            if radius.shape != obj.shape or not (radius >= 0).all():
                raise InputError(
                    f"uncertainty must have the object's shape {obj.shape} and not be negative, "
                    f"received {radius.shape}; give one radius per pixel."
                )
            checked["uncertainty"] = radius
        if self.position_covariance is not None:
            spread = np.array(self.position_covariance, dtype=np.float64)
            if spread.shape != (len(positions), 2, 2) or not _are_covariances(spread):
                raise InputError(
                    f"position_covariance must hold {len(positions)} symmetric positive matrices "
                    f"(2, 2), received an array {spread.shape}; leave it out."
                )
            checked["position_covariance"] = spread
        count = slices_of(known)
        if self.slices is not None or count > 1:
            layers = np.array(self.slices, dtype=np.complex64)
            if layers.shape != (count, *obj.shape) or not np.isfinite(layers).all():
                raise InputError(
                    f"slices must be finite, of shape {(count, *obj.shape)} as the effects say, "
                    f"received {layers.shape}; give slices and effects of one result."
                )
            checked["slices"] = layers
        if self.half_split is not None:
            curve = np.array(self.half_split, dtype=np.float64)
            if curve.ndim != 2 or curve.shape[0] != 3 or not np.isfinite(curve).all():
                raise InputError(
                    "half_split must hold frequency, correlation and number of values of each ring "
                    f"(3, R), received shape {curve.shape}; leave it out."
                )
            checked["half_split"] = curve
        for key, array in checked.items():
            array.flags.writeable = False
            object.__setattr__(self, key, array)

    @property
    def propagator(self) -> Propagator:
        """From the exit wave to the detector."""
        return propagator_of(self, self.N)

    @property
    def N(self) -> int:
        """Pattern and patch size in pixels."""
        return int(self.probe.shape[-1])

    @property
    def position_sigma_px(self) -> NDArray[np.float64] | None:
        """(M,) standard deviation of each position along an axis (root mean square of both), in
        pixels; None where positions were not refined."""
        if self.position_covariance is None:
            return None
        mean: NDArray[np.float64] = np.trace(self.position_covariance, axis1=1, axis2=2) / 2
        return np.sqrt(mean)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed about the scan: what was mended, what is doubtful."""
        return recorded_findings(self.provenance)

    @property
    def effects_tried(self) -> tuple[EffectTrial, ...]:
        """Which effects of beam, sample and detector were tried where the model was to be chosen,
        with what patterns that were left out gain, and whether they were kept."""
        return recorded_trials(self.provenance)

    @property
    def amplitude(self) -> NDArray[np.float32]:
        """abs(object), (H, W)."""
        return np.abs(self.object)

    @property
    def phase(self) -> NDArray[np.float32]:
        """angle(object) in radians, (H, W). Its mean is arbitrary: no pattern fixes it."""
        return np.angle(self.object)

    def crop(self, margin_px: int = 0) -> Reconstruction:
        """The same on the box of scan positions, where the object is well determined.

        ``margin_px`` pixels are added on each side, as far as the canvas reaches. ``origin_px``
        says where the smaller canvas lies; the outer patches leave it, so that it cannot predict
        their patterns.

        Raises
        ------
        InputError
            When the margin is no whole number of pixels from 0, or no pixel is left.
        """
        if not isinstance(margin_px, int | np.integer) or margin_px < 0:
            raise InputError(
                f"margin_px must be a whole number of pixels from 0, received {margin_px!r}; give "
                "0 for the box of scan positions itself."
            )
        low, high = position_box(self.positions_px - self.origin_px)
        low = np.maximum(low - margin_px, 0)
        high = np.minimum(high + margin_px, self.object.shape)
        if (high <= low).any():
            raise InputError(
                "the box of scan positions must hold at least one pixel of the object, received "
                "positions on one line or beside it; give a margin_px."
            )
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        return replace(
            self,
            object=self.object[box],
            weight=self.weight[box],
            slices=None if self.slices is None else self.slices[:, *box],
            uncertainty=None if self.uncertainty is None else self.uncertainty[box],
            half_split=None,
            origin_px=self.origin_px + low,
        )

    def plot(self, what: str = "overview", data: Scan | None = None) -> Figure:
        """A figure of matplotlib that no window belongs to; "overview" is amplitude and phase.

        ``what`` is one of overview, amplitude, phase, complex, probe, positions, coverage, misfit,
        passes, patterns, resolution and uncertainty. ``data`` is the scan, which "patterns" shows,
        "positions" takes as where they were before, and "misfit" needs of a result that was read
        from a file.

        Raises
        ------
        InputError
            When there is no such figure, or what it is drawn from is missing.
        """
        # Pictures are floors above values; this and save are the steps up.
        from ptychopinn.report.plots import result_figure

        return result_figure(self, what, data)

    def save_page(self, path: str | Path, data: Scan | None = None, force: bool = False) -> Path:
        """Write a page to look at in a browser, as ``report.html`` of the commands; returns its
        path. ``data`` is the scan, whose patterns it then shows.

        Raises
        ------
        InputError
            When the file exists and ``force`` is False, or the folder cannot be written to.
        """
        from ptychopinn.report.matplotlib_import import load_matplotlib

        load_matplotlib()
        from ptychopinn.report.web_page import save_page

        return save_page(self, path, data, force)

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the result; returns the file's path (see
        :func:`ptychopinn.io.reconstructions.save_reconstruction`).

        Raises
        ------
        InputError
            When the file exists and ``force`` is False, or the folder cannot be written to.
        """
        # Files are a floor above values.
        from ptychopinn.io.reconstructions import save_reconstruction

        return save_reconstruction(self, path, force)


def _are_covariances(matrices: NDArray[np.float64]) -> bool:
    """Whether matrices (M, 2, 2) are symmetric and positive."""
    if not np.isfinite(matrices).all():
        return False
    (a, b), (c, d) = matrices.transpose(1, 2, 0)
    return bool((a > 0).all() and np.allclose(b, c) and (a * d >= b * c).all())
