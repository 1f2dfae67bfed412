"""The canvas network in TensorFlow: physics steps over all patterns, alternating with a learned
correction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf
from tensorflow import Tensor

from ptychopinn.backends.tensorflow import physics
from ptychopinn.backends.tensorflow.network import BuiltNetwork
from ptychopinn.networks.unrolled import RIM


class PatternBatch(NamedTuple):
    """Some patterns of a scan, ready for the physics.

    amplitudes : (M, N, N) square root of the counts in network units, FFT order.
    probes : (M, P, N, N) probe modes at the sub-pixel positions, network units.
    index : (M, N*N) flat canvas pixels of each patch.
    """

    amplitudes: Tensor
    probes: Tensor
    index: Tensor


@dataclass(frozen=True)
class CanvasProblem:
    """One (sub-)scan on its own canvas.

    batches : a callable that iterates over the patterns; called once per physics step.
    shape : canvas (H, W).  good : (N, N) good pixels in FFT order, 0 or 1.
    illumination : (H, W) sum of abs(probe)^2.  power : sum of amplitudes^2 over good pixels.
    """

    batches: Callable[[], Iterable[PatternBatch]]
    shape: Tensor
    good: Tensor
    illumination: Tensor
    power: Tensor


def probe_illumination(batches: Iterable[PatternBatch], shape: Tensor) -> Tensor:
    """Sum of abs(probe)^2 on the canvas (H, W), the weight of every object pixel."""
    total: Tensor | None = None
    for batch in batches:
        density = physics.intensity(batch.probes)
        part = physics.scatter(density, batch.index, shape)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("a canvas problem needs at least one pattern")
    return total


def modulus_residual(
    canvas: Tensor, batch: PatternBatch, good: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace the modelled modulus by the measured one, keep the phase.

    Returns the scatter-added sum of conj(P)*chi with chi = F^-1(Psi') - psi, the amplitude misfit
    summed over good pixels, and the modelled intensity (M, N, N).
    """
    n = tf.shape(batch.amplitudes)[-1]
    patches = physics.gather(canvas, batch.index, n)
    fields = physics.far_field(batch.probes, patches)
    modelled = physics.intensity(fields)
    amplitude = tf.sqrt(modelled + 1e-12)
    difference = good * (batch.amplitudes - amplitude)
    chi = physics.ifft(fields * physics.as_complex(difference / amplitude)[:, None])
    back = tf.reduce_sum(tf.math.conj(batch.probes) * chi, axis=1)
    numerator = physics.scatter(back, batch.index, tf.shape(canvas))
    return numerator, tf.reduce_sum(tf.square(difference)), modelled


def modelled_intensity(canvas: Tensor, batch: PatternBatch) -> Tensor:
    """Expected intensities (M, N, N), FFT order, of the canvas."""
    patches = physics.gather(canvas, batch.index, tf.shape(batch.amplitudes)[-1])
    return physics.intensity(physics.far_field(batch.probes, patches))


class CanvasNetwork(tf.Module):
    """K unrolled iterations ``v <- b v + a d + c U``, ``O <- O + v`` (see networks.unrolled).

    ``residual`` and ``advance`` take the physics step and the update; inference replaces them by
    compiled ones.
    """

    def __init__(self, network: BuiltNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def iterations(self) -> int:
        return int(self.network.vectors["step"].shape[0])

    def __call__(self, problem: CanvasProblem) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Run all iterations.

        Returns the canvas (H, W), the relative misfit before each step (K), and the modelled
        intensities (M, N, N) before each step for problems of one batch.
        """
        canvas = tf.ones(problem.shape, tf.complex64)
        velocity = tf.zeros(problem.shape, tf.complex64)
        misfits: list[Tensor] = []
        modelled: list[Tensor] = []
        for k in range(self.iterations):
            numerator, misfit, intensities = self._physics(canvas, problem)
            misfits.append(misfit / problem.power)
            modelled.append(intensities)
            canvas, velocity = self.advance(
                tf.constant(k), canvas, velocity, numerator, problem.illumination, misfits[-1]
            )
        return canvas, misfits, modelled

    def residual(
        self, canvas: Tensor, batch: PatternBatch, good: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The physics step of some patterns, see :func:`modulus_residual`."""
        return modulus_residual(canvas, batch, good)

    def advance(
        self,
        k: Tensor,
        canvas: Tensor,
        velocity: Tensor,
        numerator: Tensor,
        illumination: Tensor,
        misfit: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Canvas and velocity after iteration ``k``."""
        peak = tf.reduce_max(illumination)
        light = illumination / peak
        direction = numerator * physics.as_complex(1 / (illumination + RIM * peak))
        update = self._correction(canvas, direction, velocity, light, misfit)
        step, momentum, gain = (
            physics.as_complex(tf.convert_to_tensor(self.network.vectors[name])[k])
            for name in ("step", "momentum", "gain")
        )
        velocity = momentum * velocity + step * direction + gain * update
        return canvas + velocity, velocity

    def _physics(self, canvas: Tensor, problem: CanvasProblem) -> tuple[Tensor, Tensor, Tensor]:
        numerator = tf.zeros_like(canvas)
        misfit = tf.zeros([])
        modelled = tf.zeros([0])
        for batch in problem.batches():
            part, difference, modelled = self.residual(canvas, batch, problem.good)
            numerator = numerator + part
            misfit = misfit + difference
        return numerator, misfit, modelled

    def _correction(
        self, canvas: Tensor, direction: Tensor, velocity: Tensor, light: Tensor, misfit: Tensor
    ) -> Tensor:
        log10 = tf.math.log(misfit + 1e-6) / tf.math.log(10.0)
        level = 0.1 * log10 * tf.ones_like(light)
        deviation = canvas - 1
        features = tf.stack(
            [
                tf.math.real(deviation),
                tf.math.imag(deviation),
                tf.math.real(direction),
                tf.math.imag(direction),
                tf.math.real(velocity),
                tf.math.imag(velocity),
                light,
                level,
            ]
        )[None]
        height, width = tf.shape(light)[0], tf.shape(light)[1]
        multiple = self.network.description.multiple_of
        # Up to a multiple with the last row and column repeated.
        below = tf.ones(tf.stack([1, 1, -height % multiple, 1])) * features[:, :, -1:]
        features = tf.concat([features, below], axis=2)
        right = tf.ones(tf.stack([1, 1, 1, -width % multiple])) * features[..., -1:]
        features = tf.concat([features, right], axis=3)
        (out,) = self.network(canvas=features)
        correction = out[0, :, :height, :width]
        # Where no light falls nothing is known: the correction fades out with the illumination.
        fade = light / (light + RIM)
        return tf.complex(correction[0] * fade, correction[1] * fade)
