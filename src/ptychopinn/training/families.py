"""Measured scans for the two families of networks: from a batch of patterns to what the losses
need.

A *patch* network maps the patterns of small groups to object patches, a *canvas* network maps a
sub-scan to one object array. What depends on the batch alone is prepared with NumPy as *inputs*, a
NamedTuple of arrays; the prediction is a pure function of these and of the network, written over
the operations of a framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.ops.base import Array, Ops
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.forward import PatternBatch, illumination, modelled
from ptychopinn.physics.geometry import canvas_for, places
from ptychopinn.physics.groups import group_intensities, merge_weight, reach_of
from ptychopinn.physics.low_frequency import LowFrequency, low_frequency
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.patches import PatchNetwork
from ptychopinn.solvers.problem import Problem, good_pixels, judged_subsets
from ptychopinn.solvers.unrolled import Pass, Unrolled
from ptychopinn.training.data import Batch, Illumination
from ptychopinn.training.objective import Estimate, OwnLoss, Prediction
from ptychopinn.training.tasks import GroupTask

Index = NDArray[np.int64]


class GroupInputs(NamedTuple):
    """Groups of a patch network.

    patterns : (B, C, N, N) network input.  amplitudes : the same in the order of the fields.
    offsets_px : (B, C, 2).  weight : (N, N) merge weight.  reach : largest whole-pixel offset.
    good : (N, N) 0 or 1, in the order of the fields.  truth : (B, C, N, N) or None.
    images : (1, 4, N, N) of the probe, where the network sees it, or ().
    """

    probe: Illumination
    propagator: Propagator
    patterns: Array
    amplitudes: Array
    offsets_px: Array
    weight: Array
    reach: int
    good: Array
    truth: Array | None
    images: Array | tuple[()] = ()


def group_inputs(
    scan: PreparedScan,
    batch: Batch,
    probe: Illumination,
    weight: NDArray[np.float32],
    images: NDArray[np.float32] | tuple[()],
) -> GroupInputs:
    """The groups of a batch under ``probe``, merged with ``weight`` (N, N)."""
    offsets = batch.positions_px - batch.positions_px.mean(axis=1, keepdims=True)
    return GroupInputs(
        probe=probe,
        propagator=scan.propagator,
        patterns=batch.amplitudes,
        amplitudes=scan.propagator.inward(batch.amplitudes),
        offsets_px=offsets,
        weight=weight,
        reach=reach_of(offsets),
        good=good_pixels(NumpyOps(), scan),
        truth=batch.truth,
        images=images,
    )


def group_prediction(xp: Ops, model: PatchNetwork, inputs: GroupInputs) -> Prediction:
    """What a patch network makes of groups."""
    parameters = list(model.network.parameters.values())
    patches = model.objects(xp, inputs.patterns, parameters, inputs.images)
    intensities = group_intensities(
        xp,
        inputs.propagator,
        patches,
        inputs.offsets_px,
        inputs.probe.field(xp),
        inputs.weight,
        inputs.reach,
    )
    return Prediction(
        estimates=[Estimate(1.0, intensities, xp.square(inputs.amplitudes))],
        good=inputs.good,
        images=patches,
        weight=inputs.weight,
        truth=inputs.truth,
    )


class PatchTask(GroupTask):
    """Patch networks: a group of C = gridsize^2 patterns gives C patches."""

    @cached_property
    def model(self) -> PatchNetwork:
        return PatchNetwork(self.network, self.scans[0].scan.N)

    @cached_property
    def _weights(self) -> list[NDArray[np.float32]]:
        return [self._weight(scan) for scan in range(len(self.scans))]

    @cached_property
    def _images(self) -> list[NDArray[np.float32] | tuple[()]]:
        return [self.model.images(scan, scan.probe) for scan in self.scans]

    def _weight(self, scan: int) -> NDArray[np.float32]:
        """The merge weight (N, N) of a scan's probe; a constant for the gradient."""
        return merge_weight(self.probes.field(scan)).astype(np.float32)

    def inputs(self, batch: Batch) -> GroupInputs:
        k, refined = batch.scan, bool(self.probes.variables)
        weight = self._weight(k) if refined else self._weights[k]
        return group_inputs(self.scans[k], batch, self.probes[k], weight, self._images[k])

    def predict(self, xp: Ops, inputs: GroupInputs) -> Prediction:
        return group_prediction(xp, self.model, inputs)


class PlacedPatterns(NamedTuple):
    """Patterns on a canvas.

    amplitudes : (M, N, N) in the order of the fields.  corner, fraction, centre : as in
    :class:`ptychopinn.physics.geometry.Places`.
    """

    amplitudes: Array
    corner: Array
    fraction: Array
    centre: Array

    def batch(self, xp: Ops, probe: Array, width: Any) -> PatternBatch:
        """For the physics, on a canvas of this width."""
        n = xp.shape(self.amplitudes)[-1]
        return PatternBatch(
            amplitudes=self.amplitudes,
            fraction=self.fraction,
            places=xp.places(self.corner, n, width),
            centre=self.centre,
            probes=illumination(xp, probe, self.fraction),
        )


