"""What a refinement works on: a solver, its options and its scan; and a result of what it finds."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.replay import mended_like
from ptychopinn.config import RefineConfig
from ptychopinn.contracts import Canvas, Solved, Solver
from ptychopinn.data.findings import with_findings
from ptychopinn.data.fingerprint import identity_of
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.physics.effects import Effect, slices_of
from ptychopinn.probes import orthogonalised
from ptychopinn.solvers import ptychi
from ptychopinn.solvers.configs import PhysicsConfig, PtychiConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import (
    effects_for,
    require_one_probe_and_slice,
    with_free_probe,
)
from ptychopinn.workflows.checking import mended
from ptychopinn.workflows.results import continued, reported
from ptychopinn.workflows.scan_axes import corrected_axes
from ptychopinn.workflows.slicing import canvas_from


@dataclass(frozen=True, eq=False)
class Work:
    """A solver with what it works on, and what its results say of their origin; ``given_px`` (M, 2)
    are the positions before any refinement."""

    solver: Solver
    config: RefineConfig
    scan: Scan
    prepared: PreparedScan
    canvas: Canvas | None
    given_px: NDArray[np.float64]
    backend: BackendName
    execution: Execution
    stages: tuple[Any, ...]
    by: Mapping[str, Any]
    identity: str
    begun: float

    def result(self, solved: Solved) -> Reconstruction:
        """What was found, in the units of the scan."""
        scan, prepared = self.scan, self.prepared
        if self.config.refine_probe:
            probe = solved.probe / np.float32(prepared.input_scale * prepared.object_scale)
            scan = replace(scan, probe=orthogonalised(probe))
        # An object in the file is not where moved positions are.
        scan = replace(scan, positions_px=solved.positions_px, object=None)
        axes, found = None, None
        if self.config.refine_positions:
            axes, found = corrected_axes(self.given_px, solved.positions_px)
            if found is not None:
                scan = replace(scan, provenance=with_findings(scan.provenance, [found]))
        seconds = {"refinement": time.perf_counter() - self.begun}
        stage = {
            "stage": "refinement",
            **self.by,
            "passes": solved.passes,
            **self.config.model_dump(mode="json", include={"refine_probe", "refine_positions"}),
            "effects": [effect.name for effect in solved.effects if effect.changes],
            **({} if axes is None else {"scan_axes": asdict(axes)}),
        }
        stages = [*self.stages, stage]
        xp = self.solver.xp if isinstance(self.solver, PhysicsSolver) else None
        return reported(
            solved.canvas, prepared, scan, seconds, self.backend, stages, {}, self.identity,
            solved.effects, solved.position_covariance, xp,
        )  # fmt: skip


def work_for(
    scan: Scan,
    start: Reconstruction | None,
    config: RefineConfig | None,
    backend: BackendName | None,
    execution: Execution | None,
    no_mend: Collection[str],
    uncertainty: bool = False,
) -> Work:
    """Check the arguments of :func:`refine` and prepare what they say."""
    config = RefineConfig() if config is None else config
    by: dict[str, Any] = {"engine": config.engine}
    if isinstance(config, PtychiConfig):
        execution = ptychi.execution_for(backend, execution, uncertainty)
        ptychi.require()
        by = ptychi.stage(config)
    if uncertainty:
        require_one_probe_and_slice(config, start)
    follows = isinstance(config, PhysicsConfig) and config.eigenprobes is not None
    if follows:
        config = with_free_probe(config, "eigenprobes")
    backend, execution = choose(backend, execution)
    begun = time.perf_counter()
    stages: tuple[Any, ...] = ()
    identity = identity_of(scan)
    scan = mended(scan, no_mend) if start is None else mended_like(scan, start.findings)
    given_px = scan.positions_px
    if start is not None:
        scan = continued(scan, start, identity)
        stages = tuple(start.provenance.get("stages", ()))
    prepared = prepare(scan)
    solver: Solver
    effects: tuple[Effect, ...] = ()
    if isinstance(config, PtychiConfig):
        solver = ptychi.PtychiSolver(config, execution)
    else:
        assert isinstance(config, PhysicsConfig)  # there are two engines
        limit, xp = execution.inference_batch_mib << 20, get_ops(backend, execution)
        effects = effects_for(config, prepared, start, xp)
        solver = PhysicsSolver(xp, config, limit, effects=effects)
    canvas = None if start is None else canvas_from(start, prepared, slices_of(effects))
    return Work(
        solver, config, scan, prepared, canvas, given_px, backend, execution, stages, by, identity,
        begun,
    )  # fmt: skip
