"""Reads the patterns of a plan, batch by batch, in network units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ptychopinn.backends.pytorch.family import Batch, Family
from ptychopinn.plan import Work
from ptychopinn.preparation import PreparedScan


class WorkDataset(Dataset[Batch]):
    """One item per step of the plan; patterns are read when the item is asked for."""

    def __init__(
        self, scans: Sequence[PreparedScan], works: Sequence[Work], labels: type[Family] | None
    ) -> None:
        self.scans, self.works, self.labels = scans, works, labels

    def __len__(self) -> int:
        return len(self.works)

    def __getitem__(self, number: int) -> Batch:
        work = self.works[number]
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


def loader(dataset: WorkDataset, workers: int) -> DataLoader[Batch]:
    """Items in order; the plan has already shuffled them."""
    return DataLoader(dataset, batch_size=None, shuffle=False, num_workers=workers)
