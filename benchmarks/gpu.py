"""Does a GPU agree with the CPU, how fast is it, and what does it wait for?

python benchmarks/gpu.py --seconds 240
python benchmarks/gpu.py --accelerator cpu --quick

The parts come in the order of their importance; each prints a table and writes it, and none begins
that is expected to end after ``--seconds``. Counts lie in the memory of the host, and the stitched
result does. N = 64 and 128 are scans simulated whole; a scan of 100 000 patterns, and one of
N = 256, is made of several copies of a smaller one, side by side. The tests marked ``gpu`` come
last, in what time is left.

The share of the memory bandwidth counts the bytes that must move at least: of every pattern that an
update visits its amplitudes, its probes, one read and one write of each of two transforms of its
waves, and one read and one addition of its patch. Convolutions are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import ptychopinn as pp
from common import machine, peak_rss_gib, report
from ptychopinn.contracts import Silent
from ptychopinn.data.normalization import prepare
from ptychopinn.ops.options import TorchExecution
from ptychopinn.ops.torch import TorchOps
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.network import network_solver
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.solvers.problem import scan_problem

# Bytes per second of the device memory, by a word of the device's name (data sheets).
BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12}
# Patterns that are simulated, by their N.
COUNTS = {64: 10_000, 128: 4000, 256: 250}
Row = Mapping[str, Any]


class Watch(Silent):
    """When every step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def step(self, loss: float, patterns_per_s: float) -> None:
        self.at.append(time.perf_counter())


