"""What does a GPU give: agreement with the CPU, patterns per second, memory, and where time goes?

python benchmarks/gpu.py
python benchmarks/gpu.py --accelerator cpu --quick 1

Parts run in the order of their importance; every one is written when it is done, and none begins
after ``--seconds``. Patterns are counts in the memory of the host, and the result is stitched
there. Scans with more than ``DISTINCT`` patterns repeat these: the work is the same, and simulating
takes no GPU time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

import ptychopinn as pp
from common import arguments, machine
from ptychopinn.contracts import Silent
from ptychopinn.ops.options import TorchExecution
from ptychopinn.solvers.configs import PhysicsConfig

DISTINCT = 2500
# Bytes per second that an H100 SXM reads and writes at most.
BANDWIDTH = 3.35e12
# Bytes of a pattern pixel that an update has to move at least: amplitude, probe, gathered object,
# exit wave there and back through two transforms of two passes each, and the sum on the canvas.
LEAST_BYTES = 4 + 8 + 8 + 2 * 2 * 2 * 8 + 16


def scan_of(n: int, patterns: int, photons: float = 1e6) -> pp.Scan:
    """So many patterns of N x N pixels, the distinct ones repeated."""
    distinct = min(patterns, DISTINCT)
    scan = pp.simulate(
        object="leaves", N=n, patterns=distinct, photons=photons, step_px=n / 10, seed=1
    )
    if patterns == distinct:
        return scan
    chosen = np.resize(np.arange(distinct), patterns)
    counts = np.asarray(scan.diffraction)[chosen]
    return replace(scan, diffraction=counts, positions_px=scan.positions_px[chosen])


class Bench:
    """The device, and what was found so far."""

    def __init__(self, accelerator: str, quick: bool, seconds: float, out: Path) -> None:
        self.execution = TorchExecution(accelerator=accelerator)  # type: ignore[arg-type]
        self.cpu = TorchExecution(accelerator="cpu")
        self.accelerator, self.quick, self.limit = accelerator, quick, seconds
        self.found: dict[str, Any] = {}
        self.path, self.begun = out / "gpu.json", time.perf_counter()

    def part(self, name: str, work: Callable[[], Any]) -> None:
        """Run a part and write what it found."""
        spent = time.perf_counter() - self.begun
        if spent > self.limit:
            print(f"{name}: left out after {spent:.0f} s")
            return
        begun = time.perf_counter()
        self.found[name] = work()
        seconds = time.perf_counter() - begun
        self.found["machine"] = machine()
        self.path.write_text(json.dumps(self.found, indent=1))
        print(f"{name} ({seconds:.1f} s): {json.dumps(self.found[name])}", flush=True)

    def synchronised(self) -> None:
        if self.accelerator == "cuda":
            torch.cuda.synchronize()

    def tests(self) -> str:
        """The closing line of the tests marked gpu."""
        folder = Path(__file__).parents[1] / "tests"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, str(folder / "laws" / "test_gpu.py")], capture_output=True, text=True
        )
        print(done.stdout[-3000:] if done.returncode else "", end="")
        return done.stdout.strip().splitlines()[-1]

    def agreement(self) -> dict[str, float]:
        """Largest relative difference of the objects to those of the CPU."""
        scan = scan_of(64, 100 if self.quick else 400, 1e5)
        found = {}
        for name, run in (
            ("network", lambda e: pp.reconstruct(scan, refine="never", execution=e)),
            ("refine", lambda e: self._refined(scan, e, 20)),
            ("refine probe", lambda e: self._refined(scan, e, 20, refine_probe=True)),
            ("refine positions", lambda e: self._refined(scan, e, 20, refine_positions=True)),
        ):
            there, here = run(self.execution), run(self.cpu)
            weight = np.minimum(here.weight / 0.3, 1)
            off = np.linalg.norm(weight * (there.object - here.object))
            found[name] = float(off / np.linalg.norm(weight * here.object))
        return found

    def _refined(
        self, scan: pp.Scan, execution: TorchExecution, passes: int, **options: Any
    ) -> Any:
        config = PhysicsConfig(passes=passes, **options)
        return pp.refine(scan, None, config, backend="pytorch", execution=execution)

    def network(self, n: int, patterns: int) -> dict[str, float]:
        scan = scan_of(n, patterns)
        passes = pp.load_model().config.model.passes  # type: ignore[attr-defined]
        seconds = []
        for _ in range(2 if self.quick else 4):
            self._forget()
            done = pp.reconstruct(scan, refine="never", execution=self.execution)
            seconds.append(done.seconds["network"])
        return self._rates(n, patterns, passes, median(seconds[1:]))

    def refinement(self, n: int, patterns: int, passes: int) -> dict[str, float]:
        scan = scan_of(n, patterns)
        self._refined(scan, self.execution, 1)
        self._forget()
        done = self._refined(scan, self.execution, passes)
        return self._rates(n, patterns, passes, done.seconds["refinement"])

    def _forget(self) -> None:
        if self.accelerator == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _rates(self, n: int, patterns: int, passes: int, seconds: float) -> dict[str, float]:
        moved = patterns * n * n * LEAST_BYTES * passes
        found = {
            "patterns": patterns,
            "passes": passes,
            "seconds": round(seconds, 4),
            "patterns/s": round(patterns / seconds),
            "pattern passes/s": round(patterns * passes / seconds),
            "share of bandwidth": round(moved / seconds / BANDWIDTH, 4),
        }
        if self.accelerator == "cuda":
            found["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        return found

    def training(self) -> dict[str, float]:
        """Patterns per second in the second of two epochs, from the table of the run."""
        scan = scan_of(64, 300 if self.quick else 2500)
        rates: list[float] = []

        class Rates(Silent):
            def step(self, loss: float, patterns_per_s: float) -> None:
                rates.append(patterns_per_s)

        config = pp.Config(training={"epochs": 2}, data={"n_groups": 8 if self.quick else 64})
        pp.train(
            scan, config, backend="pytorch", execution=self.execution, probe_check=False,
            progress=Rates(),
        )  # fmt: skip
        return {"patterns/s": round(rates[-1])}

    def profile(self, what: str) -> dict[str, Any]:
        """The operations that cost most, and the share of time in which the GPU computes."""
        cuda = self.accelerator == "cuda"
        scan = scan_of(64, 300 if self.quick else 10_000)

        def run() -> Any:
            if what == "network":
                return pp.reconstruct(scan, refine="never", execution=self.execution)
            return self._refined(scan, self.execution, 10)

        run()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        begun = time.perf_counter()
        with profile(activities=kinds) as seen:
            run()
            self.synchronised()
        wall = (time.perf_counter() - begun) * 1e6
        name = "self_device_time_total" if cuda else "self_cpu_time_total"
        events = sorted(seen.key_averages(), key=lambda e: -getattr(e, name))
        busy = sum(getattr(e, name) for e in events)
        return {
            "wall s": round(wall / 1e6, 3),
            "device busy": round(busy / wall, 3),
            "top": [[e.key[:60], e.count, round(getattr(e, name) / 1e3, 2)] for e in events[:15]],
        }


def main() -> None:
    o = arguments(__doc__, accelerator="cuda", quick=0, seconds=240)
    bench = Bench(o.accelerator, bool(o.quick), o.seconds, o.out)
    os.environ.setdefault("OMP_NUM_THREADS", "8")
    small = bool(o.quick)
    bench.part("tests", bench.tests)
    bench.part("agreement", bench.agreement)
    for n, patterns in ((64, 20_000), (128, 5_000), (256, 1_000)):
        count = 100 if small else patterns
        bench.part(f"network N={n}", lambda n=n, count=count: bench.network(n, count))
    size = (100, 5) if small else (10_000, 40)
    bench.part("refine N=64", lambda: bench.refinement(64, *size))
    bench.part("training N=64", bench.training)
    bench.part("profile network", lambda: bench.profile("network"))
    bench.part("profile refine", lambda: bench.profile("refine"))


if __name__ == "__main__":
    main()
