"""Where does the time of a large scan go? PyTorch on CPUs, from the file to the file.

python benchmarks/profile_scan.py --sizes 64:900,64:10000,128:900,128:10000 --threads 1

Each size is simulated into a temporary folder and run in a process of its own: the pretrained
network without further refinement, or --passes of the plain iterations. Figures are CPU seconds;
those within the passes (from illumination on, and of reading there) are those of the threads of
Python, which is all there is with one thread of PyTorch. What a stage calls of another one there
counts for that one.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGES = (
    "import",
    "read",
    "look",
    "prepare",
    "illumination",
    "project",
    "judge",
    "scatter",
    "correct",
    "misfit",
    "write",
)


class Stages:
    """CPU seconds of the stages, each without the stages that it calls.

    A stage that is measured as a ``whole`` counts all threads of the process, and what it calls.
    """

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self._inner, self._whole = threading.local(), False

    def timed(
        self, stage: str, function: Callable[..., Any], whole: bool = False
    ) -> Callable[..., Any]:
        """The same function, whose time is added to a stage."""

        @functools.wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            if self._whole:
                return function(*arguments, **named)
            outer, self._whole = getattr(self._inner, "spent", 0.0), whole
            clock = time.process_time if whole else time.thread_time
            self._inner.spent, begun = 0.0, clock()
            try:
                return function(*arguments, **named)
            finally:
                spent = clock() - begun
                self.cpu[stage] += spent - self._inner.spent
                self._inner.spent, self._whole = outer + spent, False

        return measured

    def watch(self, stage: str, owner: Any, name: str, whole: bool = False) -> None:
        """Time a function of a module, or a method of a class."""
        setattr(owner, name, self.timed(stage, getattr(owner, name), whole))


def measure(path: Path, threads: int, passes: int) -> dict[str, Any]:
    """One scan in this process."""
    begun = time.process_time()
    import resource

    import torch

    import ptychopinn as pp
    from ptychopinn.io import lazy
    from ptychopinn.ops.options import TorchExecution
    from ptychopinn.ops.torch import TorchOps
    from ptychopinn.physics import forward
    from ptychopinn.solvers import descent, problem, unrolled
    from ptychopinn.solvers.configs import PhysicsConfig
    from ptychopinn.workflows import refinement, results, verbs

    stages = Stages()
    stages.cpu["import"] = time.process_time() - begun
    stages.watch("read", lazy.Stored, "read")
    stages.watch("read", lazy.LazyPatterns, "__getitem__")
    for verb in (verbs, refinement):
        stages.watch("look", verb, "mended", whole=True)
        stages.watch("prepare", verb, "prepare", whole=True)
    stages.watch("prepare", TorchOps, "amplitudes")
    stages.watch("prepare", problem, "pattern_batch")
    stages.watch("illumination", forward, "illumination")
    stages.watch("illumination", descent, "illumination_of")
    stages.watch("project", descent, "object_step")
    stages.watch("judge", descent, "batch_misfit")
    stages.watch("scatter", TorchOps, "plus")
    stages.watch("correct", unrolled.Unrolled, "_correction")
    stages.watch("misfit", results, "misfit", whole=True)
    stages.watch("write", pp.Reconstruction, "save", whole=True)
    # Not the import of the framework by its first use.
    torch.zeros(1)
    cpu, wall = time.process_time(), time.perf_counter()
    scan = stages.timed("read", pp.load_scan, whole=True)(path)
    execution = TorchExecution(threads=threads, accelerator="cpu")
    if passes:
        result = pp.refine(
            scan, config=PhysicsConfig(passes=passes), backend="pytorch", execution=execution
        )
        kernel = "refinement"
    else:
        result = pp.reconstruct(scan, refine="never", backend="pytorch", execution=execution)
        kernel, passes = "network", 6
    result.save(path.with_name("result.h5"), force=True)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "N": scan.N,
        "patterns": scan.M,
        **{stage: stages.cpu[stage] for stage in STAGES},
        "in all": cpu,
        "wall": wall,
        "kernel": result.seconds[kernel],
        "patterns x passes/s": scan.M * passes / result.seconds[kernel],
        "peak RSS GiB": usage.ru_maxrss / 2**20,
        "residual": result.fit.residual if result.fit is not None else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="64:900,64:10000,128:900,128:10000")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=0, help="plain iterations; 0: the network")
    parser.add_argument("--scan", type=Path, help="measure this file, and print JSON")
    o = parser.parse_args()
    if o.scan is not None:
        print(json.dumps(measure(o.scan, o.threads, o.passes)))
        return
    from ptychopinn import save_scan, simulate

    rows = []
    for size in o.sizes.split(","):
        n, m = (int(number) for number in size.split(":"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scan.h5"
            scan = simulate(object="leaves", N=n, patterns=m, photons=1e6, step_px=5 * n / 64)
            save_scan(scan, path)
            del scan
            words = ["--scan", str(path), "--threads", str(o.threads), "--passes", str(o.passes)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(o.threads)}
            done = subprocess.run(
                [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE,
                env=environment,
            )  # fmt: skip
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + " --- |" * len(names))
    for row in rows:
        cells = [f"{v:.3g}" if isinstance(v, float) and v < 1000 else f"{v:.0f}"
                 for v in row.values()]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
