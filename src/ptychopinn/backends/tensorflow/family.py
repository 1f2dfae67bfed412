"""The two families of networks behind one interface: from a batch of groups to what the losses
need.

A *patch* network maps the patterns of small groups to object patches, a *canvas* network maps a
sub-scan to one object canvas. What depends on a batch is prepared as ``inputs``, outside of the
graph; :meth:`Family.predict` is what is traced, once, for batches and canvases of any size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from ptychopinn.backends.tensorflow import canvas as canvas_network
from ptychopinn.backends.tensorflow import physics
from ptychopinn.backends.tensorflow.network import BuiltNetwork
from ptychopinn.config import Config
from ptychopinn.networks.cnn import padded_size
from ptychopinn.networks.registry import describe, family
from ptychopinn.networks.weights import initial_weights
from ptychopinn.physics.forward import canvas_for, split_positions
from ptychopinn.physics.groups import merge_weight
from ptychopinn.preparation import PreparedScan
from ptychopinn.training.data import Batch
from ptychopinn.training.objective import Prediction, shares_of


class Inputs(NamedTuple):
    """A batch as tensors, with probe and mask of its scan.

    probe : (P, N, N, 2) real and imaginary part relative to ``scale``, see :class:`Family`.
    scale : root mean square of the probe.  good : (N, N) good pixels, FFT order.
    amplitudes, positions_px : as in :class:`Batch`.  truth : as there, or empty.
    weight : (N, N) merge weight of a patch network.  shape : canvas (H, W), corner : (M, 2) first
    pixels of the patches and fraction : (M, 2) what remains, of a canvas network. Empty otherwise.
    """

    probe: Tensor
    scale: Tensor
    good: Tensor
    amplitudes: Tensor
    positions_px: Tensor
    truth: Tensor
    weight: Tensor
    shape: Tensor
    corner: Tensor
    fraction: Tensor


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
            shape=tf.TensorSpec([2], tf.int32),
            corner=tf.TensorSpec([None, 2], tf.int32),
            fraction=tf.TensorSpec([None, 2], tf.float32),
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
            shape=tf.zeros([2], tf.int32),
            corner=tf.zeros([0, 2], tf.int32),
            fraction=tf.zeros([0, 2]),
        )

    @abstractmethod
    def predict(self, inputs: Inputs, supervised: bool = False) -> Prediction:
        """Run the network and the forward model on a batch."""


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
        return Prediction(
            modelled=[(1.0, modelled)],
            measured=tf.square(physics.to_fft_order(inputs.amplitudes)),
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

    def inputs(self, batch: Batch) -> Inputs:
        if batch.amplitudes.shape[0] != 1:
            raise ValueError("a canvas network takes one sub-scan at a time")
        n = batch.amplitudes.shape[-1]
        shape, origin = canvas_for(batch.positions_px[0], n)
        corner, fraction = split_positions(batch.positions_px[0], n, origin)
        return (
            super()
            .inputs(batch)
            ._replace(
                shape=tf.constant(shape, tf.int32),
                corner=tf.constant(corner, tf.int32),
                fraction=tf.constant(fraction, tf.float32),
            )
        )

    def predict(self, inputs: Inputs, supervised: bool = False) -> Prediction:
        amplitudes = physics.to_fft_order(inputs.amplitudes[0])
        batch = pattern_batch(
            amplitudes, inputs.corner, inputs.fraction, complex_probe(inputs), inputs.shape
        )
        problem = canvas_network.CanvasProblem(
            batches=lambda: [batch],
            shape=inputs.shape,
            good=inputs.good,
            illumination=canvas_network.probe_illumination([batch], inputs.shape),
            power=tf.reduce_sum(inputs.good * tf.square(amplitudes)),
        )
        canvas, _, modelled = self.unrolled(problem)
        last = canvas_network.modelled_intensity(canvas, batch)
        return Prediction(
            modelled=shares_of([*modelled[1:], last], self.iterate_decay),
            measured=tf.square(amplitudes),
            good=inputs.good,
            images=canvas,
            weight=problem.illumination,
            truth=inputs.truth[0, 0] if supervised else None,
        )


def pattern_batch(
    amplitudes: Tensor, corner: Tensor, fraction: Tensor, probe: Tensor, shape: Tensor
) -> canvas_network.PatternBatch:
    """Shift the probe to every position and index the patches on a canvas (H, W)."""
    return canvas_network.PatternBatch(
        amplitudes=amplitudes,
        probes=physics.shifted_probes(probe, fraction),
        index=physics.pixel_index(corner, tf.shape(amplitudes)[-1], shape[1]),
    )


def build_family(config: Config, scans: Sequence[PreparedScan]) -> Family:
    """The family of the configured architecture for these training scans, newly started."""
    description = describe(config.model)
    network = BuiltNetwork(description, initial_weights(description, config.training.seed))
    trainable = config.training.probe_trainable
    if family(config.model) == "patch":
        return PatchFamily(network, scans, trainable, scans[0].scan.N)
    return CanvasFamily(network, scans, trainable, config.loss.iterate_decay)
