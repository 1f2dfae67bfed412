"""Reads the patterns of a plan, batch by batch, in network units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ptychopinn.backends.pytorch.family import Batch, Family
from ptychopinn.backends.pytorch.interruption import ignore_signals
from ptychopinn.errors import InputError
from ptychopinn.plan import Work
from ptychopinn.preparation import PreparedScan


class WorkDataset(Dataset[Any]):
    """One item per step of the plan; patterns are read when the item is asked for."""

    def __init__(
        self, scans: Sequence[PreparedScan], works: Sequence[Work], labels: type[Family] | None
    ) -> None:
        self.scans, self.works, self.labels = scans, works, labels

    def __len__(self) -> int:
        return len(self.works)

    def __getitem__(self, number: int) -> Batch | InputError:
        """A batch; a worker process hands an InputError over as an item (see :func:`received`)."""
        try:
            return self._read(self.works[number])
        except InputError as error:
            # Raised here, it would reach the user as the worker's traceback.
            if get_worker_info() is None:
                raise
            return error

    def _read(self, work: Work) -> Batch:
        prepared = self.scans[work.scan]
        positions = np.array(prepared.scan.positions_px[work.groups])
        truth = None
        if self.labels is not None:
            truth = torch.from_numpy(np.ascontiguousarray(self.labels.truth(prepared, positions)))
        return Batch(
            amplitudes=torch.from_numpy(prepared.amplitudes(work.groups)),
            positions_px=torch.from_numpy(positions),
            scan=work.scan,
            truth=truth,
        )


def received(item: Batch | InputError) -> Batch:
    """The batch, or the error that a worker met in place of it."""
    if isinstance(item, InputError):
        raise item
    return item


def loader(dataset: WorkDataset, workers: int) -> DataLoader[Any]:
    """Items in order; the plan has already shuffled them."""
    return DataLoader(
        dataset,
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        worker_init_fn=ignore_signals if workers else None,
    )