class CanvasInputs(NamedTuple):
    """A sub-scan of a canvas network.

    subsets : the ordered subsets of its patterns.  left_out : patterns that judge the result, or
    None.  low : for the low-frequency phase; it knows the canvas.  noise : standard deviation of an
    amplitude due to photon noise.  good : (N, N) 0 or 1, in the order of the fields.
    truth : (H, W) or None.
    """

    probe: Illumination
    propagator: Propagator
    subsets: list[PlacedPatterns]
    left_out: PlacedPatterns | None
    low: LowFrequency
    noise: float
    good: Array
    truth: Array | None


def canvas_inputs(
    scan: PreparedScan,
    batch: Batch,
    probe: Illumination,
    field: NDArray[np.complex64],
    subsets: Sequence[Index],
    left_out: Index | None = None,
) -> CanvasInputs:
    """The only sub-scan of a batch, on the smallest canvas, under ``probe``, which is ``field``
    (P, N, N) at present."""
    (positions_px,), (amplitudes,) = batch.positions_px, batch.amplitudes
    n, inward = scan.scan.N, scan.propagator.inward
    shape, origin = canvas_for(positions_px, n)

    def placed(chosen: Index) -> PlacedPatterns:
        where = places(positions_px[chosen], n, shape, origin)
        return PlacedPatterns(
            amplitudes=np.ascontiguousarray(inward(amplitudes[chosen])),
            corner=where.corner,
            fraction=where.fraction.astype(np.float32),
            centre=where.centre,
        )

    return CanvasInputs(
        probe=probe,
        propagator=scan.propagator,
        subsets=[placed(subset) for subset in subsets],
        left_out=None if left_out is None else placed(left_out),
        low=low_frequency(NumpyOps(), field, shape),
        noise=scan.photon_scale / 2,
        good=good_pixels(NumpyOps(), scan),
        truth=batch.truth,
    )


def canvas_problem(xp: Ops, inputs: CanvasInputs) -> Problem:
    """The sub-scan as a problem whose every subset is one batch."""
    field = inputs.probe.field(xp)
    batches = [subset.batch(xp, field, inputs.low.shape[1]) for subset in inputs.subsets]
    power = [xp.sum(inputs.good * xp.square(batch.amplitudes)) for batch in batches]
    return Problem(
        xp=xp,
        propagator=inputs.propagator,
        subsets=[partial(list, [batch]) for batch in batches],
        shape=inputs.low.shape,
        probe=field,
        good=inputs.good,
        power=sum(power[1:], start=power[0]),
        noise=inputs.noise,
    )


class CanvasTask(GroupTask):
    """Canvas networks: each sub-scan of C patterns gives one object array."""

    @cached_property
    def unrolled(self) -> Unrolled:
        return Unrolled(self.network)

    def inputs(self, batch: Batch) -> CanvasInputs:
        scan, field = batch.scan, self.probes.field(batch.scan)
        subsets, left_out = judged_subsets(batch.positions_px[0], field, self.unrolled.updates)
        return canvas_inputs(self.scans[scan], batch, self.probes[scan], field, subsets, left_out)

    def predict(self, xp: Ops, inputs: CanvasInputs) -> Prediction:
        assert inputs.left_out is not None  # every batch of a training has such patterns
        problem = canvas_problem(xp, inputs)
        passes = list(self.unrolled.passes(problem, low=inputs.low))
        measured = [xp.square(subset.amplitudes) for subset in inputs.subsets]
        estimates = [
            self._estimate(xp, k, len(passes), found, measured)
            for k, found in enumerate(passes[1:], start=1)
        ]
        state = passes[-1].state
        last = inputs.left_out.batch(xp, problem.probe, inputs.low.shape[1])
        intensities = modelled(xp, problem.propagator, state.canvas, last)[2]
        estimates.append(Estimate(1.0, intensities, xp.square(last.amplitudes)))
        return Prediction(
            estimates=estimates,
            good=inputs.good,
            images=state.canvas,
            weight=state.total_illumination(),
            truth=inputs.truth,
        )

    def _estimate(
        self, xp: Ops, k: int, passes: int, found: Pass, measured: list[Array]
    ) -> Estimate:
        """What pass ``k`` predicted of each subset before it used these patterns the last time."""
        first = k * self.unrolled.updates
        latest = {(first + u) % len(measured): i for u, i in enumerate(found.modelled)}
        return Estimate(
            self.config.loss.iterate_decay ** (passes - k),
            xp.concat(list(latest.values())),
            xp.concat([measured[subset] for subset in latest]),
        )


def group_task(
    config: Config,
    network: BuiltNetwork,
    scans: Sequence[PreparedScan],
    own_loss: OwnLoss | None = None,
) -> GroupTask:
    """The task of measured scans for the family of the configured architecture."""
    kind = PatchTask if config.model.family == "patch" else CanvasTask
    return kind(config, network, scans, own_loss)
