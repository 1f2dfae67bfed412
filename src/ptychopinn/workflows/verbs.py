"""The verbs of the product that reconstruct, independent of backend and command line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

from ptychopinn.checks.base import AXES, LATER, chosen_names
from ptychopinn.contracts import Progress
from ptychopinn.data.findings import FROM_NOTHING, recorded_findings
from ptychopinn.data.fingerprint import identity_of
from ptychopinn.data.normalization import mean_counts, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.evaluation.uncertainty import NETWORK_FACTOR
from ptychopinn.evaluation.verdict import TRIED_EXCESS_OF_NOISE
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.scaling import reconcile_probe
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.network import network_solver
from ptychopinn.workflows.alternatives import judged
from ptychopinn.workflows.before_axes import within_noise
from ptychopinn.workflows.beyond_probe import (
    keeps_background,
    options_without,
    require_possible,
    shown_by,
    surely_lit,
    with_background,
)
from ptychopinn.workflows.checking import (
    check_scan,
    in_right_geometry,
    mended,
)
from ptychopinn.workflows.going_on import (
    lit_by_itself,
    together,
    unless_stopped,
    until_finished,
)
from ptychopinn.workflows.listening import Listening, stages_of
from ptychopinn.workflows.model import (
    PRETRAINED,
    AnyModel,
    Model,
    load_model,
    open_model,
    package_versions,
)
from ptychopinn.workflows.model_choice import none_tried
from ptychopinn.workflows.model_terms import AUTO, with_model, with_record
from ptychopinn.workflows.refinement import Iteration, iterate, refine, refined, said
from ptychopinn.workflows.results import reported, require_scan, was_refined, with_uncertainty
from ptychopinn.workflows.scan_axes import estimate_axes
from ptychopinn.workflows.stopping import followed_through, operations_of
from ptychopinn.workflows.unfinished import PROBE, left_by_network

__all__ = [
    "PRETRAINED",
    "Iteration",
    "Model",
    "check_scan",
    "iterate",
    "load_model",
    "open_model",
    "package_versions",
    "reconstruct",
    "refine",
]

log = logging.getLogger(__name__)

Further = Literal["auto", "always", "never"]

# Passes of the refinement that follows when the given probe does not fit: enough for a picture,
# the command refine goes on from there.
QUICK_PASSES = 14
# The same where nothing but its optics or the patterns told the probe.
LONG_PASSES = 24
# Where photon noise is a larger share of the counts a network follows it.
FEW_PHOTONS = 0.1
# Verdicts on a network that was only too quick.
MAY_BE_SHORT = ("unfinished", "unknown")
# Verdicts behind which a background may be that is too weak to be told from other causes.
MAY_BE_LIGHT = (None, "probe", "unfinished", "unknown")


def _with_refined_probe(scan: Scan, model: Model) -> Scan:
    """The scan with the probe that was refined in training, scaled to the counts of the scan."""
    if model.probe.shape[-1] != scan.N:
        raise InputError(
            f"the model refined a probe of N = {model.probe.shape[-1]}, received a scan with N = "
            f"{scan.N}; give the probe of this scan with the option probe."
        )
    probe, factor = reconcile_probe(model.probe, mean_counts(scan), scan.mask, scan.propagator)
    log.info(
        "using the probe refined in training, scaled by %.4g to the counts of this scan", factor
    )
    return replace(scan, probe=probe)


def reconstruct(
    scan: Scan,
    model: AnyModel = PRETRAINED,
    *,
    refine: Further | None = None,
    refine_model: str | None = None,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    keep_probe: bool = False,
    uncertainty: bool = False,
    no_mend: Collection[str] = (),
    progress: Listening = None,
    stop: StopFlag | None = None,
) -> Reconstruction:
    """Reconstruct every pattern of a scan with a trained model.

    The object is in the units of the scan's probe; one global factor makes the modelled counts
    equal the measured ones. Any ``backend`` can use a model, whichever trained it. The result says
    how well it fits (``fit``) and what each stage took (``seconds``).

    Parameters
    ----------
    scan : the measured patterns.
    model : what :func:`train` or :func:`load_model` gave, or the path of one; ``"pretrained"``
        comes with the package and suits scans that no network was trained on.
    refine : physics iterations after the network. ``"auto"`` refines object and probe from the
        start when the probe of the scan does not fit the data, and says so, or was made from its
        optics or from the patterns (``load_scan(probe="auto")``), and goes on from the
        network's object where pixels are saturated or the residual shows a background or a beam
        that changes its intensity, which are then fitted; a background that only dark pixels show
        is kept where much less is left with it, and where the network leaves more than 0.3 % of
        the structure, beyond noise; where photon noise is more than a tenth
        of the counts (about 3000 photons in a pattern) the object is refined from the start;
        ``"always"`` goes on
        from the network's object; ``"never"`` leaves it. By default as the commands do: auto with
        the model ``"pretrained"`` (``ptychopinn reconstruct``), never with any other
        (``ptychopinn infer``).
    refine_model : which effects of beam, sample and detector a refinement follows, as the argument
        ``model`` of :func:`refine`: with ``"auto"`` also what the network's fit leaves more than
        photon noise of is refined, from the start; terms are always followed.
    keep_probe : use the probe of the scan even when the model refined one in training.
    uncertainty : state how far the result may be off (see
        :mod:`ptychopinn.evaluation.uncertainty`).
    no_mend : names of checks that are left out (see :func:`ptychopinn.check_scan`), or "all".
    progress : True for a bar on stderr, or a :class:`ptychopinn.contracts.Progress` called
        after every pass; nothing is shown when not given.
    stop : when it is installed, a signal that comes once the network is done leaves out what else
        was due: an uncertainty, and passes of a refinement that was not yet better than the
        network.

    Raises
    ------
    InputError
        When the model does not fit the scan, its file is not a valid bundle, or a check finds a
        fault in the scan.
    """
    require_scan(scan, model, "reconstruct(scan, model)")
    stages = stages_of(progress)
    model = open_model(model)
    if refine is None:
        refine = "auto" if model.source == PRETRAINED else "never"
    elif refine not in get_args(Further):
        raise InputError(
            f"refine must be one of {', '.join(get_args(Further))}, received {shown(refine)}; "
            "correct it."
        )
    stop = StopFlag() if stop is None else stop
    backend, execution = choose(backend, execution)
    left_out = chosen_names(no_mend)
    followed = options_without(left_out)
    if refine_model is not None:
        if refine == "never":
            raise InputError(
                "a model is followed by a refinement, received refine_model with option "
                "refine 'never'; leave either out."
            )
        # Before the network, not after it.
        require_possible(
            with_model(refine_model, scan, PhysicsConfig(), None)[0], scan, uncertainty
        )
        off = {name: value for name, value in followed.items() if value is False}
        followed = off if refine_model == AUTO else {}
    if refine == "auto" and _probe_from_nothing(scan):
        # It is near enough for iterations on probe and object, not for a network.
        # An object to hold on to comes first: with both free from nothing, poor guesses diverge.
        long = {"passes": LONG_PASSES} if refine_model is None else {}
        free = PhysicsConfig(refine_probe=True, probe_from=1, **long, **followed)
        found = refined(
            scan, None, free, backend=backend, execution=execution, uncertainty=uncertainty,
            no_mend=no_mend, progress=stages, stop=stop, model=refine_model,
        )  # fmt: skip
        return said(scan, found)
    scan = mended(scan, no_mend)
    with stages(model.config.model.passes) as bar:
        found = _network(model, scan, backend, execution, keep_probe, bar)
    assert found.fit is not None  # every verb states it
    stop.gentle = True
    if stop.signal is None:
        turned = in_right_geometry(scan, backend, execution, no_mend, found.fit)
        if turned is not scan:
            scan = turned
            with stages(model.config.model.passes) as bar:
                found = _network(model, scan, backend, execution, keep_probe, bar)
    assert found.fit is not None
    effect = shown_by(found.fit, left_out) if refine == "auto" else None
    looked_at = {*LATER} - left_out
    if refine == "auto" and effect is None and stop.signal is None:
        # With the probe of the scan: a refined one makes up for a part of wrong axes.
        looked_at |= {AXES}
        scan, found = estimate_axes(scan, found, backend, execution, no_mend)
    assert found.fit is not None
    again = partial(
        refined, scan, backend=backend, execution=execution, uncertainty=uncertainty,
        no_mend="all", progress=stages, stop=stop, model=refine_model,
    )  # fmt: skip
    start, config, weak, freed = None, PhysicsConfig(**followed), False, False
    lit = PhysicsConfig(**{**followed, "background": True})
    further: Reconstruction | None = None
    if effect == Background.name and refine_model is None:
        config = lit
    # No network was trained on saturated pixels, nor with other effects of beam and detector.
    beyond = refine == "auto" and (scan.saturation is not None or effect is not None)
    asked = refine_model is not None and (refine_model != AUTO or not within_noise(found.fit))
    if (refine == "always" or beyond) and stop.signal is None:
        # An object that holds the noise of reading is no good one to begin with, and what a model
        # has may be hidden in one that was found without it.
        noisy = beyond and effect == Background.name and found.fit.noise.readout > 0
        start = None if noisy or refine_model is not None else found
    elif asked and stop.signal is None:
        log.info("refining the object from the start with the model %s", refine_model)
    elif refine == "auto" and found.fit.expected > FEW_PHOTONS and stop.signal is None:
        log.info(
            "photon noise is %.0f %% of the counts: refining the object from the start",
            100 * found.fit.expected,
        )
    elif refine == "auto" and not found.fit.fits_probe and stop.signal is None:
        log.info(
            "the probe of the scan leaves a residual of %.4f where photon noise alone gives %.4f: "
            "refining object and probe from the start",
            found.fit.residual,
            found.fit.expected,
        )
        config, freed = PhysicsConfig(passes=QUICK_PASSES, refine_probe=True, **followed), True
    elif refine == "auto" and left_by_network(found.fit) and stop.signal is None:
        log.info(
            "the network leaves a residual of %.4g where photon noise alone gives %.4g: going on "
            "from its object",
            found.fit.residual,
            found.fit.expected,
        )
        start = found
    else:
        # The probe is that of all patterns.
        alike = partial(
            reconstruct, model=model, backend=backend, execution=execution,
            keep_probe=True, refine="never", no_mend="all",
        )  # fmt: skip
        open_yet = refine == "auto" and refine_model is None and stop.signal is None
        sure = open_yet and found.fit.likely in MAY_BE_LIGHT and surely_lit(config, found.fit)
        if sure:
            # The verdict's trials take longer, and could not speak against it.
            further = unless_stopped(again, None, lit, stop)
            if further is not None and not keeps_background(found, further):
                further = None
        if further is None and stop.signal is None:
            found = judged(found, scan, backend, execution, no_mend, looked_at, alike)
        assert found.fit is not None
        if refine_model == AUTO and within_noise(found.fit):
            found = with_record(none_tried(found), refine_model)
        assert found.fit is not None
        open_yet = open_yet and stop.signal is None
        # A trial may have told what the network's object had made up for; and dark pixels show
        # what is too weak for that.
        told = shown_by(found.fit, left_out) if open_yet else None
        weak = open_yet and not sure and found.fit.likely in MAY_BE_LIGHT
        weak = weak and with_background(config, found.fit) is not None
        short = open_yet and not sure and found.fit.likely in MAY_BE_SHORT
        finished = partial(_with_uncertainty, scan=scan, alike=alike, stop=stop)
        if further is None:
            if told not in (Background.name, BeamCurrent.name) and not weak and not short:
                return finished(found) if uncertainty else found
            if short and not weak:
                start = found
            elif told != BeamCurrent.name:
                config = lit
    if further is None:
        further = unless_stopped(again, start, config, stop)
    if further is None:
        return found
    if weak and not keeps_background(found, further):
        return finished(found) if uncertainty else found
    assert further.fit is not None and found.fit is not None
    # After a few passes only it may still be worse than what the network found.
    better = stop.signal is None or further.fit.residual < found.fit.residual
    best, took = (further if better else found), [found, further]
    way: tuple[Reconstruction | None, PhysicsConfig] | None = None
    if refine == "auto" and stop.signal is None:
        # A refinement that noise does not explain may have held on to a wrong probe, or let a right
        # one go.
        if refine_model == AUTO and _held_back(further):
            way = None, PhysicsConfig(refine_probe=True, **followed)
        elif freed and further.fit.excess > TRIED_EXCESS_OF_NOISE * further.fit.expected:
            way = found, PhysicsConfig(**followed)
    if way is not None:
        log.info(
            "a residual of %.4f is left where photon noise alone gives %.4f: refining %s",
            further.fit.residual,
            further.fit.expected,
            "object and probe from the start" if way[0] is None else "with the probe of the scan",
        )
        other = unless_stopped(again, *way, stop)
        if other is not None and other.fit is not None:
            took.append(other)
            best = other if other.fit.residual < further.fit.residual else best
    best = replace(best, seconds=together(took))
    if stop.signal is not None:
        return said(scan, best)

    def judged_again(start: Reconstruction | None, config: PhysicsConfig) -> Reconstruction:
        return judged(again(start, config), scan, backend, execution, no_mend, looked_at)

    used = PhysicsConfig(refine_probe=was_refined(best, PROBE), **followed)
    if refine_model is None:
        best = until_finished(get_ops(backend, execution), scan, best, used, again, stop, no_mend)
    best = judged(best, scan, backend, execution, no_mend, looked_at)
    if refine_model is None:
        best = lit_by_itself(best, used, judged_again, stop, no_mend)
    return said(scan, best)


def _with_uncertainty(
    found: Reconstruction,
    scan: Scan,
    alike: Callable[[Scan], Reconstruction],
    stop: StopFlag,
) -> Reconstruction:
    """What a network found, and how far it may be off."""
    used = replace(scan, probe=found.probe)
    return with_uncertainty(stop, found, used, alike, NETWORK_FACTOR, from_nothing=False)


def _held_back(result: Reconstruction) -> bool:
    """Whether a refinement with the probe of the scan leaves so much that it may be wrong."""
    assert result.fit is not None  # every verb states it
    last = result.provenance["stages"][-1]
    return not result.fit.fits_probe and not last.get("refine_probe")


def _probe_from_nothing(scan: Scan) -> bool:
    """Whether the probe of a scan is a first guess, to be refined in any case."""
    return any(found.name == FROM_NOTHING for found in recorded_findings(scan.provenance))


def _network(
    model: Model,
    scan: Scan,
    backend: BackendName,
    execution: Execution,
    keep_probe: bool,
    progress: Progress,
) -> Reconstruction:
    """What the network alone gives."""
    config = model.config
    start = time.perf_counter()
    if config.training.probe_trainable and not keep_probe:
        scan = _with_refined_probe(scan, model)
    prepared = prepare(scan)
    limit = execution.inference_batch_mib << 20
    xp = get_ops(backend, execution)
    solver = network_solver(xp, config.model, model.weights, limit)
    with operations_of(solver).together():
        canvas = followed_through(solver, prepared, progress).canvas
    seconds = {"network": time.perf_counter() - start}
    stage: dict[str, Any] = {
        "stage": "network",
        "architecture": config.model.architecture,
        "corrections": list(canvas.corrections),
    }
    origin = {"model": model.manifest.model_dump(mode="json")}
    identity = identity_of(scan)
    return reported(canvas, prepared, scan, seconds, backend, [stage], origin, identity, xp=xp)
