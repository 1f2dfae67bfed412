"""Which groups of patterns are seen in which epoch: indices only, a pure function of the seed.

Every epoch draws from its own generator, seeded by (seed, epoch), so a resumed run sees exactly
the groups that an uninterrupted one would have seen.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.data.sampling import (
    choose_anchors,
    nearest_groups,
    reading_order,
    split_positions_held_out,
    subsample,
)
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.solvers.problem import LEFT_OUT

log = logging.getLogger(__name__)

Indices = NDArray[np.int64]
SPLIT, TRAIN, HELD_OUT, SUBSAMPLE = range(4)
# Size of a sub-scan when it is not given: limits, and the product with N in between.
FEWEST_PATTERNS, MOST_PATTERNS, PATTERN_ROWS = 16, 100, 6400
# Held-out sub-scans per scan: enough for a steady validation loss, few enough to cost little.
HELD_OUT_SUBSCANS = 4


def subscan_size(config: Config, n: int) -> int:
    """Number of patterns of a sub-scan for patterns of n x n pixels."""
    wanted = config.data.subscan_patterns
    if wanted is None:
        return max(FEWEST_PATTERNS, min(MOST_PATTERNS, PATTERN_ROWS // n))
    return wanted


@dataclass(frozen=True)
class Work:
    """One step: groups (B, C) of pattern numbers of one scan."""

    scan: int
    groups: Indices


class GroupPlan:
    """Splits each scan into training and held-out patterns and draws groups within each part.

    Raises InputError when a scan is too small for the groups that were asked for."""

    def __init__(self, scans: Sequence[Scan], config: Config) -> None:
        self.config = config
        self.canvas = config.model.family == "canvas"
        self.positions = [scan.positions_px for scan in scans]
        self.n = max(scan.N for scan in scans)
        self.training: list[Indices] = []
        self.held_out: list[Indices] = []
        data, seed = config.data, config.training.seed
        chosen_by = seed if data.subsample_seed is None else data.subsample_seed
        for number, scan in enumerate(scans):
            kept = subsample(scan.M, data.n_subsample, self._rng(chosen_by, SUBSAMPLE, number))
            if data.validation_fraction > 0:
                inner, outer = split_positions_held_out(
                    scan.positions_px[kept],
                    data.validation_fraction,
                    self._rng(seed, SPLIT, number),
                )
                self.training.append(kept[inner])
                self.held_out.append(kept[outer])
            else:
                self.training.append(kept)
                self.held_out.append(np.empty(0, dtype=np.int64))
        self._check_sizes()

    @staticmethod
    def _rng(seed: int, purpose: int, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([seed, purpose, *numbers])

    def _check_sizes(self) -> None:
        c = LEFT_OUT if self.canvas else self.config.model.patterns_per_group
        lower = "" if self.canvas else ", or lower the option gridsize"
        for number, (inner, outer) in enumerate(zip(self.training, self.held_out, strict=True)):
            if len(inner) < c:
                raise InputError(
                    f"scan {number} must leave at least {c} training patterns, received "
                    f"{len(inner)}; use more patterns{lower}."
                )
            if 0 < len(outer) < c:
                raise InputError(
                    f"scan {number} must hold out at least {c} patterns, received {len(outer)}; "
                    "raise validation_fraction or set it to 0."
                )

    @property
    def validates(self) -> bool:
        """Whether any position is held out."""
        return any(len(part) for part in self.held_out)

    def _groups(
        self, number: int, part: Indices, anchors: Indices, rng: np.random.Generator
    ) -> Indices:
        if self.canvas:
            size = min(subscan_size(self.config, self.n), len(part))
            neighbours = size - 1
        else:
            size = self.config.model.patterns_per_group
            wanted = self.config.data.neighbor_count
            neighbours = min(size - 1 if wanted is None else wanted, len(part) - 1)
        positions = self.positions[number][part]
        found = nearest_groups(positions, anchors, size, neighbours, rng)
        return part[found if self.canvas else reading_order(positions, found)]

    def epoch(self, epoch: int) -> list[Work]:
        """The steps of a training epoch, scans interleaved at random."""
        data = self.config.data
        works: list[Work] = []
        for number, part in enumerate(self.training):
            rng = self._rng(self.config.training.seed, TRAIN, number, epoch)
            wanted = data.n_groups
            if wanted is not None:
                share, rest = divmod(wanted, len(self.training))
                wanted = max(1, share + (number < rest))
            anchors = choose_anchors(
                len(part),
                wanted,
                data.sequential_sampling,
                data.enable_oversampling or self.canvas,
                rng,
            )
            groups = self._groups(number, part, rng.permutation(anchors), rng)
            works += self._batches(number, groups)
        order = self._rng(self.config.training.seed, TRAIN, len(self.training), epoch)
        return [works[k] for k in order.permutation(len(works))]

    def validation(self) -> list[Work]:
        """The steps of every validation: the same groups of held-out patterns each time."""
        works: list[Work] = []
        for number, part in enumerate(self.held_out):
            if not len(part):
                continue
            rng = self._rng(self.config.training.seed, HELD_OUT, number)
            anchors = np.arange(len(part))
            if self.canvas:
                anchors = rng.choice(len(part), min(HELD_OUT_SUBSCANS, len(part)), replace=False)
            works += self._batches(number, self._groups(number, part, anchors, rng))
        return works

    def _batches(self, number: int, groups: Indices) -> list[Work]:
        size = 1 if self.canvas else self.config.training.batch_size
        return [Work(number, groups[k : k + size]) for k in range(0, len(groups), size)]
