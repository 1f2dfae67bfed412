"""Several processes that work together in PyTorch: what they add up goes from GPU to GPU where each
has one of its own, else through the memory of their machines."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as together
from torch import Tensor

from ptychopinn.errors import TrainingError
from ptychopinn.machine.ranks import Ranks, started
from ptychopinn.ops.base import Array


@dataclass(frozen=True)
class Contact:
    """How ``size`` processes exchange arrays; ``direct`` between their GPUs, without the hosts."""

    size: int = 1
    direct: bool = False

    def summed(self, values: Tensor, work: str = "training") -> Tensor:
        """The sum over all processes, the same in each.

        Raises TrainingError when one of them has ended."""
        sums = values.clone() if self.direct and values.is_cuda else values.cpu()
        try:
            together.all_reduce(sums)
        except RuntimeError as error:
            raise TrainingError(
                f"{work} by {self.size} processes needs all of them to the end, received one that "
                "ended before; what it said last tells why."
            ) from error
        return sums.to(values.device)


@contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[Contact]:
    """In contact with the other processes inside the block; this one computes on ``device``."""
    if ranks.size == 1:
        yield Contact()
        return
    direct = torch.cuda.is_available() and together.is_nccl_available()
    together.init_process_group("cpu:gloo,cuda:nccl" if direct else "gloo")
    try:
        devices = torch.zeros(ranks.size, 16, dtype=torch.uint8)
        if direct and device.type == "cuda":
            devices[ranks.rank] = identity(str(torch.cuda.get_device_properties(device).uuid))
        together.all_reduce(devices)
        yield Contact(ranks.size, one_each(devices))
    finally:
        together.destroy_process_group()


def identity(name: str) -> Tensor:
    """The 16 bytes of the unique name of a GPU."""
    return torch.tensor(list(uuid.UUID(name).bytes), dtype=torch.uint8)


def one_each(devices: Tensor) -> bool:
    """Whether every process, a row with the identity of its GPU or zeros, has one of its own; NCCL
    refuses processes that share one."""
    return bool(devices.any(1).all()) and len(torch.unique(devices, dim=0)) == len(devices)


class Together:
    """What operations need that several processes share the patterns of a scan."""

    ranks: Ranks
    device: torch.device
    contact = Contact()

    @contextmanager
    def together(self) -> Iterator[None]:
        before = self.ranks
        with joined(started(), self.device) as contact:
            self.ranks, self.contact = started(), contact
            try:
                yield
            finally:
                self.ranks, self.contact = before, Contact()

    def totals(self, arrays: Sequence[Array]) -> list[Array]:
        if self.ranks.size == 1 or not arrays:
            return list(arrays)
        tensors = [torch.as_tensor(x) for x in arrays]
        parts = [torch.view_as_real(x) if x.is_complex() else x for x in tensors]
        flat = torch.cat([part.reshape(-1) for part in parts])
        sums = self.contact.summed(flat, "work").split([part.numel() for part in parts])
        found = []
        for given, tensor, part, total in zip(arrays, tensors, parts, sums, strict=True):
            whole = total.reshape(part.shape).to(part.dtype)
            if tensor.is_complex():
                whole = torch.complex(whole[..., 0], whole[..., 1])
            found.append(whole.numpy() if isinstance(given, np.ndarray) else whole)
        return found

    def gathered(self, x: Array) -> Array:
        rank, size = self.ranks.rank, self.ranks.size
        if size == 1:
            return x
        counts = np.zeros(size)
        counts[rank] = len(x)
        counts = self.totals([counts])[0].astype(int)
        whole = torch.zeros(int(counts.sum()), *x.shape[1:], dtype=x.dtype, device=x.device)
        start = int(counts[:rank].sum())
        whole[start : start + len(x)] = x
        return self.totals([whole])[0]

    def agreed(self, x: Array) -> Array:
        if self.ranks.size == 1:
            return x
        return self.totals([x if self.ranks.first else torch.zeros_like(x)])[0]
