"""What is trained on, and all that the loop (:mod:`ptychopinn.training.loop`) asks of it. Measured
scans are in :mod:`ptychopinn.training.families`, simulated ones in
:mod:`ptychopinn.training.pretraining`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.contracts import Solved
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.ops.base import Array, Ops
from ptychopinn.ops.engine import mapped
from ptychopinn.physics.forward import vacuum_pattern
from ptychopinn.training.data import Batch, Probes, read_batch
from ptychopinn.training.objective import OwnLoss, Prediction, objective
from ptychopinn.training.pictured import Pictured
from ptychopinn.training.plan import GroupPlan, Work
from ptychopinn.training.schedule import Schedule
from ptychopinn.training.watch import FitWatch


class Task(ABC):
    """Batches and their loss. A *work* says what a batch is made of; reading it may be slow, so it
    happens in other threads; the rest happens in the thread of the loop.

    Attributes
    ----------
    variables : what is trained, by names as in :mod:`ptychopinn.ops.engine`.
    rates : learning rate of each group of variables, which the schedule multiplies.
    accumulated : batches whose gradients are averaged for one step.
    pictured : whether :meth:`found` will be asked for; it costs time.
    reading_computes : whether reading keeps a core busy, so that it happens in other processes.
    judged : the metric that schedule and early stopping look at.
    keeps_best : whether the result is the best epoch, or the last step.
    """

    variables: Mapping[str, Array]
    rates: Mapping[str, float]
    accumulated: int
    judged: str
    keeps_best: bool
    pictured = False
    reading_computes = False

    @abstractmethod
    def over(self, epoch: int, seen: int) -> bool:
        """Whether nothing is left after so many epochs with so many batches."""

    @abstractmethod
    def works(self, epoch: int, seen: int) -> Sequence[Any]:
        """The batches of the epoch (from 0) that begins after so many batches; a function of these
        two numbers."""

    def validation(self) -> Sequence[Any]:
        """The batches of every validation."""
        return ()

    @property
    @abstractmethod
    def read(self) -> Callable[[Any], Any]:
        """Makes a batch of its work."""

    @abstractmethod
    def patterns(self, batch: Any) -> int:
        """How many patterns a batch holds."""

    @abstractmethod
    def inputs(self, batch: Any) -> Any:
        """The batch for :meth:`loss`, with what depends on the variables as they are now."""

    @abstractmethod
    def loss(self, xp: Ops, inputs: Any) -> tuple[Array, Any]:
        """The loss, a real scalar, and what :meth:`watch` takes."""

    # What a task need not do.

    def watch(self, batch: Any, seen: Any, loss: float, validation: bool) -> None:  # noqa: B027
        """Look at the loss of a batch and what the function returned beside it."""

    def stepped(self) -> None:  # noqa: B027
        """A step was taken."""

    def metrics(self) -> dict[str, float]:
        """Of what was watched since the last call, beside the mean loss of the batches."""
        return {}

    def found(self) -> Solved | None:
        """Object and probe as they were watched since the last call, to be looked at, if there are
        any."""
        return None

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What belongs to a checkpoint beside the variables."""
        return {}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:  # noqa: B027
        """Take over what :meth:`arrays` gave; ValueError when it is something else."""

    @abstractmethod
    def schedule(self) -> Schedule:
        """Of the learning rates."""


def network_variables(network: BuiltNetwork) -> dict[str, Array]:
    """The parameters of a network as variables of a training."""
    return {f"network.{name}": array for name, array in network.parameters.items()}


class GroupTask(Task):
    """Groups of patterns of measured scans; some positions may be held out to validate."""

    def __init__(
        self,
        config: Config,
        network: BuiltNetwork,
        scans: Sequence[PreparedScan],
        own_loss: OwnLoss | None = None,
    ) -> None:
        training = config.training
        self.config, self.network, self.scans = config, network, scans
        self.own_loss = own_loss
        self.plan = GroupPlan([prepared.scan for prepared in scans], config)
        self.probes = Probes(network.xp, scans, training.probe_trainable)
        self.variables = network_variables(network) | self.probes.variables
        self.rates = {"network": training.learning_rate, "probe": training.probe_learning_rate}
        # A canvas network sees one sub-scan at a time.
        self.accumulated = training.batch_size if self.plan.canvas else 1
        self.judged, self.keeps_best = "val_loss", True
        self._watch = FitWatch([scan.photon_scale for scan in scans])
        self._pictured = Pictured()

    def over(self, epoch: int, seen: int) -> bool:
        return epoch >= self.config.training.epochs

    def works(self, epoch: int, seen: int) -> list[Work]:
        return self.plan.epoch(epoch)

    def validation(self) -> list[Work]:
        return self.plan.validation()

    @property
    def read(self) -> Callable[[Work], Batch]:
        return lambda work: read_batch(self.scans, work, self.config)

    def patterns(self, batch: Batch) -> int:
        return batch.patterns

    @abstractmethod
    def predict(self, xp: Ops, inputs: Any) -> Prediction:
        """Run the network and the forward model."""

    def loss(self, xp: Ops, inputs: Any) -> tuple[Array, Prediction]:
        prediction = self.predict(xp, inputs)
        # Only the last estimate is watched.
        seen = prediction._replace(estimates=prediction.estimates[-1:], truth=None)
        return objective(xp, prediction, self.config.loss, self.own_loss), seen

    def watch(self, batch: Batch, seen: Prediction, loss: float, validation: bool) -> None:
        # Without held-out positions the training patterns themselves are watched.
        if validation or not self.plan.validates:
            arrays = mapped(self._array, seen)
            self._watch.add(batch.scan, arrays, loss)
            if self.pictured:
                self._pictured.add(batch.scan, batch.positions_px, arrays.images, arrays.weight)

    def _array(self, leaf: Any) -> Any:
        return leaf if isinstance(leaf, float) else self.network.xp.to_numpy(leaf)

    def metrics(self) -> dict[str, float]:
        return self._watch.metrics(self._vacuum)

    def found(self) -> Solved | None:
        return self._pictured.take(self.probes.field(self._pictured.scan))

    def _vacuum(self, scan: int) -> NDArray[Any]:
        propagator = self.scans[scan].propagator
        return propagator.inward(vacuum_pattern(self.probes.field(scan), propagator))

    def schedule(self) -> Schedule:
        per_epoch = math.ceil(len(self.plan.epoch(0)) / self.accumulated)
        return Schedule(
            self.config, per_epoch * self.config.training.epochs, relative=not self.plan.canvas
        )
