"""A patch network as a solver: every pattern with its nearest neighbours, stitched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import (
    SILENT,
    Canvas,
    Glance,
    Glimpses,
    Progress,
    Solved,
    Solver,
    Step,
)
from ptychopinn.data.normalization import PreparedScan, batch_length, slices
from ptychopinn.data.sampling import nearest_groups, reading_order
from ptychopinn.errors import InputError
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.networks.heads import PROBE
from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.groups import common_patches, merge_weight, reach_of
from ptychopinn.physics.probe_images import probe_images
from ptychopinn.physics.stitching import Shifted, Stitcher

PATCH_BYTES = 4096
# Groups that the network sees at once, at most; more are not faster.
MOST_GROUPS = 32


class PatchNetwork:
    """A patch network on the operations of its framework.

    network : with its weights.
    n : size of the patterns it was made for; the network may need larger ones.
    """

    def __init__(self, network: BuiltNetwork, n: int) -> None:
        self.network, self.xp = network, network.xp
        self.n, self.margin = n, (-n % network.description.multiple_of) // 2

    @property
    def sees_probe(self) -> bool:
        """Whether the network takes images of the probe."""
        return PROBE in self.network.description.inputs

    def images(self, scan: PreparedScan, probe: NDArray[np.complex64]) -> Any:
        """Images (1, 4, N, N) of the ``probe`` (P, N, N) of a scan, network units; () where the
        network sees none."""
        if not self.sees_probe:
            return ()
        return probe_images(probe, scan.propagator, scan.scan.good_pixels)[None]

    def objects(
        self,
        xp: Ops,
        amplitudes: Array,
        parameters: list[Array],
        probe: Array | tuple[()] = (),
    ) -> Array:
        """Object patches (B, C, N, N) complex from amplitudes (B, C, N, N), and from the images of
        the ``probe`` (1, 4, N, N) where the network sees it."""
        m = self.margin
        given = [amplitudes] if isinstance(probe, tuple) else [amplitudes, probe]
        x = [xp.pad(y, (m, m), (m, m), "zero") if m else y for y in given]
        if len(x) > 1:
            x[1] = xp.broadcast_to(x[1], (xp.shape(x[0])[0], *xp.shape(x[1])[1:]))
        first, second = self.network.run(xp, x, parameters)
        if self.network.description.complex_as == "polar":
            patches = xp.scaled(xp.rotation(second), first)
        else:
            patches = xp.complex(first, second)
        return patches[..., m : m + self.n, m : m + self.n] if m else patches

    def merged(
        self,
        xp: Ops,
        amplitudes: Array,
        parameters: list[Array],
        offsets_px: Array,
        weight: Array,
        reach: Any,
        probe: Array | tuple[()] = (),
    ) -> Array:
        """The same, merged within each group at the offsets (B, C, 2)."""
        patches = self.objects(xp, amplitudes, parameters, probe)
        return common_patches(xp, patches, offsets_px, weight, reach)


class PatchNetworkSolver(Solver):
    """A trained patch network.

    model : the network.
    gridsize : gridsize^2 neighbouring patterns form a group.
    limit_bytes : memory for patterns that are held at once.
    """

    def __init__(self, model: PatchNetwork, gridsize: int, limit_bytes: int) -> None:
        self.model, self.size, self.limit = model, gridsize**2, limit_bytes
        self.xp = model.xp

    def run(
        self, scan: PreparedScan, start: Canvas | None = None, progress: Progress = SILENT
    ) -> Iterator[Step]:
        n, m = scan.scan.N, scan.scan.M
        if n != self.model.n:
            raise InputError(
                f"this model was trained for patterns of N = {self.model.n}, received a scan with "
                f"N = {n}; crop, pad or bin the patterns, or train a model for that size."
            )
        positions, size = scan.scan.positions_px, self.size
        nearest = nearest_groups(positions, np.arange(m), size, size - 1, np.random.default_rng(0))
        # Of processes that work together each has a part of the groups.
        groups = self.xp.ranks.share(reading_order(positions, nearest))
        stitcher = Stitcher(positions, merge_weight(scan.probe))
        length, m = min(batch_length(n, PATCH_BYTES * size, self.limit), MOST_GROUPS), len(groups)
        images = self.model.images(scan, scan.probe)

        def result() -> Solved:
            canvas, weight = stitcher.result()
            found = Canvas(canvas, weight, stitcher.origin_px, np.empty(0))
            return Solved(found, scan.probe, positions, 1)

        def glance() -> Glance:
            return Glance.of(result().canvas, scan.probe)

        progress.epoch(0, -(-m // length))
        begun = time.perf_counter()

        def work(part: slice) -> Shifted:
            return self._found(stitcher, scan, groups[part], images)

        with self.xp.running():
            for part, found in self.xp.each(work, slices(m, length)):
                stitcher.put(found)
                elapsed = max(time.perf_counter() - begun, 1e-9)
                progress.step(float("nan"), self.xp.ranks.size * min(part.stop, m) / elapsed)
                alone = self.xp.ranks.size == 1
                if alone and part.stop < m and isinstance(progress, Glimpses):
                    progress.meanwhile(1, part.stop / m, glance)
        progress.epoch_done(0, {})
        stitcher.sums = self.xp.totals(stitcher.sums)

        yield Step(1, float("nan"), result)

    def _found(self, stitcher: Stitcher, scan: PreparedScan, chosen: Any, images: Any) -> Shifted:
        """The patches of groups (B, C), ready for the canvas; ``images`` are those of the
        probe."""
        model, xp = self.model, self.model.xp
        places = scan.scan.positions_px[chosen]
        amplitudes = xp.asarray(scan.amplitudes(chosen))
        parameters = list(model.network.parameters.values())
        probe = images if isinstance(images, tuple) else xp.asarray(images)
        if self.size == 1:
            patches = xp.call(model.objects, amplitudes, parameters, probe)
        else:
            offsets = places - places.mean(axis=1, keepdims=True)
            weight = xp.asarray(stitcher.weight)
            patches = xp.call(
                model.merged, amplitudes, parameters, xp.asarray(offsets), weight,
                reach_of(offsets), probe,
            )  # fmt: skip
            # After the merge patch k sits at the whole-pixel offset from the group's centre.
            places = places - (offsets - np.floor(offsets + 0.5))
        n = scan.scan.N
        return stitcher.shifted(xp.to_numpy(patches).reshape(-1, n, n), places.reshape(-1, 2))
