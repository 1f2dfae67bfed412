"""What a verb hands back: a result in the units of its scan, its fit, and how it came about."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import TWIN
from ptychopinn.config import RefineConfig
from ptychopinn.contracts import Canvas
from ptychopinn.data.findings import with_findings
from ptychopinn.data.fingerprint import difference, recorded
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, shown
from ptychopinn.evaluation import uncertainty
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.machine.interruption import Interrupted, StopFlag
from ptychopinn.ops.base import Ops
from ptychopinn.ops.selector import BackendName
from ptychopinn.physics.effects import Effect, stored
from ptychopinn.workflows.beyond_probe import found_effects
from ptychopinn.workflows.model import package_versions

log = logging.getLogger(__name__)


def require_scan(scan: Any, second: Any, call: str) -> None:
    """Raise InputError unless the first argument of ``call`` is a scan."""
    if isinstance(scan, Scan):
        return
    if isinstance(second, Scan):
        raise InputError(f"the scan comes first, received {_kind(scan)} before it; write {call}.")
    raise InputError(
        f"a Scan was expected first, received {_kind(scan)}; read one with load_scan, make one "
        f"with Scan.from_arrays, and write {call}."
    )


def require_kind(value: Any, kind: type, name: str, remedy: str) -> None:
    """Raise InputError unless the argument ``name`` is of this kind, or left out."""
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{name} must be a {kind.__name__}, received {_kind(value)}; {remedy}.")


def require_refinable(scan: Any, config: Any, start: Any, call: str) -> None:
    """Raise InputError unless these are arguments of ``call``, which refines."""
    require_scan(scan, config if start is None else start, call)
    require_kind(config, RefineConfig, "config", "write RefineConfig(passes=20)")
    require_kind(start, Reconstruction, "start", "give a result, or None for an empty object")


def _kind(value: Any) -> str:
    return shown(value) if isinstance(value, str | Path) else f"one of {type(value).__name__}"


def with_uncertainty(
    stop: StopFlag,
    result: Reconstruction,
    scan: Scan,
    run: Callable[[Scan], Reconstruction],
    factor: float,
    *,
    from_nothing: bool,
) -> Reconstruction:
    """The result with an uncertainty, or as it is when ``stop`` is or gets set."""
    begun = time.perf_counter()
    try:
        try:
            stop.gentle = False
            if stop.signal is not None:
                raise Interrupted(stop.signal)
            log.info("the uncertainty: the same from two halves of the patterns")
            found = uncertainty.with_uncertainty(result, scan, run, factor, from_nothing)
        finally:
            stop.gentle = True
    except Interrupted:
        stop.gentle = True
        if stop.signal is None:
            # Another one was in charge.
            raise
        return result
    seconds = {**result.seconds, "uncertainty": time.perf_counter() - begun}
    return replace(found, seconds=seconds)


def continued(scan: Scan, start: Reconstruction, identity: str) -> Scan:
    """The scan with the probe and the positions of an earlier result of it."""
    known, file = recorded(start.provenance)
    if start.positions_px.shape != scan.positions_px.shape or start.probe.shape[-1] != scan.N:
        raise InputError(
            f"a result is refined with its own scan, received one of {len(start.positions_px)} "
            f"patterns with N = {start.probe.shape[-1]} and a scan of {scan.M} with N = {scan.N}; "
            "give the scan it was made from."
        )
    other = None if known is None else difference(known, identity)
    if other is not None:
        whose = "the scan it was made from" if file is None else f"'{file}', it was made from"
        raise InputError(
            f"a result is refined with its own scan, received '{scan.name}', whose {other} are not "
            f"those of {whose}; give that one as the option scan, read with the same option units "
            "and option photons."
        )
    # What nothing told then, further iterations do not tell either.
    known_twin = [found for found in start.findings if found.name == TWIN]
    return replace(
        scan,
        probe=start.probe,
        positions_px=start.positions_px,
        provenance=with_findings(scan.provenance, known_twin),
    )


def in_units(
    field: NDArray[np.complex64], scale: float
) -> tuple[NDArray[np.complex64], NDArray[np.complex64] | None]:
    """An object (H, W) in other units, and None; or, of slices (K, H, W), their product and them,
    each with its share of the factor ``scale``."""
    if field.ndim == 2:
        return field * np.complex64(scale), None
    layers = field * np.complex64(scale ** (1 / len(field)))
    return layers.prod(axis=0), layers


def reported(
    canvas: Canvas,
    prepared: PreparedScan,
    scan: Scan,
    seconds: Mapping[str, float],
    backend: BackendName,
    stages: list[Any],
    origin: Mapping[str, Any],
    identity: str,
    effects: Sequence[Effect] = (),
    position_covariance: NDArray[np.float64] | None = None,
    xp: Ops | None = None,
) -> Reconstruction:
    """A canvas in network units as a result in the units of the scan, with its misfit.

    ``identity`` is the fingerprint of the scan as it was given, ``effects`` are in network units.
    ``xp`` made the canvas, and predicts the patterns where that needs no graph of its own.
    """
    power = prepared.input_scale**2
    in_counts = [effect.scaled(1 / power) for effect in effects if effect.changes]
    scan = replace(
        scan, provenance=with_findings(scan.provenance, found_effects(in_counts, prepared.counts))
    )
    obj, layers = in_units(canvas.object, prepared.object_scale)
    result = Reconstruction(
        object=obj,
        slices=layers,
        origin_px=canvas.origin_px,
        weight=canvas.weight,
        probe=scan.probe,
        positions_px=scan.positions_px,
        pixel_size_m=scan.pixel_size_m,
        energy_eV=scan.energy_eV,
        distance_m=scan.distance_m,
        propagation=scan.propagation,
        focus_distance_m=scan.focus_distance_m,
        losses=canvas.losses,
        effects=stored(in_counts),
        position_covariance=position_covariance,
        name=scan.name,
    )
    start = time.perf_counter()
    if xp is None or xp.builds_graphs:
        fit = misfit(result, scan)
    else:
        # Threads judge the patterns meanwhile.
        alone = xp.with_threads(1) or xp
        with alone.running():
            fit = misfit(result, scan, xp=alone)
    provenance: dict[str, Any] = {
        **origin,
        "stages": stages,
        "scan": {
            "name": scan.name,
            "patterns": scan.M,
            "N": scan.N,
            **dict(scan.provenance),
            "fingerprint": identity,
        },
        "backend": backend,
        "versions": package_versions(),
        "global_scale": fit.scale,
        "fit": fit.summary(),
    }
    obj, layers = in_units(result.object if layers is None else layers, fit.scale)
    return replace(
        result,
        object=obj,
        slices=layers,
        effects=stored(effect.scaled(fit.scale**2) for effect in in_counts),
        provenance=provenance,
        fit=fit,
        seconds={**seconds, "misfit": time.perf_counter() - start},
        backend=backend,
    )


def was_refined(result: Reconstruction, option: str) -> bool:
    """Whether a stage of a result had this option: its positions, and with them the axes, were
    refined, or its probe."""
    stages = result.provenance.get("stages", ())
    return any(isinstance(s, Mapping) and s.get(option) for s in stages)
