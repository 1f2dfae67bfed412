"""Reads the patterns of a plan, batch by batch, in network units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError
from ptychopinn.training.data import Batch, read_batch
from ptychopinn.training.interruption import ignore_signals
from ptychopinn.training.plan import Work


class WorkDataset(Dataset[Any]):
    """One item per step of the plan; patterns are read when the item is asked for."""

    def __init__(
        self, scans: Sequence[PreparedScan], works: Sequence[Work], config: Config
    ) -> None:
        self.scans, self.works, self.config = scans, works, config

    def __len__(self) -> int:
        return len(self.works)

    def __getitem__(self, number: int) -> Batch | InputError:
        """A batch; a worker process hands an InputError over as an item (see :func:`received`)."""
        try:
            batch = read_batch(self.scans, self.works[number], self.config)
        except InputError as error:
            # Raised here, it would reach the user as the worker's traceback.
            if get_worker_info() is None:
                raise
            return error
        return replace(
            batch,
            amplitudes=torch.from_numpy(batch.amplitudes),
            positions_px=torch.from_numpy(batch.positions_px),
            truth=None if batch.truth is None else torch.from_numpy(batch.truth),
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
