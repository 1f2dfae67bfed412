"""What the benchmarks share: the scans, the machine, the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ptychopinn as pp
from ptychopinn.workflows.verbs import package_versions


def l9(seed: int, patterns: int, **changes: Any) -> pp.Scan:
    """Lines, N = 64, 1e9 photons, step 6.2 px, the probe shared by all seeds (task L9)."""
    settings = {"object": "lines", "N": 64, "photons": 1e9, "step_px": 6.2, **changes}
    return pp.simulate(seed=seed, patterns=patterns, **settings)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            platform.processor(),
        ),
        "cores": os.cpu_count(),
        "gpu": gpu(),
        "versions": package_versions(),
        "load": os.getloadavg()[0],
    }


def gpu() -> str | None:
    """Name of the GPU that the framework in use sees; nothing is imported for it."""
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if "tensorflow" in sys.modules:
        found = sys.modules["tensorflow"].config.list_physical_devices("GPU")
        return found[0].name if found else None
    return None


def peak_rss_gib() -> float:
    """Largest memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def arguments(question: str, **numbers: Any) -> argparse.Namespace:
    """Options ``--name default`` of a benchmark, and ``--out DIR`` for its results."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    for name, default in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    return chosen


def report(name: str, out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows as a Markdown table and write them, with the machine, to out/name.json."""
    columns = list(rows[0])
    print(f"\n### {name}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
        print("| " + " | ".join(cells) + " |", flush=True)
    content = {"machine": machine(), "rows": [dict(row) for row in rows]}
    (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
