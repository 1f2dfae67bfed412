"""Every kind of layer: the same on all frameworks, and what a few lines of NumPy say it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from ptychopinn.errors import InputError
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.networks.kinds import LAYERS
from ptychopinn.networks.spec import Builder, Layer, Network
from ptychopinn.ops.base import Ops

Image = NDArray[Any]
Weights = Mapping[str, NDArray[Any]]
FRAMEWORKS = {"numpy": "NumpyOps", "torch": "TorchOps", "tensorflow": "TensorflowOps"}


def ops(name: str) -> Ops:
    if name != "numpy":
        pytest.importorskip(name)
    made: Ops = getattr(importlib.import_module(f"ptychopinn.ops.{name}"), FRAMEWORKS[name])()
    return made


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_operation_is_missing(framework: str) -> None:
    """Those that are one function of the framework are attributes, which nothing else demands."""
    made = ops(framework)
    assert [name for name in Ops.__annotations__ if not hasattr(made, name)] == []


# --- what each kind is, in loops ------------------------------------------------------------------


def conv(x: Image, w: Weights, stride: int = 1, dilation: int = 1, groups: int = 1) -> Image:
    weight, k = w["weight"], w["weight"].shape[-1]
    rim = dilation * (k // 2) if k % 2 else 0
    padded = np.pad(x, ((0, 0), (0, 0), (rim, rim), (rim, rim)))
    height, width = (-(-side // stride) for side in x.shape[2:])
    out, each = len(weight), x.shape[1] // groups
    found = np.zeros((len(x), out, height, width))
    for o in range(out):
        first = o // (out // groups) * each
        for i in range(height):
            for j in range(width):
                y, z = i * stride, j * stride
                seen = padded[
                    :, first : first + each, y : y + dilation * (k - 1) + 1 : dilation,
                    z : z + dilation * (k - 1) + 1 : dilation,
                ]  # fmt: skip
                found[:, o, i, j] = (seen * weight[o]).sum(axis=(1, 2, 3)) + w["bias"][o]
    return found


def conv_transpose(x: Image, w: Weights, stride: int) -> Image:
    _, out = w["weight"].shape[:2]
    batch, channels, height, width = x.shape
    found = np.zeros((batch, out, height * stride, width * stride)) + w["bias"][:, None, None]
    for c in range(channels):
        for i in range(height * stride):
            for j in range(width * stride):
                kernel = w["weight"][c, :, i % stride, j % stride]
                found[:, :, i, j] += x[:, c, i // stride, j // stride, None] * kernel
    return found


def pooled(x: Image, factor: int, how: Callable[..., Any]) -> Image:
    height, width = (side // factor for side in x.shape[2:])
    found = np.zeros((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            y, z = i * factor, j * factor
            found[:, :, i, j] = how(x[:, :, y : y + factor, z : z + factor], axis=(2, 3))
    return found


def folded(x: Image, r: int) -> Image:
    found = np.zeros((len(x), x.shape[1] * r * r, x.shape[2] // r, x.shape[3] // r))
    for c in range(x.shape[1]):
        for i in range(r):
            for j in range(r):
                found[:, c * r * r + i * r + j] = x[:, c, i::r, j::r]
    return found


def unfolded(x: Image, r: int) -> Image:
    found = np.zeros((len(x), x.shape[1] // r**2, x.shape[2] * r, x.shape[3] * r))
    for c in range(found.shape[1]):
        for i in range(r):
            for j in range(r):
                found[:, c, i::r, j::r] = x[:, c * r * r + i * r + j]
    return found


def normed(x: Image, w: Weights, over: str, groups: int = 1) -> Image:
    found = np.zeros(x.shape)
    for b in range(len(x)):
        if over == "layer":
            parts = [(slice(None), i, j) for i in range(x.shape[2]) for j in range(x.shape[3])]
        else:
            size = x.shape[1] // (x.shape[1] if over == "instance" else groups)
            parts = [(slice(c, c + size),) for c in range(0, x.shape[1], size)]
        for part in parts:
            values = x[b][part]
            found[b][part] = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
    return found * w["weight"][:, None, None] + w["bias"][:, None, None]


def spectral(x: Image, rows: Mapping[int, NDArray[Any]]) -> Image:
    """A sum of waves; ``rows`` maps a frequency along y to weights (out, in, columns)."""
    batch, _, height, width = x.shape
    y, z = np.mgrid[:height, :width]
    out = next(iter(rows.values())).shape[0]
    found = np.zeros((batch, out, height, width))
    for ky, weight in rows.items():
        if not -(height // 2) <= ky <= (height - 1) // 2:
            continue
        for kx in range(min(weight.shape[-1], width // 2 + 1)):
            wave = np.exp(2j * np.pi * (ky * y / height + kx * z / width))
            given = (x * wave.conj()).sum(axis=(2, 3)) / (height * width)
            mixed = given @ weight[..., kx].T
            mirrored = 1 if kx == 0 or 2 * kx == width else 2
            found += mirrored * (mixed[..., None, None] * wave).real
    return found


def corners(w: Weights) -> dict[int, NDArray[Any]]:
    weight = w["weight"][..., 0] + 1j * w["weight"][..., 1]
    m = weight.shape[3]
    low = {ky: weight[0, :, :, ky] for ky in range(m)}
    return {**low, **{ky: weight[1, :, :, m + ky] for ky in range(-m, 0)}}


def along(x: Image, w: Weights, axis: str) -> Image:
    weight = w["weight"][..., 0] + 1j * w["weight"][..., 1]
    if axis == "y":
        return along(x.swapaxes(2, 3), w, "x").swapaxes(2, 3)
    lines = [spectral(x[:, :, i : i + 1], {0: weight}) for i in range(x.shape[2])]
    return np.concatenate(lines, axis=2)


def attention(x: Image, w: Weights, heads: int) -> Image:
    found = np.zeros(x.shape)
    for b in range(len(x)):
        tokens = x[b].reshape(x.shape[1], -1).T
        q, k, v = np.split(tokens @ w["query_key_value"].T + w["query_key_value_bias"], 3, axis=1)
        seen = []
        for part in np.split(np.arange(x.shape[1]), heads):
            weight = np.exp(q[:, part] @ k[:, part].T / np.sqrt(len(part)))
            seen.append(weight / weight.sum(axis=1, keepdims=True) @ v[:, part])
        tokens = np.concatenate(seen, axis=1) @ w["weight"].T + w["bias"]
        found[b] = tokens.T.reshape(x.shape[1:])
    return found


def placed(x: Image) -> Image:
    found = np.array(x, float)
    quarter = x.shape[1] // 4
    for c in range(quarter):
        rate = 1e4 ** (-c / quarter)
        for i in range(x.shape[2]):
            found[:, c, i] += np.sin(rate * i)
            found[:, quarter + c, i] += np.cos(rate * i)
        for j in range(x.shape[3]):
            found[:, 2 * quarter + c, :, j] += np.sin(rate * j)
            found[:, 3 * quarter + c, :, j] += np.cos(rate * j)
    return found


def gridded(x: Image) -> Image:
    places = np.zeros((len(x), 2, *x.shape[2:]))
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            places[:, :, i, j] = i / x.shape[2], j / x.shape[3]
    return np.concatenate([x, places], axis=1)


def framed(x: Image, pixels: int, value: float) -> Image:
    width = ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels))
    return np.pad(x, width, constant_values=value)


def rim(x: Image, pixels: int) -> Image:
    found = np.array(x)
    found[:, :, pixels:-pixels, pixels:-pixels] = 0
    return found


FUNCTIONS: dict[str, Callable[[Image], Image]] = {
    "relu": lambda x: np.maximum(x, 0),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
}


@dataclass(frozen=True)
class Case:
    """A layer, what it is, and images (B, C, H, W) that it takes; several inputs are equal parts of
    the channels."""

    kind: str
    options: Mapping[str, Any]
    oracle: Callable[[Image, Weights], Image]
    shapes: tuple[tuple[int, int, int, int], ...] = ((2, 4, 7, 9), (1, 4, 8, 6))
    inputs: int = 1

    @property
    def name(self) -> str:
        return "-".join([self.kind, *(f"{k}={v}" for k, v in self.options.items())])

    def network(self) -> Network:
        names = [f"x{k}" for k in range(self.inputs)]
        channels = self.shapes[0][1] // self.inputs
        made = Layer("layer", self.kind, tuple(names), self.options)
        return Network(dict.fromkeys(names, channels), (made,), ("layer",))


def conv_case(kind: str = "conv", shapes: Any = None, **options: int) -> Case:
    known = {k: v for k, v in options.items() if k in ("stride", "dilation", "groups")}
    sizes = {} if shapes is None else {"shapes": shapes}
    return Case(kind, options, lambda x, w: conv(x, w, **known), **sizes)


FOLDED = ((2, 4, 6, 9), (1, 4, 3, 12))
CASES = [
    conv_case(filters=3),
    conv_case(filters=5, kernel=1),
    conv_case(filters=3, kernel=5, dilation=2),
    conv_case(filters=3, stride=2),
    conv_case(filters=3, stride=3, kernel=5),
    conv_case(filters=3, stride=2, dilation=3),
    conv_case(filters=2, kernel=1, stride=2),
    conv_case(filters=6, groups=2),
    conv_case(filters=4, groups=4),
    conv_case(filters=8, groups=4, kernel=5, stride=2),
    conv_case(filters=8, groups=4, dilation=2),
    conv_case(filters=4, groups=4, dilation=2, stride=2),
    conv_case(filters=5, kernel=2, stride=2, shapes=((2, 4, 6, 8),)),
    conv_case(filters=6, kernel=4, stride=4, groups=2, shapes=((1, 4, 12, 8),)),
    Case("conv_transpose", {"filters": 3}, lambda x, w: conv_transpose(x, w, 2)),
    Case("conv_transpose", {"filters": 2, "stride": 3}, lambda x, w: conv_transpose(x, w, 3)),
    *(
        Case("activation", {"function": name}, lambda x, w, f=function: f(x))  # type: ignore[misc]
        for name, function in FUNCTIONS.items()
    ),
    Case("max_pool", {"factor": 2}, lambda x, w: pooled(x, 2, np.max)),
    Case("avg_pool", {"factor": 3}, lambda x, w: pooled(x, 3, np.mean)),
    Case("space_to_depth", {"factor": 3}, lambda x, w: folded(x, 3), FOLDED),
    Case("depth_to_space", {"factor": 2}, lambda x, w: unfolded(x, 2)),
    Case("upsample", {"factor": 3}, lambda x, w: x.repeat(3, 2).repeat(3, 3)),
    Case("add", {}, lambda x, w: x[:, :2] + x[:, 2:], inputs=2),
    Case("concat", {}, lambda x, w: x, inputs=4),
    Case("multiply", {}, lambda x, w: x[:, :2] * x[:, 2:], inputs=2),
    Case("direction", {},
         lambda x, w: x[:, :2] / np.sqrt(x[:, :2] ** 2 + x[:, 2:] ** 2 + 1e-4), inputs=2),
    Case("compress", {"function": "sqrt"}, lambda x, w: np.sqrt(np.abs(x))),
    Case("compress", {"function": "log1p"}, lambda x, w: np.log1p(np.abs(x))),
    Case("grid", {}, lambda x, w: gridded(x)),
    Case("channels", {"start": 1, "stop": 3}, lambda x, w: x[:, 1:3]),
    Case("scale", {"factor": -2.5}, lambda x, w: -2.5 * x),
    Case("learned_scale", {"initial": 0.1}, lambda x, w: x * w["weight"][:, None, None]),
    Case("pad", {"pixels": 3, "value": 0.5}, lambda x, w: framed(x, 3, 0.5)),
    Case("border", {"pixels": 2}, lambda x, w: rim(x, 2)),
    Case("norm", {"over": "instance"}, lambda x, w: normed(x, w, "instance")),
    Case("norm", {"over": "layer"}, lambda x, w: normed(x, w, "layer")),
    Case("norm", {"over": "group", "groups": 2}, lambda x, w: normed(x, w, "group", 2)),
    Case("norm", {"over": "group"}, lambda x, w: normed(x, w, "group", 1)),
    *(
        # Fewer modes than the image has, and more.
        Case("spectral", {"filters": 3, "modes": m}, lambda x, w: spectral(x, corners(w)))
        for m in (1, 2, 3, 4, 6)
    ),
    *(
        Case("spectral_axis", {"filters": 3, "modes": m, "axis": axis},
             lambda x, w, a=axis: along(x, w, a))  # type: ignore[misc]
        for m in (2, 4, 7) for axis in "yx"
    ),
    Case("attention", {"heads": 2}, lambda x, w: attention(x, w, 2)),
    Case("attention", {"heads": 1}, lambda x, w: attention(x, w, 1)),
    Case("position", {}, lambda x, w: placed(x), ((2, 8, 7, 9), (1, 8, 8, 6))),
    Case("position", {"side": 9},
         lambda x, w: x + w["weight"][:, : x.shape[2], : x.shape[3]]),
]  # fmt: skip


def test_every_kind_has_a_case() -> None:
    assert {case.kind for case in CASES} == set(LAYERS)


def drawn(case: Case, shape: tuple[int, ...]) -> tuple[Image, dict[str, NDArray[np.float32]]]:
    rng = np.random.default_rng(sum(shape))
    shapes = case.network().parameter_shapes()
    weights = {name: rng.normal(0, 0.5, s).astype(np.float32) for name, s in shapes.items()}
    return rng.normal(0, 1, shape).astype(np.float32), weights


def applied(network: BuiltNetwork, x: Image) -> Image:
    xp = network.xp
    names = list(network.description.inputs)
    parts = np.split(x, len(names), axis=1)
    (found,) = network(**{k: xp.asarray(v) for k, v in zip(names, parts, strict=True)})
    return np.asarray(xp.to_numpy(found))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_layer_is_what_it_says(case: Case, framework: str) -> None:
    xp = ops(framework)
    for shape in case.shapes:
        x, weights = drawn(case, shape)
        found = applied(BuiltNetwork(xp, case.network(), weights), x)
        own = {name.removeprefix("layer."): w.astype(float) for name, w in weights.items()}
        expected = case.oracle(x.astype(float), own)
        assert found.dtype == np.float32 and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def torch_gradients(network: BuiltNetwork, x: Image, upstream: Image) -> list[Image]:
    import torch

    names = network.description.inputs
    given = [
        torch.tensor(part).requires_grad_() for part in np.split(x, len(names), axis=1)
    ] + [torch.tensor(p.numpy()).requires_grad_() for p in network.parameters.values()]  # fmt: skip
    (found,) = network.run(network.xp, given[: len(names)], given[len(names) :])
    (found * torch.tensor(upstream)).sum().backward()
    return [np.zeros(g.shape) if g.grad is None else g.grad.numpy() for g in given]


def tensorflow_gradients(network: BuiltNetwork, x: Image, upstream: Image) -> list[Image]:
    import tensorflow as tf

    names = network.description.inputs
    given = [tf.constant(part) for part in np.split(x, len(names), axis=1)]
    given += [tf.constant(p.numpy()) for p in network.parameters.values()]
    # Of unknown sizes, as training traces it.
    specs = [tf.TensorSpec([None] * len(g.shape), g.dtype) for g in given]

    @tf.function(input_signature=[specs], autograph=False)
    def gradients(values: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            inputs, parameters = values[: len(names)], values[len(names) :]
            (found,) = network.run(network.xp, inputs, parameters)
            total = tf.reduce_sum(found * upstream)
        return tape.gradient(total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return [g.numpy() for g in gradients(given)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradients_agree(case: Case) -> None:
    """In a graph for all sizes on TensorFlow."""
    torch, tensorflow = ops("torch"), ops("tensorflow")
    for shape in case.shapes:
        x, weights = drawn(case, shape)
        ours = BuiltNetwork(torch, case.network(), weights)
        upstream = np.random.default_rng(1).normal(size=applied(ours, x).shape).astype(np.float32)
        a = torch_gradients(ours, x, upstream)
        theirs = BuiltNetwork(tensorflow, case.network(), weights)
        b = tensorflow_gradients(theirs, x, upstream)
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=2e-5 * max(1, np.abs(one).max()))


def test_a_gradient_is_that_of_the_loss() -> None:
    """Both frameworks could be wrong alike: a small step of spectral weights and images tells."""
    xp = ops("torch")
    case = Case("spectral", {"filters": 3, "modes": 3}, lambda x, w: spectral(x, corners(w)))
    x, weights = drawn(case, (1, 4, 5, 6))
    rng = np.random.default_rng(2)
    upstream = rng.normal(size=(1, 3, 5, 6)).astype(np.float32)
    found = torch_gradients(BuiltNetwork(xp, case.network(), weights), x, upstream)
    for number, value in enumerate((x, weights["layer.weight"])):
        way = rng.normal(size=value.shape)

        def loss(step: float, number: int = number, way: Any = way) -> float:
            moved = [x.astype(float), weights["layer.weight"].astype(float)]
            moved[number] = moved[number] + step * way
            return float((case.oracle(moved[0], {"weight": moved[1]}) * upstream).sum())

        slope = (loss(1e-3) - loss(-1e-3)) / 2e-3
        assert (found[number] * way).sum() == pytest.approx(slope, rel=1e-4)


# --- how far a network looks ----------------------------------------------------------------------


def lattice(b: Builder) -> str:
    x = b.conv("down", "x", 3, "gelu", stride=2)
    x = b.conv("deep", x, 3, groups=3, dilation=2)
    return b.conv_transpose("up", x, 2)


def patches(b: Builder) -> str:
    x = b.patchify("patches", "x", 6, 4)
    x = b.norm("norm", x, "layer")
    x = b.learned_scale("gain", b.dense("mlp", x, 6, "gelu"))
    return b.unpatchify("pixels", x, 2, 4)


def pyramid(b: Builder) -> str:
    x = b.max_pool("pool", b.conv("first", "x", 3, kernel=5))
    x = b.space_to_depth("fold", b.conv("second", x, 3))
    x = b.conv("third", x, 4, kernel=1)
    return b.upsample("up", b.depth_to_space("unfold", x))


def built(write: Callable[[Builder], str], multiple: int = 1) -> Network:
    b = Builder()
    output = write(b)
    return Network({"x": 2}, tuple(b.layers), (output,), multiple_of=multiple)


@pytest.mark.parametrize("write", [lattice, patches, pyramid])
def test_no_pixel_sees_further_than_its_reach(write: Callable[[Builder], str]) -> None:
    network = built(write, 4)
    reach = network.reach()
    assert reach is not None and 0 < reach < 16
    rng = np.random.default_rng(3)
    weights = {k: rng.normal(size=s) for k, s in network.parameter_shapes().items()}
    made = BuiltNetwork(ops("numpy"), network, weights)  # type: ignore[arg-type]
    x = rng.normal(size=(1, 2, 48, 48)).astype(np.float32)
    before = applied(made, x)
    furthest = 0
    for place in range(20, 28):
        changed = x.copy()
        changed[:, :, place, 48 - place] += 1
        where = np.argwhere((applied(made, changed) != before).any(axis=(0, 1)))
        furthest = max(furthest, np.abs(where - (place, 48 - place)).max())
    assert reach / 2 <= furthest <= reach


@pytest.mark.parametrize(
    ("kind", "options"),
    [(case.kind, case.options) for case in CASES
     if case.kind in ("spectral", "spectral_axis", "attention", "position", "grid", "pad", "border")
     or case.options.get("over") in ("instance", "group")],
)  # fmt: skip
def test_what_sees_everything_says_so(kind: str, options: Mapping[str, Any]) -> None:
    b = Builder()
    x = b.conv("before", "x", 8)
    layers = (*b.layers, Layer("all", kind, (x,), options), Layer("after", "scale", ("all",),
              {"factor": 2.0}))  # fmt: skip
    assert Network({"x": 2}, layers, ("after",)).reach() is None
    # An output beside it is not affected.
    assert Network({"x": 2}, layers, ("before",)).reach() == 1


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([("a", "konv", "x", {})], "(konv) must have a kind out of"),
        ([("a", "conv", "x", {})], "must have the options filters"),
        ([("a", "conv", "x", {"filters": 3, "colour": 1})], "received ['colour']"),
        ([("a", "conv", "x", {"filters": 3, "groups": 2})], "2 groups divide, received 2 channels"),
        ([("a", "conv", "x", {"filters": 4, "groups": 3})], "3 groups divide"),
        ([("a", "conv", "x", {"filters": 0})], "positive filters"),
        ([("a", "conv", "x", {"filters": 3, "kernel": 2})], "an odd kernel"),
        ([("a", "conv", "x", {"filters": 3, "initial": "one"})], "he or zero, received one"),
        ([("a", "conv", "y", {"filters": 3})], "out of earlier layers, received y"),
        ([("a", "conv", "x x", {"filters": 3})], "1 input(s), received 2"),
        ([("a", "add", "", {})], "some input(s), received 0"),
        ([("x", "scale", "x", {"factor": 1.0})], "a name of its own"),
        ([("a", "channels", "x", {"start": 1, "stop": 3})], "within 2 channels, received 1 to 3"),
        ([("a", "channels", "x", {"start": -1, "stop": 1})], "received -1 to 1"),
        ([("a", "channels", "x", {"start": 0, "stop": 1}), ("b", "add", "a x", {})],
         "the layer 'b' (add) must have inputs with the same number of channels, received [1, 2]"),
        ([("a", "activation", "x", {"function": "step"})], "received step"),
        ([("a", "compress", "x", {"function": "exp"})], "sqrt or log1p, received exp"),
        ([("a", "channels", "x", {"start": 0, "stop": 1}), ("b", "direction", "a x", {})],
         "the layer 'b' (direction) must have inputs with the same number of channels"),
        ([("a", "depth_to_space", "x", {})], "a multiple of 4 channels, received 2"),
        ([("a", "upsample", "x", {"factor": 0})], "a positive factor"),
        ([("a", "norm", "x", {"over": "batch"})], "instance, group or layer, received batch"),
        ([("a", "norm", "x", {"over": "group", "groups": 3})], "3 groups divide, received 2"),
        ([("a", "norm", "x", {"over": "layer", "groups": 2})], "only with over = group"),
        ([("a", "attention", "x", {"heads": 3})], "3 heads divide, received 2"),
        ([("a", "spectral", "x", {"filters": 2, "modes": 0})], "positive filters and modes"),
        ([("a", "spectral_axis", "x", {"filters": 2, "modes": 1, "axis": "z"})], "received z"),
        ([("a", "position", "x", {})], "a multiple of 4 channels"),
        ([("b", "scale", "x", {"factor": 1.0})], "outputs of a network must be layers of it"),
    ],
)  # fmt: skip
def test_a_layer_that_does_not_fit_is_one_sentence(layers: Any, sentence: str) -> None:
    made = tuple(Layer(name, kind, tuple(x.split()), o) for name, kind, x, o in layers)
    network = Network({"x": 2}, made, ("a",))
    with pytest.raises(InputError) as error:
        network.channels()
    assert sentence in str(error.value)
    with pytest.raises(InputError):
        initial_weights(network, 0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 2, 8, 6), (2, 8, 8)])
def test_images_that_do_not_fit_are_refused(framework: str, shape: tuple[int, ...]) -> None:
    network = built(patches, 4)
    made = BuiltNetwork(ops(framework), network, initial_weights(network, 0))
    with pytest.raises(InputError, match=r"takes 'x' as \(B, 2, H, W\) with H and W multiples"):
        applied(made, np.zeros(shape, np.float32))


def test_learned_places_end_somewhere() -> None:
    case = next(c for c in CASES if c.options == {"side": 9})
    _, weights = drawn(case, (1, 4, 9, 9))
    made = BuiltNetwork(ops("numpy"), case.network(), weights)
    with pytest.raises(InputError, match="up to 9 x 9 pixels at this layer, received 8 x 10"):
        applied(made, np.zeros((1, 4, 8, 10), np.float32))


def test_spectral_weights_start_as_small_positive_numbers() -> None:
    b = Builder()
    b.spectral("all", "x", 4, 3)
    b.spectral_axis("rows", "all", 4, 3, "x")
    weights = initial_weights(Network({"x": 2}, tuple(b.layers), ("rows",)), 0)
    assert weights["all.weight"].shape == (2, 4, 2, 3, 3, 2)
    assert weights["rows.weight"].shape == (4, 4, 3, 2)
    for name, most in (("all", 1 / 8), ("rows", 1 / 16)):
        values = weights[f"{name}.weight"]
        assert values.min() >= 0 and 0.8 * most < values.max() < most
