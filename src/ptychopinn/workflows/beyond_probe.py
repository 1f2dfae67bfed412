"""Which effects of beam and detector a refinement follows, and what its result says of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ptychopinn.checks.base import finding
from ptychopinn.config import RefineConfig
from ptychopinn.contracts import Step
from ptychopinn.data.findings import Finding
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.evaluation.signs import signs_of
from ptychopinn.evaluation.verdict import AS_IT_IS, LEAST_EXCESS_OF_NOISE, LIT
from ptychopinn.ops.base import Ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import EFFECTS, Effect
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.pattern_shift import PatternShift
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.physics.readout import DetectorNoise
from ptychopinn.physics.slices import Slices
from ptychopinn.physics.varying_probe import VaryingProbe
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.workflows.exposure import possible_directions
from ptychopinn.workflows.pattern_centres import likely_shifts
from ptychopinn.workflows.slicing import lengths_of, slices_for

log = logging.getLogger(__name__)

# A background is tried when the dark pixels have this share of the counts above the model, or more,
# so many standard deviations of photon noise (of scans without one they are mostly below it), or
# when noise of reading makes this share.
LEAST, LEAST_SIGMA, LEAST_LIFTED = 3e-4, 5.0, 1e-3
# A trial with few patterns that gains less than this share of the excess speaks against a smaller
# background than this.
GAINED, SURE = 0.25, 1e-3
# A background that its signs tell of is kept when it leaves this share of the residual, or this one
# of what the residual has beyond photon noise, which a background adds to. And it is so many times
# what they have, at most: it need not be flat. Where photon noise is a larger share of the counts
# the object follows that of dark pixels, and it may be more.
KEPT, KEPT_EXCESS, MOST_TIMES = 0.95, 0.5, 8.0
FEW_PHOTONS, MOST_TIMES_OF_FEW = 0.01, 24.0
# So many passes tell that it is going to be more, where it is so many times that by then: it is at
# most 1.13 times what it ends at.
TOLD_AFTER, SURELY_MORE = 4, 1.2
# Noise alone looks like one to moduli: of so many times the square of its share of the counts, 8 to
# 12 in scans without one.
OF_NOISE = 12.0
# A background below this share, where noise is a larger one than that, hides less of the object
# than the noise does that moduli let in.
FAINT, NOISY = 3e-3, 0.06


def shown_by(fit: Misfit, left_out: Collection[str] = ()) -> str | None:
    """The effect that the residual shows by its shape, or that noise of reading makes, unless it is
    left out; None for none."""
    name = fit.likely
    pixels = int(np.isfinite(fit.measured_mean).sum())
    if name not in EFFECTS and lifted(fit.noise, pixels, float(fit.counts.mean())):
        name = "background"
    return name if name in EFFECTS and name not in left_out else None


def lifted(noise: DetectorNoise, pixels: int, counts: float) -> bool:
    """Whether noise of reading makes a background, having a mean once negative readings are 0.

    pixels : how many measure.  counts : of a pattern.
    """
    return pixels * noise.dark >= LEAST_LIFTED * counts


def options_without(left_out: Collection[str]) -> dict[str, Any]:
    """Options of a refinement that follows no effect of these names."""
    return {
        "beam_current": BeamCurrent.name not in left_out,
        "background": False if Background.name in left_out else None,
    }


def effects_for(
    config: PhysicsConfig, prepared: PreparedScan, start: Reconstruction | None, xp: Ops
) -> tuple[Effect, ...]:
    """The effects that a refinement follows, in network units, from where ``start`` has them; what
    must be found before is found with the operations ``xp``."""
    known = {} if start is None else in_network_units(effects_of(start), prepared)
    scan = prepared.scan
    due = lifted(prepared.noise, int(scan.good_pixels.sum()), prepared.counts)
    if due and config.background is not False and Background.name not in known:
        level = prepared.noise.dark * prepared.input_scale**2
        known[Background.name] = Background(np.full((scan.N, scan.N), level))
    wanted = {
        BeamCurrent.name: config.beam_current,
        Background.name: Background.name in known or _was_named(start)
        if config.background is None
        else config.background,
    }
    if config.exposure_px is not None:
        unit = possible_directions(scan.positions_px)[config.exposure_along]
        known[MovingExposure.name] = MovingExposure(config.exposure_px * unit)
    if config.point_spread or config.point_spread_px is not None:
        before = known.get(PointSpread.name) or PointSpread.none(scan.positions_px, scan.N)
        width = before.values if config.point_spread_px is None else [config.point_spread_px]
        known[PointSpread.name] = PointSpread(np.array(width), config.point_spread)
    wanted[PointSpread.name] = PointSpread.name in known
    if wanted[Background.name] and _is_faint(start, known.get(Background.name), prepared):
        weak = known.get(Background.name) or Background.none(scan.positions_px, scan.N)
        known[Background.name] = Background(weak.values, faint=True)
    require_far_field(config, scan)
    if config.pattern_shift:
        before = known.get(PatternShift.name) or likely_shifts(scan)
        known[PatternShift.name] = PatternShift(before.values, free=True)
    wanted[PatternShift.name] = PatternShift.name in known
    wanted[MovingExposure.name] = MovingExposure.name in known
    if config.eigenprobes is not None:
        before = known.get(VaryingProbe.name) or VaryingProbe.none(scan.positions_px, scan.N)
        known[VaryingProbe.name] = VaryingProbe(before.values, config.eigenprobes, scan.M)
    wanted[VaryingProbe.name] = VaryingProbe.name in known
    beside = [known[name] for name, on in wanted.items() if on and name in known]
    thick = slices_for(config, prepared, known.get(Slices.name), beside, xp)
    if thick is not None:
        known[Slices.name] = thick
    wanted[Slices.name] = thick is not None
    if VaryingProbe.name in known:
        require_one_mode(len(prepared.probe))
    return tuple(
        known.get(name) or EFFECTS[name].none(scan.positions_px, scan.N)
        for name, on in wanted.items()
        if on
    )


def _is_faint(start: Reconstruction | None, known: Effect | None, prepared: PreparedScan) -> bool:
    """Whether a background is weak beside a noise of few photons, as a result without one shows in
    the dark, or as it is ``known``."""
    fit = None if start is None else start.fit
    if fit is None or fit.expected <= NOISY or prepared.noise.dark > 0:
        return False
    if known is None:
        return 0 < signs_of(fit).background < FAINT
    counts = float(fit.counts.mean()) * prepared.input_scale**2
    return float(known.values.sum()) < FAINT * counts


def _was_named(start: Reconstruction | None) -> bool:
    """Whether the verdict on a result names a background."""
    fit = {} if start is None else start.provenance.get("fit", {})
    return isinstance(fit, Mapping) and fit.get("likely") == Background.name


def require_one_mode(modes: int) -> None:
    """Raise InputError where eigenprobes do not go with so many modes of the probe."""
    if modes > 1:
        raise InputError(
            "eigenprobes (opr in a model) need a probe of one mode, received "
            f"{modes}; leave either out."
        )


def require_far_field(config: PhysicsConfig, scan: Scan) -> None:
    """Raise InputError where shifts of the patterns are asked for and are no tilts of the probe."""
    if config.pattern_shift and not scan.propagator.measures_momentum:
        raise InputError(
            "shifts of the patterns (option pattern_shift) need a far field, where they are tilts "
            "of the probe, received a scan of the near field; leave the option out."
        )


def require_meaning(
    config: RefineConfig | None,
    modes: Any = None,
    auto: bool = False,
    start: Reconstruction | None = None,
) -> None:
    """Raise InputError where options contradict each other, or one says more of what is not asked
    for and would do nothing. With ``auto`` the probe may be freed and slices be tried."""
    if config is None:
        return
    sliced = start is not None and start.slices is not None
    with_probe = "modes" if modes is not None else "eigenprobes"
    found = modes is not None or varies(config, None)
    if found and "refine_probe" in config.model_fields_set and not config.refine_probe:
        raise InputError(
            f"{with_probe} are found together with the probe, received refine_probe=False as well; "
            "leave either out."
        )
    moving, slices = (getattr(config, name, None) for name in ("exposure_px", "slices"))
    asked = {
        "positions_from": ("refine_positions", config.refine_positions),
        "probe_from": ("refine_probe", auto or found or config.refine_probe),
        "exposure_along": ("exposure_px", moving is not None),
        "wavelength_m": ("slices", auto or sliced or slices is not None),
    }
    for name, (needed, there) in asked.items():
        field, value = type(config).model_fields.get(name), getattr(config, name, None)
        if field is not None and value != field.default and not there:
            raise InputError(
                f"option {name} does nothing without option {needed}, received "
                f"{name}={shown(value)} alone; give option {needed} as well, or leave option "
                f"{name} out."
            )


def with_free_probe(config: RefineConfig, because: str) -> RefineConfig:
    """The options with the probe refined, ``because`` something else is."""
    if config.refine_probe:
        return config
    log.info("the probe is refined, because %s are", because)
    return config.model_copy(update={"refine_probe": True})


def require_possible(config: RefineConfig, scan: Scan, uncertainty: bool) -> None:
    """Raise InputError where the effects that these options follow contradict the scan, or an
    uncertainty that is asked for."""
    assert isinstance(config, PhysicsConfig)  # another engine follows none
    if (config.slices or 1) > 1:
        lengths_of(config, scan)
    if config.eigenprobes is not None:
        require_one_mode(len(scan.probe))
    require_far_field(config, scan)
    if uncertainty:
        require_one_probe_and_slice(config, None)


def varies(config: RefineConfig, start: Reconstruction | None) -> bool:
    """Whether the probe of a refinement changes during the scan."""
    known = start is not None and VaryingProbe.name in start.effects
    return known or (isinstance(config, PhysicsConfig) and config.eigenprobes is not None)


def require_one_probe_and_slice(config: RefineConfig, start: Reconstruction | None) -> None:
    """Raise InputError where an uncertainty would have to know more than its factor was determined
    with."""
    if varies(config, start):
        raise InputError(
            "an uncertainty needs one probe for all patterns, received eigenprobes (opr in "
            "a model); leave either out."
        )
    asked = config.slices if isinstance(config, PhysicsConfig) else 1
    known = start is not None and start.slices is not None
    if (asked or 1) > 1 or (asked is None and known):
        raise InputError("an uncertainty needs a thin object, received slices; leave either out.")


def in_network_units(effects: Sequence[Effect], prepared: PreparedScan) -> dict[str, Effect]:
    """Effects of a result by name, in the units of a prepared scan."""
    return {effect.name: effect.scaled(prepared.input_scale**2) for effect in effects}


def with_background(config: RefineConfig, fit: Misfit) -> RefineConfig | None:
    """The options with a background, where they leave that open and the fit shows one."""
    if not isinstance(config, PhysicsConfig) or config.background is not None:
        return None
    signs, shown = signs_of(fit), config.model_copy(update={"background": True})
    if signs.background < LEAST or signs.background_sigma < LEAST_SIGMA:
        return None
    tried = dict(fit.alternatives)
    if LIT in tried and signs.background < SURE:
        given = tried[AS_IT_IS]
        gained = given - tried[LIT] >= GAINED * (given - fit.expected)
        return shown if gained else None
    return shown


def surely_lit(config: RefineConfig, fit: Misfit) -> bool:
    """Whether the options leave a background open and the fit shows one that trials with a few
    patterns cannot speak against."""
    return with_background(config, fit) is not None and signs_of(fit).background >= SURE


def _hidden(fit: Misfit) -> bool:
    """Whether what is left is little beside photon noise."""
    return fit.excess < LEAST_EXCESS_OF_NOISE * fit.expected


def keeps_background(before: Reconstruction, after: Reconstruction) -> bool:
    """Whether a background that was tried is one: it leaves clearly less, and is not far more than
    the dark pixels show, as where it follows a beam that is not coherent."""
    assert before.fit is not None and after.fit is not None  # every verb states it
    found = after.effects.get(Background.name)
    if found is None:
        return False
    share = float(found.sum()) / float(after.fit.counts.mean())
    likely = share <= _most(before.fit, after.fit.expected)
    less = after.fit.residual <= KEPT * before.fit.residual
    less = less or after.fit.excess <= KEPT_EXCESS * before.fit.excess
    # Noise may hide what it changes of the residual; the dark pixels have told it.
    return likely and (less or all(_hidden(fit) for fit in (before.fit, after.fit)))


def follows_other(before: Reconstruction, step: Step, prepared: PreparedScan) -> bool:
    """Whether the background of a refinement that goes on from ``before`` is so much more, after a
    few passes, than the dark pixels show there, that it is none that is kept."""
    fit = before.fit
    assert fit is not None  # every verb states it
    if step.number != TOLD_AFTER:
        return False
    levels = [one.values.sum() for one in step.result().effects if one.name == Background.name]
    counts = float(fit.counts.mean()) * prepared.input_scale**2
    return bool(sum(levels) > SURELY_MORE * _most(fit, fit.expected) * counts)


def _most(before: Misfit, expected: float) -> float:
    """The largest share of the counts that a background is likely to have, given what dark pixels
    show without it and the photon noise."""
    shown = signs_of(before).background
    times = MOST_TIMES_OF_FEW if before.expected > FEW_PHOTONS else MOST_TIMES
    return max(times * shown, MOST_TIMES * shown + OF_NOISE * expected**2)


def found_effects(effects: Sequence[Effect], counts: float) -> list[Finding]:
    """What was found of beam and detector, where it is worth speaking of; ``counts`` are those of a
    mean pattern."""
    said = [(effect, effect.in_words(counts)) for effect in effects]
    return [finding(effect.name, "mended", f"{words}.") for effect, words in said if words]
