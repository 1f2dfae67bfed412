"""Several processes that work together in PyTorch, through the memory of their machines: several of
them may share a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as together
from torch import Tensor

from ptychopinn.errors import TrainingError
from ptychopinn.machine.ranks import Ranks, started
from ptychopinn.ops.base import Array


@contextmanager
def joined(size: int) -> Iterator[None]:
    """In contact with the other processes inside the block."""
    if size > 1:
        together.init_process_group("gloo")
    try:
        yield
    finally:
        if size > 1:
            together.destroy_process_group()


def summed(values: Tensor, size: int, work: str = "training") -> Tensor:
    """The sum over all ``size`` processes, the same in each.

    Raises TrainingError when one of them has ended."""
    sums = values.cpu()
    try:
        together.all_reduce(sums)
    except RuntimeError as error:
        raise TrainingError(
            f"{work} by {size} processes needs all of them to the end, received one that ended "
            "before; what it said last tells why."
        ) from error
    return sums.to(values.device)


class Together:
    """What operations need that several processes share the patterns of a scan."""

    ranks: Ranks

    @contextmanager
    def together(self) -> Iterator[None]:
        before = self.ranks
        with joined(started().size):
            self.ranks = started()
            try:
                yield
            finally:
                self.ranks = before

    def totals(self, arrays: Sequence[Array]) -> list[Array]:
        if self.ranks.size == 1 or not arrays:
            return list(arrays)
        tensors = [torch.as_tensor(x) for x in arrays]
        parts = [torch.view_as_real(x) if x.is_complex() else x for x in tensors]
        flat = torch.cat([part.reshape(-1) for part in parts])
        sums = summed(flat, self.ranks.size, "work").split([part.numel() for part in parts])
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
