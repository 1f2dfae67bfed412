"""Builds a ``tf.Module`` from a backend-neutral network description."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.networks.spec import Layer, Network
from ptychopinn.networks.weights import Weights, check_names_and_shapes

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": tf.nn.relu,
    "swish": tf.nn.silu,
    "softplus": tf.nn.softplus,
    "sigmoid": tf.nn.sigmoid,
    "tanh": tf.nn.tanh,
}


class BuiltNetwork(tf.Module):
    """The network ``description`` as a module; inputs and outputs are (batch, channels, H, W).

    ``weights`` holds all parameters by name; names and shapes must match exactly. Inside, channels
    come last, as convolutions on a CPU need it.
    """

    def __init__(self, description: Network, weights: Weights) -> None:
        super().__init__()
        check_names_and_shapes(description, weights)
        self.description = description
        self.parameters = {
            name: tf.Variable(_inside(weights[name]), name=name)
            for name in description.parameter_shapes()
        }

    @property
    def vectors(self) -> dict[str, tf.Variable]:
        """The learned parameters that belong to no layer."""
        return {name: self.parameters[name] for name in self.description.vectors}

    def __call__(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        values = {name: tf.transpose(x, [0, 2, 3, 1]) for name, x in inputs.items()}
        for layer in self.description.layers:
            values[layer.name] = self._run(layer, [values[name] for name in layer.inputs])
        return tuple(tf.transpose(values[name], [0, 3, 1, 2]) for name in self.description.outputs)

    def _run(self, layer: Layer, x: list[Tensor]) -> Tensor:
        option = layer.options
        match layer.kind:
            case "conv":
                weight = self.parameters[f"{layer.name}.weight"]
                bias = self.parameters[f"{layer.name}.bias"]
                return tf.nn.bias_add(_convolution(x[0], weight, option["dilation"]), bias)
            case "activation":
                return ACTIVATIONS[option["function"]](x[0])
            case "max_pool":
                return tf.nn.max_pool2d(x[0], option["factor"], option["factor"], "VALID")
            case "avg_pool":
                return tf.nn.avg_pool2d(x[0], option["factor"], option["factor"], "VALID")
            case "upsample":
                return tf.image.resize(x[0], option["factor"] * tf.shape(x[0])[1:3], "nearest")
            case "add":
                return tf.add_n(x)
            case "concat":
                return tf.concat(x, axis=-1)
            case "channels":
                return x[0][..., option["start"] : option["stop"]]
            case "scale":
                return x[0] * option["factor"]
            case "pad":
                return _surrounded(x[0], option["pixels"], option["value"])
            case "border":
                w = option["pixels"]
                inner = tf.zeros_like(x[0][:, w:-w, w:-w])
                return x[0] * _surrounded(inner, w, 1.0)

    def export_weights(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all parameters as float32 arrays, for the bundle."""
        return {name: _outside(p.numpy()) for name, p in self.parameters.items()}

    def import_weights(self, weights: Weights) -> None:
        """Take over all parameters; names and shapes must match exactly."""
        check_names_and_shapes(self.description, weights)
        for name, parameter in self.parameters.items():
            parameter.assign(_inside(weights[name]))


def _inside(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """A parameter as TensorFlow wants it: (height, width, in, out) for a convolution."""
    return np.transpose(weight, [2, 3, 1, 0]) if np.ndim(weight) == 4 else np.asarray(weight)


def _outside(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of :func:`_inside`, a copy."""
    moved = np.transpose(weight, [3, 2, 0, 1]) if weight.ndim == 4 else weight
    return np.array(moved, dtype=np.float32, order="C")


def _convolution(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Convolution with zeros around the image, so that the size stays."""
    if dilation == 1:
        return tf.nn.conv2d(x, weight, 1, "SAME")
    # Not every build differentiates a dilated convolution on a CPU. Every dilation-th pixel makes
    # an image of its own, on which the convolution is a plain one.
    rim = dilation * (weight.shape[0] // 2)
    missing = [-tf.shape(x)[axis] % dilation for axis in (1, 2)]
    padding = tf.stack([tf.stack([rim, rim + m]) for m in missing])
    parts = tf.nn.conv2d(tf.space_to_batch(x, [dilation] * 2, padding), weight, 1, "VALID")
    crops = tf.stack([tf.stack([0, m]) for m in missing])
    return tf.batch_to_space(parts, [dilation] * 2, crops)


def _surrounded(x: Tensor, pixels: int, value: float) -> Tensor:
    width = [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]]
    return tf.pad(x, width, constant_values=value)
