"""The two families of networks behind one interface: from a batch of groups to what the losses
need.

A *patch* network maps the patterns of small groups to object patches, a *canvas* network maps a
sub-scan to one object canvas. What depends on a batch is prepared as ``inputs``, outside of the
graph; :meth:`Family.predict` is what is traced, once, for batches and canvases of any size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.backends.tensorflow import canvas as canvas_network
from ptychopinn.backends.tensorflow import graphs, physics
from ptychopinn.backends.tensorflow.network import BuiltNetwork
from ptychopinn.canvas_plan import judged_subsets, places
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.cnn import padded_size
from ptychopinn.networks.registry import describe, family
from ptychopinn.networks.weights import Weights, initial_weights
from ptychopinn.physics.forward import canvas_for
from ptychopinn.physics.groups import merge_weight
from ptychopinn.training.data import Batch
from ptychopinn.training.objective import Estimate, Prediction


class Layout(NamedTuple):
    """How a sub-scan of M patterns lies on its canvas and is divided (ptychopinn.canvas_plan).

    shape : (H, W).  corner, fraction, centre : as in ptychopinn.canvas_plan.Places.
    order : numbers of the patterns of all subsets, one subset after the other; ``bounds`` (U+1,)
        says where each begins, ``count`` how many there are: the others are empty.
    left_out : numbers of the patterns that judge the result.
    noise : standard deviation of an amplitude due to photon noise.  low : for the low-frequency
        phase.
    """

    shape: Tensor
    corner: Tensor
    fraction: Tensor
    centre: Tensor
    order: Tensor
    bounds: Tensor
    count: Tensor
    left_out: Tensor
    noise: Tensor
    low: physics.LowFrequency


# Types and ranks, for tracing.
LAYOUT = Layout(
    shape=graphs.SHAPE,
    corner=tf.TensorSpec([None, 2], tf.int32),
    fraction=graphs.PAIRS,
    centre=graphs.CENTRE,
    order=tf.TensorSpec([None], tf.int32),
    bounds=tf.TensorSpec([None], tf.int32),
    count=tf.TensorSpec([], tf.int32),
    left_out=tf.TensorSpec([None], tf.int32),
    noise=graphs.NUMBER,
    low=graphs.LOW,
)


class Inputs(NamedTuple):
    """A batch as tensors, with probe and mask of its scan.

    probe : (P, N, N, 2) real and imaginary part relative to ``scale``, see :class:`Family`.
    scale : root mean square of the probe.  good : (N, N) good pixels, FFT order.
    amplitudes, positions_px : as in :class:`Batch`.  truth : as there, or empty.
    weight : (N, N) merge weight of a patch network, else empty.  layout : of a canvas network, else
        empty.
    """

    probe: Tensor
    scale: Tensor
    good: Tensor
    amplitudes: Tensor
    positions_px: Tensor
    truth: Tensor
    weight: Tensor
    layout: Layout


class Family(tf.Module, ABC):
    """A network together with the probes and masks of the scans it is trained on."""

    def __init__(
        self, network: BuiltNetwork, scans: Sequence[PreparedScan], trainable: bool
    ) -> None:
        super().__init__()
        self.network, self.trainable = network, trainable
        self.scale = [float(np.sqrt(np.mean(np.abs(s.probe) ** 2))) for s in scans]
        # Stored relative to the root mean square, so that one learning rate suits every probe.
        self.probes = [
            tf.Variable(np.stack([s.probe.real, s.probe.imag], axis=-1) / np.float32(rms))
            for s, rms in zip(scans, self.scale, strict=True)
        ]
        self.masks = [np.fft.ifftshift(s.scan.good_pixels).astype(np.float32) for s in scans]

    def probe(self, scan: int) -> NDArray[np.complex64]:
        """(P, N, N) complex probe of a scan in network units."""
        parts = self.probes[scan].numpy() * np.float32(self.scale[scan])
        probe: NDArray[np.complex64] = np.ascontiguousarray(parts).view(np.complex64)[..., 0]
        return probe

    def signature(self) -> Inputs:
        """Types and ranks of :class:`Inputs`, for tracing."""

        def spec(rank: int, dtype: Any = tf.float32) -> tf.TensorSpec:
            return tf.TensorSpec([None] * rank, dtype)

        return Inputs(
            probe=tf.TensorSpec([None, None, None, 2], tf.float32),
            scale=spec(0),
            good=spec(2),
            amplitudes=spec(4),
            positions_px=spec(3, tf.float64),
            truth=spec(4, tf.complex64),
            weight=spec(2),
            layout=LAYOUT,
        )

    def inputs(self, batch: Batch) -> Inputs:
        """The batch, NumPy arrays, with everything that belongs to it."""
        truth = np.zeros((0, 0, 0, 0), np.complex64) if batch.truth is None else batch.truth
        return Inputs(
            probe=self.probes[batch.scan].value(),
            scale=tf.constant(self.scale[batch.scan]),
            good=tf.constant(self.masks[batch.scan]),
            amplitudes=tf.constant(batch.amplitudes),
            positions_px=tf.constant(batch.positions_px),
            truth=tf.constant(truth.reshape((-1,) * (4 - truth.ndim) + truth.shape)),
            weight=tf.zeros([0, 0]),
            layout=tf.nest.map_structure(_nothing, LAYOUT),
        )

    @abstractmethod
    def predict(self, inputs: Inputs, supervised: bool = False) -> Prediction:
        """Run the network and the forward model on a batch."""


def _nothing(spec: tf.TensorSpec) -> Tensor:
    """An empty tensor, or zeros where the shape is fixed."""
    return tf.zeros([0 if side is None else side for side in spec.shape], spec.dtype)


def complex_probe(inputs: Inputs) -> Tensor:
    """(P, N, N) complex probe in network units."""
    parts = inputs.probe * inputs.scale
    return tf.complex(parts[..., 0], parts[..., 1])


class PatchFamily(Family):
    """Patch networks such as ``cnn``: a group of C = gridsize^2 patterns gives C patches."""

    def __init__(
        self, network: BuiltNetwork, scans: Sequence[PreparedScan], trainable: bool, n: int
    ) -> None:
        super().__init__(network, scans, trainable)
        self.n = n
        self.margin = (padded_size(n) - n) // 2
        self._weights: dict[int, NDArray[np.float32]] = {}

    def weight(self, scan: int) -> NDArray[np.float32]:
        """The merge weight (N, N) of a scan's probe; a constant for the gradient."""
        if self.trainable or scan not in self._weights:
            self._weights[scan] = merge_weight(self.probe(scan)).astype(np.float32)
        return self._weights[scan]

    def inputs(self, batch: Batch) -> Inputs:
        return super().inputs(batch)._replace(weight=tf.constant(self.weight(batch.scan)))

    def objects(self, amplitudes: Tensor) -> Tensor:
        """Object patches (B, C, N, N) complex from amplitudes (B, C, N, N)."""
        m = self.margin
        x = tf.pad(amplitudes, [[0, 0], [0, 0], [m, m], [m, m]]) if m else amplitudes
        modulus, phase = self.network(patterns=x)
        patches = tf.complex(modulus * tf.cos(phase), modulus * tf.sin(phase))
        return patches[..., m : m + self.n, m : m + self.n]

    def predict(self, inputs: Inputs, supervised: bool = False) -> Prediction:
        patches = self.objects(inputs.amplitudes)
        offsets = inputs.positions_px - tf.reduce_mean(inputs.positions_px, axis=1, keepdims=True)
        modelled = physics.group_intensities(patches, offsets, complex_probe(inputs), inputs.weight)
        measured = tf.square(physics.to_fft_order(inputs.amplitudes))
        return Prediction(
            estimates=[Estimate(1.0, modelled, measured)],
            good=inputs.good,
            images=patches,
            weight=inputs.weight,
            truth=inputs.truth if supervised else None,
        )


