"""What training asks of a framework: derivatives, the optimiser, precision and device.

Variables are known by names such as ``network.out.weight`` or ``probe.0``; what stands before the
first dot is their group, which has a learning rate of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import TrainingError, first_line
from ptychopinn.machine.ranks import Ranks
from ptychopinn.ops.base import Array, Ops

Arrays = Mapping[str, NDArray[Any]]
# Of arrays of the framework to a loss, a real scalar, and what else is wanted to know.
Loss = Callable[[Ops, Any], tuple[Array, Any]]
# Decay rates of the moments of the Adam optimiser (Kingma and Ba, ICLR 2015) and the least
# denominator, the same for every framework.
BETAS = (0.9, 0.99)
EPSILON = 1e-8


def mapped(function: Callable[[Any], Any], nest: Any) -> Any:
    """The same nest of tuples, NamedTuples and lists with every leaf replaced; None stays None."""
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(mapped(function, x) for x in nest))
    if isinstance(nest, tuple | list):
        return type(nest)(mapped(function, x) for x in nest)
    return None if nest is None else function(nest)


def group_of(name: str) -> str:
    """The group of the variable with this name."""
    return name.partition(".")[0]


class Engine(ABC):
    """Differentiates losses by the variables of a training and moves these by Adam.

    Losses take nests of inputs: NumPy arrays, numbers, None and, for what is trained and differs
    from batch to batch, :class:`ptychopinn.ops.base.Variable`. The loss sees arrays of the
    framework in their place, and a Variable that is one of the engine's is differentiated.

    Parameters
    ----------
    xp : the operations of the framework.
    variables : by their names, as made by :meth:`ptychopinn.ops.base.Ops.variable`.

    Attributes
    ----------
    ranks : which process this is of those that train together. They hold the same variables and
        take the same steps: a step is that of the gradients of all of them.
    """

    def __init__(self, xp: Ops, variables: Mapping[str, Array]) -> None:
        self.xp, self.variables = xp, dict(variables)
        self.ranks = Ranks()

    @abstractmethod
    def accumulate(self, loss: Loss, inputs: Any, share: float) -> tuple[float, Any]:
        """Add ``share`` of the gradient; the loss, and what else the function returns."""

    @abstractmethod
    def evaluate(self, loss: Loss, inputs: Any) -> tuple[float, Any]:
        """The same without a gradient."""

    @abstractmethod
    def gradient(self) -> dict[str, NDArray[np.float32]]:
        """What was added up since the last step, by variables; those without a share are left
        out."""

    @abstractmethod
    def step(self, rates: Mapping[str, float], clip: float) -> None:
        """Move the variables along the gradient that was added up, by all processes that train
        together, then forget it.

        ``rates`` are the learning rates of the groups. The gradient of all variables together is
        scaled down to a norm of ``clip``, which 0 leaves out. A variable without a gradient stays
        as it is, its moments too.
        """

    @abstractmethod
    def computing(self) -> AbstractContextManager[Any]:
        """Context of :meth:`running`, whose errors are those of the framework."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Compute inside the block, on the device and with the settings asked for.

        Raises TrainingError when the memory of the device does not suffice."""
        try:
            with self.computing():
                yield
        except self.xp.out_of_memory as error:
            raise TrainingError(
                f"training must fit into the memory of the {self.xp.memory_of}, received: "
                f"{first_line(error)}; lower batch_size or subscan_patterns."
            ) from error

    def total(self, values: NDArray[Any]) -> NDArray[Any]:
        """The sum of such arrays over all processes that train together."""
        return values

    def inside(self) -> AbstractContextManager[Any]:
        """Context for the layers of a network, in the precision asked for."""
        return nullcontext()

    @abstractmethod
    def moments(self) -> tuple[dict[str, int], dict[str, NDArray[np.float32]]]:
        """Of each variable the steps it took, and its moments as ``first.NAME``, ``second.NAME``;
        none of a variable that took no step."""

    @abstractmethod
    def set_moments(self, steps: Mapping[str, int], moments: Arrays) -> None:
        """Take over what :meth:`moments` gave."""

    def settings(self) -> dict[str, Any]:
        """Plain data that belongs to the state beside steps and moments."""
        return {}

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        """Take over what :meth:`settings` gave."""
        if settings:
            raise ValueError(f"settings that are not known: {sorted(settings)}")

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all variables."""
        return {name: np.array(self.xp.to_numpy(v)) for name, v in self.variables.items()}

    def assign(self, values: Arrays) -> None:
        """Give all variables new values.

        Raises ValueError when one is missing, or of another shape or type."""
        for name, value in self.values().items():
            check_array(values, name, value)
        for name, variable in self.variables.items():
            self.xp.assign(variable, values[name])

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """All there is to know, to go on from: plain data and named arrays."""
        steps, moments = self.moments()
        arrays = self.values() | {f"adam.{name}": m for name, m in moments.items()}
        return {"steps": steps, "settings": self.settings()}, arrays

    def restore(self, state: Mapping[str, Any], arrays: Arrays) -> None:
        """Go on from what :meth:`state` gave.

        Raises KeyError, TypeError, ValueError when it is of other variables, or damaged."""
        values = self.values()
        steps = {name: int(count) for name, count in state["steps"].items()}
        moments = {}
        for name in steps:
            for kind in ("first", "second"):
                check_array(arrays, f"adam.{kind}.{name}", values[name])
                moments[f"{kind}.{name}"] = arrays[f"adam.{kind}.{name}"]
        self.assign(arrays)
        self.set_moments(steps, moments)
        self.set_settings(state["settings"])


def check_array(arrays: Arrays, name: str, like: NDArray[Any]) -> None:
    """Raise ValueError unless there is an array of this name, like the other one."""
    found = arrays.get(name)
    if found is None or found.shape != like.shape or found.dtype != like.dtype:
        raise ValueError(f"no array '{name}' of shape {like.shape} and {like.dtype}")
