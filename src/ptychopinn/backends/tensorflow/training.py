"""Training with TensorFlow: the loop, what it watches, and how it stops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.backends.base import Progress, TrainingOutcome
from ptychopinn.backends.tensorflow import checkpoint, losses
from ptychopinn.backends.tensorflow.checkpoint import BACKEND
from ptychopinn.backends.tensorflow.execution import computing
from ptychopinn.backends.tensorflow.family import Inputs, build_family
from ptychopinn.backends.tensorflow.optimizer import Adam, clipped
from ptychopinn.backends.tensorflow.summaries import Summaries
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import TrainingError
from ptychopinn.networks.weights import Weights
from ptychopinn.ops.options import TFExecution
from ptychopinn.physics.forward import fft
from ptychopinn.training.course import Course
from ptychopinn.training.data import Batch, known_object, needs_truth, read_batch
from ptychopinn.training.health import check_loss, judge_result
from ptychopinn.training.interruption import StopFlag, Stopped
from ptychopinn.training.objective import Estimate, Prediction, objective
from ptychopinn.training.plan import GroupPlan, Work
from ptychopinn.training.run import (
    BEST,
    CHECKPOINTS,
    LAST,
    METRICS,
    check_resumable,
    check_resumed,
    outcome,
    run_record,
)
from ptychopinn.training.schedule import accumulated
from ptychopinn.training.watch import FitWatch

log = logging.getLogger(__name__)


class Watched(NamedTuple):
    """What :class:`FitWatch` needs of a prediction, as tensors."""

    modelled: Tensor
    measured: Tensor
    good: Tensor
    images: Tensor
    weight: Tensor

    def arrays(self) -> Prediction:
        """The same as NumPy arrays."""
        return Prediction(
            estimates=[Estimate(1.0, self.modelled.numpy(), self.measured.numpy())],
            good=self.good.numpy(),
            images=self.images.numpy(),
            weight=self.weight.numpy(),
            truth=None,
        )


class PhysicsTraining:
    """The loss of a network on the measured patterns, and its optimiser.

    One graph for training and one for validation serve batches of all sizes.
    """

    def __init__(
        self,
        config: Config,
        scans: Sequence[PreparedScan],
        plan: GroupPlan,
        course: Course,
        stop: StopFlag,
        start: Weights | None = None,
    ) -> None:
        self.config, self.scans, self.plan = config, scans, plan
        self.course, self.stop = course, stop
        self.family = build_family(config, scans, start)
        self.watch = FitWatch([scan.photon_scale for scan in scans])
        self.network_adam = Adam(self.family.network.parameters)
        trainable = config.training.probe_trainable
        self.probe_adams = [Adam({"probe": p}) for p in self.family.probes] if trainable else []
        self.steps = self.epoch = 0
        signature = [self.family.signature()]
        self._gradients = tf.function(
            self._differentiate, input_signature=signature, autograph=False
        )
        self._evaluate = tf.function(self._predict, input_signature=signature, autograph=False)

    # --- loss -------------------------------------------------------------------------------------

    def _predict(self, inputs: Inputs) -> tuple[Tensor, Watched]:
        """The loss of a batch, and what is watched of it."""
        prediction = self.family.predict(inputs, needs_truth(self.config))
        loss = objective(prediction, self.config.loss, losses)
        last = prediction.estimates[-1]
        watched = Watched(
            last.modelled,
            last.measured,
            prediction.good,
            prediction.images,
            prediction.weight,
        )
        return loss, watched

    def _differentiate(self, inputs: Inputs) -> tuple[Tensor, Watched, list[Tensor]]:
        """The same with the gradients of the network and, if it is trained, of the probe."""
        sources: list[Any] = list(self.family.network.parameters.values())
        with tf.GradientTape() as tape:
            if self.probe_adams:
                tape.watch(inputs.probe)
                sources.append(inputs.probe)
            loss, watched = self._predict(inputs)
        zero = tf.UnconnectedGradients.ZERO
        return loss, watched, tape.gradient(loss, sources, unconnected_gradients=zero)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self, finish: Callable[[Mapping[str, float]], None]) -> None:
        """Train until the epochs are over; ``finish`` gets the metrics of each of them.

        Raises
        ------
        Stopped
            After a signal.
        TrainingError
            When training diverges or collapses.
        """
        while self.epoch < self.config.training.epochs and not self.course.over:
            works = self.plan.epoch(self.epoch)
            self.course.epoch_begins(self.epoch, len(works))
            train_loss = self._train(works)
            if self.plan.validates:
                for batch in self._batches(self.plan.validation()):
                    loss, watched = self._evaluate(self.family.inputs(batch))
                    self.watch.add(batch.scan, watched.arrays(), float(loss))
                    self.stop.check()
            rate = self.config.training.learning_rate
            metrics = {
                "train_loss": train_loss,
                **self.watch.metrics(self._vacuum),
                "learning_rate": rate * self.course.schedule.factor(self.steps - 1),
            }
            self.course.epoch_done(self.epoch, metrics)
            self.epoch += 1
            finish(metrics)

    def _train(self, works: Sequence[Work]) -> float:
        """The batches of an epoch; their mean loss."""
        together = accumulated(self.config, self.plan)
        collected: list[tuple[int, list[Tensor]]] = []
        total = 0.0
        for number, batch in enumerate(self._batches(works)):
            loss_tensor, watched, gradients = self._gradients(self.family.inputs(batch))
            loss = float(loss_tensor)
            check_loss(loss, self.epoch, number)
            total += loss
            if not self.plan.validates:
                self.watch.add(batch.scan, watched.arrays(), loss)
            collected.append((batch.scan, gradients))
            if len(collected) == together or number + 1 == len(works):
                self._step(collected, together)
                collected = []
            self.course.batch_done(loss, batch.patterns)
            self.stop.check()
        return total / len(works)

    def _step(self, collected: Sequence[tuple[int, list[Tensor]]], together: int) -> None:
        """One step of the optimisers along the mean of gradients of ``together`` batches."""
        count = len(self.family.network.parameters)
        probes: dict[int, Tensor] = {}
        network: list[Tensor] = []
        for scan, gradients in collected:
            mine = [gradient / together if together > 1 else gradient for gradient in gradients]
            own = mine[:count]
            network = [a + b for a, b in zip(network, own, strict=True)] if network else own
            for probe in mine[count:]:
                probes[scan] = probes[scan] + probe if scan in probes else probe
        training = self.config.training
        limited = clipped([*network, *probes.values()], training.gradient_clip_val)
        factor = self.course.schedule.factor(self.steps)
        self.network_adam.apply(limited[:count], training.learning_rate * factor)
        for scan, gradient in zip(probes, limited[count:], strict=True):
            self.probe_adams[scan].apply([gradient], training.probe_learning_rate * factor)
        self.steps += 1

    def _batches(self, works: Sequence[Work]) -> Iterator[Batch]:
        return (read_batch(self.scans, work, self.config) for work in works)

    def _vacuum(self, scan: int) -> NDArray[np.float64]:
        """The pattern (N, N), FFT order, of the bare probe."""
        pattern: NDArray[np.float64] = (np.abs(fft(self.family.probe(scan))) ** 2).sum(axis=0)
        return np.fft.ifftshift(pattern)

    # --- stopping and resuming --------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Everything learned so far: network and probes."""
        found = {f"network.{k}": v for k, v in self.family.network.export_weights().items()}
        return found | {f"probe.{k}": v.numpy() for k, v in enumerate(self.family.probes)}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`arrays` gave."""
        names = self.family.network.parameters
        self.family.network.import_weights({name: arrays[f"network.{name}"] for name in names})
        for number, probe in enumerate(self.family.probes):
            probe.assign(arrays[f"probe.{number}"])

    def _optimizers(self) -> dict[str, Adam]:
        return {"network": self.network_adam} | {
            f"probe{number}": adam for number, adam in enumerate(self.probe_adams)
        }

    def save(self, path: Path) -> None:
        """Write all there is to know, to resume from."""
        arrays = self.arrays()
        for owner, adam in self._optimizers().items():
            arrays |= {f"adam.{owner}.{k}": v for k, v in adam.state().items()}
        state = {
            "epoch": self.epoch,
            "steps": self.steps,
            "adam_steps": {owner: adam.steps for owner, adam in self._optimizers().items()},
            "course": self.course.state_dict(),
            "run": run_record(self.config, self.scans),
        }
        checkpoint.save(path, state, arrays)

    def resume(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`save` wrote."""
        self.load_arrays(arrays)
        self.epoch, self.steps = state["epoch"], state["steps"]
        for owner, adam in self._optimizers().items():
            prefix = f"adam.{owner}."
            moments = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            adam.restore(moments, state["adam_steps"][owner])
        self.course.load_state_dict(state["course"])