class Benchmark:
    """The parts, and what they share."""

    def __init__(self, accelerator: str, quick: bool) -> None:
        self.quick = quick
        self.execution = TorchExecution(accelerator=accelerator)
        self.xp = TorchOps(self.execution)
        self.cuda = self.xp.device.type == "cuda"
        self.model = pp.load_model("pretrained")
        self.scans: dict[int, pp.Scan] = {}

    def scan(self, n: int) -> pp.Scan:
        """10 000 patterns of 64, 4000 of 128, or 250 of 256 pixels; few when quick."""
        if n not in self.scans:
            count = ({64: 200, 128: 50, 256: 20} if self.quick else COUNTS)[n]
            self.scans[n] = pp.simulate(
                object="lines", N=n, patterns=count, photons=1e8, step_px=0.1 * n, seed=n
            )
        return self.scans[n]

    def beside(self, n: int, times: int) -> pp.Scan:
        """So many copies of :meth:`scan` side by side, as one scan."""
        scan = self.scan(n)
        width = float(np.ptp(scan.positions_px[:, 1])) + n + 1
        places = [scan.positions_px + np.array([0.0, k * width]) for k in range(times)]
        counts = np.tile(np.asarray(scan.diffraction), (times, 1, 1))
        return replace(scan, diffraction=counts, positions_px=np.concatenate(places), object=None)

    def solver(self, kind: str, passes: int, refine_probe: bool = False) -> Any:
        limit = self.execution.inference_batch_mib << 20
        if kind == "network":
            return network_solver(self.xp, self.model.config.model, self.model.weights, limit)
        config = PhysicsConfig(passes=passes, stagnation=0.0, refine_probe=refine_probe)
        return PhysicsSolver(self.xp, config, limit)

    def synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float, float]:
        """What it gives, its seconds, and the largest device memory in GiB."""
        self.synchronize()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        found = work()
        self.synchronize()
        seconds = time.perf_counter() - begun
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.cuda else float("nan")
        return found, seconds, peak

    # --- parts ------------------------------------------------------------------------------------

    def agreement(self) -> list[dict[str, Any]]:
        """Relative differences from the CPU, |GPU - CPU| / |CPU|."""
        scan = pp.simulate(object="lines", N=64, patterns=60 if self.quick else 200, seed=5,
                           photons=1e8, step_px=6)  # fmt: skip
        cpu = TorchExecution(accelerator="cpu")
        rows: list[dict[str, Any]] = []

        def compare(name: str, work: Callable[[TorchExecution], Mapping[str, Any]]) -> None:
            begun = time.perf_counter()
            here, there = work(cpu), work(self.execution)
            for key, value in here.items():
                gap = float(np.linalg.norm(there[key] - value) / np.linalg.norm(value))
                said = "yes" if gap <= 1e-4 else "NO"
                rows.append({"what": f"{name}: {key}", "difference": gap, "<= 1e-4": said,
                             "s": time.perf_counter() - begun})  # fmt: skip

        def network(e: TorchExecution) -> Mapping[str, Any]:
            # Whether physics goes on, and how long, may hang on the last digits.
            found = pp.reconstruct(scan, self.model, refine="never", execution=e)
            return {"object": found.object}

        def refined(**options: Any) -> Callable[[TorchExecution], Mapping[str, Any]]:
            config = PhysicsConfig(passes=8, stagnation=0.0, **options)

            def work(e: TorchExecution) -> Mapping[str, Any]:
                found = pp.refine(scan, config=config, execution=e)
                return {"object": found.object, "probe": found.probe,
                        "positions": found.positions_px}  # fmt: skip

            return work

        def training(e: TorchExecution) -> Mapping[str, Any]:
            weights = self.train(scan, "unrolled", 1, e, None).weights
            return {"weights": np.concatenate([w.ravel() for w in weights.values()])}

        compare("network", network)
        compare("refine", refined())
        compare("refine, probe", refined(refine_probe=True))
        compare("refine, probe, positions", refined(refine_probe=True, refine_positions=True))
        compare("training step", training)
        return rows

    def rate(
        self, kind: str, n: int, passes: int = 40, refine_probe: bool = False, times: int = 1
    ) -> list[dict[str, Any]]:
        """Of a solver, data in host memory to result in host memory, after a short warm-up."""
        scan, rows = self.beside(n, times) if times > 1 else self.scan(n), []
        prepared, reading, _ = self.timed(lambda: prepare(scan))
        solver = self.solver(kind, passes, refine_probe)
        if kind == "network":
            made = solver.unrolled
            visits = made.count
        else:
            visits = passes
        small = prepare(replace(scan, diffraction=scan.diffraction[:50],
                                positions_px=scan.positions_px[:50]))  # fmt: skip
        self.solver(kind, 3, refine_probe).solve(small)
        limit = self.execution.inference_batch_mib << 20
        _, loading, _ = self.timed(lambda: scan_problem(self.xp, prepared, 4, limit))
        for run in range(3):
            done, seconds, peak = self.timed(lambda: solver.solve(prepared))
            modes = prepared.probe.shape[0]
            least = scan.M * n * n * (28 + 40 * modes) * visits
            name = torch.cuda.get_device_name() if self.cuda else ""
            width = next((b for word, b in BANDWIDTH.items() if word in name), float("nan"))
            rows.append(
                {
                    "what": kind + (", probe" if refine_probe else ""),
                    "N": n,
                    "patterns": scan.M,
                    "passes": visits,
                    "run": run,
                    "s": seconds,
                    "patterns/s": scan.M / seconds,
                    "patterns x passes/s": scan.M * visits / seconds,
                    "share of bandwidth": least / seconds / width,
                    "device GiB": peak,
                    "host GiB": peak_rss_gib(),
                    "prepare s": reading,
                    "amplitudes to device s": loading,
                    "misfit": float(done.canvas.losses[-1]),
                }
            )
        return rows

    def train(
        self, scan: pp.Scan, architecture: str, steps: int, e: TorchExecution, watch: Watch | None
    ) -> pp.Model:
        groups = steps if architecture == "unrolled" else 16 * steps
        config = pp.Config(
            model={"architecture": architecture},
            data={"n_groups": groups, "enable_oversampling": True, "validation_fraction": 0.0},
            training={"epochs": 1},
        )
        return pp.train(scan, config, backend="pytorch", execution=e, probe_check=False,
                        progress=watch)  # fmt: skip

    def training(self, n: int) -> list[dict[str, Any]]:
        """Steps of both families; the first two are left out."""
        scan, steps, rows = self.scan(n), 5 if self.quick else 20, []
        part = replace(
            scan, diffraction=scan.diffraction[:900], positions_px=scan.positions_px[:900]
        )
        for architecture, per_step in (("unrolled", 100), ("cnn", 16)):
            watch = Watch()
            work = lambda a=architecture, w=watch: self.train(part, a, steps, self.execution, w)  # noqa: E731
            _, seconds, peak = self.timed(work)
            step = median(b - a for a, b in pairwise(watch.at[2:]))
            rows.append({"what": f"training, {architecture}", "N": n, "step ms": 1e3 * step,
                         "patterns/s": per_step / step, "in all s": seconds,
                         "device GiB": peak})  # fmt: skip
        return rows

    def profile(self, kind: str, out: Path) -> list[dict[str, Any]]:
        """The most expensive operations of a run, and how long the GPU had nothing to do."""
        from torch.profiler import ProfilerActivity, profile

        prepared, solver = prepare(self.scan(64)), self.solver(kind, 8)
        solver.solve(prepared)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self.cuda
        with profile(activities=activities) as seen:
            _, seconds, _ = self.timed(lambda: solver.solve(prepared))
        key = "self_device_time_total" if self.cuda else "self_cpu_time_total"
        rows = [
            {"operation": event.key[:70], "calls": event.count, "ms": getattr(event, key) / 1e3}
            for event in sorted(seen.key_averages(), key=lambda e: -getattr(e, key))[:15]
        ]
        if self.cuda:
            kernels = [e for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA]
            spans = sorted((e.time_range.start, e.time_range.end) for e in kernels)
            busy, end = 0.0, float("-inf")
            for first, last in spans:
                busy += max(0.0, last - max(first, end))
                end = max(end, last)
            share = 1 - busy / 1e6 / seconds
            rows.append({"operation": f"GPU idle {share:.0%} of {seconds:.3f} s, {len(spans)} "
                         "kernels and copies", "calls": len(spans), "ms": busy / 1e3})  # fmt: skip
        (out / f"gpu_profile_{kind}.txt").write_text(
            seen.key_averages().table(sort_by=key, row_limit=60)
        )
        return rows

    def repeats(self) -> list[dict[str, Any]]:
        """Are two runs equal to the last bit, and what does it cost to ask for that?"""
        prepared, rows = prepare(self.scan(64)), []
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        for asked in (False, True):
            torch.use_deterministic_algorithms(asked, warn_only=True)
            try:
                for kind in ("network", "refine"):
                    solver = self.solver(kind, 8)
                    runs = [self.timed(partial(solver.solve, prepared)) for _ in range(3)]
                    objects = [found.canvas.object for found, _, _ in runs]
                    gap = np.linalg.norm(objects[2] - objects[1]) / np.linalg.norm(objects[1])
                    rows.append({"what": kind, "deterministic algorithms": asked,
                                 "s": min(runs[1][1], runs[2][1]),
                                 "difference of two runs": float(gap)})  # fmt: skip
            finally:
                torch.use_deterministic_algorithms(False)
        return rows


