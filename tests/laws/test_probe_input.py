"""Patch networks that see the probe: what they see, that it matters, and that all agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from adapters import SMALL_NETWORKS, need, small_network
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.config import Config, ModelConfig
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.ops.selector import KINDS, get_ops
from ptychopinn.physics.forward import FAR_FIELD
from ptychopinn.physics.probe_images import PROBE_IMAGES, probe_images
from ptychopinn.solvers.network import network_solver
from ptychopinn.solvers.patches import PatchNetwork

Array = NDArray[Any]
BACKENDS = ("numpy", "pytorch", "tensorflow")
EVERYWHERE = np.ones((32, 32), bool)


def lively(model: ModelConfig) -> dict[str, NDArray[np.float32]]:
    """Weights of a network none of whose layers is silent."""
    rng = np.random.default_rng(5)
    return {
        name: w + rng.normal(0, 0.05, w.shape).astype(np.float32)
        for name, w in initial_weights(model.describe(), 1).items()
    }


def scan_with(**probe: Any) -> PreparedScan:
    """A small scan of one object under a chosen probe."""
    return prepare(pp.simulate(**{"N": 32, "patterns": 40, "photons": 1e6, "seed": 3, **probe}))


def object_of(backend: str, model: ModelConfig, scan: PreparedScan) -> Array:
    """What a lively network makes of a scan."""
    xp = get_ops(backend, KINDS[backend].execution())  # type: ignore[index,arg-type]
    solver = network_solver(xp, model, lively(model), 64 << 20)
    canvas = solver.solve(scan).canvas
    return np.where(canvas.weight > 0.05 * canvas.weight.max(), canvas.object, 0)


# --- what is seen ---------------------------------------------------------------------------------


def test_the_images_have_the_scale_and_the_frame_of_the_patterns() -> None:
    """Without a sample a pattern is the first of them; squares of the first two have the mean 1/4
    of squared amplitudes."""
    scan = scan_with(modes=2)
    images = probe_images(scan.probe, FAR_FIELD, scan.scan.good_pixels)
    assert images.shape == (len(PROBE_IMAGES), 32, 32) and images.dtype == np.float32
    fields = np.fft.fftshift(np.fft.fft2(scan.probe, norm="ortho"), axes=(-2, -1))
    expected = np.sqrt((np.abs(fields) ** 2).sum(axis=0))
    np.testing.assert_allclose(images[0], expected, atol=1e-5)
    assert (images[:2] ** 2).mean(axis=(1, 2)) == pytest.approx([0.25, 0.25], rel=1e-4)
    patterns = scan.amplitudes(np.arange(scan.scan.M))
    assert np.corrcoef(images[0].ravel(), patterns.mean(axis=0).ravel())[0, 1] > 0.8


def test_bad_pixels_are_empty_as_in_the_patterns() -> None:
    good = np.ones((32, 32), bool)
    good[16, 10:20] = False
    images = probe_images(scan_with().probe, FAR_FIELD, good)
    assert (images[0][~good] == 0).all() and (images[0][good] > 0).any()


def test_equivalent_probes_look_the_same() -> None:
    """A phase of the whole mode, and another set of modes with the same light, change nothing."""
    rng = np.random.default_rng(0)
    probe = scan_with(modes=3).probe
    mixed, _ = np.linalg.qr(rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)))
    seen = probe_images(probe, FAR_FIELD, EVERYWHERE)
    other = probe_images(np.einsum("ab,byx->ayx", mixed, probe), FAR_FIELD, EVERYWHERE)
    np.testing.assert_allclose(other, seen, atol=1e-4 * seen.max())
    one = probe[:1]
    turned = probe_images(one * np.exp(2.2j), FAR_FIELD, EVERYWHERE)
    np.testing.assert_allclose(turned, probe_images(one, FAR_FIELD, EVERYWHERE), atol=1e-5)
    # Nothing that an object could be confused with is lost: the images hold the mode itself.
    back = turned[2] + 1j * turned[3]
    factor = np.vdot(back, one[0]) / np.vdot(back, back)
    np.testing.assert_allclose(back * factor, one[0], atol=1e-4)


# --- the networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_networks_see_the_probe_and_agree(name: str) -> None:
    """With another probe the same patterns give another object, the same on every framework within
    1e-4; a network without the option gives the same one."""
    for backend in BACKENDS[1:]:
        need({"pytorch": "torch"}.get(backend, backend))
    k = list(SMALL_NETWORKS).index(name)
    transform = {"fno_input_transform": "sqrt"} if "fno_width" in SMALL_NETWORKS[name] else {}
    n, gridsize = (32, 34)[k % 2], 1 + k % 2
    model = small_network(name, N=n, gridsize=gridsize, probe_input="channels", **transform)
    assert dict(model.describe().inputs) == {"patterns": gridsize**2, "probe": 4}
    scan = scan_with(N=n)
    turned = scan_with(N=n, defocus=-0.4, probe_seed=8)
    found = [object_of(backend, model, scan) for backend in BACKENDS]
    for other in found[1:]:
        assert np.abs(other - found[0]).max() < 1e-4 * np.abs(found[0]).max()
    plain = small_network(name, N=n, gridsize=gridsize)
    differences = []
    for network in (model, plain):
        xp = get_ops("numpy", KINDS["numpy"].execution())
        built = PatchNetwork(BuiltNetwork(xp, network.describe(), lively(network)), n)
        x = scan.amplitudes(np.arange(gridsize**2)[None])
        weights = list(built.network.parameters.values())
        one, two = (built.objects(xp, x, weights, built.images(s, s.probe)) for s in (scan, turned))
        differences.append(np.abs(one - two).max())
    assert differences[0] > 1e-3 and differences[1] == 0


def test_what_is_done_to_the_amplitudes_first_leaves_the_probe_alone() -> None:
    """Its images have a sign, which the square root of the absolute value would take away."""
    model = small_network("fno", fno_input_transform="sqrt", probe_input="channels")
    first, second = model.describe().layers[:2]
    assert (first.name, first.inputs) == ("transformed", ("patterns",))
    assert (second.kind, second.inputs) == ("concat", ("transformed", "probe"))


def test_a_stored_configuration_without_the_option_has_none() -> None:
    stored = small_network("cnn").model_dump()
    del stored["probe_input"]
    model = ModelConfig(**stored)
    assert model == small_network("cnn")
    assert dict(model.describe().inputs) == {"patterns": 1}


def test_a_probe_that_training_moves_is_refused_beside_it() -> None:
    with pytest.raises(pp.InputError, match="probe_trainable is for a network that is bound"):
        Config(
            model={"architecture": "cnn", "probe_input": "channels"},
            training={"probe_trainable": True},
        )
