"""Adam on plain variables, by TensorFlow's own kernel; all of its state is in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.training.schedule import BETAS, EPSILON


def clipped(gradients: Sequence[Tensor], largest: float) -> list[Tensor]:
    """The gradients scaled down to a common norm of at most ``largest``; 0 leaves them alone."""
    if not largest:
        return list(gradients)
    return list(tf.clip_by_global_norm(gradients, largest)[0])


class Adam:
    """Kingma and Ba, ICLR 2015, with the bias corrections of both moments as in the paper.

    The variables take their steps together or not at all.
    """

    def __init__(self, variables: Mapping[str, tf.Variable]) -> None:
        self.variables = dict(variables)
        self.steps = 0
        self.first = {k: tf.Variable(tf.zeros_like(v)) for k, v in self.variables.items()}
        self.second = {k: tf.Variable(tf.zeros_like(v)) for k, v in self.variables.items()}

    def apply(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step along the gradients, in the order of the variables."""
        self.steps += 1
        decay1, decay2 = (beta**self.steps for beta in BETAS)
        for (name, variable), gradient in zip(self.variables.items(), gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
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

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Both moments of every variable."""
        moments = {f"first.{k}": v.numpy() for k, v in self.first.items()}
        return moments | {f"second.{k}": v.numpy() for k, v in self.second.items()}

    def restore(self, state: Mapping[str, NDArray[np.float32]], steps: int) -> None:
        """Take over what :meth:`state` gave, and the number of steps."""
        self.steps = steps
        for name in self.variables:
            self.first[name].assign(state[f"first.{name}"])
            self.second[name].assign(state[f"second.{name}"])
