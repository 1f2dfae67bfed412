"""Every backend builds exactly the network described; weights go in and out unchanged."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
from adapters import SMALL_NETWORKS, small_network
from numpy.typing import NDArray

from ptychopinn.config import ModelConfig
from ptychopinn.errors import InputError
from ptychopinn.networks.architecture import CanvasConfig, PatchConfig, architecture
from ptychopinn.networks.build import BuiltNetwork, Weights, initial_weights
from ptychopinn.networks.cnn import RESERVED, ladder, padded_size
from ptychopinn.networks.spec import Builder, Network
from ptychopinn.networks.unrolled import CANVAS_CHANNELS
from ptychopinn.solvers.patches import PatchNetwork

FRAMEWORKS = {"numpy": "NumpyOps", "torch": "TorchOps", "tensorflow": "TensorflowOps"}
SIZES = (32, 50, 64, 96, 128)
BORDERS = {
    "big": {"probe_big": True, "pad_object": True},
    "padded": {"probe_big": False, "pad_object": True},
    "full": {"probe_big": False, "pad_object": False},
}
UNROLLED = (
    ModelConfig(),
    ModelConfig(iterations=3, width=8, levels=1, momentum=0.0),
    ModelConfig(iterations=1, width=5, levels=6),
)


def cnn(n: int, gridsize: int = 1, border: str = "big", **options: object) -> ModelConfig:
    return ModelConfig.model_validate(
        {"architecture": "cnn", "N": n, "gridsize": gridsize, **BORDERS[border], **options}
    )


HEADS = ("amplitude_phase", "real_imaginary", "cos_sin")
# The others with each size, group and head once.
OTHERS = tuple(
    small_network(name, N=n, gridsize=gridsize, head=head)
    for name in SMALL_NETWORKS
    if name != "cnn"
    for n, gridsize, head in zip((32, 50, 66), (1, 3, 2), HEADS, strict=True)
)
SMALL = (
    *(
        cnn(n, gridsize, border, n_filters_scale=0.25)
        for n, gridsize, border in itertools.product(SIZES, (1, 2, 3), BORDERS)
    ),
    *(cnn(50, 2, border, head=head) for border in BORDERS for head in HEADS[1:]),
    *(cnn(64, 2, border, stem="convolution", n_filters_scale=0.25) for border in BORDERS),
    *OTHERS,
)
SAMPLE = (
    cnn(32, 2, n_filters_scale=0.25),
    cnn(50, 1, "full", n_filters_scale=0.25),
    cnn(64, 1, stem="convolution", n_filters_scale=0.25),
    UNROLLED[1],
    *OTHERS[1::3],
)


class Networks:
    """The networks on the operations of one framework."""

    def __init__(self, framework: str) -> None:
        module = importlib.import_module(f"ptychopinn.ops.{framework}")
        self.xp = getattr(module, FRAMEWORKS[framework])()
        self.framework = framework

    def _built(self, model: ModelConfig, weights: Weights) -> BuiltNetwork:
        return BuiltNetwork(self.xp, model.describe(), weights)

    def round_trip(self, model: ModelConfig, weights: Weights) -> dict[str, NDArray[np.float32]]:
        return self._built(model, weights).export_weights()

    def initial_weights(self, model: ModelConfig, seed: int) -> dict[str, NDArray[np.float32]]:
        return self._built(model, initial_weights(model.describe(), seed)).export_weights()

    def apply(
        self, model: ModelConfig, weights: Weights, inputs: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        with self.xp.running():
            given = {name: self.xp.asarray(x.astype(np.float32)) for name, x in inputs.items()}
            return [self.xp.to_numpy(x) for x in self._built(model, weights)(**given)]

    def objects(self, model: ModelConfig, weights: Weights, patterns: NDArray[Any]) -> NDArray[Any]:
        """Object patches (B, C, N, N) of a patch network."""
        built = self._built(model, weights)
        with self.xp.running():
            given = self.xp.asarray(patterns.astype(np.float32))
            found = PatchNetwork(built, int(model.N or 0)).objects(
                self.xp, given, list(built.parameters.values())
            )
            return self.xp.to_numpy(found)

    def random_state(self) -> bytes:
        """State of the framework's global generator of random numbers."""
        if self.framework == "torch":
            import torch

            return bytes(torch.get_rng_state().numpy())
        return b""


