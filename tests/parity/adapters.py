"""One adapter per implementation of the physics, all with the same methods: one test serves all.

Arrays come in and go out as NumPy arrays in the package's contracts: positions (y, x), detector
arrays with the zero frequency at [N/2, N/2], losses on photon counts. Whatever an implementation
does differently inside (FFT order, network units, single precision) is hidden here. A further
backend adds one :class:`Physics`, one :class:`Networks` and their names in ``PHYSICS`` and
``NETWORKS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ptychopinn.backends.base import CanvasResult, Refined, Silent
from ptychopinn.canvas_plan import places
from ptychopinn.config import Config, ModelConfig, RefineConfig
from ptychopinn.networks.registry import describe
from ptychopinn.networks.weights import initial_weights
from ptychopinn.physics import forward, groups, losses, low_frequency
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.training.data import Batch

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
Weights = Mapping[str, NDArray[np.float32]]

# What a physics step of a canvas network adds to an intensity before taking its root.
FLOOR = 1e-12


class Physics(ABC):
    """The physics of one implementation; ``rtol`` is the relative error of its precision."""

    name: str
    rtol: float

    @abstractmethod
    def fourier_shift(self, field: Array, shift_px: Array) -> Array:
        """out(u) = field(u - shift) for fields (..., N, N), shifts (..., 2)."""

    @abstractmethod
    def far_field(self, canvas: Array, probe: Array, positions_px: Array, origin_px: Any) -> Array:
        """The linear map A: far fields (M, P, N, N) of a canvas (H, W)."""

    @abstractmethod
    def adjoint(
        self,
        fields: Array,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
    ) -> Array:
        """The map A*: a canvas (H, W) of far fields (M, P, N, N)."""

    @abstractmethod
    def intensities(
        self, canvas: Array, probe: Array, positions_px: Array, origin_px: Any
    ) -> Array:
        """Expected counts (M, N, N)."""

    @abstractmethod
    def merge(self, patches: Array, offsets_px: Array, weight: Array, reach: int) -> Array:
        """Group canvases (B, L, L) of patches (B, C, N, N)."""

    @abstractmethod
    def extract(self, canvas: Array, offsets_px: Array, n: int, reach: int) -> Array:
        """Patches (B, C, N, N) of group canvases (B, L, L)."""

    @abstractmethod
    def group_intensities(
        self, patches: Array, offsets_px: Array, probe: Array, weight: Array | None = None
    ) -> Array:
        """Expected counts (B, C, N, N) of merged patches; ``weight`` as in physics.groups."""

    @abstractmethod
    def poisson_deviance(self, model: Array, counts: Array, mask: Array | None = None) -> float: ...

    @abstractmethod
    def amplitude_residual(
        self, model: Array, counts: Array, mask: Array | None = None
    ) -> float: ...

    @abstractmethod
    def amplitude_mae(self, model: Array, counts: Array, mask: Array | None = None) -> float: ...

    @abstractmethod
    def total_variation(self, image: Array) -> float: ...

    @abstractmethod
    def realspace_mae(self, image: Array, truth: Array) -> float: ...

    @abstractmethod
    def deviance_gradient(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
    ) -> Array:
        """dL/d(Re O) + i dL/d(Im O), L the Poisson deviance of a canvas O."""

    @abstractmethod
    def modulus_step(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        spare: float = FLOOR,
    ) -> tuple[Array, float]:
        """Sum of conj(P) chi on the canvas, and the squared amplitude misfit of good pixels.

        chi = F^-1(Psi') - psi, Psi' with the measured modulus on good pixels; moduli are
        sqrt(I + ``spare``).
        """

    @abstractmethod
    def phase_gradients(self, modelled: Array, counts: Array, mask: Array) -> Array:
        """Missing phase gradients (M, 2) = (dy, dx), radians per pixel, of patterns (M, N, N)."""

    @abstractmethod
    def missing_phase(
        self,
        gradients: Array,
        positions_px: Array,
        probe: Array,
        shape: tuple[int, int],
        origin_px: Any,
    ) -> Array:
        """The phase (H, W), up to a constant, with these gradients (M, 2) at the positions."""


class Oracle(Physics):
    """The NumPy float64 reference."""

    name = "oracle"
    rtol = 1e-10

    fourier_shift = staticmethod(forward.fourier_shift)
    far_field = staticmethod(forward.forward_linear)
    adjoint = staticmethod(forward.adjoint_linear)
    intensities = staticmethod(forward.intensities)
    merge = staticmethod(groups.merge)
    extract = staticmethod(groups.extract)
    group_intensities = staticmethod(groups.group_intensities)
    poisson_deviance = staticmethod(losses.poisson_deviance)
    amplitude_residual = staticmethod(losses.amplitude_residual)
    amplitude_mae = staticmethod(losses.amplitude_mae)
    total_variation = staticmethod(losses.total_variation)
    realspace_mae = staticmethod(losses.realspace_mae)
    phase_gradients = staticmethod(low_frequency.phase_gradients)
    missing_phase = staticmethod(low_frequency.missing_phase)

    def deviance_gradient(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
    ) -> Array:
        # L = sum 2 (I_hat - I + I log(I / I_hat)) / sum I and dI_hat = 2 Re(conj(Psi) dPsi).
        fields = self.far_field(canvas, probe, positions_px, origin_px)
        model = (np.abs(fields) ** 2).sum(axis=1)
        slope = 2 * mask * (1 - counts / model) / counts[:, mask].sum()
        shape = (canvas.shape[0], canvas.shape[1])
        return 2 * self.adjoint(slope[:, None] * fields, probe, positions_px, shape, origin_px)

    def modulus_step(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        spare: float = FLOOR,
    ) -> tuple[Array, float]:
        fields = self.far_field(canvas, probe, positions_px, origin_px)
        amplitude = np.sqrt((np.abs(fields) ** 2).sum(axis=1) + spare)
        difference = mask * (np.sqrt(counts + spare) - amplitude)
        shape = (canvas.shape[0], canvas.shape[1])
        change = fields * (difference / amplitude)[:, None]
        update = self.adjoint(change, probe, positions_px, shape, origin_px)
        return update, float((difference**2).sum())


class TorchPhysics(Physics):
    """The PyTorch backend, in the precision it runs in (32 bit) or in 64 bit."""

    def __init__(self, bits: int) -> None:
        import torch

        from ptychopinn.backends.pytorch import canvas, losses, physics

        self.name, self.rtol = f"pytorch{bits}", {32: 3e-5, 64: 1e-10}[bits]
        self._torch, self._physics, self._losses, self._canvas = torch, physics, losses, canvas
        self._real, self._complex = {
            32: (torch.float32, torch.complex64),
            64: (torch.float64, torch.complex128),
        }[bits]

    def _to(self, array: Array) -> torch.Tensor:
        """A tensor of this precision; positions and offsets go in as float64, see _exactly."""
        kind = self._complex if np.iscomplexobj(array) else self._real
        return self._torch.as_tensor(np.array(array)).to(kind)

    def _exactly(self, array: Array) -> torch.Tensor:
        return self._torch.as_tensor(np.array(array, dtype=np.float64))

    def _batch(
        self,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
        counts: Array | None = None,
    ) -> Any:
        from ptychopinn.backends.pytorch.family import pattern_batch

        n = probe.shape[-1]
        measured = np.zeros((len(positions_px), n, n)) if counts is None else np.sqrt(counts)
        amplitudes = self._physics.to_fft_order(self._to(measured))
        return pattern_batch(amplitudes, positions_px, self._to(probe), shape, np.array(origin_px))

    def _centred(self, patterns: torch.Tensor) -> Array:
        return self._physics.from_fft_order(patterns).numpy()

    def fourier_shift(self, field: Array, shift_px: Array) -> Array:
        return self._physics.fourier_shift(self._to(field), self._exactly(shift_px)).numpy()

    def far_field(self, canvas: Array, probe: Array, positions_px: Array, origin_px: Any) -> Array:
        batch = self._batch(probe, positions_px, canvas.shape, origin_px)
        patches = self._physics.gather(self._to(canvas), batch.rows)
        return self._centred(self._physics.far_field(batch.probes, patches))

    def adjoint(
        self,
        fields: Array,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
    ) -> Array:
        batch = self._batch(probe, positions_px, shape, origin_px)
        waves = self._physics.ifft(self._physics.to_fft_order(self._to(fields)))
        back = (batch.probes.conj() * waves).sum(dim=1)
        return self._physics.scatter(back, batch.rows, shape).numpy()

    def intensities(
        self, canvas: Array, probe: Array, positions_px: Array, origin_px: Any
    ) -> Array:
        batch = self._batch(probe, positions_px, canvas.shape, origin_px)
        return self._centred(
            self._canvas.modelled_intensity(self._to(canvas), batch, self._to(probe))
        )

    def merge(self, patches: Array, offsets_px: Array, weight: Array, reach: int) -> Array:
        merged = self._physics.merge(
            self._to(patches), self._exactly(offsets_px), self._to(weight), reach
        )
        return merged.numpy()

    def extract(self, canvas: Array, offsets_px: Array, n: int, reach: int) -> Array:
        cut = self._physics.extract(self._to(canvas), self._exactly(offsets_px), n, reach)
        return cut.numpy()

    def group_intensities(
        self, patches: Array, offsets_px: Array, probe: Array, weight: Array | None = None
    ) -> Array:
        w = groups.merge_weight(probe) if weight is None else weight
        modelled = self._physics.group_intensities(
            self._to(patches), self._exactly(offsets_px), self._to(probe), self._to(w)
        )
        return self._centred(modelled)

    def _loss(
        self, loss: Callable[..., torch.Tensor], model: Array, counts: Array, mask: Array | None
    ) -> float:
        good, unit = network_units(counts, mask)
        ordered = [
            self._physics.to_fft_order(self._to(array))
            for array in (model * unit, counts * unit, good.astype(float))
        ]
        return float(loss(*ordered))

    def poisson_deviance(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(self._losses.poisson_deviance, model, counts, mask)

    def amplitude_residual(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(self._losses.amplitude_residual, model, counts, mask)

    def amplitude_mae(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(self._losses.amplitude_mae, model, counts, mask)

    def total_variation(self, image: Array) -> float:
        one = self._torch.ones(image.shape[-2:], dtype=self._real)
        return float(self._losses.total_variation(self._to(image), one))

    def realspace_mae(self, image: Array, truth: Array) -> float:
        one = self._torch.ones(image.shape[-2:], dtype=self._real)
        return float(self._losses.realspace_mae(self._to(image), self._to(truth), one))

    def deviance_gradient(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
    ) -> Array:
        unknown = self._to(canvas).requires_grad_()
        batch = self._batch(probe, positions_px, canvas.shape, origin_px, counts)
        good = self._physics.to_fft_order(self._to(mask.astype(float)))
        model = self._canvas.modelled_intensity(unknown, batch, self._to(probe))
        self._losses.poisson_deviance(model, batch.amplitudes.square(), good).backward()
        assert unknown.grad is not None
        return unknown.grad.numpy()

    def modulus_step(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        spare: float = FLOOR,
    ) -> tuple[Array, float]:
        batch = self._batch(probe, positions_px, canvas.shape, origin_px, counts)
        good = self._physics.to_fft_order(self._to(mask.astype(float)))
        given = self._to(probe)
        low = self._physics.LowFrequency(given, canvas.shape)
        found = self._canvas.modulus_projection(self._to(canvas), [batch], given, good, low, spare)
        return found.numerator.numpy(), float(found.misfit)

    def phase_gradients(self, modelled: Array, counts: Array, mask: Array) -> Array:
        n = modelled.shape[-1]
        low = self._physics.LowFrequency(self._to(np.ones((1, n, n), complex)), (n, n))
        difference, model = (
            self._physics.to_fft_order(self._to(array))
            for array in (mask * (counts - modelled), modelled)
        )
        return low.gradients(difference, model).numpy()

    def missing_phase(
        self,
        gradients: Array,
        positions_px: Array,
        probe: Array,
        shape: tuple[int, int],
        origin_px: Any,
    ) -> Array:
        batch = self._batch(probe, positions_px, shape, origin_px)
        low = self._physics.LowFrequency(self._to(probe), shape)
        placed = low.nowhere()
        low.place(placed, self._to(gradients), batch.centre)
        return low.phase(placed).numpy()


class TFPhysics(Physics):
    """The TensorFlow backend, in the precision it runs in (32 bit) or in 64 bit."""

    def __init__(self, bits: int) -> None:
        from ptychopinn.backends.tensorflow import canvas, graphs, losses, physics

        # After the package, which keeps TensorFlow's import quiet.
        import tensorflow as tf  # isort: skip

        self.name, self.rtol = f"tensorflow{bits}", {32: 3e-5, 64: 1e-10}[bits]
        self._tf, self._physics, self._losses = tf, physics, losses
        self._canvas, self._graphs = canvas, graphs
        self._real, self._complex = {
            32: (np.float32, np.complex64),
            64: (np.float64, np.complex128),
        }[bits]

    def _to(self, array: Array) -> Any:
        """A tensor of this precision; positions and offsets go in as float64, see _exactly."""
        kind = self._complex if np.iscomplexobj(array) else self._real
        return self._tf.constant(np.asarray(array).astype(kind))

    def _exactly(self, array: Array) -> Any:
        return self._tf.constant(np.asarray(array, dtype=np.float64))

    def _batch(
        self,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
        counts: Array | None = None,
    ) -> Any:
        n = probe.shape[-1]
        measured = np.zeros((len(positions_px), n, n)) if counts is None else np.sqrt(counts)
        where = places(positions_px, n, shape, np.array(origin_px))
        index = self._physics.pixel_index(
            self._tf.constant(where.corner, self._tf.int32), n, shape[1]
        )
        return self._canvas.PatternBatch(
            amplitudes=self._physics.to_fft_order(self._to(measured)),
            fraction=self._exactly(where.fraction),
            index=index,
            centre=self._tf.constant(where.centre, self._tf.int32),
            probes=self._physics.shifted_probes(self._to(probe), self._exactly(where.fraction)),
        )

    def _centred(self, patterns: Any) -> Array:
        array: Array = self._physics.from_fft_order(patterns).numpy()
        return array

    def fourier_shift(self, field: Array, shift_px: Array) -> Array:
        shifted: Array = self._physics.fourier_shift(
            self._to(field), self._exactly(shift_px)
        ).numpy()
        return shifted

    def far_field(self, canvas: Array, probe: Array, positions_px: Array, origin_px: Any) -> Array:
        batch = self._batch(probe, positions_px, canvas.shape, origin_px)
        patches = self._physics.gather(self._to(canvas), batch.index, probe.shape[-1])
        return self._centred(self._physics.far_field(batch.probes, patches))

    def adjoint(
        self,
        fields: Array,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
    ) -> Array:
        batch = self._batch(probe, positions_px, shape, origin_px)
        waves = self._physics.ifft(self._physics.to_fft_order(self._to(fields)))
        back = self._tf.reduce_sum(self._tf.math.conj(batch.probes) * waves, axis=1)
        canvas: Array = self._physics.scatter(back, batch.index, shape).numpy()
        return canvas

    def intensities(
        self, canvas: Array, probe: Array, positions_px: Array, origin_px: Any
    ) -> Array:
        batch = self._batch(probe, positions_px, canvas.shape, origin_px)
        return self._centred(
            self._canvas.modelled_intensity(self._to(canvas), batch, self._to(probe))
        )

    def merge(self, patches: Array, offsets_px: Array, weight: Array, reach: int) -> Array:
        merged: Array = self._physics.merge(
            self._to(patches), self._exactly(offsets_px), self._to(weight), reach
        ).numpy()
        return merged

    def extract(self, canvas: Array, offsets_px: Array, n: int, reach: int) -> Array:
        cut: Array = self._physics.extract(
            self._to(canvas), self._exactly(offsets_px), n, reach
        ).numpy()
        return cut

    def group_intensities(
        self, patches: Array, offsets_px: Array, probe: Array, weight: Array | None = None
    ) -> Array:
        w = groups.merge_weight(probe) if weight is None else weight
        modelled = self._physics.group_intensities(
            self._to(patches), self._exactly(offsets_px), self._to(probe), self._to(w)
        )
        return self._centred(modelled)

    def _loss(
        self, loss: Callable[..., Any], model: Array, counts: Array, mask: Array | None
    ) -> float:
        good, unit = network_units(counts, mask)
        ordered = [
            self._physics.to_fft_order(self._to(array))
            for array in (model * unit, counts * unit, good.astype(float))
        ]
        return float(loss(*ordered))

    def poisson_deviance(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(self._losses.poisson_deviance, model, counts, mask)

    def amplitude_residual(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(self._losses.amplitude_residual, model, counts, mask)

    def amplitude_mae(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(self._losses.amplitude_mae, model, counts, mask)

    def total_variation(self, image: Array) -> float:
        one = self._to(np.ones(image.shape[-2:]))
        return float(self._losses.total_variation(self._to(image), one))

    def realspace_mae(self, image: Array, truth: Array) -> float:
        one = self._to(np.ones(image.shape[-2:]))
        return float(self._losses.realspace_mae(self._to(image), self._to(truth), one))

    def deviance_gradient(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
    ) -> Array:
        unknown = self._to(canvas)
        batch = self._batch(probe, positions_px, canvas.shape, origin_px, counts)
        good = self._physics.to_fft_order(self._to(mask.astype(float)))
        with self._tf.GradientTape() as tape:
            tape.watch(unknown)
            model = self._canvas.modelled_intensity(unknown, batch, self._to(probe))
            measured = self._tf.square(batch.amplitudes)
            loss = self._losses.poisson_deviance(model, measured, good)
        gradient: Array = tape.gradient(loss, unknown).numpy()
        return gradient

    def modulus_step(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        spare: float = FLOOR,
    ) -> tuple[Array, float]:
        batch = self._batch(probe, positions_px, canvas.shape, origin_px, counts)
        good = self._physics.to_fft_order(self._to(mask.astype(float)))
        update, misfit, _, _ = self._graphs.modulus_step.graph.python_function(
            self._to(canvas),
            batch.amplitudes,
            batch.probes,
            batch.index,
            good,
            self._tf.constant(spare, good.dtype),
            self._low(probe, (canvas.shape[0], canvas.shape[1])).k,
        )
        return update.numpy(), float(misfit)

    def _low(self, probe: Array, shape: tuple[int, int]) -> Any:
        return self._physics.LowFrequency.of(probe.astype(self._complex), shape)

    def phase_gradients(self, modelled: Array, counts: Array, mask: Array) -> Array:
        n = modelled.shape[-1]
        difference, model = (
            self._physics.to_fft_order(self._to(array))
            for array in (mask * (counts - modelled), modelled)
        )
        k = self._low(np.ones((1, n, n)), (n, n)).k
        found: Array = self._physics.missing_gradients(difference, model, k).numpy()
        return found

    def missing_phase(
        self,
        gradients: Array,
        positions_px: Array,
        probe: Array,
        shape: tuple[int, int],
        origin_px: Any,
    ) -> Array:
        batch = self._batch(probe, positions_px, shape, origin_px)
        phase: Array = self._low(probe, shape).phase(self._to(gradients), batch.centre).numpy()
        return phase


def network_units(counts: Array, mask: Array | None) -> tuple[Array, float]:
    """Good pixels, and the factor from counts to network units: mean intensity 1/4 (input_scale);
    it cancels in every loss."""
    good = np.ones(counts.shape[-2:], dtype=bool) if mask is None else mask
    return good, 0.25 / (
        counts[..., good].sum(dtype=np.float64) / counts[..., 0, 0].size / good.size
    )


class Networks(ABC):
    """The networks of one backend."""

    name: str

    def initial_weights(self, model: ModelConfig, seed: int) -> dict[str, NDArray[np.float32]]:
        """Weights of a newly started network, after they went through the backend."""
        return self.round_trip(model, initial_weights(describe(model), seed))

    @abstractmethod
    def apply(
        self, model: ModelConfig, weights: Weights, inputs: Mapping[str, Array]
    ) -> list[Array]:
        """Outputs (B, channels, H, W) of the network on its named inputs (B, channels, H, W)."""

    @abstractmethod
    def round_trip(self, model: ModelConfig, weights: Weights) -> dict[str, NDArray[np.float32]]:
        """Weights after they went into a network and out again."""

    @abstractmethod
    def random_state(self) -> bytes:
        """State of the framework's global random number generator."""

    @abstractmethod
    def predict(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, groups: Array
    ) -> Array:
        """What training sees: modelled intensities (B, C, N, N), network units, of the last
        estimate for groups (B, C) of pattern numbers of the scan."""

    @abstractmethod
    def reconstruct(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, memory_mib: int = 512
    ) -> CanvasResult:
        """Inference; ``memory_mib`` may be 0, then the patterns go in one by one."""

    @abstractmethod
    def refine(
        self,
        scan: PreparedScan,
        config: RefineConfig,
        start: CanvasResult | None = None,
        memory_mib: int = 512,
    ) -> Refined:
        """Plain physics iterations, in as much memory."""


class TorchNetworks(Networks):
    name = "pytorch"

    @staticmethod
    def _loaded(model: ModelConfig, weights: Weights) -> Any:
        from ptychopinn.backends.pytorch.network import BuiltNetwork

        return BuiltNetwork(describe(model), weights)

    def apply(
        self, model: ModelConfig, weights: Weights, inputs: Mapping[str, Array]
    ) -> list[Array]:
        import torch

        with torch.inference_mode():
            tensors = {k: torch.from_numpy(v.astype(np.float32)) for k, v in inputs.items()}
            return [out.numpy() for out in self._loaded(model, weights)(**tensors)]

    def round_trip(self, model: ModelConfig, weights: Weights) -> dict[str, NDArray[np.float32]]:
        out: dict[str, NDArray[np.float32]] = self._loaded(model, weights).export_weights()
        return out

    def random_state(self) -> bytes:
        import torch

        return torch.get_rng_state().numpy().tobytes()

    def predict(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, groups: Array
    ) -> Array:
        import torch

        from ptychopinn.backends.pytorch import family, physics

        built = family.build_family(Config(model=model), [scan])
        built.network.import_weights(weights)
        batch = Batch(
            amplitudes=torch.from_numpy(scan.amplitudes(groups)),
            positions_px=torch.from_numpy(scan.scan.positions_px[groups]),
            scan=0,
        )
        with torch.inference_mode():
            modelled = physics.from_fft_order(built.predict(batch).estimates[-1].modelled)
        return modelled.numpy().reshape(*groups.shape, scan.scan.N, scan.scan.N)

    def reconstruct(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, memory_mib: int = 512
    ) -> CanvasResult:
        from ptychopinn.ops.options import TorchExecution
        from ptychopinn.backends.pytorch.backend import reconstruct

        # model_construct: the least the schema allows would hold all patterns of a test scan.
        execution = TorchExecution.model_construct(
            accelerator="cpu", inference_batch_mib=memory_mib
        )
        return reconstruct(Config(model=model), weights, scan, execution)

    def refine(
        self,
        scan: PreparedScan,
        config: RefineConfig,
        start: CanvasResult | None = None,
        memory_mib: int = 512,
    ) -> Refined:
        from ptychopinn.ops.options import TorchExecution
        from ptychopinn.backends.pytorch.backend import refine

        execution = TorchExecution.model_construct(
            accelerator="cpu", inference_batch_mib=memory_mib
        )
        return refine(scan, config, execution, start, Silent())


class TFNetworks(Networks):
    name = "tensorflow"

    @staticmethod
    def _loaded(model: ModelConfig, weights: Weights) -> Any:
        from ptychopinn.backends.tensorflow.network import BuiltNetwork

        return BuiltNetwork(describe(model), weights)

    def apply(
        self, model: ModelConfig, weights: Weights, inputs: Mapping[str, Array]
    ) -> list[Array]:
        tensors = {k: v.astype(np.float32) for k, v in inputs.items()}
        return [out.numpy() for out in self._loaded(model, weights)(**tensors)]

    def round_trip(self, model: ModelConfig, weights: Weights) -> dict[str, NDArray[np.float32]]:
        out: dict[str, NDArray[np.float32]] = self._loaded(model, weights).export_weights()
        return out

    def random_state(self) -> bytes:
        import tensorflow as tf

        state: bytes = tf.random.get_global_generator().state.numpy().tobytes()
        return state

    def predict(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, groups: Array
    ) -> Array:
        from ptychopinn.backends.tensorflow import family, physics

        built = family.build_family(Config(model=model), [scan])
        built.network.import_weights(weights)
        batch = Batch(scan.amplitudes(groups), scan.scan.positions_px[groups], 0)
        prediction = built.predict(built.inputs(batch))
        modelled: Array = physics.from_fft_order(prediction.estimates[-1].modelled).numpy()
        return modelled.reshape(*groups.shape, scan.scan.N, scan.scan.N)

    def reconstruct(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, memory_mib: int = 512
    ) -> CanvasResult:
        from ptychopinn.ops.options import TFExecution
        from ptychopinn.backends.tensorflow.backend import reconstruct

        execution = TFExecution.model_construct(
            accelerator="cpu", threads=None, inference_batch_mib=memory_mib
        )
        return reconstruct(Config(model=model), weights, scan, execution)

    def refine(
        self,
        scan: PreparedScan,
        config: RefineConfig,
        start: CanvasResult | None = None,
        memory_mib: int = 512,
    ) -> Refined:
        from ptychopinn.ops.options import TFExecution
        from ptychopinn.backends.tensorflow.backend import refine

        execution = TFExecution.model_construct(
            accelerator="cpu", threads=None, inference_batch_mib=memory_mib
        )
        return refine(scan, config, execution, start, Silent())


PHYSICS: Mapping[str, tuple[str | None, Callable[[], Physics]]] = {
    "oracle": (None, Oracle),
    "pytorch64": ("torch", lambda: TorchPhysics(64)),
    "pytorch32": ("torch", lambda: TorchPhysics(32)),
    "tensorflow64": ("tensorflow", lambda: TFPhysics(64)),
    "tensorflow32": ("tensorflow", lambda: TFPhysics(32)),
}
NETWORKS: Mapping[str, tuple[str, Callable[[], Networks]]] = {
    "pytorch": ("torch", TorchNetworks),
    "tensorflow": ("tensorflow", TFNetworks),
}


def need(package: str | None) -> None:
    """Skip the test when a package is not installed."""
    if package is not None and find_spec(package) is None:
        pytest.skip(f"{package} is not installed; its implementation cannot be compared")
