"""The layers of networks in TensorFlow, for images whose channels come last.

Convolutions on a CPU need that order of the axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import numpy as np

from ptychopinn.ops.base import Function, Ops
from ptychopinn.ops.tensorflow_import import undisturbed

with undisturbed():
    import tensorflow as tf
    from tensorflow import Tensor


class TensorflowLayers(Ops):
    """What :class:`~ptychopinn.ops.tensorflow.TensorflowOps` offers to networks."""

    channels: ClassVar[int] = -1
    activations: ClassVar[Mapping[str, Function]] = {
        "relu": tf.nn.relu,
        "swish": tf.nn.silu,
        "softplus": tf.nn.softplus,
        "sigmoid": tf.nn.sigmoid,
        "tanh": tf.nn.tanh,
        "gelu": partial(tf.nn.gelu, approximate=False),
    }

    def image_in(self, x: Tensor) -> Tensor:
        return tf.transpose(x, [0, 2, 3, 1])

    def image_out(self, x: Tensor) -> Tensor:
        return tf.transpose(x, [0, 3, 1, 2])

    def conv2d(
        self, x: Tensor, weight: Tensor, bias: Tensor, stride: int, dilation: int, groups: int
    ) -> Tensor:
        kernel = tf.transpose(weight, [2, 3, 1, 0])
        rim = dilation * (weight.shape[-1] // 2)
        if 1 < groups == x.shape[-1]:
            # One channel in a group: the library has a kernel for all groups together.
            one = tf.reshape(kernel, [*weight.shape[2:], groups, weight.shape[0] // groups])
            width = [[0, 0], [rim, rim], [rim, rim], [0, 0]]
            step = stride if dilation == 1 else 1
            found = tf.nn.depthwise_conv2d(
                tf.pad(x, width), one, [1, step, step, 1], "VALID", dilations=[dilation] * 2
            )
            return tf.nn.bias_add(found[:, :: stride // step, :: stride // step], bias)
        if groups > 1:
            parts = tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1)
            found = [
                self._plain(part, k, stride, dilation, rim)
                for part, k in zip(*parts, strict=True)
            ]  # fmt: skip
            return tf.nn.bias_add(tf.concat(found, axis=-1), bias)
        return tf.nn.bias_add(self._plain(x, kernel, stride, dilation, rim), bias)

    @staticmethod
    def _plain(x: Tensor, kernel: Tensor, stride: int, dilation: int, rim: int) -> Tensor:
        if dilation == 1:
            width = [[0, 0], [rim, rim], [rim, rim], [0, 0]]
            return tf.nn.conv2d(x, kernel, stride, "SAME" if stride == 1 else width)
        # Not every build differentiates a dilated convolution on a CPU. Every dilation-th pixel
        # makes an image of its own, on which the convolution is a plain one.
        missing = [-tf.shape(x)[axis] % dilation for axis in (1, 2)]
        padding = tf.stack([tf.stack([rim, rim + m]) for m in missing])
        parts = tf.nn.conv2d(tf.space_to_batch(x, [dilation] * 2, padding), kernel, 1, "VALID")
        crops = tf.stack([tf.stack([0, m]) for m in missing])
        found = tf.batch_to_space(parts, [dilation] * 2, crops)
        return found if stride == 1 else found[:, ::stride, ::stride]

    def conv_transpose2d(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        batch, height, width, _ = self.shape(x)
        shape = tf.stack([batch, height * stride, width * stride, weight.shape[1]])
        kernel = tf.transpose(weight, [2, 3, 1, 0])
        return tf.nn.bias_add(tf.nn.conv2d_transpose(x, kernel, shape, stride, "VALID"), bias)

    def max_pool(self, x: Tensor, factor: int) -> Tensor:
        return tf.nn.max_pool2d(x, factor, factor, "VALID")

    def avg_pool(self, x: Tensor, factor: int) -> Tensor:
        return tf.nn.avg_pool2d(x, factor, factor, "VALID")

    def upsample(self, x: Tensor, factor: int) -> Tensor:
        return tf.image.resize(x, factor * tf.shape(x)[1:3], "nearest")

    def space_to_depth(self, x: Tensor, factor: int) -> Tensor:
        return _regrouped(tf.nn.space_to_depth(x, factor), factor**2)

    def depth_to_space(self, x: Tensor, factor: int) -> Tensor:
        channels = x.shape[-1] // factor**2
        return tf.nn.depth_to_space(_regrouped(x, channels), factor)

    softmax = staticmethod(tf.nn.softmax)


def _regrouped(x: Tensor, first: int) -> Tensor:
    """Channels of ``first`` groups with k members each as k groups with ``first`` members.

    TensorFlow counts the pixels of a block before the channels, the description after them.
    """
    order = np.arange(x.shape[-1]).reshape(first, -1).T.reshape(-1)
    return tf.gather(x, order, axis=-1)