@pytest.fixture(params=FRAMEWORKS)
def networks(request: pytest.FixtureRequest) -> Networks:
    if request.param != "numpy":
        pytest.importorskip(request.param)
    return Networks(request.param)


def label(model: ModelConfig) -> str:
    if model.architecture == "unrolled":
        return f"unrolled-{model.iterations}-{model.width}-{model.levels}"
    options = model.model_dump()
    border = next((k for k, v in BORDERS.items() if v.items() <= options.items()), "")
    stem = options.get("stem", "")
    return f"{model.architecture}-{model.N}-{model.gridsize}-{model.head}-{border}{stem}"


def side_of(model: ModelConfig) -> int:
    """Side of the images that a patch network takes."""
    multiple = model.describe().multiple_of
    return -(-int(model.N or 0) // multiple) * multiple


def random_input(model: ModelConfig, side: int, batch: int = 2) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(side)
    return {
        name: rng.uniform(0, 1, (batch, channels, side, side)).astype(np.float32)
        for name, channels in model.describe().inputs.items()
    }


@pytest.mark.parametrize("model", [*SMALL, *UNROLLED], ids=label)
def test_parameters_are_those_of_the_description(networks: Networks, model: ModelConfig) -> None:
    weights = networks.initial_weights(model, 0)
    assert {k: v.shape for k, v in weights.items()} == model.describe().parameter_shapes()
    assert all(v.dtype == np.float32 and np.isfinite(v).all() for v in weights.values())


@pytest.mark.parametrize("model", SMALL, ids=label)
def test_a_patch_network_returns_modulus_and_phase_of_every_patch(
    networks: Networks, model: ModelConfig
) -> None:
    """Or real and imaginary part; starting at the object 1, inside and outside of the central
    half."""
    side, channels = side_of(model), model.gridsize**2
    weights = networks.initial_weights(model, 0)
    first, second = networks.apply(model, weights, random_input(model, side, 1))
    assert first.shape == second.shape == (1, channels, side, side)
    np.testing.assert_allclose(first, 1, atol=1e-3)
    np.testing.assert_allclose(second, 0, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "swish", "softplus", "relu"])
def test_every_amplitude_head_starts_at_one(networks: Networks, activation: str) -> None:
    model = cnn(32, 1, n_filters_scale=0.25, amp_activation=activation)
    weights = networks.initial_weights(model, 0)
    modulus, _ = networks.apply(model, weights, random_input(model, 32))
    np.testing.assert_allclose(modulus, 1, atol=1e-3)


@pytest.mark.parametrize("model", UNROLLED, ids=label)
def test_the_canvas_network_starts_without_a_correction(
    networks: Networks, model: ModelConfig
) -> None:
    network = model.describe()
    assert network.inputs == {"canvas": len(CANVAS_CHANNELS)}
    side = 2 * network.multiple_of
    weights = networks.initial_weights(model, 0)
    (out,) = networks.apply(model, weights, random_input(model, side))
    assert out.shape == (2, 2, side, side)
    assert not out.any()
    assert weights["gain"].shape == (model.iterations,)
    for name in ("step", "momentum", "phase_gain", "damp"):
        assert weights[name].shape == (model.iterations * model.updates,)
    np.testing.assert_allclose(weights["momentum"], model.momentum)


@pytest.mark.parametrize("model", SAMPLE, ids=label)
def test_weights_go_in_and_out_unchanged(networks: Networks, model: ModelConfig) -> None:
    rng = np.random.default_rng(3)
    weights = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in model.describe().parameter_shapes().items()
    }
    returned = networks.round_trip(model, weights)
    assert set(returned) == set(weights)
    assert all(np.array_equal(returned[name], weights[name]) for name in weights)


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_no_parameter_is_idle(networks: Networks, name: str) -> None:
    """A change of any one changes the output, by more than rounding; of the two blocks of a
    spectral convolution, the lowest positive and negative frequencies, that of either."""
    model = small_network(name)
    rng = np.random.default_rng(4)
    weights = {
        name: rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in model.describe().parameter_shapes().items()
    }
    inputs = random_input(model, 32)
    before = networks.apply(model, weights, inputs)
    changes = []
    for name, value in weights.items():
        if value.ndim < 6:
            changes.append((name, value * np.float32(-1.5)))
            continue
        for block in (0, 1):
            changed = value.copy()
            changed[block] *= np.float32(-1.5)
            changes.append((name, changed))
    for name, changed in changes:
        after = networks.apply(model, {**weights, name: changed}, inputs)
        moved = max(np.abs(a - b).max() for a, b in zip(before, after, strict=True))
        assert moved > 1e-4, name


