"""Training in TensorFlow: each loss is one graph for arrays of all sizes, on the device of a
distribution strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.errors import InputError
from ptychopinn.machine.ranks import started
from ptychopinn.ops.base import Array, Variable
from ptychopinn.ops.engine import BETAS, EPSILON, Arrays, Engine, Loss, group_of, mapped
from ptychopinn.ops.tensorflow import TensorflowOps, first_use

# Stands for an array in the structure of the inputs.
PLACE = "."


class TensorflowEngine(Engine):
    """Adam by TensorFlow's own kernel, with the bias corrections of both moments as in the paper.

    A loss is traced anew only when the structure of its inputs changes, not with their sizes.
    """

    def __init__(self, xp: TensorflowOps, variables: Mapping[str, Array]) -> None:
        super().__init__(xp, variables)
        together = started().size
        if together > 1:
            raise InputError(
                "several processes train one model with the backend pytorch only, received "
                f"tensorflow in {together} of them; leave torchrun out, or use the backend pytorch."
            )
        self.strategy = tf.distribute.OneDeviceStrategy(xp.device)
        self.gradients: dict[str, Tensor] = {}
        self.steps: dict[str, int] = {}
        self.first: dict[str, tf.Variable] = {}
        self.second: dict[str, tf.Variable] = {}
        self._graphs: dict[Any, Callable[..., Any]] = {}

    # --- losses -----------------------------------------------------------------------------------

    def _call(self, loss: Loss, inputs: Any, share: float | None) -> tuple[Any, list[str]]:
        """Loss, what else it returns and ``share`` of the gradients; and the names of the variables
        that these are by."""
        flat: list[Tensor] = []
        names: list[str] = []
        where: list[int] = []

        def place(leaf: Any) -> Any:
            if isinstance(leaf, Variable) and leaf.name in self.variables:
                names.append(leaf.name)
                where.append(len(flat))
            flat.append(self._tensor(leaf))
            return PLACE

        skeleton = mapped(place, inputs)
        kinds = tuple((x.dtype, len(x.shape)) for x in flat)
        # Variables of a group take turns as a part of the inputs, or none of them ever is.
        groups = {group_of(name) for name in names}
        rest = [name for name in self.variables if group_of(name) not in groups]
        key = (loss, share is None, repr(skeleton), kinds, tuple(where), tuple(rest))
        if key not in self._graphs:
            sources = where, [self.variables[name] for name in rest]
            traced = self._traced(loss, skeleton, None if share is None else sources)
            specs = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in kinds]
            signature = [specs, tf.TensorSpec([], tf.float32)]
            self._graphs[key] = tf.function(traced, input_signature=signature, autograph=False)
        given = (flat, tf.constant(0.0 if share is None else share))
        return self.strategy.run(self._graphs[key], args=given), [*names, *rest]

    def _traced(
        self, loss: Loss, skeleton: Any, by: tuple[list[int], list[tf.Variable]] | None
    ) -> Callable[..., Any]:
        """The loss with its derivatives, if any, by these of the inputs and these variables."""

        def traced(flat: list[Tensor], share: Tensor) -> Any:
            leaves = iter(flat)
            inputs = mapped(lambda _: next(leaves), skeleton)
            if by is None:
                return (*loss(self.xp, inputs), [])
            where, variables = by
            value, more = loss(self.xp, inputs)
            part = value * tf.cast(share, value.dtype)
            return value, more, tf.gradients(part, [*(flat[k] for k in where), *variables])

        return traced

    def _tensor(self, leaf: Any) -> Tensor:
        if isinstance(leaf, Variable):
            return leaf.array.read_value()
        if isinstance(leaf, int | float):
            leaf = np.asarray(leaf, np.int32 if isinstance(leaf, int) else np.float32)
        return self.xp.asarray(leaf)

    def accumulate(self, loss: Loss, inputs: Any, share: float) -> tuple[float, Any]:
        (value, more, gradients), names = self._call(loss, inputs, share)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                earlier = self.gradients.get(name)
                self.gradients[name] = gradient if earlier is None else earlier + gradient
        return float(value), more

    def evaluate(self, loss: Loss, inputs: Any) -> tuple[float, Any]:
        (value, more, _), _ = self._call(loss, inputs, None)
        return float(value), more

    def gradient(self) -> dict[str, NDArray[np.float32]]:
        return {name: gradient.numpy() for name, gradient in self.gradients.items()}

    # --- Adam -------------------------------------------------------------------------------------

    def step(self, rates: Mapping[str, float], clip: float) -> None:
        names, gradients = list(self.gradients), list(self.gradients.values())
        self.gradients = {}
        if clip:
            gradients, _ = tf.clip_by_global_norm(gradients, clip)
        for name, gradient in zip(names, gradients, strict=True):
            self._move(name, gradient, rates[group_of(name)])

    def _move(self, name: str, gradient: Tensor, rate: float) -> None:
        if name not in self.steps:
            zeros = np.zeros(self.variables[name].shape, np.float32)
            self.set_moments({name: 0}, {f"first.{name}": zeros, f"second.{name}": zeros})
        self.steps[name] += 1
        decay1, decay2 = (beta ** self.steps[name] for beta in BETAS)
        tf.raw_ops.ResourceApplyAdam(
            var=self.variables[name].handle,
            m=self.first[name].handle,
            v=self.second[name].handle,
            beta1_power=decay1,
            beta2_power=decay2,
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            # The kernel adds it before the correction of the second moment, the paper after.
            epsilon=EPSILON * float(np.sqrt(1 - decay2)),
            grad=gradient,
        )

    def moments(self) -> tuple[dict[str, int], dict[str, NDArray[np.float32]]]:
        found = {f"first.{name}": v.numpy() for name, v in self.first.items()}
        return dict(self.steps), found | {f"second.{k}": v.numpy() for k, v in self.second.items()}

    def set_moments(self, steps: Mapping[str, int], moments: Arrays) -> None:
        self.steps |= steps
        for name in steps:
            self.first[name] = tf.Variable(moments[f"first.{name}"])
            self.second[name] = tf.Variable(moments[f"second.{name}"])

    @contextmanager
    def computing(self) -> Iterator[None]:
        first_use.check()
        with self.strategy.scope(), tf.device(self.xp.device):  # type: ignore[attr-defined]
            yield