def tests(seconds: float, out: Path) -> list[dict[str, Any]]:
    """The tests marked gpu, in processes side by side where pytest-xdist is there."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "-p", "no:cacheprovider",
               "tests/gpu", "tests/laws"]  # fmt: skip
    if find_spec("xdist") is not None:
        command += ["-n", str(min(12, os.cpu_count() or 1))]
    log = out / "gpu_tests.txt"
    with log.open("w") as stream:
        try:
            done: Any = subprocess.run(
                command, cwd=root, stdout=stream, stderr=subprocess.STDOUT, timeout=seconds
            ).returncode
        except subprocess.TimeoutExpired:
            done = "stopped: no time left"
    lines = log.read_text().splitlines()
    for line in lines:
        if "FAILED" in line or "ERROR" in line:
            print(line)
    return [{"exit code": done, "last line": lines[-1] if lines else ""}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerator", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the command")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    bench = Benchmark(o.accelerator, o.quick)
    print(json.dumps(machine()), flush=True)
    # Name, expected seconds, work.
    parts: Sequence[tuple[str, float, Callable[[], list[dict[str, Any]]]]] = (
        ("agreement", 25, bench.agreement),
        ("network_64", 15, lambda: bench.rate("network", 64)),
        ("refine_64", 15, lambda: bench.rate("refine", 64)),
        ("profile_network", 5, lambda: bench.profile("network", o.out)),
        ("profile_refine", 5, lambda: bench.profile("refine", o.out)),
        ("network_128", 15, lambda: bench.rate("network", 128)),
        ("network_256", 15, lambda: bench.rate("network", 256, times=8)),
        ("network_64_many", 15, lambda: bench.rate("network", 64, times=10)),
        ("refine_64_many", 15, lambda: bench.rate("refine", 64, times=10)),
        ("training_64", 15, lambda: bench.training(64)),
        ("refine_probe_64", 10, lambda: bench.rate("refine", 64, refine_probe=True)),
        ("repeats", 10, bench.repeats),
        ("refine_128", 10, lambda: bench.rate("refine", 128)),
        ("refine_256", 10, lambda: bench.rate("refine", 256, times=8)),
        ("training_128", 15, lambda: bench.training(128)),
        ("training_256", 15, lambda: bench.training(256)),
        ("tests", 60, lambda: tests(o.seconds - (time.perf_counter() - begun), o.out)),
    )
    for name, expected, work in parts:
        if o.only and name not in o.only.split(","):
            continue
        spent = time.perf_counter() - begun
        if spent + expected > o.seconds:
            print(f"\n{name}: left out, {spent:.0f} s are spent", flush=True)
            continue
        try:
            report(f"gpu_{name}", o.out, work())
        # The other parts are wanted even so; what failed is said.
        except Exception as error:  # noqa: BLE001
            print(f"\n{name}: FAILED: {type(error).__name__}: {error}", flush=True)
    print(f"\n{time.perf_counter() - begun:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
