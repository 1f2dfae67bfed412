"""Each effect that may be chosen: how it is tried, and what options follow it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptychopinn.checks.trial_fits import neighbours
from ptychopinn.errors import InputError
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.pattern_shift import PatternShift
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.physics.slices import Slices
from ptychopinn.physics.varying_probe import ALONE, VaryingProbe
from ptychopinn.probes import with_modes
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.workflows.effect_trials import PASSES, Fit, Trials
from ptychopinn.workflows.exposure import likeliest_exposure
from ptychopinn.workflows.model_terms import EIGENPROBES, SLICES
from ptychopinn.workflows.pattern_centres import likely_shifts
from ptychopinn.workflows.slicing import found_spacing

# Passes of trials that find slowly what they look for, and of those that begin anew.
SLOW, FROM_NOTHING = 24, 40
# Patterns around the middle that tell how far the sample moved.
FEW = 64
# Shortest way during an exposure and narrowest point spread that are spoken of, pixels.
LEAST_WAY, LEAST_SPREAD = 1.0, 0.1
ADDED_MODES = 2
# Those that take long: they are tried where nothing else suffices.
LONG = ("fly", "opr", "slices")
NAMES = (
    "beam-current", "probe", "background", "point-spread", "pattern-shift", "fly", "modes", "opr",
    "slices",
)  # fmt: skip
# Effects whose name is not that of their term.
EFFECT_OF = {"fly": MovingExposure.name, "opr": VaryingProbe.name}


@dataclass(frozen=True, eq=False)
class Candidate:
    """name : of the term.  term : with its values.  fit : with the effect.  base : without.
    options : of the refinement."""

    name: str
    term: str
    fit: Fit
    base: Fit
    options: Mapping[str, Any]


class Untried(Exception):
    """Why an effect is not tried."""


class Candidates:
    """The effects that may be tried on top of what was found so far.

    trials : the patterns.  skipped : names of effects that are not tried.
    """

    def __init__(self, trials: Trials, effects: Sequence[Effect], without: Collection[str]) -> None:
        self.of, self.config, self.part = trials, trials.config, trials.part
        here = {effect.name for effect in effects if effect.changes}
        self.skipped = here | set(without) | decided(trials.config)
        self.possible = [name for name in NAMES if EFFECT_OF.get(name, name) not in self.skipped]

    def on_top_of(
        self, current: Fit, there: Collection[str]
    ) -> Iterator[tuple[str, Callable[[], Candidate]]]:
        """The effects that may be tried in the order of their unknowns, each with what does it."""
        runs: dict[tuple[bool, int], Fit] = {}

        def base(free: bool = False, passes: int = PASSES) -> Fit:
            free = free or current.free
            if (free, passes) not in runs:
                runs[free, passes] = self.of.gone_on(current, passes=passes, free=free)
            return runs[free, passes]

        def probe() -> Candidate:
            return Candidate("probe", "probe", base(True), base(), {"refine_probe": True})

        def beam_current() -> Candidate:
            scan = self.part.scan
            found = self.of.gone_on(
                current, BeamCurrent.none(scan.positions_px, scan.N), passes=SLOW
            )
            if not any(e.changes for e in found.effects if e.name == BeamCurrent.name):
                raise Untried("the counts of the patterns show none")
            without = base(passes=SLOW)
            return Candidate("beam-current", "beam-current", found, without, {"beam_current": True})

        def background() -> Candidate:
            scan = self.part.scan
            none = Background.none(scan.positions_px, scan.N)
            found = self.of.gone_on(current, none)
            return Candidate("background", "background", found, base(), {"background": True})

        def point_spread() -> Candidate:
            found = self.of.gone_on(current, PointSpread(np.zeros(1), free=True))
            width = next(e.values[0] for e in found.effects if e.name == PointSpread.name)
            if width < LEAST_SPREAD:
                raise Untried(f"found {width:.2g} px")
            return Candidate("point-spread", "point-spread", found, base(), {"point_spread": True})

        def pattern_shift() -> Candidate:
            scan = self.part.scan
            if not scan.propagator.measures_momentum:
                raise Untried("the patterns are of the near field")
            # An object that was found without them has followed the shifts: from nothing.
            effects = (*current.effects, likely_shifts(scan))
            whole, free, begun = current.whole, current.free, current.probe
            found = self.of.further(None, effects, whole, FROM_NOTHING, free, begun)
            if not any(e.in_words(1.0) for e in found.effects if e.name == PatternShift.name):
                raise Untried("the patterns show none")
            options = {"pattern_shift": True}
            return Candidate("pattern-shift", "pattern-shift", found, base(), options)

        def fly() -> Candidate:
            return self._moving(current, base())

        def modes() -> Candidate:
            more = with_modes(current.probe, len(current.probe) + ADDED_MODES)
            found = self.of.gone_on(current, free=True, probe=more)
            term = f"modes:{len(more)}"
            return Candidate(
                "modes", term, found, base(True), {"modes": len(more), "refine_probe": True}
            )

        def opr() -> Candidate:
            if len(current.probe) > 1:
                raise Untried("the probe has several modes")
            scan = self.part.scan
            none = VaryingProbe.none(scan.positions_px, scan.N)
            free = VaryingProbe(none.values, EIGENPROBES, scan.M, passes=ALONE)
            found = self.of.gone_on(current, free, passes=SLOW, free=True)
            options = {"eigenprobes": EIGENPROBES, "refine_probe": True}
            return Candidate("opr", f"opr:{EIGENPROBES}", found, base(True, SLOW), options)

        def slices() -> Candidate:
            return self._sliced(current, base())

        every = {
            "beam-current": beam_current, "probe": probe, "background": background,
            "point-spread": point_spread, "pattern-shift": pattern_shift, "fly": fly,
            "modes": modes, "opr": opr, "slices": slices,
        }  # fmt: skip
        for name, make in every.items():
            if name not in self.possible or (name in there and name != "modes"):
                continue
            if (name == "probe" and current.free) or (name == "opr" and "modes" in there):
                continue
            if name == "modes" and "opr" in there:
                continue
            yield name, make

    def _moving(self, current: Fit, base: Fit) -> Candidate:
        """The trial of the likeliest way during an exposure."""
        middle = neighbours(self.part.scan, FEW)
        part = replace(self.part, scan=self.part.scan.select(middle), probe=current.probe)
        ways = {name: unit[self.of.used][middle] for name, unit in self.of.ways.items()}
        known = tuple(effect.chosen(middle) for effect in current.effects)
        name, length, _, _ = likeliest_exposure(self.of.xp, part, ways, known)
        if length < LEAST_WAY:
            raise Untried(f"found a way of {length:.1f} px")
        moving = MovingExposure(length * self.of.ways[name])
        found = self.of.gone_on(current, moving.chosen(self.of.used), whole=(moving,))
        term = f"fly:{length:.1f}" + ("" if name == "scan" else f":{name}")
        options = {"exposure_px": length, "exposure_along": name}
        return Candidate("fly", term, found, base, options)

    def _sliced(self, current: Fit, base: Fit) -> Candidate:
        """The trial of two slices at the likeliest distance."""
        scan = self.part.scan
        wavelength = self.config.wavelength_m
        if wavelength is None and scan.energy_eV is not None:
            wavelength = wavelength_of(scan.energy_eV)
        pixel = scan.pixel_size_m
        if pixel is None or wavelength is None:
            raise Untried("the scan does not say pixel size and photon energy")
        spacing = self.config.slice_spacing_m
        if spacing is None:
            part = replace(self.part, probe=current.probe)
            try:
                spacing = found_spacing(
                    self.of.xp, part, SLICES, pixel, wavelength, current.effects,
                    self.config.refine_positions,
                )  # fmt: skip
            except InputError as error:
                raise Untried("no distance of slices is better than others") from error
        thick = Slices.of(SLICES, spacing, pixel, wavelength)
        effects = (*current.effects, thick)
        whole = current.whole
        found = self.of.further(None, effects, whole, FROM_NOTHING, current.free, current.probe)
        options = {"slices": SLICES, "slice_spacing_m": spacing}
        return Candidate("slices", f"slices:{SLICES}", found, base, options)


def decided(config: PhysicsConfig) -> set[str]:
    """Names of the effects that options decide."""
    options = {
        "beam_current": BeamCurrent.name,
        "background": Background.name,
        "point_spread": PointSpread.name,
        "point_spread_px": PointSpread.name,
        "pattern_shift": PatternShift.name,
        "exposure_px": MovingExposure.name,
        "eigenprobes": VaryingProbe.name,
        "slices": Slices.name,
        "refine_probe": "probe",
    }
    said = {option for option in config.model_fields_set if getattr(config, option) is not None}
    found = {name for option, name in options.items() if option in said}
    # Without a probe that moves there are neither further modes nor eigenprobes.
    held = "probe" in found and not config.refine_probe
    return found | ({"modes", VaryingProbe.name} if held else set())
