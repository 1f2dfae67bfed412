"""Which network makes most of the same data in the same time?

    python benchmarks/architectures.py --seconds 60
    python benchmarks/architectures.py --N 32 --names fno,cnn --head cos_sin --seeds 3
    python benchmarks/architectures.py --names cnn:stem=convolution,unrolled:corrector=ffno
    python benchmarks/architectures.py --names cnn,cnn:head=cos_sin --phase 3.3

A name may be followed by options of that network; --phase is the largest phase of the objects.
Every network trains on one scan, without ground truth and with its own recipe, until the same
number of CPU seconds is spent, and reconstructs two others, of an object that nobody saw: one that
was taken with the probe of the training, and one with another probe, which nobody saw. How many
epochs that makes, or what share of one, is found by a short training before, so that the
schedule of the learning rate ends with the budget. "collapsed" says that the training was given
up, or that its object explains less than a hundredth of the structure of held-out patterns.

The names lsqml (of pty-chi, where it is installed) and refine stand for iterative solvers, which
are not trained: lsqml iterates on the other scan as long as the networks train, refine ends by
itself. benchmarks/draw_architectures.py makes a table and a picture of all that was written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np

import ptychopinn as pp
from common import Clock, arguments, l9, report
from ptychopinn.config import ModelConfig
from ptychopinn.data.normalization import prepare
from ptychopinn.errors import TrainingError
from ptychopinn.ops.selector import KINDS, get_ops
from ptychopinn.solvers.configs import PtychiConfig
from ptychopinn.solvers.network import network_solver
from ptychopinn.training.health import explains

# Groups, or sub-scans, of the short training.
TRIED = {"patch": 32, "canvas": 4}
# Memory for patterns in inference.
LIMIT = 256 << 20
# What the probe that nobody saw has otherwise.
OTHER_PROBE: dict[str, Any] = {
    "diameter": 0.45, "defocus": -0.25, "astigmatism": 0.2, "probe_seed": 1
}  # fmt: skip
# Names that stand for solvers without a network, and passes of lsqml that tell what one takes.
ITERATIVE = ("lsqml", "refine")
TRIED_PASSES = 5


class Stopwatch:
    """A progress that notes the CPU time of what it is told."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.epochs: list[float] = []

    def epoch(self, number: int, steps: int) -> None:
        self.begun = time.process_time()

    def step(self, loss: float, patterns_per_s: float) -> None:
        self.steps.append(time.process_time() - self.begun)
        self.begun = time.process_time()

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self.epochs.append(time.process_time() - self.begun)


class Cost(NamedTuple):
    """CPU seconds of a group and of the validation after each epoch."""

    group: float
    validation: float

    def plan(self, seconds: float, usual: int) -> tuple[int, int]:
        """Epochs and groups in each, at most as many as usual, that take so long together."""
        epochs = ceil(seconds / (usual * self.group + self.validation))
        return epochs, max(8, int((seconds / epochs - self.validation) / self.group))


