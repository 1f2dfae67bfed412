"""From a text to the probe of a scan: a recipe, a result, a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks import examine
from ptychopinn.data.findings import FROM_NOTHING, Finding
from ptychopinn.data.fingerprint import GIVEN, fingerprint
from ptychopinn.data.normalization import mean_pattern
from ptychopinn.data.orientation import AS_GIVEN
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.io.probes import read_probe
from ptychopinn.io.reading import kind_of
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.forward import vacuum_pattern
from ptychopinn.physics.propagators import HC
from ptychopinn.probes.inherited import inherited_probe, result_in
from ptychopinn.probes.modes import with_modes
from ptychopinn.probes.optics import Setting, analytic_probe
from ptychopinn.probes.pupils import find_pupil
from ptychopinn.probes.recipes import AUTO, KINDS, Recipe, is_recipe, read_recipe
from ptychopinn.probes.search import Found, find_probe, pupil_probe
from ptychopinn.probes.usual import usual_pattern

if TYPE_CHECKING:
    from ptychopinn.io.base import ScanFields

# Names of the findings: of a probe that only its optics or the patterns tell, and of one that an
# earlier result had.
FROM_RESULT = "probe-from-result"
# The check whose finding this is too.
ORIENTATION = "orientation"
# The least that the far field of a probe and the mean pattern of a scan have in common, the sum of
# sqrt(I J) where both sum up to 1.
ALIKE = 0.65
# Checks that look at the probe, which a placeholder must not pass or fail.
OF_PROBE = ("probe-in-corner", "probe-off-centre", "no-overlap")


def make_start_probe(
    spec: str,
    mean_pattern: NDArray[Any],
    N: int,
    pixel_size_m: float | None = None,
    energy_eV: float | None = None,
    distance_m: float | None = None,
) -> NDArray[np.complex64]:
    """The probe (P, N, N) in sqrt(counts) that a text describes, to start a reconstruction with.

    Parameters
    ----------
    spec : ``fzp:``, ``kb:``, ``gaussian:``, ``disc:``, ``electron:`` with KEY=VALUE, ... (see
        :mod:`ptychopinn.probes.optics`), the folder or file of a result, ``FILE[:KEY]``, or
        ``auto``: then the pupil in the mean pattern, in focus; its defocus is only told by the
        patterns (:func:`ptychopinn.probes.search.find_probe`).
    mean_pattern : (N, N) mean counts, zero frequency at [N/2, N/2]. Their sum is the power.
    pixel_size_m, energy_eV, distance_m : object pixel, photon energy, sample to detector, where
        they are known.

    Raises
    ------
    InputError
        When the text is wrong, or needs what is not known.
    """
    pattern = np.asarray(mean_pattern, np.float64)
    if pattern.shape != (N, N):
        raise InputError(
            f"mean_pattern must have shape ({N}, {N}), received {pattern.shape}; give the mean of "
            "the patterns."
        )
    setting = Setting(pattern, pixel_size_m, energy_eV)
    if is_recipe(spec):
        recipe = read_recipe(spec)
        if recipe.kind == AUTO:
            probe = pupil_probe(find_pupil(pattern), (0.0,) * 5)
        else:
            probe = analytic_probe(recipe, setting)[0]
        modes = probe[None]
    elif makes_probe(spec) and (path := result_in(spec)) is not None:
        modes = inherited_probe(path, N, pixel_size_m, energy_eV, distance_m)[0]
    else:
        modes = read_probe(spec)
    power = float((np.abs(modes) ** 2).sum())
    if not power > 0:
        raise InputError(
            f"the probe '{spec}' must not be zero everywhere, received one that is; correct it."
        )
    return (modes * np.sqrt(pattern.sum() / power)).astype(np.complex64)


def makes_probe(text: str | None) -> bool:
    """Whether a text is something other than the plain FILE[:KEY] of a probe.

    Raises
    ------
    InputError
        For a description of an unknown kind.
    """
    if text is None:
        return False
    if is_recipe(text) or result_in(text) is not None:
        return True
    kind, _, rest = text.partition(":")
    if "=" in rest and kind_of(Path(text)) == kind_of(Path(kind)) == "nothing":
        raise InputError(
            "a probe must be auto, the folder of a result, FILE[:KEY], or one of "
            f"{', '.join(f'{known}:...' for known in KINDS)} with KEY=VALUE,..., received "
            f"{shown(text)}; correct it."
        )
    return False


def with_start_probe(fields: ScanFields, spec: str | None, modes: int | None) -> ScanFields:
    """A scan as it was read with the probe that ``spec`` describes, where it does not name a file,
    and with as many modes as are wanted. What was found is among its findings.

    Raises
    ------
    InputError
        When the text is wrong, or needs what is not known.
    """
    if spec is not None and makes_probe(spec):
        fields = _started(fields, spec)
    if modes is not None:
        assert fields.probe is not None  # a scan without is refused before
        fields = replace(fields, probe=with_modes(fields.probe, modes))
    return fields


def placeholder(fields: ScanFields) -> NDArray[np.complex64]:
    """A probe (1, N, N) for a scan that has none: the pupil in its mean pattern, in focus."""
    n = int(fields.diffraction.shape[-1])
    return _in_focus(_scan_of(fields, np.ones((1, n, n), np.complex64)))


def _in_focus(bare: Scan) -> NDArray[np.complex64]:
    """The pupil in the mean pattern, in focus, with the counts of the beam: what is spoilt in a
    scan must not look like its beam."""
    pattern, tells = usual_pattern(bare)
    probe = pupil_probe(find_pupil(pattern, tells), (0.0,) * 5)[None]
    bright = float(vacuum_pattern(probe)[tells].sum())
    return (probe * np.sqrt(pattern.sum() / max(bright, 1e-300))).astype(np.complex64)


def _scan_of(fields: ScanFields, probe: NDArray[Any]) -> Scan:
    names = ("diffraction", "positions_px", "mask", "pixel_size_m", "energy_eV", "distance_m",
             "propagation", "focus_distance_m", "saturation", "name")  # fmt: skip
    return Scan(probe=probe, **{name: getattr(fields, name) for name in names})


def _started(fields: ScanFields, spec: str) -> ScanFields:
    n = int(fields.diffraction.shape[-1])
    bare = _scan_of(fields, np.ones((1, n, n), np.complex64))
    if not is_recipe(spec):
        path = result_in(spec)
        assert path is not None
        probe, details = inherited_probe(
            path, n, fields.pixel_size_m, fields.energy_eV, fields.distance_m,
            fields.focus_distance_m,
        )  # fmt: skip
        if len(details) == 1:
            return replace(fields, probe=probe, probe_in_counts=False)
        words = [
            *(["carried on by {moved_m:.4g} m along the beam"] if "moved_m" in details else []),
            *(["resampled to the pixels of this scan"] if "resampled" in details else []),
        ]
        message = f"the probe of '{spec}' was {' and '.join(words).format(**details)}."
        found = Finding(FROM_RESULT, "mended", message, details)
        return _with(fields, probe, found)
    recipe = read_recipe(spec)
    placed = replace(bare, probe=_in_focus(bare))
    # What would be mended before anything is computed must not mislead the search either.
    seen = examine(placed, OF_PROBE).scan
    if recipe.kind == AUTO:
        if fields.propagation != "far-field":
            raise InputError(
                "probe='auto' needs a far-field scan, whose patterns show the pupil, received one "
                f"of the {fields.propagation}; describe the probe, as in "
                "probe='gaussian:fwhm=...', or give a file."
            )
        best = find_probe(NumpyOps(), seen)
        fields = _with(fields, best.probe[None], _found(best, seen))
        return fields if best.turn == AS_GIVEN else _turned(fields, bare, best)
    setting = Setting(mean_pattern(seen), fields.pixel_size_m, fields.energy_eV, seen.good_pixels)
    probe, details = analytic_probe(recipe, setting)
    return _with(fields, probe[None], _described(recipe, probe, details, setting))


def _turned(fields: ScanFields, bare: Scan, found: Found) -> ScanFields:
    """The fields with turned positions, which is a finding as that of the check orientation."""
    turn, left = found.turn, dict(found.turns)
    words = (
        f"the positions were turned ({turn}): so the best of the probes that were tried leaves a "
        f"residual of {left[str(turn)]:.4f} on some patterns, as given {left[str(AS_GIVEN)]:.4f}."
    )
    details = {"turned": "positions", "transpose": turn.transpose, "flip_y": turn.flip_y,
               "flip_x": turn.flip_x, "about_centre": True,
               "trials": [list(trial) for trial in found.turns]}  # fmt: skip
    return replace(
        fields,
        positions_px=turn.of_positions(fields.positions_px),
        # An object in the file is not where they are.
        object=None,
        findings=(*fields.findings, Finding(ORIENTATION, "mended", words, details)),
        # A result belongs to the scan as it was given.
        provenance={**fields.provenance, GIVEN: fingerprint(bare)},
    )


def _with(fields: ScanFields, probe: NDArray[Any], found: Finding) -> ScanFields:
    return replace(fields, probe=probe, probe_in_counts=False, findings=(*fields.findings, found))


def _described(
    recipe: Recipe, probe: NDArray[Any], details: dict[str, Any], setting: Setting
) -> Finding:
    power = float(setting.pattern.sum())
    pixel = details.get("pixel_size_m")
    derived = "pixel_size_from" in details
    size = f", object pixels of {pixel:.4g} m" if pixel else ""
    size += f" as {details['pixel_size_from']} says" if derived else ""
    bare, lit = vacuum_pattern(probe), setting.pattern
    alike = float(np.sqrt(bare * lit).sum() / np.sqrt(bare.sum() * power))
    doubt = ""
    if alike < ALIKE:
        doubt = (
            f", but its far field has only {100 * alike:.0f} % in common with the mean pattern: "
            "correct its numbers, or use probe='auto'"
        )
    return Finding(
        FROM_NOTHING,
        "doubt" if doubt else "mended",
        f"the probe was made from '{recipe.text}'{size}, with the {power:.4g} counts of the mean "
        f"pattern, to be refined{doubt}.",
        {"spec": recipe.text, "counts": power, "in_common": alike, **details},
    )


def _found(found: Found, scan: Scan) -> Finding:
    pupil, (defocus, straight, oblique, right, down) = found.pupil, found.waves
    counts = float(mean_pattern(scan).sum())
    details: dict[str, Any] = {
        "spec": AUTO,
        "pupil_diameter_px": 2 * pupil.radius,
        "stop_diameter_px": 2 * pupil.stop,
        "pupil_centre_yx_px": list(pupil.centre),
        "defocus_waves": defocus,
        "astigmatism_waves": [straight, oblique],
        "coma_waves": [right, down],
        "spot_px": found.spot_px,
        "counts": counts,
        "residual": found.residual,
        "worst_residual": found.flat,
        "trials": found.tried,
    }
    stop = f" with a stop of {2 * pupil.stop:.0f} px" if pupil.stop else ""
    way = ""
    if scan.pixel_size_m and scan.energy_eV:
        # 2 pi w rho^2 = - pi lambda d k^2 at the rim, k = radius / (N dx).
        rim = pupil.radius / (scan.N * scan.pixel_size_m)
        details["defocus_m"] = -2 * defocus * scan.energy_eV / (HC * rim**2)
        way = f" ({details['defocus_m']:.3g} m)"
    return Finding(
        FROM_NOTHING,
        "mended",
        f"the probe was found from the patterns: a pupil of {2 * pupil.radius:.0f} px{stop}, "
        f"defocus {defocus:.2f} wavelengths at its rim{way}, a spot of {found.spot_px:.0f} px, "
        f"astigmatism {np.hypot(straight, oblique):.2f} and coma {np.hypot(right, down):.2f} "
        f"wavelengths, {counts:.4g} counts; "
        f"{found.tried} candidates left residuals from {found.residual:.4f} to {found.flat:.4f}.",
        details,
    )
