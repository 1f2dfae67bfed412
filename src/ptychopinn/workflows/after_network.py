"""What follows a network: whether physics goes on from its object, and with which options."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

from ptychopinn.checks.base import AXES, LATER, chosen_names
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.uncertainty import NETWORK_FACTOR
from ptychopinn.evaluation.verdict import TRIED_EXCESS_OF_NOISE
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, get_ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.workflows.alternatives import judged
from ptychopinn.workflows.before_axes import within_noise
from ptychopinn.workflows.beyond_probe import (
    keeps_background,
    options_without,
    shown_by,
    surely_lit,
    with_background,
)
from ptychopinn.workflows.going_on import lit_by_itself, together, unless_stopped, until_finished
from ptychopinn.workflows.listening import Stages
from ptychopinn.workflows.model_choice import none_tried
from ptychopinn.workflows.model_terms import AUTO, with_record
from ptychopinn.workflows.refinement import refined, said
from ptychopinn.workflows.results import was_refined, with_uncertainty
from ptychopinn.workflows.scan_axes import estimate_axes
from ptychopinn.workflows.unfinished import PROBE, left_by_network

log = logging.getLogger(__name__)

Further = Literal["auto", "always", "never"]

# Passes of the refinement that follows when the given probe does not fit: enough for a picture,
# the command refine goes on from there.
QUICK_PASSES = 14
# Where photon noise is a larger share of the counts a network follows it.
FEW_PHOTONS = 0.1
# Verdicts on a network that was only too quick.
MAY_BE_SHORT = ("unfinished", "unknown")
# Verdicts behind which a background may be that is too weak to be told from other causes.
MAY_BE_LIGHT = (None, "probe", "unfinished", "unknown")


@dataclass(frozen=True, eq=False)
class Way:
    """A refinement: from a result or from nothing, with these options.

    freed : the probe is refined because that of the scan does not fit.
    weak : what it finds is kept only where it has the background that dark pixels show.
    """

    start: Reconstruction | None
    config: PhysicsConfig
    freed: bool = False
    weak: bool = False


@dataclass(frozen=True, eq=False)
class AfterNetwork:
    """The rest of a reconstruction.

    scan : the patterns, as they were mended.
    further : whether physics follows, see :func:`ptychopinn.reconstruct`.
    refine_model : which effects a refinement follows.
    uncertainty, no_mend, stop : as there.  stages : who is told of passes.
    alike : the same network alone, of other patterns with their own probe.
    looked_at : names of checks that were made before the verdict.
    """

    scan: Scan
    backend: BackendName
    execution: Execution
    further: Further
    refine_model: str | None
    uncertainty: bool
    no_mend: Collection[str]
    stages: Stages
    stop: StopFlag
    alike: Callable[[Scan], Reconstruction]
    looked_at: Collection[str] = ()

    def __call__(self, found: Reconstruction) -> Reconstruction:
        """The result, given what the network found in the right geometry."""
        scan, looked_at = self.scan, {*LATER} - self._left_out
        effect = shown_by(_fit(found), self._left_out) if self._auto else None
        if self._auto and effect is None:
            # With the probe of the scan: a refined one makes up for a part of wrong axes.
            looked_at |= {AXES}
            scan, found = estimate_axes(scan, found, self.backend, self.execution, self.no_mend)
        return replace(self, scan=scan, looked_at=looked_at)._gone_on(found, effect)

    def _gone_on(self, found: Reconstruction, effect: str | None) -> Reconstruction:
        """The same, once the axes of the scan are known; ``effect`` is what the fit shows."""
        way = None if self._stopped else self._clearly_due(found, effect)
        sure = way is None and self._surely_lit(found)
        if sure:
            # The verdict's trials take longer, and could not speak against it.
            lit = unless_stopped(self._again, None, self._lit, self.stop)
            if lit is not None and keeps_background(found, lit):
                return self._finished(found, lit, freed=False)
        if way is None:
            if not self._stopped:
                found = self._judged(found, self.alike)
            if self.refine_model == AUTO and within_noise(_fit(found)):
                found = with_record(none_tried(found), self.refine_model)
            way = self._due_by_verdict(found, sure)
        if way is None:
            return self._of_network(found)
        further = unless_stopped(self._again, way.start, way.config, self.stop)
        if further is None:
            return found
        if way.weak and not keeps_background(found, further):
            return self._of_network(found)
        return self._finished(found, further, way.freed)

    def _clearly_due(self, found: Reconstruction, effect: str | None) -> Way | None:
        """A refinement that was asked for, or that the fit of the network asks for."""
        fit, plain = _fit(found), PhysicsConfig(**self._followed)
        # No network was trained on saturated pixels, nor with other effects of beam and detector.
        beyond = self._auto and (self.scan.saturation is not None or effect is not None)
        if self.further == "always" or beyond:
            lit = effect == Background.name and self.refine_model is None
            # An object that holds the noise of reading is no good one to begin with, and what a
            # model has may be hidden in one that was found without it.
            noisy = beyond and effect == Background.name and fit.noise.readout > 0
            anew = noisy or self.refine_model is not None
            return Way(None if anew else found, self._lit if lit else plain)
        if self.refine_model is not None and not (self.refine_model == AUTO and within_noise(fit)):
            log.info("refining the object from the start with the model %s", self.refine_model)
            return Way(None, plain)
        if not self._auto:
            return None
        if fit.expected > FEW_PHOTONS:
            log.info(
                "photon noise is %.0f %% of the counts: refining the object from the start",
                100 * fit.expected,
            )
            return Way(None, plain)
        if not fit.fits_probe:
            log.info(
                "the probe of the scan leaves a residual of %.4f where photon noise alone gives "
                "%.4f: refining object and probe from the start",
                fit.residual,
                fit.expected,
            )
            config = PhysicsConfig(passes=QUICK_PASSES, refine_probe=True, **self._followed)
            return Way(None, config, freed=True)
        if left_by_network(fit):
            log.info(
                "the network leaves a residual of %.4g where photon noise alone gives %.4g: going "
                "on from its object",
                fit.residual,
                fit.expected,
            )
            return Way(found, plain)
        return None

    def _surely_lit(self, found: Reconstruction) -> bool:
        """Whether dark pixels show a background beyond doubt, and it may be followed."""
        fit = _fit(found)
        may_be = self._open and fit.likely in MAY_BE_LIGHT
        return may_be and surely_lit(PhysicsConfig(**self._followed), fit)

    def _due_by_verdict(self, found: Reconstruction, sure: bool) -> Way | None:
        """A refinement that the verdict on the network asks for. A trial may have told what its
        object had made up for, and dark pixels show what is too weak for that, unless they showed
        it for ``sure`` and it was not kept."""
        if not self._open:
            return None
        fit, plain = _fit(found), PhysicsConfig(**self._followed)
        told = shown_by(fit, self._left_out)
        weak = not sure and fit.likely in MAY_BE_LIGHT and with_background(plain, fit) is not None
        short = not sure and fit.likely in MAY_BE_SHORT
        if short and not weak:
            return Way(found, plain)
        if weak or told in (Background.name, BeamCurrent.name):
            return Way(None, plain if told == BeamCurrent.name else self._lit, weak=weak)
        return None

    def _finished(
        self, found: Reconstruction, further: Reconstruction, freed: bool
    ) -> Reconstruction:
        """The result, given what the network and a refinement found."""
        fit = _fit(further)
        # After a few passes only it may still be worse than what the network found.
        better = not self._stopped or fit.residual < _fit(found).residual
        best, took = (further if better else found), [found, further]
        way = None if self._stopped or not self._auto else self._other_way(found, further, freed)
        if way is not None:
            log.info(
                "a residual of %.4f is left where photon noise alone gives %.4f: refining %s",
                fit.residual,
                fit.expected,
                "object and probe from the start"
                if way.start is None
                else "with the probe of the scan",
            )
            other = unless_stopped(self._again, way.start, way.config, self.stop)
            if other is not None:
                took.append(other)
                best = other if _fit(other).residual < fit.residual else best
        best = replace(best, seconds=together(took))
        if self._stopped:
            return said(self.scan, best)

        def judged_again(start: Reconstruction | None, config: PhysicsConfig) -> Reconstruction:
            return self._judged(self._again(start, config))

        used = PhysicsConfig(refine_probe=was_refined(best, PROBE), **self._followed)
        if self.refine_model is None:
            xp = get_ops(self.backend, self.execution)
            best = until_finished(xp, self.scan, best, used, self._again, self.stop, self.no_mend)
        best = self._judged(best)
        if self.refine_model is None:
            best = lit_by_itself(best, used, judged_again, self.stop, self.no_mend)
        return said(self.scan, best)

    def _other_way(self, found: Reconstruction, further: Reconstruction, freed: bool) -> Way | None:
        """A second refinement: one that noise does not explain may have held on to a wrong probe,
        or let a right one go."""
        fit = _fit(further)
        if self.refine_model == AUTO and _held_back(further):
            return Way(None, PhysicsConfig(refine_probe=True, **self._followed))
        if freed and fit.excess > TRIED_EXCESS_OF_NOISE * fit.expected:
            return Way(found, PhysicsConfig(**self._followed))
        return None

    def _of_network(self, found: Reconstruction) -> Reconstruction:
        """What the network found, and how far it may be off where that is asked for."""
        if not self.uncertainty:
            return found
        used = replace(self.scan, probe=found.probe)
        return with_uncertainty(
            self.stop, found, used, self.alike, NETWORK_FACTOR, from_nothing=False
        )

    def _judged(
        self,
        found: Reconstruction,
        again: Callable[[Scan], Reconstruction] | None = None,
    ) -> Reconstruction:
        return judged(
            found, self.scan, self.backend, self.execution, self.no_mend, self.looked_at, again
        )

    @property
    def _again(self) -> Callable[[Reconstruction | None, PhysicsConfig], Reconstruction]:
        """Refines the scan, which is not looked at once more."""
        return partial(
            refined, self.scan, backend=self.backend, execution=self.execution,
            uncertainty=self.uncertainty, no_mend="all", progress=self.stages, stop=self.stop,
            model=self.refine_model,
        )  # fmt: skip

    @property
    def _stopped(self) -> bool:
        return self.stop.signal is not None

    @property
    def _auto(self) -> bool:
        return self.further == "auto" and not self._stopped

    @property
    def _open(self) -> bool:
        """Whether what the patterns show decides what follows."""
        return self._auto and self.refine_model is None

    @cached_property
    def _left_out(self) -> frozenset[str]:
        return frozenset(chosen_names(self.no_mend))

    @cached_property
    def _followed(self) -> dict[str, Any]:
        return followed(self.no_mend, self.refine_model)

    @property
    def _lit(self) -> PhysicsConfig:
        return PhysicsConfig(**{**self._followed, "background": True})


def followed(no_mend: Collection[str], refine_model: str | None) -> dict[str, Any]:
    """Options of the effects that a refinement follows, or not; a model of its own says which."""
    options = options_without(chosen_names(no_mend))
    if refine_model is None:
        return options
    off = {name: value for name, value in options.items() if value is False}
    return off if refine_model == AUTO else {}


def _fit(result: Reconstruction) -> Misfit:
    """Its fit, which every verb states."""
    assert result.fit is not None
    return result.fit


def _held_back(result: Reconstruction) -> bool:
    """Whether a refinement with the probe of the scan leaves so much that it may be wrong."""
    last = result.provenance["stages"][-1]
    return not _fit(result).fits_probe and not last.get("refine_probe")
