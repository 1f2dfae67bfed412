"""Builds a ``torch.nn.Module`` from a backend-neutral network description."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.networks.spec import Layer, Network
from ptychopinn.networks.weights import Weights, check_names_and_shapes

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "swish": functional.silu,
    "softplus": functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


class BuiltNetwork(nn.Module):
    """The network ``description`` as a module; inputs and outputs are (batch, channels, H, W).

    ``weights`` holds all parameters by name; names and shapes must match exactly.
    """

    def __init__(self, description: Network, weights: Weights) -> None:
        super().__init__()
        self.description = description
        channels = description.channels()
        self.convolutions = nn.ModuleDict(
            {
                layer.name: _convolution(layer, channels[layer.inputs[0]])
                for layer in description.layers
                if layer.kind == "conv"
            }
        )
        self.vectors = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(len(v))) for name, v in description.vectors.items()}
        )
        self.import_weights(weights)

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        values = dict(inputs)
        for layer in self.description.layers:
            values[layer.name] = self._run(layer, [values[name] for name in layer.inputs])
        return tuple(values[name] for name in self.description.outputs)

    def _run(self, layer: Layer, x: list[Tensor]) -> Tensor:
        option = layer.options
        match layer.kind:
            case "conv":
                out: Tensor = self.convolutions[layer.name](x[0])
                return out
            case "activation":
                return ACTIVATIONS[option["function"]](x[0])
            case "max_pool":
                return functional.max_pool2d(x[0], option["factor"])
            case "avg_pool":
                return functional.avg_pool2d(x[0], option["factor"])
            case "upsample":
                return functional.interpolate(x[0], scale_factor=option["factor"], mode="nearest")
            case "add":
                return torch.stack(x).sum(dim=0)
            case "concat":
                return torch.cat(x, dim=1)
            case "channels":
                return x[0][:, option["start"] : option["stop"]]
            case "scale":
                return x[0] * option["factor"]
            case "pad":
                return functional.pad(x[0], [option["pixels"]] * 4, value=option["value"])
            case "border":
                w = option["pixels"]
                frame = torch.ones_like(x[0])
                frame[..., w:-w, w:-w] = 0
                return x[0] * frame
            case "space_to_depth":
                return functional.pixel_unshuffle(x[0], option["factor"])
            case "depth_to_space":
                return functional.pixel_shuffle(x[0], option["factor"])

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """The learned parameters under the names of the description."""
        return {**dict(self.vectors.items()), **dict(self.convolutions.named_parameters())}

    def export_weights(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all parameters as float32 arrays, for the bundle."""
        return {
            name: p.detach().cpu().numpy().astype(np.float32, copy=True)
            for name, p in self.parameters_by_name().items()
        }

    def import_weights(self, weights: Weights) -> None:
        """Take over all parameters; names and shapes must match exactly."""
        check_names_and_shapes(self.description, weights)
        with torch.no_grad():
            for name, parameter in self.parameters_by_name().items():
                parameter.copy_(torch.from_numpy(np.array(weights[name])))


class _Convolution(nn.Conv2d):
    """Without initial weights: they are given, and no global generator is moved."""

    def reset_parameters(self) -> None:
        pass


def _convolution(layer: Layer, into: int) -> nn.Conv2d:
    option = layer.options
    return _Convolution(
        into,
        option["filters"],
        option["kernel"],
        dilation=option["dilation"],
        padding=option["dilation"] * (option["kernel"] // 2),
    )