class CanvasFamily(Family):
    """Canvas networks such as ``unrolled``: each sub-scan of C patterns gives one canvas."""

    def __init__(
        self,
        network: BuiltNetwork,
        scans: Sequence[PreparedScan],
        trainable: bool,
        iterate_decay: float = 0.5,
    ) -> None:
        super().__init__(network, scans, trainable)
        self.unrolled = canvas_network.CanvasNetwork(network)
        self.iterate_decay = iterate_decay
        self.photon_scale = [s.photon_scale for s in scans]

    def inputs(self, batch: Batch) -> Inputs:
        if batch.amplitudes.shape[0] != 1:
            raise ValueError("a canvas network takes one sub-scan at a time")
        positions, probe = batch.positions_px[0], self.probe(batch.scan)
        n, updates = probe.shape[-1], self.unrolled.updates
        shape, origin = canvas_for(positions, n)
        where = places(positions, n, shape, origin)
        subsets, left_out = judged_subsets(positions, probe, updates)
        bounds = np.cumsum([0, *(len(s) for s in subsets)])
        layout = Layout(
            shape=tf.constant(shape, tf.int32),
            corner=tf.constant(where.corner, tf.int32),
            fraction=tf.constant(where.fraction, tf.float32),
            centre=tf.constant(where.centre, tf.int32),
            order=tf.constant(np.concatenate(subsets), tf.int32),
            bounds=tf.constant(np.pad(bounds, (0, updates + 1 - len(bounds)), "edge"), tf.int32),
            count=tf.constant(len(subsets)),
            left_out=tf.constant(left_out, tf.int32),
            noise=tf.constant(self.photon_scale[batch.scan] / 2, tf.float32),
            low=physics.LowFrequency.of(probe, shape),
        )
        return super().inputs(batch)._replace(layout=layout)

    def predict(self, inputs: Inputs, supervised: bool = False) -> Prediction:
        layout, updates = inputs.layout, self.unrolled.updates
        amplitudes = physics.to_fft_order(inputs.amplitudes[0])
        probe = complex_probe(inputs)

        def batch_of(chosen: Tensor) -> canvas_network.PatternBatch:
            return pattern_batch(
                tf.gather(amplitudes, chosen),
                tf.gather(layout.corner, chosen),
                tf.gather(layout.fraction, chosen),
                tf.gather(layout.centre, chosen),
                probe,
                layout.shape,
            )

        subsets = Slices(batch_of(layout.order), layout.bounds, updates)
        problem = canvas_network.CanvasProblem(
            subsets=subsets,
            count=layout.count,
            shape=layout.shape,
            probe=probe,
            low=layout.low,
            good=inputs.good,
            power=tf.reduce_sum(inputs.good * tf.square(subsets.whole.amplitudes)),
            noise=layout.noise,
        )
        found = self.unrolled(problem)
        estimates = []
        for k, intensities in enumerate(found.modelled[1:], start=1):
            modelled, measured = [], []
            for u, values in enumerate(intensities):
                # Each subset once: what the pass predicted before it used these patterns again.
                latest = tf.cast(u >= updates - layout.count, tf.int32)
                (batch,) = subsets[(k * updates + u) % layout.count]()
                length = latest * tf.shape(values)[0]
                modelled.append(values[:length])
                measured.append(tf.square(batch.amplitudes[:length]))
            estimates.append(
                Estimate(
                    self.iterate_decay ** (len(found.modelled) - k),
                    tf.concat(modelled, axis=0),
                    tf.concat(measured, axis=0),
                )
            )
        last = batch_of(layout.left_out)
        modelled_last = canvas_network.modelled_intensity(found.canvas, last, probe)
        estimates.append(Estimate(1.0, modelled_last, tf.square(last.amplitudes)))
        return Prediction(
            estimates=estimates,
            good=inputs.good,
            images=found.canvas,
            weight=found.illumination,
            truth=inputs.truth[0, 0] if supervised else None,
        )