@pytest.mark.parametrize("name", [n for n in SMALL_NETWORKS if n not in ("cnn", "vit")])
def test_modes_that_an_image_lacks_are_not_learned(name: str) -> None:
    """The networks for modes beyond the image are those for as many as it has, at each layer."""
    beyond, all_of_them = (small_network(name, fno_modes=modes).describe() for modes in (99, 16))
    assert beyond == all_of_them
    modes = [k.options["modes"] for k in beyond.layers if k.kind.startswith("spectral")]
    assert max(modes) == 16
    assert min(modes) == {"neuralop_uno": 8, "hybrid_resnet": 4}.get(name, 16)


@pytest.mark.parametrize("model", SAMPLE, ids=label)
def test_wrong_names_and_shapes_of_weights_are_refused(
    networks: Networks, model: ModelConfig
) -> None:
    weights = networks.initial_weights(model, 0)
    name = next(k for k in weights if k.endswith(".bias"))
    without = {k: v for k, v in weights.items() if k != name}
    for bad in (without, {**weights, "more": np.zeros(1, np.float32)}):
        with pytest.raises(KeyError, match="names differ"):
            networks.round_trip(model, bad)
    # A single number would be broadcast by most frameworks.
    with pytest.raises(ValueError, match="shapes differ"):
        networks.round_trip(model, {**weights, name: np.zeros(1, np.float32)})


@pytest.mark.parametrize("model", SAMPLE, ids=label)
def test_initial_weights_depend_on_the_seed_alone(networks: Networks, model: ModelConfig) -> None:
    state = networks.random_state(), str(np.random.get_state())  # noqa: NPY002 - it must not move
    one, again, other = (networks.initial_weights(model, seed) for seed in (1, 1, 2))
    assert (networks.random_state(), str(np.random.get_state())) == state  # noqa: NPY002
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert any(not np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("model", SAMPLE, ids=label)
def test_a_network_treats_every_image_of_a_batch_alone(
    networks: Networks, model: ModelConfig
) -> None:
    rng = np.random.default_rng(6)
    weights = {
        name: rng.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in model.describe().parameter_shapes().items()
    }
    side = 32 if model.architecture == "unrolled" else side_of(model)
    inputs = random_input(model, side, 5)
    together = networks.apply(model, weights, inputs)
    alone = networks.apply(model, weights, {k: v[3:4] for k, v in inputs.items()})
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[3:4], b, rtol=1e-4, atol=1e-5)


def tokens(config: PatchConfig) -> Network:
    """Tokens of 8 x 8 pixels, two blocks of attention."""
    b, c, width = Builder(), config.patterns_per_group, 16
    x = b.position("places", b.patchify("tokens", "patterns", width, 8))
    for k in range(2):
        seen = b.attention(f"attention{k}", b.norm(f"norm{k}_1", x, "layer"), 4)
        x = b.add(f"sum{k}_1", x, seen)
        y = b.dense(f"mlp{k}_1", b.norm(f"norm{k}_2", x, "layer"), 2 * width, "gelu")
        x = b.add(f"sum{k}_2", x, b.learned_scale(f"gain{k}", b.dense(f"mlp{k}_2", y, width)))
    x = b.unpatchify("pixels", x, 2 * c, 8)
    modulus = b.activation("modulus", b.channels("first", x, 0, c), "softplus")
    phase = b.channels("phase", x, c, 2 * c)
    return Network({"patterns": c}, tuple(b.layers), (modulus, phase), multiple_of=8)


def waves(width: int) -> Network:
    """Two blocks of spectral convolutions, one of them per axis."""
    b = Builder()
    x = b.dense("lift", "canvas", width)
    y = b.add("both0", b.spectral("wave0", x, width, 6), b.dense("local0", x, width))
    x = b.activation("gelu0", b.norm("norm0", y, "instance"), "gelu")
    rows, columns = (b.spectral_axis(f"wave1_{a}", x, width, 6, a) for a in ("y", "x"))
    x = b.add("sum1", x, b.dense("mix1", b.add("both1", rows, columns), width, "gelu"))
    out = b.dense("out", x, 2)
    return Network({"canvas": 7}, tuple(b.layers), (out,))


