"""Measures one thing with whichever version of the package is on the path; prints JSON.

Started by against_commit.py, once for every figure. It uses public names, and looks in both places
for those that have moved.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import ptychopinn as pp

# Steps of training, and the first of them that are left out: they warm the framework up, and
# graphs are built in them.
STEPS, WARM_UP_STEPS = 12, 2


def find(name: str, *modules: str) -> Any:
    """The first of the modules that has the name."""
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"{name} is in none of {', '.join(modules)}; say here where it went.")


class Stopwatch:
    """A progress listener: when every step ended, in seconds. It ignores all other events."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.ends: list[float] = []

    def step(self, *_: Any, **__: Any) -> None:
        self.ends.append(self.clock())

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


def network(scan: pp.Scan, backend: Any, bundle: str) -> float:
    """Wall seconds of the network of this bundle alone, from the loaded scan to the object."""
    # Earlier versions give the times from a verb of its own.
    places = ("ptychopinn.workflows.verbs", "ptychopinn.workflows")
    try:
        verb = find("reconstruct_with_report", *places)
    except ImportError:
        verb = pp.reconstruct
    return timed(verb, scan, backend, bundle)


def timed(verb: Any, scan: pp.Scan, backend: Any, bundle: str) -> float:
    """Seconds of the network, as the verb's result states them."""
    model_first = next(iter(inspect.signature(verb).parameters)) == "model"
    given = (bundle, scan) if model_first else (scan, bundle)
    return float(verb(*given, backend=backend).seconds["network"])


def refine(scan: pp.Scan, backend: Any, probe: bool) -> float:
    """Wall seconds of six passes of the plain iterations from an empty object, without the look at
    the scan that versions take first; the command has it."""
    config = pp.RefineConfig(passes=6, refine_probe=probe)
    looks = "no_mend" in inspect.signature(pp.refine).parameters
    further = {"no_mend": "all"} if looks else {}
    return float(pp.refine(scan, None, config, backend=backend, **further).seconds["refinement"])


def step(scan: pp.Scan, backend: Any, architecture: str, clock: Callable[[], float]) -> float:
    """Seconds of the median step of training."""
    groups = STEPS if architecture == "unrolled" else 16 * STEPS
    config = pp.Config(
        model={"architecture": architecture},
        data={"n_groups": groups, "enable_oversampling": True, "validation_fraction": 0.0},
        training={"epochs": 1},
    )
    watch = Stopwatch(clock)
    pp.train(scan, config, backend=backend, probe_check=False, progress=watch)
    return median(b - a for a, b in pairwise(watch.ends[WARM_UP_STEPS:]))


def seconds(row: str, scan: pp.Scan, backend: Any, bundle: str) -> float:
    """What the row takes, by the clock that the package has."""
    match row.split():
        case ["network", _]:
            return network(scan, backend, bundle)
        case ["refine", what]:
            return refine(scan, backend, what == "object+probe")
        case ["train", architecture]:
            return step(scan, backend, architecture, time.perf_counter)
        case _:
            raise ValueError(f"unknown row {row!r}")


def main() -> None:
    tree, row, backend, file, repeats, clock, bundle = sys.argv[1:]
    if not Path(pp.__file__).is_relative_to(tree):
        sys.exit(f"the package must be the one of {tree}, received {pp.__file__}.")
    if row == "make":  # the scans of the rows
        for n, patterns in ((64, 900), (128, 400)):
            scan = pp.simulate(
                object="lines", N=n, photons=1e9, step_px=6.2, seed=2, patterns=patterns
            )
            pp.save_scan(scan, Path(file) / f"{n}.h5")
        return
    if clock == "cpu":
        # The stages time themselves; nobody has taken the clock out of its module.
        time.perf_counter = time.process_time
    scan = pp.load_scan(file)
    # Training leaves out its first steps by itself.
    if not row.startswith("train"):
        seconds(row, scan, backend, bundle)
    print(json.dumps([seconds(row, scan, backend, bundle) for _ in range(int(repeats))]))


if __name__ == "__main__":
    main()
