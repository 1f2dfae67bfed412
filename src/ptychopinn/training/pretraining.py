"""Pretraining on simulated scans, each drawn on the fly and seen once.

For every scan the objects of a canvas network O_k after each pass are compared with the true one T,

    e_k = 1 - |<O_k, T>|^2 / (<O_k, O_k> <T, T>),    <A, B> = sum w conj(A) B,

the smallest relative squared error over all complex scales of T, with w the illumination inside the
box of scan positions. The logarithm lets bright and dark scans count alike:

    loss = sum_k s_k log e_k / sum_k s_k + physics_weight log(misfit of the last pass),

s_k falling by ``iterate_decay`` for each earlier pass. A patch network, which must see the probe,
is shown some groups of every scan, all scans being of its N; its loss is that of a training. The
result is the exponential moving average
of the parameters, which is better than any single step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.contracts import SILENT, Progress, Solved
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.sampling import nearest_groups, reading_order
from ptychopinn.errors import InputError, shown
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.networks.architecture import ModelConfig, PatchConfig
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.ops.base import Array, Ops
from ptychopinn.ops.engine import check_array
from ptychopinn.physics.geometry import canvas_for
from ptychopinn.physics.groups import merge_weight
from ptychopinn.simulation.photographs import readable_pictures
from ptychopinn.simulation.variety import draw_scan
from ptychopinn.solvers.patches import PatchNetwork
from ptychopinn.solvers.problem import ordered_subsets_of
from ptychopinn.solvers.unrolled import Unrolled
from ptychopinn.training.data import Batch, canvas_truth, illumination_of, read_batch
from ptychopinn.training.families import (
    CanvasInputs,
    GroupInputs,
    canvas_inputs,
    canvas_problem,
    group_inputs,
    group_prediction,
)
from ptychopinn.training.objective import objective
from ptychopinn.training.pictured import Pictured
from ptychopinn.training.plan import Work
from ptychopinn.training.run import Outcome, Start, begun, check_finite
from ptychopinn.training.schedule import Schedule
from ptychopinn.training.tasks import Task, network_variables

FLOOR = 1e-8
# Scans of one "epoch", after which the loss is reported and a checkpoint written.
REPORT = 100
# Share of the strongest illumination from which on a pixel counts fully in the comparison.
BRIGHT = 0.3
# Patterns of a scan that a patch network sees: neighbours tell it little more of the same probe.
PATTERNS = 32


@dataclass(frozen=True, eq=False)
class PretrainingOutcome(Outcome):
    """The weights are averages over the steps; an epoch is a hundred scans.  scans : how many were
    really seen."""

    scans: int


def drawn_scan(
    seed: int, photographs: Path | None, number: int, n: int | None = None
) -> PreparedScan:
    """The scan of this number, from 0, that belongs to a seed and a folder of photographs; always
    the same. ``n`` is its N where that is not drawn."""
    rng = np.random.default_rng([seed, number])
    while True:
        scan = draw_scan(rng, photographs, n)
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


class ScansTask(Task):
    """Simulated scans of every kind with their known objects, simulated in other processes if there
    are any. What a network makes of them is said by the two subclasses.

    scans : how many.
    physics_weight : of the misfit of the patterns in the loss of a canvas network.
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
        self.variables = network_variables(network)
        self.rates = {"network": training.learning_rate}
        self.accumulated = training.batch_size
        self.judged, self.keeps_best = "train_loss", False
        self.average = network.export_weights()
        self._pictured, self._looked = Pictured(), 0
        self._probe: NDArray[np.complex64] = np.zeros((0, 1, 1), np.complex64)

    def look(self, scan: PreparedScan, positions_px: NDArray[np.float64], seen: Any) -> None:
        """Keep what the network makes of the first scan of an epoch: ``seen`` are its images and
        their weight, None where nobody looks."""
        if seen is None:
            return
        if self._looked == 0:
            self._probe = scan.probe
            images, weight = (self.network.xp.to_numpy(array) for array in seen)
            self._pictured.add(0, positions_px, images, weight)
        self._looked += 1

    def found(self) -> Solved | None:
        self._looked = 0
        return self._pictured.take(self._probe)

    def over(self, epoch: int, seen: int) -> bool:
        return seen >= self.scans

    def works(self, epoch: int, seen: int) -> range:
        return range(seen, min(seen + REPORT, self.scans))

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
        # The loss of a canvas network is a logarithm.
        return Schedule(self.config, steps, relative=self.config.model.family == "patch")


