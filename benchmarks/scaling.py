"""How do time and memory grow with the number of patterns, their size, the batch and the processes?

python benchmarks/scaling.py --size short --out benchmark-results

Every figure is that of a process of its own; rounds alternate over all of them, and medians are
written. ``draw_scaling.py`` draws the result. Rows:

- patterns, N: the pretrained network on a scan of M patterns, ten passes of refinement;
- batch: the network with other memory for a batch of patterns;
- threads: the network with one thread and with two;
- ranks: an epoch of training by so many processes of one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import machine

PASSES, RANK_PATTERNS = 10, 512
SIZES: dict[str, dict[str, Any]] = {
    "short": {"M": (900, 3600), "N": (64, 128), "batch": (16, 128), "ranks": (1, 2), "rounds": 1},
    "full": {
        "M": (900, 3600, 10_000, 30_000, 100_000), "N": (64, 128, 256),
        "batch": (16, 64, 256, 1024), "ranks": (1, 2), "rounds": 3,
    },
}  # fmt: skip


def one(scan: Path, backend: str, threads: int, batch_mib: int | None, what: str) -> dict[str, Any]:
    """Measured in this process."""
    import ptychopinn as pp
    from ptychopinn.solvers.configs import PhysicsConfig

    kinds: Any = {"pytorch": pp.TorchExecution, "tensorflow": pp.TFExecution}
    options: dict[str, Any] = {"threads": threads}
    if batch_mib is not None:
        options["inference_batch_mib"] = batch_mib
    execution = kinds[backend](**options)
    loaded = pp.load_scan(scan)
    if what == "refine":
        result = pp.refine(loaded, config=PhysicsConfig(passes=PASSES), execution=execution)
        kernel = "refinement"
    else:
        result = pp.reconstruct(loaded, refine="never", execution=execution)
        kernel = "network"
    return {
        "seconds": result.seconds[kernel],
        "peak GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def epoch_of(scan: Path, ranks: int, folder: Path) -> dict[str, Any]:
    """Seconds of an epoch in which so many processes train ``unrolled`` together."""
    words = [
        "train", str(scan), "-o", str(folder / f"ranks{ranks}"), "--force", "--quiet",
        "--epochs", "2", "--architecture", "unrolled", "--batch-size", "8", "--n-groups", "8",
        "--torch-threads", "1", "--no-probe-check", "--backend", "pytorch",
    ]  # fmt: skip
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    start += ["--nproc-per-node", str(ranks), "-m", "ptychopinn"]
    subprocess.run(
        [*start, *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = json.loads((folder / f"ranks{ranks}" / "run.json").read_text())
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"seconds": run["seconds"], "peak GiB": used}


def rows_of(chosen: dict[str, Any], backends: list[str], threads: int) -> Iterator[dict[str, Any]]:
    first_n = chosen["N"][0]
    for backend in backends:
        common = {"backend": backend, "threads": threads, "batch": None}
        for what in ("network", "refine"):
            for m in chosen["M"]:
                yield {"axis": "patterns", "what": what, "M": m, "N": first_n, **common}
            for n in chosen["N"]:
                yield {"axis": "N", "what": what, "M": chosen["M"][0], "N": n, **common}
        base = {"what": "network", "M": chosen["M"][1], "N": first_n, "backend": backend}
        for mib in chosen["batch"]:
            yield {"axis": "batch", **base, "threads": threads, "batch": mib}
        for number in sorted({1, threads}):
            yield {"axis": "threads", **base, "threads": number, "batch": None}
    if "pytorch" in backends:
        for ranks in chosen["ranks"]:
            yield {
                "axis": "ranks", "what": "train", "M": RANK_PATTERNS, "N": first_n,
                "backend": "pytorch", "threads": 1, "batch": None, "ranks": ranks,
            }  # fmt: skip


def measured(row: dict[str, Any], scan: Path, folder: Path) -> dict[str, Any]:
    if row["axis"] == "ranks":
        return epoch_of(scan, row["ranks"], folder)
    words = [str(scan), row["backend"], str(row["threads"]), json.dumps(row["batch"]), row["what"]]
    environment = {"GOMP_SPINCOUNT": "10000", **os.environ}
    done = subprocess.run(
        [sys.executable, __file__, "--one", *words], check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="short")
    parser.add_argument("--backends", nargs="+", default=["pytorch", "tensorflow"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.one:
        scan, backend, threads, batch, what = o.one
        print(json.dumps(one(Path(scan), backend, int(threads), json.loads(batch), what)))
        return
    import ptychopinn as pp

    chosen = SIZES[o.size]
    rows = list(rows_of(chosen, o.backends, o.threads))
    values: list[list[dict[str, Any]]] = [[] for _ in rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(chosen["rounds"]):
            for row, found in zip(rows, values, strict=True):
                scan = folder / f"{row['N']}-{row['M']}.h5"
                if not scan.exists():
                    made = pp.simulate(
                        object="leaves", N=row["N"], patterns=row["M"], photons=1e6,
                        step_px=5 * row["N"] / 64,
                    )  # fmt: skip
                    pp.save_scan(made, scan)
                    del made
                found.append(measured(row, scan, folder))
                print(row, found[-1], file=sys.stderr, flush=True)
    for row, found in zip(rows, values, strict=True):
        for name in ("seconds", "peak GiB"):
            row[name] = statistics.median(one[name] for one in found)
        row["spread"] = [min(f["seconds"] for f in found), max(f["seconds"] for f in found)]
        row["patterns/s"] = row["M"] * (PASSES if row["what"] == "refine" else 1) / row["seconds"]
    o.out.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "size": o.size, "rows": rows}
    (o.out / "scaling.json").write_text(json.dumps(content, indent=2) + "\n")
    names = ["axis", "what", "backend", "M", "N", "threads", "batch", "ranks", "seconds",
             "patterns/s", "peak GiB"]  # fmt: skip
    print("| " + " | ".join(names) + " |\n|" + " --- |" * len(names))
    for row in rows:
        cells = [row.get(name) for name in names]
        print("| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else
                                "" if c is None else str(c) for c in cells) + " |")  # fmt: skip


if __name__ == "__main__":
    main()