def train(
    scans: Sequence[PreparedScan],
    config: Config,
    execution: TFExecution,
    directory: Path,
    *,
    resume: bool = False,
    start: Weights | None = None,
    progress: Progress,
) -> TrainingOutcome:
    """Train a network on the scans; checkpoints and logs go to ``directory``.

    Nothing is written before everything was checked and the first epoch begins. ``start`` are the
    weights to begin with, new ones when not given.

    Raises
    ------
    InputError
        When the configuration does not fit the scans or the machine, or there is nothing to resume.
    TrainingError
        When training collapses, diverges, meets a NaN or runs out of memory.
    """
    device = computing(execution)
    if needs_truth(config):
        for scan in scans:
            known_object(scan)
    plan = GroupPlan([s.scan for s in scans], config)
    earlier = None
    if resume:
        earlier = checkpoint.load(check_resumable(directory, BACKEND))
        check_resumed(earlier[0].get("run", {}), int(earlier[0]["epoch"]), config, scans)
    folder = directory / CHECKPOINTS
    table = directory / METRICS if execution.logger == "csv" else None
    course = Course(config, plan, progress, table)
    stop = StopFlag()
    with device, stop.installed():
        training = PhysicsTraining(config, scans, plan, course, stop, start)
        if earlier is not None:
            training.resume(*earlier)
        summaries = Summaries(directory if execution.logger == "tensorboard" else None)

        def finish(metrics: Mapping[str, float]) -> None:
            summaries.write(metrics, training.steps)
            folder.mkdir(parents=True, exist_ok=True)
            if course.improved:
                checkpoint.save(folder / BEST, {}, training.arrays())
            training.save(folder / LAST)

        try:
            training.run(finish)
        except Stopped:
            log.warning("stopped by signal %s after the current step", stop.signal)
        except tf.errors.ResourceExhaustedError as error:
            raise TrainingError(
                f"training must fit into the memory of the device, received: "
                f"{str(error).splitlines()[0]}; lower --batch-size or --subscan-patterns."
            ) from error
        if course.history:
            training.load_arrays(checkpoint.load(folder / BEST)[1])
            patterns_matter = config.loss.nll_weight > 0 or config.loss.mae_weight > 0
            judge_result(course.history, fatal=stop.signal is None and patterns_matter)
        elif stop.signal is not None:
            log.warning("no epoch was finished: the model is what the steps so far have made of it")
        probe = training.family.probe(0) if config.training.probe_trainable else None
        weights = training.family.network.export_weights()
    return outcome(weights, probe, scans[0], course.history, stop.signal)
