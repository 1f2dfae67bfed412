"""The verbs of the product that reconstruct, independent of backend and command line."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from ptychopinn.contracts import Progress
from ptychopinn.data.findings import FROM_NOTHING, recorded_findings
from ptychopinn.data.fingerprint import identity_of
from ptychopinn.data.normalization import mean_counts, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.physics.scaling import reconcile_probe
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.network import network_solver
from ptychopinn.workflows.after_network import AfterNetwork, Further, followed
from ptychopinn.workflows.beyond_probe import require_possible
from ptychopinn.workflows.checking import check_scan, in_right_geometry, mended
from ptychopinn.workflows.listening import Listening, stages_of
from ptychopinn.workflows.model import (
    PRETRAINED,
    AnyModel,
    Model,
    load_model,
    open_model,
    package_versions,
)
from ptychopinn.workflows.model_terms import with_model
from ptychopinn.workflows.refinement import Iteration, iterate, refine, refined, said
from ptychopinn.workflows.results import reported, require_scan
from ptychopinn.workflows.stopping import followed_through, operations_of

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

# Passes of the refinement where nothing but its optics or the patterns told the probe.
LONG_PASSES = 24


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
    if refine == "auto" and _probe_from_nothing(scan):
        # It is near enough for iterations on probe and object, not for a network.
        # An object to hold on to comes first: with both free from nothing, poor guesses diverge.
        long = {"passes": LONG_PASSES} if refine_model is None else {}
        free = PhysicsConfig(
            refine_probe=True, probe_from=1, **long, **followed(no_mend, refine_model)
        )
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
    further = AfterNetwork(
        scan, backend, execution, refine, refine_model, uncertainty, no_mend, stages, stop,
        # The probe is that of all patterns.
        alike=partial(
            reconstruct, model=model, backend=backend, execution=execution,
            keep_probe=True, refine="never", no_mend="all",
        ),
    )  # fmt: skip
    return further(found)


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
