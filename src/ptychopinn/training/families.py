"""The two families of networks: from a batch of patterns to what the losses need.

A *patch* network maps the patterns of small groups to object patches, a *canvas* network maps a
sub-scan to one object array. What depends on the batch alone is prepared with NumPy as *inputs*, a
NamedTuple of arrays; the prediction is a pure function of these and of the network, written over
the operations of a framework.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.ops.base import Array, Ops, Variable
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.forward import PatternBatch, illumination, modelled
from ptychopinn.physics.geometry import canvas_for, places
from ptychopinn.physics.groups import group_intensities, merge_weight, reach_of
from ptychopinn.physics.low_frequency import LowFrequency, low_frequency
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.patches import PatchNetwork
from ptychopinn.solvers.problem import Problem, good_pixels, judged_subsets
from ptychopinn.solvers.unrolled import Pass, Unrolled
from ptychopinn.training.data import Batch
from ptychopinn.training.objective import Estimate, Prediction

Index = NDArray[np.int64]


# --- probes -------------------------------------------------------------------------------------


class Illumination(NamedTuple):
    """A probe as training sees it.

    parts : (P, N, N, 2) real and imaginary part relative to ``scale``, a Variable where the probe
    is trained.  scale : root mean square of the probe, so that one learning rate suits every probe.
    """

    parts: Any
    scale: float

    def field(self, xp: Ops) -> Array:
        """(P, N, N) complex, network units."""
        parts = self.parts * self.scale
        return xp.complex(parts[..., 0], parts[..., 1])


def illumination_of(probe: NDArray[np.complex64]) -> Illumination:
    """Of a ``probe`` (P, N, N) in network units."""
    scale = float(np.sqrt(np.mean(np.abs(probe) ** 2)))
    parts = np.stack([probe.real, probe.imag], axis=-1) / np.float32(scale)
    return Illumination(parts.astype(np.float32), scale)


class Probes:
    """The probes of the training scans, which training may refine.

    Attributes
    ----------
    variables : ``probe.K`` of scan K; empty when they stay as they are.
    """

    def __init__(self, xp: Ops, scans: Sequence[PreparedScan], trainable: bool) -> None:
        self.xp = xp
        self.given = [illumination_of(scan.probe) for scan in scans]
        self.variables: dict[str, Array] = {}
        if trainable:
            self.variables = {
                f"probe.{k}": xp.variable(given.parts) for k, given in enumerate(self.given)
            }

    def __getitem__(self, scan: int) -> Illumination:
        name, given = f"probe.{scan}", self.given[scan]
        if name not in self.variables:
            return given
        return given._replace(parts=Variable(name, self.variables[name]))

    def field(self, scan: int) -> NDArray[np.complex64]:
        """(P, N, N) in network units, as it is now."""
        name, given = f"probe.{scan}", self.given[scan]
        if name in self.variables:
            given = given._replace(parts=self.xp.to_numpy(self.variables[name]))
        return np.asarray(given.field(NumpyOps()), np.complex64)


# --- families -----------------------------------------------------------------------------------


class Family(ABC):
    """A kind of network with the training scans and their probes."""

    def __init__(
        self, network: BuiltNetwork, scans: Sequence[PreparedScan], probes: Probes
    ) -> None:
        self.network, self.scans, self.probes = network, scans, probes

    @abstractmethod
    def inputs(self, batch: Batch) -> Any:
        """The batch with everything that belongs to it."""

    @abstractmethod
    def predict(self, xp: Ops, inputs: Any) -> Prediction:
        """Run the network and the forward model."""


def family_of(
    config: Config, network: BuiltNetwork, scans: Sequence[PreparedScan], probes: Probes
) -> Family:
    """The family of the configured architecture."""
    if config.model.family == "patch":
        return PatchFamily(network, scans, probes)
    return CanvasFamily(network, scans, probes, config.loss.iterate_decay)


class GroupInputs(NamedTuple):
    """Groups of a patch network.

    patterns : (B, C, N, N) network input.  amplitudes : the same in the order of the fields.
    offsets_px : (B, C, 2).  weight : (N, N) merge weight.  reach : largest whole-pixel offset.
    good : (N, N) 0 or 1, in the order of the fields.  truth : (B, C, N, N) or None.
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


