"""Is this version as fast as an earlier one, and does it need as little memory?

python benchmarks/against_commit.py HEAD~10 --rounds 5

Checks the earlier version out beside this one and measures both in turn, each figure in a process
of its own, so that both meet the same disturbances; the order changes with every round. A ratio is
formed within each round. Speeds: above 1 this version is faster. Memory: below 1 it needs less.
On a machine with other jobs, ``--clock cpu`` with OMP_NUM_THREADS=1 says more than the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[1]
MEASURE = Path(__file__).with_name("one_measurement.py")
BACKENDS = ("pytorch", "tensorflow")
# Row -> N of the scan that it uses.
ROWS = {
    "network 64": 64,
    "network 128": 128,
    "refine object": 64,
    "refine object+probe": 64,
    "train unrolled": 64,
    "train cnn": 64,
    "command": 64,
}


class NotMeasured(Exception):
    """A version cannot do what a row asks for."""


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with the files of a revision; removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "earlier"
        git = ["git", "-C", str(HERE), "worktree"]
        done = subprocess.run(
            [*git, "add", "--detach", str(tree), revision], capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(
                f"the earlier version must be a commit of this repository, received {revision!r}: "
                f"{done.stderr.strip().splitlines()[-1]}"
            )
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def environment(tree: Path) -> dict[str, str]:
    """The sources of a version come first; idle threads wait as the commands let them."""
    return {"GOMP_SPINCOUNT": "10000", **os.environ, "PYTHONPATH": str(tree / "src")}


def child(tree: Path, *arguments: Any) -> str:
    done = subprocess.run(
        [sys.executable, str(MEASURE), str(tree), *map(str, arguments)],
        env=environment(tree), cwd=tree, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise NotMeasured((done.stderr.strip().splitlines() or ["no message"])[-1])
    return done.stdout


def command(tree: Path, scan: Path, backend: str, clock: str) -> dict[str, float]:
    """Seconds and peak memory of ``ptychopinn reconstruct``, from start to pictures."""
    with tempfile.TemporaryDirectory() as output, tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "ptychopinn", "reconstruct", str(scan), "-o", output,
             "--backend", backend, "--quiet"],
            env=environment(tree), cwd=output, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise NotMeasured((errors.read().strip().splitlines() or ["no message"])[-1])
    seconds = wall if clock == "wall" else used.ru_utime + used.ru_stime
    return {"command, s": seconds, "command, peak GiB": used.ru_maxrss / 2**20}


def measured(
    tree: Path, row: str, backend: str, scan: Path, bundle: Path, o: argparse.Namespace
) -> dict[str, float]:
    """Figures by name. Of several seconds the fewest: other jobs only ever add to them."""
    if row == "command":
        return command(tree, scan, backend, o.clock)
    return {
        f"{row}, s": min(json.loads(child(tree, row, backend, scan, o.repeats, o.clock, bundle)))
    }


def ratio(name: str, old: float, new: float) -> float:
    return new / old if name.endswith("GiB") else old / new


def compare(o: argparse.Namespace, old: Path, scans: Path) -> list[dict[str, Any]]:
    """One entry for every figure and backend, with the values of every round; one for every row
    that a version could not do, with the reason."""
    figures: dict[tuple[str, str], dict[str, list[float]]] = {}
    failures: dict[tuple[str, str], str] = {}
    # Both versions compute with the network of the earlier one; the command takes its own.
    bundle = old / "src/ptychopinn/pretrained/wts.h5.zip"
    for number in range(o.rounds):
        for backend in o.backend:
            for row in o.rows:
                if (row, backend) in failures:
                    continue
                pair = {}
                versions = [("old", old), ("new", HERE)]
                try:
                    for which, tree in versions[:: -1 if number % 2 else 1]:
                        scan = scans / f"{ROWS[row]}.h5"
                        pair[which] = measured(tree, row, backend, scan, bundle, o)
                        print(backend, which, pair[which], file=sys.stderr, flush=True)
                except NotMeasured as error:
                    failures[row, backend] = f"{which}: {error}"
                    continue
                for name, value in pair["old"].items():
                    entry = figures.setdefault(
                        (name, backend), {"old": [], "new": [], "ratios": []}
                    )
                    entry["old"].append(value)
                    entry["new"].append(pair["new"][name])
                    entry["ratios"].append(ratio(name, value, pair["new"][name]))
        print(f"round {number + 1} of {o.rounds}", file=sys.stderr, flush=True)
    return [
        {"row": name, "backend": backend, **values} for (name, backend), values in figures.items()
    ] + [
        {"row": row, "backend": backend, "failure": failure}
        for (row, backend), failure in failures.items()
    ]


def table(entries: Sequence[dict[str, Any]]) -> str:
    lines = ["| row | backend | old | new | ratio | from | to |", "|" + " --- |" * 7]
    for e in entries:
        if "failure" in e:
            cells = [e["row"], e["backend"], e["failure"], "", "", "", ""]
        else:
            r = e["ratios"]
            values = (median(e["old"]), median(e["new"]), median(r), min(r), max(r))
            cells = [e["row"], e["backend"], *(f"{value:.3g}" for value in values)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", help="the earlier version: a commit, branch or tag")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="in each process, after a warm-up")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), help="a name with a space in quotes"
    )
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    o = parser.parse_args()
    with checked_out(o.revision) as old, tempfile.TemporaryDirectory() as scans:
        # By the earlier version: a later one can read its files.
        child(old, "make", "", scans, 0, "wall", "")
        entries = compare(o, old, Path(scans))
    print(table(entries))
    if o.json is not None:
        o.json.write_text(json.dumps({"revision": o.revision, "rows": entries}, indent=2) + "\n")
    if any("failure" in e for e in entries):
        sys.exit(1)


if __name__ == "__main__":
    main()