class DrawnTask(ScansTask):
    """The whole scans, for a canvas network."""

    @cached_property
    def unrolled(self) -> Unrolled:
        return Unrolled(self.network)

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

    def watch(self, batch: PreparedScan, seen: Any, loss: float, validation: bool) -> None:
        self.look(batch, batch.scan.positions_px, seen)

    def loss(self, xp: Ops, inputs: tuple[CanvasInputs, Array]) -> tuple[Array, Any]:
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
        seen = (canvases[-1], weight) if self.pictured else None
        return total / shares + self.physics_weight * xp.log(found.misfit + FLOOR), seen


class DrawnGroups(NamedTuple):
    """A simulated scan, and the groups (B, C) of it that a patch network sees."""

    scan: PreparedScan
    groups: NDArray[np.int64]


def drawn_groups(
    seed: int, photographs: Path | None, n: int | None, size: int, number: int
) -> DrawnGroups:
    """Groups of ``size`` patterns around randomly chosen ones of :func:`drawn_scan`; always the
    same."""
    scan = drawn_scan(seed, photographs, number, n)
    rng = np.random.default_rng([seed, number, 1])
    positions, m = scan.scan.positions_px, scan.scan.M
    anchors = rng.permutation(m)[: max(1, PATTERNS // size)]
    nearest = nearest_groups(positions, anchors, size, size - 1, rng)
    return DrawnGroups(scan, reading_order(positions, nearest))


class DrawnPatchesTask(ScansTask):
    """Groups of the scans, for a patch network that sees the probe."""

    @cached_property
    def model(self) -> PatchNetwork:
        assert isinstance(self.config.model, PatchConfig) and self.config.model.N is not None
        return PatchNetwork(self.network, self.config.model.N)

    @property
    def read(self) -> Callable[[int], DrawnGroups]:
        seed, size = self.config.training.seed, self.config.model.patterns_per_group
        return partial(drawn_groups, seed, self.photographs, self.model.n, size)

    def patterns(self, batch: DrawnGroups) -> int:
        return batch.groups.size

    def inputs(self, batch: DrawnGroups) -> GroupInputs:
        scan = batch.scan
        groups = read_batch([scan], Work(0, batch.groups), self.config)
        weight = merge_weight(scan.probe).astype(np.float32)
        images = self.model.images(scan, scan.probe)
        return group_inputs(scan, groups, illumination_of(scan.probe), weight, images)

    def watch(self, batch: DrawnGroups, seen: Any, loss: float, validation: bool) -> None:
        self.look(batch.scan, batch.scan.scan.positions_px[batch.groups], seen)

    def loss(self, xp: Ops, inputs: GroupInputs) -> tuple[Array, Any]:
        prediction = group_prediction(xp, self.model, inputs)
        seen = (prediction.images, prediction.weight) if self.pictured else None
        return objective(xp, prediction, self.config.loss), seen


def check_can_be_pretrained(model: ModelConfig) -> None:
    """Raise InputError unless a network can be trained on scans of every kind."""
    if not isinstance(model, PatchConfig):
        return
    if getattr(model, "probe_input", "none") == "none":
        raise InputError(
            "pretraining draws a probe for every scan, which a patch network must see, received "
            f"the architecture {model.architecture} with probe_input=none; give "
            "probe_input=channels, or use the architecture unrolled."
        )
    if model.N is None:
        raise InputError(
            "a patch network is pretrained for patterns of one size, received none; give the "
            "option N, 64 for example."
        )


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
    """Train the network of ``config`` on so many simulated scans.

    Batches, schedule, early stopping (both look at the loss of a hundred scans, none of which was
    seen before), clipping, seed and ``iterate_decay`` are those of the configuration. Checkpoints
    and logs go to ``directory``, if one is given. Ctrl-C and SIGTERM, or ``stop``, end it early
    with what is there.

    Raises InputError for a patch network that does not see the probe or knows no N, or when there
    is nothing to resume; TrainingError when the loss is not finite, or the memory does not
    suffice."""
    check_can_be_pretrained(config.model)
    kind = DrawnPatchesTask if config.model.family == "patch" else DrawnTask
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
        lambda network: kind(config, network, scans, physics_weight, average, photographs),
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