def cost(scan: pp.Scan, model: Mapping[str, Any], backend: Any) -> Cost:
    """Measured in the second of two short epochs."""
    groups = TRIED[ModelConfig.kinds[model["architecture"]].family]
    watch = Stopwatch()
    config = pp.Config(model=model, data={"n_groups": groups}, training={"epochs": 2})
    pp.train(scan, config, backend=backend, progress=watch)
    later = watch.steps[len(watch.steps) // 2 :]
    return Cost(sum(later) / groups, watch.epochs[-1])


def inference(scan: pp.Scan, model: pp.Model, backend: Any) -> float:
    """CPU seconds of the network and of the stitching alone."""
    xp = get_ops(backend, KINDS[backend].execution())
    solver = network_solver(xp, model.config.model, model.bundle.weights, LIMIT)
    prepared = prepare(scan)
    clock = Clock()
    list(solver.run(prepared))[-1].result()
    return clock.read()[1]


def model_of(name: str, o: Any) -> dict[str, Any]:
    """The options of a network that is written as NAME:OPTION=VALUE:..."""
    architecture, *further = name.split(":")
    model: dict[str, Any] = {"architecture": architecture}
    if ModelConfig.kinds[architecture].family == "patch":
        model |= {"gridsize": o.gridsize, "head": o.head}
    return model | dict(option.split("=") for option in further)


def scores(results: Sequence[pp.Reconstruction], tests: Sequence[pp.Scan]) -> dict[str, float]:
    """Of the object under the probe of the training and under the other one."""
    seen, unseen = (
        pp.evaluate(result, truth=test).metrics for result, test in zip(results, tests, strict=True)
    )
    return {
        "phase dB": seen["phase_psnr_db"],
        "NRMSE": seen["nrmse"],
        "phase dB, unseen probe": unseen["phase_psnr_db"],
        "NRMSE, unseen probe": unseen["nrmse"],
    }


def row(
    scan: pp.Scan, tests: Sequence[pp.Scan], name: str, costs: Cost, seed: int, o: Any
) -> dict[str, Any]:
    """One network, one seed."""
    model = model_of(name, o)
    family = ModelConfig.kinds[model["architecture"]].family
    # A patch network makes about an epoch of as many groups as there are patterns to train on.
    usual = round(0.9 * scan.M) if family == "patch" else 50
    epochs, groups = costs.plan(o.seconds, usual)
    training = {"epochs": epochs, "seed": seed}
    if o.learning_rate:
        training["learning_rate"] = o.learning_rate
    config = pp.Config(model=model, data={"n_groups": groups}, training=training)
    shapes = config.model.for_patterns(scan.N) if family == "patch" else config.model
    found: dict[str, Any] = {
        "network": name,
        "parameters": sum(
            int(np.prod(shape)) for shape in shapes.describe().parameter_shapes().values()
        ),
        "seed": seed,
        "epochs": epochs,
        "groups": epochs * groups,
    }
    clock = Clock()
    try:
        trained = pp.train(scan, config, backend=o.backend)
    except TrainingError as error:
        return {**found, "training CPU s": clock.read()[1], "collapsed": str(error)}
    spent = clock.read()[1]
    metrics: dict[str, Any] = dict(trained.manifest.metrics)
    results = [
        pp.reconstruct(test, trained, backend=o.backend, refine="never", no_mend="all")
        for test in tests
    ]
    return {
        **found,
        "training CPU s": spent,
        "collapsed": "no" if explains(metrics) else "yes",
        "explained": metrics["explained"],
        **scores(results, tests),
        "inference CPU s": inference(tests[0], trained, o.backend),
    }


def iterative(tests: Sequence[pp.Scan], name: str, o: Any) -> dict[str, Any]:
    """An iterative solver on the scans that networks reconstruct; its passes count as epochs."""
    config: Any = pp.RefineConfig()
    if name == "lsqml":
        for passes in (1, TRIED_PASSES):  # the first warms it up
            clock = Clock()
            pp.refine(tests[0], None, PtychiConfig(passes=passes), no_mend="all")
        config = PtychiConfig(passes=round(o.seconds * TRIED_PASSES / clock.read()[1]))
    results, spent = [], []
    for test in tests:
        clock = Clock()
        results.append(pp.refine(test, None, config, backend=o.backend, no_mend="all"))
        spent.append(clock.read()[1])
    found = results[0]
    assert found.fit is not None  # of all that is refined
    return {
        "network": name,
        "epochs": len(found.losses),
        "explained": found.fit.explained,
        **scores(results, tests),
        "inference CPU s": spent[0],
    }


def main() -> None:
    o = arguments(
        __doc__, names=",".join(ModelConfig.kinds), N=64, gridsize=1, patterns=900, photons=1e6,
        head="amplitude_phase", learning_rate=0.0, seconds=60.0, seeds=1, first_seed=0,
        backend="pytorch", phase=0.0,
    )  # fmt: skip
    changes: dict[str, Any] = {"N": o.N, "photons": o.photons, "step_px": 6.2 * o.N / 64}
    if o.phase:
        changes["phase"] = (-o.phase, o.phase)
    scan, *tests = (
        l9(seed, patterns, **changes, **probe)
        for seed, patterns, probe in ((1, o.patterns, {}), (2, 225, {}), (2, 225, OTHER_PROBE))
    )
    costs: dict[str, Cost] = {}
    rows: list[dict[str, Any]] = []
    for seed in range(o.first_seed, o.first_seed + o.seeds):
        for name in o.names.split(","):
            if name in ITERATIVE:
                found = iterative(tests, name, o)
            else:
                if name not in costs:
                    costs[name] = cost(scan, model_of(name, o), o.backend)
                found = row(scan, tests, name, costs[name], seed, o)
            rows.append({"N": o.N, "backend": o.backend, **found})
            columns = {key: "-" for found in rows for key in found}
            file = f"architectures_{o.N}_{o.gridsize}_{o.backend}"
            report(file, o.out, [{**columns, **r} for r in rows])


if __name__ == "__main__":
    main()