@pytest.fixture
def further() -> Any:
    """Architectures of this test alone."""

    @architecture
    class TokensConfig(PatchConfig):
        architecture: Literal["tokens"] = "tokens"

        def describe(self) -> Network:
            return tokens(self)

    @architecture
    class WavesConfig(CanvasConfig):
        architecture: Literal["waves"] = "waves"
        width: int = 8

        def describe(self) -> Network:
            return waves(self.width)

    yield
    for name in ("tokens", "waves"):
        del ModelConfig.kinds[name]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("tokens", (2, 4, 32, 32)), ("waves", (2, 7, 33, 40)), ("waves", (1, 7, 9, 7))],
)
def test_networks_of_the_whole_vocabulary_agree(
    further: None, name: str, shape: tuple[int, ...]
) -> None:
    model = ModelConfig(architecture=name, **({"gridsize": 2} if name == "tokens" else {}))
    network = model.describe()
    assert network.reach() is None
    weights = initial_weights(network, 5)
    x = np.random.default_rng(6).normal(size=shape)
    found = []
    for framework in FRAMEWORKS:
        if framework != "numpy":
            pytest.importorskip(framework)
        found.append(Networks(framework).apply(model, weights, dict.fromkeys(network.inputs, x)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a.shape[2:] == shape[2:] and np.abs(a).max() > 1e-3
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize("model", OTHERS, ids=label)
def test_the_object_is_the_same_everywhere(model: ModelConfig) -> None:
    """Within 1e-4 of its modulus on every framework, for patterns of every size."""
    rng = np.random.default_rng(8)
    weights = {
        name: w + rng.normal(0, 0.02, w.shape).astype(np.float32)
        for name, w in initial_weights(model.describe(), 7).items()
    }
    patterns = rng.gamma(1.0, 0.5, (2, model.patterns_per_group, model.N, model.N))
    found = []
    for framework in FRAMEWORKS:
        if framework != "numpy":
            pytest.importorskip(framework)
        found.append(Networks(framework).objects(model, weights, patterns))
    assert np.abs(found[0] - 1).max() > 0.02
    for other in found[1:]:
        assert other.shape == patterns.shape
        assert np.abs(other - found[0]).max() < 1e-4 * np.abs(found[0]).max()


# --- heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_the_phase_of_cosine_and_sine_goes_round(networks: Networks, name: str) -> None:
    """The object follows the angle over the end of the turn, whatever the length of the vector;
    an amplitude and a phase cannot."""
    turned = []
    for angle in (3.0, 3.2, 3.4):
        model = small_network(name, head="cos_sin")
        weights = networks.initial_weights(model, 0)
        for part, value in (("cosine", np.cos(angle)), ("sine", np.sin(angle))):
            for bias in (n for n in weights if n.startswith(part) and n.endswith("head.bias")):
                weights[bias] = np.full_like(weights[bias], 0.5 * value)
        turned.append(networks.objects(model, weights, np.ones((1, 1, 32, 32))))
    np.testing.assert_allclose(np.abs(turned), 1, atol=1e-3)
    for before, after in itertools.pairwise(turned):
        np.testing.assert_allclose(np.angle(after / before), 0.2, atol=1e-3)
    model = small_network(name, head="amplitude_phase")
    weights = networks.initial_weights(model, 0)
    weights["phase_head.bias"] = np.full_like(weights["phase_head.bias"], 50.0)
    end = networks.objects(model, weights, np.ones((1, 1, 32, 32)))[..., 16, 16]
    np.testing.assert_allclose(np.abs(np.angle(end)), np.pi, atol=1e-3)


def test_real_and_imaginary_part_are_any_number(networks: Networks) -> None:
    model = small_network("fno", head="real_imaginary")
    weights = networks.initial_weights(model, 0)
    weights["real_head.bias"][:], weights["imaginary_head.bias"][:] = -3.0, 0.25
    found = networks.objects(model, weights, np.ones((1, 1, 32, 32)))
    np.testing.assert_allclose(found, -3 + 0.25j, rtol=1e-6)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("none", lambda x: x),
        ("sqrt", np.sqrt),
        ("log1p", np.log1p),
        ("instancenorm", lambda x: (x - x.mean()) / np.sqrt(x.var() + 1e-5)),
    ],
)
def test_the_first_layer_sees_transformed_amplitudes(
    networks: Networks, transform: str, expected: Any
) -> None:
    x = np.random.default_rng(9).gamma(1.0, 2.0, (1, 1, 32, 32))
    plain, model = (small_network("fno", fno_input_transform=t) for t in ("none", transform))
    weights = networks.initial_weights(model, 3)
    rng = np.random.default_rng(1)
    weights = {k: v + rng.normal(0, 0.05, v.shape).astype("f") for k, v in weights.items()
               if not k.startswith("transformed")}  # fmt: skip
    own = {k: v for k, v in networks.initial_weights(model, 3).items() if k not in weights}
    found = networks.apply(model, {**weights, **own}, {"patterns": x})
    other = networks.apply(plain, weights, {"patterns": expected(x)})
    for a, b in zip(found, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# --- the description itself ----------------------------------------------------------------------


def filters(network: Network, part: str) -> list[int]:
    """Filters of the first convolution of every block, in order."""
    return [
        layer.options["filters"]
        for layer in network.layers
        if layer.kind == "conv" and layer.name.startswith(part) and layer.name.endswith("_1")
    ]


@pytest.mark.parametrize(
    ("n", "encoder", "decoder"),
    [
        (32, [64, 128], [64]),
        (64, [32, 64, 128], [64, 32]),
        (128, [16, 32, 64, 128], [64, 32, 16]),
        (256, [8, 16, 32, 64, 128], [64, 32, 16, 8]),
    ],
)
def test_the_published_filters(n: int, encoder: list[int], decoder: list[int]) -> None:
    """Two convolutions a block, twice these filters at the default scale."""
    network = cnn(n, stem="convolution").describe()
    assert filters(network, "encoder") == [2 * f for f in encoder]
    for part in ("amplitude", "phase"):
        assert filters(network, part) == [2 * f for f in decoder]
        second = [layer for layer in network.layers if layer.name.startswith(f"{part}0_2")]
        assert second[0].options["filters"] == 2 * decoder[0]


@pytest.mark.parametrize(
    ("n", "square", "decoder"),
    [(32, 4, [64]), (64, 8, [64, 32]), (96, 8, [64, 32]), (128, 16, [64, 32, 16])],
)
def test_the_stem_takes_the_place_of_the_encoder(n: int, square: int, decoder: list[int]) -> None:
    """Squares become channels of images as small as those that the published encoder ends with."""
    network, published = (cnn(n, stem=s).describe() for s in ("space_to_depth", "convolution"))
    assert (network.layers[0].kind, network.layers[0].options) == (
        "space_to_depth",
        {"factor": square},
    )
    assert filters(network, "encoder_") == [256]
    assert filters(network, "phase") == decoder
    assert network.multiple_of == published.multiple_of == square
    assert network == cnn(n).describe()


@pytest.mark.parametrize(("n", "levels"), [(32, 2), (50, 2), (64, 3), (96, 3), (128, 4), (512, 6)])
def test_the_ladder_ends_at_about_eight_pixels(n: int, levels: int) -> None:
    assert ladder(n) == levels
    assert padded_size(n) % 2**levels == 0
    assert 0 <= padded_size(n) - n < 2**levels
    assert 8 <= padded_size(n) / 2**levels < 16


def test_the_border_has_its_own_four_channels() -> None:
    shapes = cnn(64, stem="convolution").describe().parameter_shapes()
    assert shapes["amplitude_head.weight"] == (1, 64 - RESERVED, 3, 3)
    assert shapes["amplitude_rim_head.weight"] == (1, RESERVED, 3, 3)


def test_a_patch_network_needs_its_size_and_a_frame_for_the_border() -> None:
    for name in SMALL_NETWORKS:
        with pytest.raises(InputError, match="N=None"):
            ModelConfig(architecture=name).describe()
    with pytest.raises(InputError, match="pad_object"):
        ModelConfig(architecture="cnn", N=32, probe_big=True, pad_object=False).describe()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "int64", "float32", "float64"])
def test_counts_become_amplitudes_wherever_they_are_worked_on(
    networks: Networks, kind: str
) -> None:
    counts = np.random.default_rng(1).integers(0, 250, (3, 8, 8)).astype(kind)
    weight = np.random.default_rng(2).random((8, 8)).astype(np.float32)
    before = counts.copy()
    xp = networks.xp
    found = xp.to_numpy(xp.amplitudes(counts, xp.asarray(weight)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.sqrt(counts.astype(float)) * weight, rtol=3e-7)
    assert np.array_equal(counts, before)
