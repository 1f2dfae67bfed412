"""The oracle and the package on each framework, with the same methods: one test serves all.

Arrays come in and go out as NumPy arrays in the package's contracts: positions (y, x), detector
arrays with the zero frequency at [N/2, N/2], losses on photon counts. What happens in between, the
order of the fields, network units and single precision, is hidden here. A further framework is a
line in ``PHYSICS`` and one in ``NETWORKS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from oracle import forward, groups, losses, low_frequency, near_field
from oracle.near_field import FreeSpace
from ptychopinn.config import ModelConfig, RefineConfig
from ptychopinn.contracts import Canvas, Solved
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import KINDS, BackendName, get_ops
from ptychopinn.physics import forward as model
from ptychopinn.physics import groups as model_groups
from ptychopinn.physics import losses as model_losses
from ptychopinn.physics.low_frequency import LowFrequency, missing_gradients, missing_phase
from ptychopinn.physics.low_frequency import low_frequency as low_frequency_of
from ptychopinn.physics.propagators import FarField, Propagator, fourier_shift, placed
from ptychopinn.physics.propagators import near_field as near_field_of
from ptychopinn.solvers.affine import affine_equations, distance_moments
from ptychopinn.solvers.descent import batch_misfit, object_and_probe_step, object_step
from ptychopinn.solvers.network import network_solver
from ptychopinn.solvers.patches import PatchNetwork
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.solvers.positions import move_equations

Array = NDArray[Any]
Weights = Mapping[str, NDArray[np.float32]]

#: Options with which each patch network of N = 32 is small.
SMALL_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "cnn": {"n_filters_scale": 0.1},
    "fno": {"fno_width": 4, "fno_modes": 3, "fno_blocks": 2, "fno_cnn_blocks": 1},
    "fno_vanilla": {"fno_width": 4, "fno_modes": 3, "fno_blocks": 2},
    "ffno": {"fno_width": 4, "fno_modes": 3, "fno_blocks": 2, "fno_cnn_blocks": 1},
    "neuralop_uno": {"fno_width": 4, "fno_modes": 3},
    "hybrid_resnet": {"fno_width": 4, "fno_modes": 3, "fno_blocks": 3, "resnet_blocks": 1},
    "vit": {"vit_width": 8, "vit_depth": 2, "vit_heads": 2},
}


def small_network(name: str, **options: Any) -> ModelConfig:
    """A patch network with few parameters, N = 32 unless said otherwise."""
    return ModelConfig(**{"architecture": name, "N": 32, **SMALL_NETWORKS[name], **options})


# What a modulus projection adds to an intensity before taking its root.
FLOOR = 1e-12


class Physics(ABC):
    """The physics of one implementation.

    ``rtol`` is the relative error of its precision, ``differentiates`` whether it has gradients. A
    ``space`` behind the object means the near field, None the far field.
    """

    name: str
    rtol: float
    differentiates = True

    @abstractmethod
    def fourier_shift(self, field: Array, shift_px: Array) -> Array:
        """out(u) = field(u - shift) for fields (..., N, N), shifts (..., 2)."""

    @abstractmethod
    def propagate(self, waves: Array, fraction: Array, space: FreeSpace | None) -> Array:
        """Fields (M, P, N, N) at the detector of exit waves with remainders (M, 2), as a unitary
        map."""

    @abstractmethod
    def propagate_back(self, fields: Array, fraction: Array, space: FreeSpace | None) -> Array:
        """The adjoint of :meth:`propagate`."""

    @abstractmethod
    def fields(
        self,
        canvas: Array,
        probe: Array,
        positions_px: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        """The linear map A: fields (M, P, N, N) of a canvas (H, W) at the detector."""

    @abstractmethod
    def adjoint(
        self,
        fields: Array,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        """The map A*: a canvas (H, W) of fields (M, P, N, N)."""

    @abstractmethod
    def intensities(
        self,
        canvas: Array,
        probe: Array,
        positions_px: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
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
        """Expected counts (B, C, N, N) of merged patches; ``weight`` as in oracle.groups."""

    @abstractmethod
    def poisson_deviance(self, model: Array, counts: Array, mask: Array | None = None) -> float: ...

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
        space: FreeSpace | None = None,
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
        space: FreeSpace | None = None,
        by_photons: bool = False,
    ) -> dict[str, Array]:
        """What a modulus projection says; chi = D^-1(Psi') - psi, Psi' with the measured modulus
        on good pixels, moduli being sqrt(I + ``spare``). ``by_photons`` the step follows the
        likelihood of photons, and is at most 3 times that of the moduli, or 1.5 times where I +
        ``spare`` is 3500 ``spare`` or more.

        object : sum of conj(P) chi on the canvas (H, W).  misfit : squared amplitude misfit of good
        pixels with ``spare``, and plain : without.  probe, light : numerator (P, N, N) and weight
        (N, N) of an update of the probe.  matrices, sides : (M, 2, 2), (M, 2) of the moves of
        positions, slopes of the canvas being central differences.
        """

    @abstractmethod
    def affine_equations(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        photon: float,
    ) -> dict[str, Array]:
        """The equations for the affine map E of all positions: matrix (4, 4), right (4,), for E_yy,
        E_yx, E_xy, E_xx, and noise, the trace of the matrix for an object of white noise.

        chi = D^-1 min(2 (x - 1), (x^2 - 1) / 2) Psi, x^2 = (I + ``photon``) / (I_hat + ``photon``).
        Pixels with 0.01 of the largest illumination or less do not count.
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


def slopes(canvas: Array) -> list[Array]:
    """Central differences (H, W) of a canvas along y and x, periodic."""
    return [(np.roll(canvas, -1, d) - np.roll(canvas, 1, d)) / 2 for d in (0, 1)]


class Oracle(Physics):
    """The NumPy float64 reference."""

    name = "oracle"
    rtol = 1e-10

    fourier_shift = staticmethod(forward.fourier_shift)
    merge = staticmethod(groups.merge)
    extract = staticmethod(groups.extract)
    group_intensities = staticmethod(groups.group_intensities)
    poisson_deviance = staticmethod(losses.poisson_deviance)
    amplitude_mae = staticmethod(losses.amplitude_mae)
    total_variation = staticmethod(losses.total_variation)
    realspace_mae = staticmethod(losses.realspace_mae)
    phase_gradients = staticmethod(low_frequency.phase_gradients)
    missing_phase = staticmethod(low_frequency.missing_phase)

    def propagate(self, waves: Array, fraction: Array, space: FreeSpace | None) -> Array:
        return forward.fft(waves) if space is None else near_field.propagate(waves, fraction, space)

    def propagate_back(self, fields: Array, fraction: Array, space: FreeSpace | None) -> Array:
        return (
            forward.ifft(fields) if space is None else near_field.adjoint(fields, fraction, space)
        )

    def fields(
        self,
        canvas: Array,
        probe: Array,
        positions_px: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        given = (canvas, probe, positions_px, origin_px)
        if space is None:
            return forward.forward_linear(*given)
        return near_field.forward_linear(*given, space)

    def adjoint(
        self,
        fields: Array,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        given = (fields, probe, positions_px, shape, origin_px)
        if space is None:
            return forward.adjoint_linear(*given)
        return near_field.adjoint_linear(*given, space)

    def intensities(
        self,
        canvas: Array,
        probe: Array,
        positions_px: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        fields = self.fields(canvas, probe, positions_px, origin_px, space)
        return np.asarray((np.abs(fields) ** 2).sum(axis=1))

    def deviance_gradient(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        # L = sum 2 (I_hat - I + I log(I / I_hat)) / sum I and dI_hat = 2 Re(conj(Psi) dPsi).
        fields = self.fields(canvas, probe, positions_px, origin_px, space)
        modelled = (np.abs(fields) ** 2).sum(axis=1)
        slope = 2 * mask * (1 - counts / modelled) / counts[:, mask].sum()
        shape = (canvas.shape[0], canvas.shape[1])
        weighted = slope[:, None] * fields
        return 2 * self.adjoint(weighted, probe, positions_px, shape, origin_px, space)

    def modulus_step(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        spare: float = FLOOR,
        space: FreeSpace | None = None,
        by_photons: bool = False,
    ) -> dict[str, Array]:
        n, shape = probe.shape[-1], (canvas.shape[0], canvas.shape[1])
        corner, fraction = forward.split_positions(positions_px, n, origin_px)
        fields = self.fields(canvas, probe, positions_px, origin_px, space)
        modelled = (np.abs(fields) ** 2).sum(axis=1)
        amplitude = np.sqrt(modelled + spare)
        difference = mask * (np.sqrt(counts + spare) - amplitude)
        share = difference / amplitude
        if by_photons:
            most = np.where(counts + spare < 3500 * spare, 3.0, 1.5)
            share *= np.minimum((np.sqrt(counts + spare) / amplitude + 1) / 2, most)
        change = fields * share[:, None]
        chi = self.propagate_back(change, fraction, space)
        patches = forward.extract_patches(canvas, corner, n)
        moved_back = forward.fourier_shift(patches.conj()[:, None] * chi, -fraction[:, None])
        moves = np.stack(
            [forward.exit_waves(s, probe, positions_px, origin_px) for s in slopes(canvas)], axis=1
        )
        return {
            "object": self.adjoint(change, probe, positions_px, shape, origin_px, space),
            "misfit": (difference**2).sum(),
            "plain": (mask * (np.sqrt(counts) - np.sqrt(modelled)) ** 2).sum(),
            "probe": moved_back.sum(axis=0),
            "light": (np.abs(patches) ** 2).sum(axis=0),
            "matrices": np.einsum("mapyx,mbpyx->mab", moves, moves.conj()).real,
            "sides": np.einsum("mapyx,mpyx->ma", moves, chi.conj()).real,
        }

    def affine_equations(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        photon: float,
    ) -> dict[str, Array]:
        # All waves on the whole canvas: the object's answer to E is a least-squares solution.
        n, (height, width) = probe.shape[-1], canvas.shape
        corner, fraction = forward.split_positions(positions_px, n, origin_px)
        fields = self.fields(canvas, probe, positions_px, origin_px)
        x = np.sqrt((counts + photon) / ((np.abs(fields) ** 2).sum(axis=1) + photon))
        factor = mask * np.where(x > 3, 2 * (x - 1), (x**2 - 1) / 2)
        chi = self.propagate_back(fields * factor[:, None], fraction, None)
        moved = forward.fourier_shift(probe[None], fraction[:, None])
        m, modes = chi.shape[:2]
        probes, waves = (np.zeros((m, modes, height, width), complex) for _ in range(2))
        for j, (top, left) in enumerate(corner):
            window = np.s_[j, :, top : top + n, left : left + n]
            probes[window], waves[window] = moved[j], chi[j]
        light = (np.abs(probes) ** 2).sum(axis=(0, 1))
        lit = light > 0.01 * light.max()
        safe = np.where(lit, light, 1)
        positions = positions_px - origin_px
        directions = []
        for a in (0, 1):
            for b in (0, 1):
                plain = probes * slopes(canvas)[a] * positions[:, b, None, None, None]
                answer = (probes.conj() * plain).sum(axis=(0, 1)) / safe
                directions.append((plain - probes * answer) * lit)
        white = 0.0
        for b in (0, 1):
            square = (np.abs(probes) ** 2).sum(axis=1) * positions[:, b, None, None] ** 2
            first = (np.abs(probes) ** 2).sum(axis=1) * positions[:, b, None, None]
            white += (((square.sum(axis=0) - first.sum(axis=0) ** 2 / safe) / safe) * lit).sum()
        flat = np.stack(directions).reshape(4, -1)
        return {
            "matrix": (flat.conj() @ flat.T).real,
            "right": (flat.conj() @ waves.ravel()).real,
            "noise": np.asarray(white),
        }


class OnOps(Physics):
    """The package on the operations of a framework, in single or double precision."""

    def __init__(self, framework: BackendName, bits: int, device: str = "cpu") -> None:
        self.name, self.rtol = f"{framework}{bits}", {32: 3e-5, 64: 1e-10}[bits]
        self.framework, self.differentiates = framework, KINDS[framework].training is not None
        self.xp, self.on_cpu = get_ops(framework, on_device(framework, device)), device == "cpu"
        self._kinds = {32: (np.float32, np.complex64), 64: (np.float64, np.complex128)}[bits]

    def assert_repeated(self, found: Array, expected: Array) -> None:
        """Every bit, but on a GPU, which adds patches in any order."""
        if self.on_cpu:
            np.testing.assert_array_equal(found, expected)
        else:
            assert np.abs(found - expected).max() <= self.rtol * np.abs(expected).max()

    def to(self, array: Any) -> Any:
        """An array of the framework in this precision."""
        given = np.asarray(array)
        return self.xp.asarray(given.astype(self._kinds[np.iscomplexobj(given)]))

    def exactly(self, array: Any) -> Any:
        """Positions and offsets go in as float64."""
        return self.xp.asarray(np.asarray(array, np.float64))

    def propagator(self, n: int, space: FreeSpace | None) -> Propagator:
        if space is None:
            return FarField()
        place = (space.pixel_size_m, space.energy_eV, space.distance_m)
        return placed(self.xp, near_field_of(n, *place, self._kinds[1]))

    def batch(
        self,
        probe: Any,
        positions_px: Array,
        shape: Any,
        origin_px: Any,
        propagator: Propagator,
        counts: Array | None = None,
    ) -> Any:
        """Patterns of ``counts`` with the ``probe``, which is of the framework, at their places."""
        n, size = self.xp.shape(probe)[-1], (int(shape[0]), int(shape[1]))
        measured = np.zeros((len(positions_px), n, n)) if counts is None else np.sqrt(counts)
        amplitudes = self.to(propagator.inward(measured))
        place = (np.asarray(positions_px, float), size, np.asarray(origin_px))
        bare = model.pattern_batch(self.xp, amplitudes, *place)
        return bare._replace(probes=model.illumination(self.xp, probe, bare.fraction))

    def numpy(self, x: Any) -> Array:
        return np.array(self.xp.to_numpy(x))

    def _good(self, mask: Array, propagator: Propagator) -> Any:
        return self.to(propagator.inward(mask.astype(float)))

    def _unitary(self, propagator: Propagator, n: int) -> float:
        """What makes the fields of a propagator unitary."""
        power = propagator.power(self.xp, n)
        return 1.0 if power is None else float(np.sqrt(float(power)))

    def fourier_shift(self, field: Array, shift_px: Array) -> Array:
        return self.numpy(fourier_shift(self.xp, self.to(field), self.exactly(shift_px)))

    def propagate(self, waves: Array, fraction: Array, space: FreeSpace | None) -> Array:
        propagator = self.propagator(waves.shape[-1], space)
        found = propagator.forward(self.xp, self.to(waves), self.to(fraction))
        factor = self._unitary(propagator, waves.shape[-1])
        return propagator.outward(self.numpy(found)) * factor

    def propagate_back(self, fields: Array, fraction: Array, space: FreeSpace | None) -> Array:
        propagator = self.propagator(fields.shape[-1], space)
        ordered = propagator.inward(fields) / self._unitary(propagator, fields.shape[-1])
        return self.numpy(propagator.backward(self.xp, self.to(ordered), self.to(fraction)))

    def fields(
        self,
        canvas: Array,
        probe: Array,
        positions_px: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        n = probe.shape[-1]
        propagator = self.propagator(n, space)
        batch = self.batch(self.to(probe), positions_px, canvas.shape, origin_px, propagator)
        _, fields, _ = model.modelled(self.xp, propagator, self.to(canvas), batch)
        return propagator.outward(self.numpy(fields)) * self._unitary(propagator, n)

    def adjoint(
        self,
        fields: Array,
        probe: Array,
        positions_px: Array,
        shape: tuple[int, int],
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        n, xp = probe.shape[-1], self.xp
        propagator = self.propagator(n, space)
        batch = self.batch(self.to(probe), positions_px, shape, origin_px, propagator)
        ordered = self.to(propagator.inward(fields) / self._unitary(propagator, n))
        _, back = model.backward(xp, propagator, ordered, batch)
        spread = xp.plus(None, xp.spread(back, batch.places, shape[0] * shape[1]))
        return self.numpy(xp.reshape(spread, shape))

    def intensities(
        self,
        canvas: Array,
        probe: Array,
        positions_px: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        ((_, found),) = model.predict(
            self.xp,
            np.asarray(canvas, self._kinds[1]),
            probe,
            positions_px,
            origin_px,
            self.propagator(probe.shape[-1], space),
        )
        return found

    def merge(self, patches: Array, offsets_px: Array, weight: Array, reach: int) -> Array:
        given = (self.to(patches), self.exactly(offsets_px), self.to(weight))
        return self.numpy(model_groups.merge(self.xp, *given, reach))

    def extract(self, canvas: Array, offsets_px: Array, n: int, reach: int) -> Array:
        given = (self.to(canvas), self.exactly(offsets_px))
        return self.numpy(model_groups.extract(self.xp, *given, n, reach))

    def group_intensities(
        self, patches: Array, offsets_px: Array, probe: Array, weight: Array | None = None
    ) -> Array:
        far = FarField()
        w = model_groups.merge_weight(probe) if weight is None else weight
        given = (self.to(patches), self.exactly(offsets_px), self.to(probe), self.to(w))
        reach = model_groups.reach_of(offsets_px)
        return far.outward(self.numpy(model_groups.group_intensities(self.xp, far, *given, reach)))

    def _loss(
        self, loss: Callable[..., Any], model: Array, counts: Array, mask: Array | None
    ) -> float:
        good, unit = network_units(counts, mask)
        given = (self.to(array) for array in (model * unit, counts * unit, good.astype(float)))
        return float(loss(self.xp, *given))

    def poisson_deviance(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(model_losses.poisson_deviance, model, counts, mask)

    def amplitude_mae(self, model: Array, counts: Array, mask: Array | None = None) -> float:
        return self._loss(model_losses.amplitude_mae, model, counts, mask)

    def total_variation(self, image: Array) -> float:
        one = self.to(np.ones(image.shape[-2:]))
        return float(model_losses.total_variation(self.xp, self.to(image), one))

    def realspace_mae(self, image: Array, truth: Array) -> float:
        one = self.to(np.ones(image.shape[-2:]))
        return float(model_losses.realspace_mae(self.xp, self.to(image), self.to(truth), one))

    def deviance_gradient(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        space: FreeSpace | None = None,
    ) -> Array:
        propagator = self.propagator(probe.shape[-1], space)
        place = (positions_px, canvas.shape, origin_px, propagator, counts)
        batch, good = self.batch(self.to(probe), *place), self._good(mask, propagator)

        def deviance(unknown: Any) -> Any:
            modelled = model.modelled(self.xp, propagator, unknown, batch)[2]
            measured = self.xp.square(batch.amplitudes)
            return model_losses.poisson_deviance(self.xp, modelled, measured, good)

        (found,) = gradients(self.framework, deviance, self.to(canvas))
        assert found is not None
        return found

    def modulus_step(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        spare: float = FLOOR,
        space: FreeSpace | None = None,
        by_photons: bool = False,
    ) -> dict[str, Array]:
        xp, shape = self.xp, (canvas.shape[0], canvas.shape[1])
        propagator = self.propagator(probe.shape[-1], space)
        batch = self.batch(self.to(probe), positions_px, shape, origin_px, propagator, counts)
        good, e = self._good(mask, propagator), self.to(spare)
        low, size = self._low(probe, shape), shape[0] * shape[1]
        given = (self.to(canvas), batch, good)
        rule = (e, 1.0 if by_photons else ())
        alone = xp.call(object_step, propagator, *given, *rule, low.k, size)
        both = xp.call(object_and_probe_step, propagator, *given, *rule, low.k, size)
        down, right = (self.to(slope) for slope in slopes(canvas))
        moves = xp.call(move_equations, propagator, *given, *rule, down, right)
        plain = xp.call(batch_misfit, propagator, *given)
        found = {
            "object": xp.reshape(xp.plus(None, alone[0]), shape),
            "misfit": alone[1],
            "plain": plain,
            "probe": both[4],
            "light": both[5],
            "matrices": moves[0],
            "sides": moves[1],
        }
        again = xp.reshape(xp.plus(None, both[0]), shape)
        self.assert_repeated(self.numpy(again), self.numpy(found["object"]))
        return {name: self.numpy(x) for name, x in found.items()}

    def affine_equations(
        self,
        canvas: Array,
        counts: Array,
        probe: Array,
        positions_px: Array,
        mask: Array,
        origin_px: Any,
        photon: float,
    ) -> dict[str, Array]:
        xp, n, shape = self.xp, probe.shape[-1], (canvas.shape[0], canvas.shape[1])
        far = FarField()
        batch = self.batch(self.to(probe), positions_px, shape, origin_px, far, counts)
        given = (self.to(canvas), batch, self._good(mask, far), self.to(photon))
        pixels = self.to(np.arange(n) - n // 2)
        parts = xp.call(distance_moments, far, *given, pixels, shape[0] * shape[1])
        sums = [xp.reshape(xp.plus(None, part), shape) for part in parts]
        names = ("matrix", "right", "noise")
        found = xp.call(affine_equations, given[0], *sums)
        return {name: self.numpy(x) for name, x in zip(names, found, strict=True)}

    def _low(self, probe: Array, shape: tuple[int, int]) -> LowFrequency:
        return low_frequency_of(self.xp, probe.astype(self._kinds[1]), shape)

    def phase_gradients(self, modelled: Array, counts: Array, mask: Array) -> Array:
        n, far = modelled.shape[-1], FarField()
        difference, expected = (
            self.to(far.inward(array)) for array in (mask * (counts - modelled), modelled)
        )
        k = self._low(np.ones((1, n, n)), (n, n)).k
        return self.numpy(self.xp.call(missing_gradients, difference, expected, k))

    def missing_phase(
        self,
        gradients: Array,
        positions_px: Array,
        probe: Array,
        shape: tuple[int, int],
        origin_px: Any,
    ) -> Array:
        batch = self.batch(self.to(probe), positions_px, shape, origin_px, FarField())
        low = self._low(probe, shape)
        return self.numpy(self.xp.call(missing_phase, self.to(gradients), batch.centre, low))


def gradients(framework: str, function: Callable[..., Any], *unknown: Any) -> list[Array | None]:
    """Derivatives of a real function by arrays of a framework; None where it does not depend."""
    if framework == "pytorch":
        import torch

        leaves = [x.detach().clone().requires_grad_() for x in unknown]
        slopes = torch.autograd.grad(function(*leaves), leaves, allow_unused=True)
        found = [None if slope is None else slope.cpu() for slope in slopes]
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(list(unknown))
            value = function(*unknown)
        found = tape.gradient(value, list(unknown))
    return [None if g is None else g.numpy() for g in found]


def network_units(counts: Array, mask: Array | None) -> tuple[Array, float]:
    """Good pixels, and the factor from counts to network units: mean intensity 1/4 (input_scale);
    it cancels in every loss."""
    good = np.ones(counts.shape[-2:], dtype=bool) if mask is None else mask
    return good, 0.25 / (
        counts[..., good].sum(dtype=np.float64) / counts[..., 0, 0].size / good.size
    )


def on_device(framework: BackendName, device: str = "cpu", memory_mib: int = 512) -> Execution:
    """Execution there with so much memory for patterns, 0 for one at a time."""
    kind = KINDS[framework].execution
    own = {} if framework == "numpy" else {"accelerator": device}
    # model_construct: the least the schema allows would hold all patterns of a test scan.
    return kind.model_construct(**own, inference_batch_mib=memory_mib)


class Networks:
    """The networks and solvers of the package on one framework."""

    def __init__(self, name: BackendName, device: str = "cpu") -> None:
        self.name = name
        self.xp: Ops = get_ops(name, on_device(name, device))
        # A GPU adds patches in any order: the last bits differ from run to run.
        self.rounding = 0.0 if device == "cpu" else 1e-5

    def built(self, model: ModelConfig, weights: Weights) -> BuiltNetwork:
        return BuiltNetwork(self.xp, model.describe(), weights)

    def initial_weights(self, model: ModelConfig, seed: int) -> dict[str, NDArray[np.float32]]:
        """Weights of a newly started network, after they went through the framework."""
        return self.round_trip(model, initial_weights(model.describe(), seed))

    def apply(
        self, model: ModelConfig, weights: Weights, inputs: Mapping[str, Array]
    ) -> list[Array]:
        """Outputs (B, channels, H, W) of the network on its named inputs (B, channels, H, W)."""
        given = {k: self.xp.asarray(v.astype(np.float32)) for k, v in inputs.items()}
        with self.xp.running():
            return [self.xp.to_numpy(out) for out in self.built(model, weights)(**given)]

    def round_trip(self, model: ModelConfig, weights: Weights) -> dict[str, NDArray[np.float32]]:
        """Weights after they went into a network and out again."""
        return self.built(model, weights).export_weights()

    def random_state(self) -> bytes:
        """State of the framework's global random number generator."""
        if self.name == "pytorch":
            import torch

            return torch.get_rng_state().numpy().tobytes()
        if self.name == "tensorflow":
            import tensorflow as tf

            return bytes(tf.random.get_global_generator().state.numpy().tobytes())
        return repr(np.random.get_state()).encode()  # noqa: NPY002

    def predict(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, chosen: Array
    ) -> Array:
        """Modelled intensities (B, C, N, N), network units, of a patch network for groups (B, C)
        of pattern numbers of the scan."""
        xp, n, far = self.xp, scan.scan.N, FarField()
        network = self.built(model, weights)
        patches = PatchNetwork(network, n).objects(
            xp, xp.asarray(scan.amplitudes(chosen)), list(network.parameters.values())
        )
        positions = scan.scan.positions_px[chosen]
        offsets = positions - positions.mean(axis=1, keepdims=True)
        weight = model_groups.merge_weight(scan.probe).astype(np.float32)
        found = model_groups.group_intensities(
            xp,
            far,
            patches,
            xp.asarray(offsets),
            xp.asarray(scan.probe),
            xp.asarray(weight),
            model_groups.reach_of(offsets),
        )
        return far.outward(xp.to_numpy(found))

    def reconstruct(
        self, model: ModelConfig, weights: Weights, scan: PreparedScan, memory_mib: int = 512
    ) -> Canvas:
        """Inference; ``memory_mib`` may be 0, then the patterns go in one by one."""
        solver = network_solver(self.xp, model, weights, memory_mib << 20)
        return solver.solve(scan).canvas

    def refine(
        self,
        scan: PreparedScan,
        config: RefineConfig,
        start: Canvas | None = None,
        memory_mib: int = 512,
    ) -> Solved:
        """Plain physics iterations, in as much memory."""
        return PhysicsSolver(self.xp, config, memory_mib << 20).solve(scan, start)


PHYSICS: Mapping[str, tuple[str | None, Callable[[], Physics]]] = {
    "oracle": (None, Oracle),
    "numpy64": (None, lambda: OnOps("numpy", 64)),
    "pytorch64": ("torch", lambda: OnOps("pytorch", 64)),
    "pytorch32": ("torch", lambda: OnOps("pytorch", 32)),
    "pytorch64-cuda": ("torch", lambda: OnOps("pytorch", 64, "cuda")),
    "pytorch32-cuda": ("torch", lambda: OnOps("pytorch", 32, "cuda")),
    "tensorflow64": ("tensorflow", lambda: OnOps("tensorflow", 64)),
    "tensorflow32": ("tensorflow", lambda: OnOps("tensorflow", 32)),
}
NETWORKS: Mapping[str, tuple[str | None, Callable[[], Networks]]] = {
    "pytorch": ("torch", lambda: Networks("pytorch")),
    "pytorch-cuda": ("torch", lambda: Networks("pytorch", "cuda")),
    "tensorflow": ("tensorflow", lambda: Networks("tensorflow")),
    "numpy": (None, lambda: Networks("numpy")),
}


def need(package: str | None) -> None:
    """Skip the test, or all of a module, when a package is not installed."""
    if package is not None and find_spec(package) is None:
        pytest.skip(
            f"{package} is not installed; its implementation cannot be compared",
            allow_module_level=True,
        )
