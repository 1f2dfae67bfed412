"""Training in PyTorch; device and precision are those of Lightning Fabric."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import InputError
from ptychopinn.machine import ranks
from ptychopinn.ops.base import Array, Variable
from ptychopinn.ops.engine import BETAS, EPSILON, Arrays, Engine, Loss, group_of, mapped
from ptychopinn.ops.options import TorchExecution
from ptychopinn.ops.torch import TorchOps, using_threads
from ptychopinn.ops.torch_together import Contact, joined

# What cuBLAS needs to be told for results that can be repeated.
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


class TorchEngine(Engine):
    """Adam of PyTorch; the scaling of losses in half precision is that of Fabric.

    Raises InputError when the precision does not suit the device."""

    def __init__(self, xp: TorchOps, variables: Mapping[str, Array]) -> None:
        super().__init__(xp, variables)
        self.execution: TorchExecution = xp.execution
        self.ranks, self.contact = ranks.started(), Contact()
        self.device = xp.device
        kind = self.device.type
        if kind == "xpu":
            raise InputError(
                "training needs a device that Lightning Fabric knows, received the accelerator "
                "'xpu', on which only reconstruct and refine run; use the accelerator cpu or cuda."
            )
        cuda = kind == "cuda"
        if self.execution.precision == "16-mixed" and not cuda:
            raise InputError(
                "precision '16-mixed' needs a GPU, received a run on the CPU; leave the precision "
                "out, or use bf16-mixed."
            )
        with _quiet():
            self.fabric = Fabric(
                accelerator=kind,
                devices=[xp.device.index] if cuda else 1,
                precision=self.execution.precision,
                # This is one process, also inside a job of a cluster.
                plugins=[LightningEnvironment()],
            )
        groups: dict[str, list[Tensor]] = {}
        for name, variable in self.variables.items():
            groups.setdefault(group_of(name), []).append(variable.requires_grad_())
        self.adam = torch.optim.Adam(
            [{"params": members, "name": group} for group, members in groups.items()],
            betas=BETAS,
            eps=EPSILON,
        )
        self.optimizer: Any = self.fabric.setup_optimizers(self.adam)

    def _given(self, leaf: Any) -> Any:
        if isinstance(leaf, Variable):
            return leaf.array
        return self.xp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf

    def accumulate(self, loss: Loss, inputs: Any, share: float) -> tuple[float, Any]:
        value, more = loss(self.xp, mapped(self._given, inputs))
        self.fabric.backward(value * share)
        return float(value.detach()), mapped(_detached, more)

    def evaluate(self, loss: Loss, inputs: Any) -> tuple[float, Any]:
        with torch.no_grad():
            value, more = loss(self.xp, mapped(self._given, inputs))
        return float(value), more

    def gradient(self) -> dict[str, NDArray[np.float32]]:
        return {
            name: np.array(self.xp.to_numpy(variable.grad))
            for name, variable in self.variables.items()
            if variable.grad is not None
        }

    def step(self, rates: Mapping[str, float], clip: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = rates[group["name"]]
        if self.ranks.size > 1:
            self._share_gradient()
        if clip:
            self.fabric.strategy.precision.unscale_gradients(self.adam)
            torch.nn.utils.clip_grad_norm_(list(self.variables.values()), clip)
        self.optimizer.step()
        self.adam.zero_grad(set_to_none=True)

    def _share_gradient(self) -> None:
        """Add up the gradients of all processes. A variable without a gradient in any has none."""
        variables = list(self.variables.values())
        parts = [torch.zeros_like(v) if v.grad is None else v.grad for v in variables]
        shares = variables[0].new_tensor([float(v.grad is not None) for v in variables])
        flat = torch.cat([part.reshape(-1) for part in parts] + [shares])
        flat = self.contact.summed(flat)
        *sums, shares = flat.split([part.numel() for part in parts] + [len(parts)])
        for variable, found, there in zip(variables, sums, shares.tolist(), strict=True):
            variable.grad = found.reshape(variable.shape) if there else None

    def total(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.ranks.size == 1:
            return values
        sums = self.contact.summed(torch.from_numpy(np.array(values)))
        found: NDArray[Any] = sums.numpy()
        return found

    def inside(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.fabric.autocast()
        return context

    @contextmanager
    def computing(self) -> Iterator[None]:
        with (
            joined(self.ranks, self.device) as self.contact,
            using_threads(self.xp.threads),
            _deterministic(self.execution.deterministic),
        ):
            yield

    def moments(self) -> tuple[dict[str, int], dict[str, NDArray[np.float32]]]:
        steps, moments = {}, {}
        for name, variable in self.variables.items():
            state = self.adam.state.get(variable)
            if state:
                steps[name] = int(state["step"])
                for kind, key in (("first", "exp_avg"), ("second", "exp_avg_sq")):
                    moments[f"{kind}.{name}"] = np.array(self.xp.to_numpy(state[key]))
        return steps, moments

    def set_moments(self, steps: Mapping[str, int], moments: Arrays) -> None:
        for name, count in steps.items():
            self.adam.state[self.variables[name]] = {
                "step": torch.tensor(float(count)),
                "exp_avg": self.xp.asarray(np.array(moments[f"first.{name}"])),
                "exp_avg_sq": self.xp.asarray(np.array(moments[f"second.{name}"])),
            }

    def settings(self) -> dict[str, Any]:
        return dict(self.fabric.strategy.precision.state_dict())

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        self.fabric.strategy.precision.load_state_dict(dict(settings))


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Use deterministic algorithms only inside the block, if ``wanted``."""
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    said = os.environ.get(CUBLAS)
    if wanted:
        os.environ.setdefault(CUBLAS, ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        if wanted:
            torch.use_deterministic_algorithms(before, warn_only=warns)
            if said is None:
                del os.environ[CUBLAS]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the notices of Fabric about itself away from the user inside the block."""
    logger = logging.getLogger("lightning.fabric")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