class PatchFamily(Family):
    """Patch networks: a group of C = gridsize^2 patterns gives C patches."""

    def __init__(
        self, network: BuiltNetwork, scans: Sequence[PreparedScan], probes: Probes
    ) -> None:
        super().__init__(network, scans, probes)
        self.model = PatchNetwork(network, scans[0].scan.N)
        self._weights: dict[int, NDArray[np.float32]] = {}

    def weight(self, scan: int) -> NDArray[np.float32]:
        """The merge weight (N, N) of a scan's probe; a constant for the gradient."""
        if self.probes.variables or scan not in self._weights:
            self._weights[scan] = merge_weight(self.probes.field(scan)).astype(np.float32)
        return self._weights[scan]

    def inputs(self, batch: Batch) -> GroupInputs:
        scan = self.scans[batch.scan]
        offsets = batch.positions_px - batch.positions_px.mean(axis=1, keepdims=True)
        return GroupInputs(
            probe=self.probes[batch.scan],
            propagator=scan.propagator,
            patterns=batch.amplitudes,
            amplitudes=scan.propagator.inward(batch.amplitudes),
            offsets_px=offsets,
            weight=self.weight(batch.scan),
            reach=reach_of(offsets),
            good=good_pixels(NumpyOps(), scan),
            truth=batch.truth,
        )

    def predict(self, xp: Ops, inputs: GroupInputs) -> Prediction:
        parameters = list(self.network.parameters.values())
        patches = self.model.objects(xp, inputs.patterns, parameters)
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
    probe: Illumination,
    field: NDArray[np.complex64],
    amplitudes: NDArray[np.float32],
    positions_px: NDArray[np.float64],
    subsets: Sequence[Index],
    left_out: Index | None = None,
    truth: NDArray[np.complex64] | None = None,
) -> CanvasInputs:
    """Patterns (M, N, N) at positions (M, 2) on the smallest canvas, under ``probe``, which is
    ``field`` (P, N, N) at present."""
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
        truth=truth,
    )


def canvas_problem(xp: Ops, inputs: CanvasInputs) -> Problem:
    """The sub-scan as a problem whose every subset is one batch."""
    field = inputs.probe.field(xp)
    batches = [subset.batch(xp, field, inputs.low.shape[1]) for subset in inputs.subsets]
    power = [xp.sum(inputs.good * xp.square(batch.amplitudes)) for batch in batches]
    return Problem(
        xp=xp,
        propagator=inputs.propagator,
        subsets=[partial(_only, batch) for batch in batches],
        shape=inputs.low.shape,
        probe=field,
        good=inputs.good,
        power=sum(power[1:], start=power[0]),
        noise=inputs.noise,
    )


def _only(batch: PatternBatch) -> list[PatternBatch]:
    return [batch]


class CanvasFamily(Family):
    """Canvas networks: each sub-scan of C patterns gives one object array."""

    def __init__(
        self,
        network: BuiltNetwork,
        scans: Sequence[PreparedScan],
        probes: Probes,
        iterate_decay: float,
    ) -> None:
        super().__init__(network, scans, probes)
        self.unrolled, self.iterate_decay = Unrolled(network), iterate_decay

    def inputs(self, batch: Batch) -> CanvasInputs:
        if batch.amplitudes.shape[0] != 1:
            raise ValueError("a canvas network takes one sub-scan at a time")
        positions, field = batch.positions_px[0], self.probes.field(batch.scan)
        subsets, left_out = judged_subsets(positions, field, self.unrolled.updates)
        return canvas_inputs(
            self.scans[batch.scan],
            self.probes[batch.scan],
            field,
            batch.amplitudes[0],
            positions,
            subsets,
            left_out,
            batch.truth,
        )

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
            self.iterate_decay ** (passes - k),
            xp.concat(list(latest.values())),
            xp.concat([measured[subset] for subset in latest]),
        )
