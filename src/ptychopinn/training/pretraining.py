"""Pretraining the canvas network on simulated scans, each drawn on the fly and seen once.

For every scan the network's objects O_k after each pass are compared with the true one T,

    e_k = 1 - |<O_k, T>|^2 / (<O_k, O_k> <T, T>),    <A, B> = sum w conj(A) B,

the smallest relative squared error over all complex scales of T, with w the illumination inside the
box of scan positions. The logarithm lets bright and dark scans count alike:

    loss = sum_k s_k log e_k / sum_k s_k + physics_weight log(misfit of the last pass),

s_k falling by ``iterate_decay`` for each earlier pass. The result is the exponential moving average
of the parameters, which is better than any single step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.contracts import SILENT, Progress
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.errors import InputError, shown
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.ops.base import Array, Ops
from ptychopinn.ops.engine import check_array
from ptychopinn.physics.geometry import canvas_for
from ptychopinn.simulation.photographs import readable_pictures
from ptychopinn.simulation.variety import draw_scan
from ptychopinn.solvers.problem import ordered_subsets_of
from ptychopinn.solvers.unrolled import Unrolled
from ptychopinn.training.data import Batch, canvas_truth, illumination_of
from ptychopinn.training.families import (
    CanvasInputs,
    canvas_inputs,
    canvas_problem,
)
from ptychopinn.training.run import Outcome, Start, begun, check_finite
from ptychopinn.training.schedule import Schedule
from ptychopinn.training.tasks import Task, network_variables

FLOOR = 1e-8
# Scans of one "epoch", after which the loss is reported and a checkpoint written.
REPORT = 100
# Share of the strongest illumination from which on a pixel counts fully in the comparison.
BRIGHT = 0.3


@dataclass(frozen=True, eq=False)
class PretrainingOutcome(Outcome):
    """The weights are averages over the steps; an epoch is a hundred scans.  scans : how many were
    really seen."""

    scans: int


def drawn_scan(seed: int, photographs: Path | None, number: int) -> PreparedScan:
    """The scan of this number, from 0, that belongs to a seed and a folder of photographs; always
    the same."""
    rng = np.random.default_rng([seed, number])
    while True:
        scan = draw_scan(rng, photographs)
        if np.asarray(scan.diffraction).any():  # hardly a photon may reach the good pixels
            return prepare(scan)


def relative_error(xp: Ops, canvas: Array, truth: Array, weight: Array) -> Array:
    """1 - |<canvas, truth>|^2 / (<canvas, canvas> <truth, truth>) with the weight (H, W).

    Computed as the power of what is left of the canvas without its part along the truth, relative
    to that of the canvas: nearly equal numbers are not subtracted.
    """
    truth_power = xp.sum(weight * xp.abs2(truth))
    overlap = xp.sum(xp.scaled(xp.conj(truth) * canvas, weight))
    rest = canvas - truth * xp.scaled(overlap, 1 / truth_power)
    return xp.sum(weight * xp.abs2(rest)) / xp.sum(weight * xp.abs2(canvas))


class DrawnTask(Task):
    """Simulated scans of every kind with their known objects, simulated in other processes if there
    are any.

    scans : how many.
    physics_weight : of the misfit of the patterns in the loss.
    average : share of the earlier average of the parameters that each step keeps.
    photographs : folder of pictures that objects are cut from, beside those of the package.
    """

    reading_computes = True

    def __init__(
        self,
        config: Config,
        network: BuiltNetwork,
        scans: int,
        physics_weight: float,
        average: float,
        photographs: Path | None = None,
    ) -> None:
        training = config.training
        self.photographs = photographs
        self.config, self.network, self.scans = config, network, scans
        self.physics_weight, self.keep = physics_weight, average
        self.unrolled = Unrolled(network)
        self.variables = network_variables(network)
        self.rates = {"network": training.learning_rate}
        self.accumulated = training.batch_size
        self.judged, self.keeps_best = "train_loss", False
        self.average = network.export_weights()

    def over(self, epoch: int, seen: int) -> bool:
        return seen >= self.scans

    def works(self, epoch: int, seen: int) -> range:
        return range(seen, min(seen + REPORT, self.scans))

    @property
    def read(self) -> Callable[[int], PreparedScan]:
        return partial(drawn_scan, self.config.training.seed, self.photographs)

    def patterns(self, batch: PreparedScan) -> int:
        return batch.scan.M

    def inputs(self, batch: PreparedScan) -> tuple[CanvasInputs, NDArray[np.float32]]:
        scan, positions = batch.scan, batch.scan.positions_px
        every = Batch(
            amplitudes=batch.amplitudes(np.arange(scan.M)[None]),
            positions_px=positions[None],
            scan=0,
            truth=canvas_truth(batch, positions[None]),
        )
        subsets = ordered_subsets_of(positions, batch.probe, self.unrolled.updates)
        inputs = canvas_inputs(batch, every, illumination_of(batch.probe), batch.probe, subsets)
        return inputs, inside_box(positions, scan.N)

    def loss(self, xp: Ops, inputs: tuple[CanvasInputs, Array]) -> tuple[Array, None]:
        given, inside = inputs
        canvases, found = [], None
        for found in self.unrolled.passes(canvas_problem(xp, given), low=given.low):
            canvases.append(found.state.canvas)
        assert found is not None and given.truth is not None
        light = xp.detached(found.state.total_illumination())
        share = light / xp.max(light) / BRIGHT
        weight = inside * xp.where(share < 1, share, xp.ones_like(share))
        total: Any = 0.0
        shares = 0.0
        for k, canvas in enumerate(canvases, start=1):
            s = self.config.loss.iterate_decay ** (len(canvases) - k)
            error = relative_error(xp, canvas, given.truth, weight)
            total, shares = total + s * xp.log(error + FLOOR), shares + s
        return total / shares + self.physics_weight * xp.log(found.misfit + FLOOR), None

    def stepped(self) -> None:
        new = np.float32(1 - self.keep)
        for name, value in self.network.export_weights().items():
            self.average[name] += new * (value - self.average[name])

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        return {f"average.{name}": value for name, value in self.average.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for name, value in self.average.items():
            check_array(arrays, f"average.{name}", value)
        self.average = {name: np.array(arrays[f"average.{name}"]) for name in self.average}

    def schedule(self) -> Schedule:
        whole, rest = divmod(self.scans, REPORT)
        steps = whole * -(-REPORT // self.accumulated) + -(-rest // self.accumulated)
        # The loss is a logarithm.
        return Schedule(self.config, steps, relative=False)


def inside_box(positions_px: NDArray[np.float64], n: int) -> NDArray[np.float32]:
    """1 inside the box of the positions on the smallest canvas (H, W), else 0."""
    shape, origin = canvas_for(positions_px, n)
    inside = np.zeros(shape, np.float32)
    low = np.floor(positions_px.min(axis=0)).astype(int) - origin
    high = np.ceil(positions_px.max(axis=0)).astype(int) - origin
    inside[low[0] : high[0] + 1, low[1] : high[1] + 1] = 1
    return inside


def pretrain(
    xp: Ops,
    config: Config,
    scans: int,
    directory: Path | None = None,
    *,
    resume: bool = False,
    start: Start | None = None,
    physics_weight: float = 0.1,
    average: float = 0.995,
    photographs: Path | None = None,
    progress: Progress = SILENT,
    stop: StopFlag | None = None,
) -> PretrainingOutcome:
    """Train the canvas network of ``config`` on so many simulated scans.

    Batches, schedule, early stopping (both look at the loss of a hundred scans, none of which was
    seen before), clipping, seed and ``iterate_decay`` are those of the configuration. Checkpoints
    and logs go to ``directory``, if one is given. Ctrl-C and SIGTERM, or ``stop``, end it early
    with what is there.

    Raises InputError when the architecture is no canvas network, or there is nothing to resume;
    TrainingError when the loss is not finite, or the memory does not suffice."""
    if config.model.family != "canvas":
        raise InputError(
            f"pretraining needs a canvas network, received the architecture "
            f"{config.model.architecture}; use the architecture unrolled."
        )
    options: dict[str, Any] = {"physics_weight": physics_weight, "average": average}
    if photographs is not None:
        options["photographs"] = [path.name for path in readable_pictures(photographs)]

    def check(record: Mapping[str, Any]) -> None:
        if record.get("pretraining") != options:
            raise InputError(
                f"resume continues a pretraining with its own options, received {options} where "
                f"it has {shown(record.get('pretraining'))}; give the same, or start a new run."
            )

    stop = StopFlag() if stop is None else stop
    loop, task = begun(
        xp,
        config,
        lambda network: DrawnTask(config, network, scans, physics_weight, average, photographs),
        {"pretraining": options},
        check,
        directory,
        resume=resume,
        start=start,
        progress=progress,
        stop=stop,
    )
    if scans < loop.seen:
        raise InputError(
            f"the number of scans counts from the start of a run, received {scans} for one "
            f"that has seen {loop.seen}; give at least {loop.seen}."
        )
    with stop.installed(), loop.engine.running():
        loop.run()
    check_finite(task.average)
    history, parent = loop.monitor.history, loop.record["parent"]
    return PretrainingOutcome(task.average, history, stop.signal, parent, loop.seen)