class Slices(Sequence[Callable[[], list[canvas_network.PatternBatch]]]):
    """The subsets of patterns that lie one after the other in ``whole``, by their ``bounds``."""

    def __init__(self, whole: canvas_network.PatternBatch, bounds: Tensor, slots: int) -> None:
        self.whole, self.bounds, self.slots = whole, bounds, slots

    def __len__(self) -> int:
        return self.slots

    def __getitem__(self, subset: Any) -> Any:
        if isinstance(subset, int) and subset >= self.slots:
            raise IndexError(subset)
        begin, end = self.bounds[subset], self.bounds[subset + 1]
        batch = tf.nest.map_structure(lambda values: values[begin:end], self.whole)
        return lambda: [batch]


def pattern_batch(
    amplitudes: Tensor,
    corner: Tensor,
    fraction: Tensor,
    centre: Tensor,
    probe: Tensor | None,
    shape: Tensor,
) -> canvas_network.PatternBatch:
    """Index the patches on a canvas (H, W); keep the shifted ``probe`` if given."""
    return canvas_network.PatternBatch(
        amplitudes=amplitudes,
        fraction=fraction,
        index=physics.pixel_index(corner, tf.shape(amplitudes)[-1], shape[1]),
        centre=centre,
        probes=None if probe is None else graphs.shifted_probes(probe, fraction),
    )


def build_family(
    config: Config, scans: Sequence[PreparedScan], start: Weights | None = None
) -> Family:
    """The family of the configured architecture for these training scans, with the weights of
    ``start`` or new ones."""
    description = describe(config.model)
    if start is None:
        start = initial_weights(description, config.training.seed)
    network = BuiltNetwork(description, start)
    trainable = config.training.probe_trainable
    if family(config.model) == "patch":
        return PatchFamily(network, scans, trainable, scans[0].scan.N)
    return CanvasFamily(network, scans, trainable, config.loss.iterate_decay)
