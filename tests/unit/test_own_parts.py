"""A propagator, a loss and a network of one's own, given as objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pytest
from pydantic import Field

import ptychopinn as pp

BACKENDS = ("pytorch", "tensorflow")
TINY = {"width": 4, "levels": 2, "iterations": 1, "updates": 2}


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(N=32, patterns=64, photons=1e6, seed=4, step_px=3.0)


def few(**more: Any) -> pp.Config:
    data = {"n_groups": 4, "subscan_patterns": 25}
    return pp.Config(**{"model": TINY, "data": data, "training": {"epochs": 1}} | more)


# --- a propagator ---------------------------------------------------------------------------------


class Screen(NamedTuple):
    """Far field through a plate behind the sample: a phase (N, N) in the plane of the patch."""

    phase: Any

    @property
    def measures_momentum(self) -> bool:
        return False

    def forward(self, xp: Any, waves: Any, fraction: Any) -> Any:
        return xp.fft2(waves * self.phase)

    def backward(self, xp: Any, fields: Any, fraction: Any) -> Any:
        return xp.ifft2(fields) * xp.conj(self.phase)

    def power(self, xp: Any, n: Any) -> Any:
        return xp.fft_power(n)

    def inward(self, patterns: Any) -> Any:
        return np.fft.ifftshift(patterns, axes=(-2, -1))

    def outward(self, patterns: Any) -> Any:
        return np.fft.fftshift(patterns, axes=(-2, -1))


@pytest.fixture(scope="module")
def screened(scan: pp.Scan) -> pp.Scan:
    """The scan as the plate shows it."""
    y, x = np.indices((32, 32)) - 16
    plate = Screen(np.exp(2j * np.sin(y / 2) * np.cos(x / 3)).astype(np.complex64))
    counts = pp.intensities(scan.object, scan.probe, scan.positions_px, (0, 0), plate)
    noisy = np.random.default_rng(1).poisson(counts).astype(np.uint32)
    return replace(scan, diffraction=noisy, propagation=plate)


@pytest.mark.parametrize("backend", ["numpy", *BACKENDS])
def test_a_propagator_of_ones_own_is_refined_with(screened: pp.Scan, backend: Any) -> None:
    config = pp.RefineConfig(passes=40)
    found = pp.refine(screened, None, config, backend=backend, no_mend="all")
    assert found.fit.residual < 1.3 * found.fit.expected  # type: ignore[union-attr]
    far = replace(screened, propagation="far-field")
    wrong = pp.refine(far, None, config, backend=backend, no_mend="all")
    assert wrong.fit.residual > 5 * found.fit.residual  # type: ignore[union-attr]
    assert found.propagation is screened.propagation
    patterns = pp.predict_patterns(found)
    assert patterns.shape == screened.diffraction.shape
    assert abs(patterns.sum() / np.asarray(screened.diffraction).sum() - 1) < 1e-3
    assert pp.check_probe(screened).fits
    network = pp.reconstruct(screened, refine="never", backend=backend, no_mend="all")
    assert network.fit.residual < 0.2 * wrong.fit.residual  # type: ignore[union-attr]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_propagator_of_ones_own_is_trained_with(screened: pp.Scan, backend: Any) -> None:
    pp.train(screened, few(), backend=backend, no_mend="all")
    cnn = {"architecture": "cnn", "n_filters_scale": 0.25}
    far = replace(screened, propagation="far-field")
    with pytest.raises(pp.InputError, match="the probe must fit the data"):
        pp.train(far, few(), backend=backend, no_mend="all")
    assert pp.train(
        screened, few(model=cnn, data={"n_groups": 32}), backend=backend, no_mend="all"
    ).history


def test_no_file_holds_a_propagator_of_ones_own(screened: pp.Scan, tmp_path: Any) -> None:
    config = pp.RefineConfig(passes=1)
    found = pp.refine(screened, None, config, backend="numpy", no_mend="all")
    for write in (
        lambda: pp.save_scan(screened, tmp_path / "scan.h5"),
        lambda: found.save(tmp_path / "r.h5"),
        lambda: found.save(tmp_path),
    ):
        with pytest.raises(pp.InputError, match="a propagator of your own, Screen"):
            write()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_propagator_is_refused(scan: pp.Scan) -> None:
    class Half(NamedTuple):
        kernel: Any

        def forward(self) -> None: ...

    class Whole:
        measures_momentum = True
        forward = backward = power = inward = outward = None

    for given, words in (
        (Half(1), "received Half without measures_momentum, backward"),
        (Whole(), "must be a NamedTuple of arrays"),
        (3, "received int without"),
        (Screen, "received type"),
        ("close", "one of far-field, near-field, received 'close'"),
    ):
        with pytest.raises(pp.InputError, match=words):
            replace(scan, propagation=given)  # type: ignore[arg-type]


# --- a loss ---------------------------------------------------------------------------------------


def darkness(xp: Any, prediction: Any) -> Any:
    """Least for an object of modulus one half: nothing that the patterns ask for."""
    wrong = (xp.sqrt(xp.abs2(prediction.images) + 1e-12) - 0.5) ** 2
    weight = xp.broadcast_to(prediction.weight, xp.shape(wrong))
    return xp.sum(weight * wrong) / xp.sum(weight)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_of_ones_own_is_trained_for(scan: pp.Scan, backend: Any) -> None:
    cnn = {"architecture": "cnn", "n_filters_scale": 0.25}
    config = few(model=cnn, data={}, training={"epochs": 6})
    own = pp.train(scan, config, backend=backend, loss=darkness, replace_loss=True, no_mend="all")
    assert own.history["val_loss"][-1][1] < 0.1 * own.history["val_loss"][0][1]
    assert own.manifest.statistics["own_loss"] == {"name": "darkness", "replaces": True}

    def ten(xp: Any, prediction: Any) -> Any:
        return 0 * xp.sum(prediction.weight) + 10

    usual = pp.train(scan, few(), backend=backend, no_mend="all")
    added = pp.train(scan, few(), backend=backend, loss=ten, no_mend="all")
    assert "own_loss" not in usual.manifest.statistics
    for (_, a), (_, b) in zip(usual.history["val_loss"], added.history["val_loss"], strict=True):
        assert b == pytest.approx(a + 10, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_loss_is_one_sentence(scan: pp.Scan, backend: Any) -> None:
    wrong: list[tuple[Any, str]] = [
        (lambda xp, p: p.images, "an own loss must return a real scalar .*the shape"),
        (lambda xp, p: 3.0, "an own loss must return a real scalar .*received float"),
        (lambda xp, p: None, "an own loss must return a real scalar .*received NoneType"),
        ("mae", "loss must be a function"),
    ]
    for loss, words in wrong:
        with pytest.raises(pp.InputError, match=words):
            pp.train(scan, few(), backend=backend, loss=loss, no_mend="all")
    with pytest.raises(pp.InputError, match="replace_loss needs a loss"):
        pp.train(scan, few(), backend=backend, replace_loss=True)


def test_a_run_with_a_loss_of_ones_own_goes_on_with_it_only(scan: pp.Scan, tmp_path: Any) -> None:
    config, longer = few(), few(training={"epochs": 2})
    pp.train(scan, config, directory=tmp_path, loss=darkness, no_mend="all")
    with pytest.raises(pp.InputError, match="resume continues a run with its own loss"):
        pp.train(scan, longer, directory=tmp_path, resume=True, no_mend="all")
    model = pp.train(scan, longer, directory=tmp_path, resume=True, loss=darkness, no_mend="all")
    assert len(model.history["val_loss"]) == 2


# --- a network ------------------------------------------------------------------------------------


@pytest.fixture
def plain() -> Iterator[type[pp.PatchConfig]]:
    """An architecture as a notebook would write it down."""

    class PlainConfig(pp.PatchConfig):
        """Three convolutions."""

        about: ClassVar[str] = "three convolutions"
        architecture: Literal["plain"] = "plain"  # type: ignore[assignment]
        features: int = Field(8, ge=1, le=64, description="channels")

        def describe(self) -> pp.Network:
            b = pp.Builder()
            c = self.patterns_per_group
            x = b.conv("first", "patterns", self.features, "relu")
            x = b.conv("second", x, self.features, "relu")
            # It begins with an object of modulus 1 and phase 0.
            amplitude = b.conv("bright", x, c, "sigmoid", initial="zero")
            amplitude = b.scale("amplitude", amplitude, 2.0)
            phase = b.conv("phase", x, c, "tanh", initial="zero")
            return pp.Network(
                inputs={"patterns": c}, layers=tuple(b.layers), outputs=(amplitude, phase)
            )

    pp.architecture(PlainConfig)
    yield PlainConfig
    del pp.ModelConfig.kinds["plain"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_of_ones_own_is_trained_saved_and_used(
    plain: type[pp.PatchConfig], scan: pp.Scan, tmp_path: Any, backend: Any
) -> None:
    config = pp.Config(
        model=plain(features=4),  # type: ignore[call-arg]
        training={"epochs": 3},  # type: ignore[arg-type]
    )
    model = pp.train(scan, config, backend=backend, no_mend="all")
    assert "plain" in repr(model)
    read = pp.load_model(model.save(tmp_path / "wts.h5.zip"))
    options: Any = {"backend": backend, "refine": "never", "no_mend": "all"}
    one, other = (pp.reconstruct(scan, m, **options) for m in (model, read))
    np.testing.assert_array_equal(one.object, other.object)


def test_a_network_that_is_not_known_is_asked_for(
    plain: type[pp.PatchConfig], scan: pp.Scan, tmp_path: Any
) -> None:
    config = pp.Config(
        model=plain(),
        training={"epochs": 3},  # type: ignore[arg-type]
    )
    path = pp.train(scan, config, no_mend="all").save(tmp_path / "wts.h5.zip")
    kind = pp.ModelConfig.kinds.pop("plain")
    try:
        with pytest.raises(pp.InputError, match=r"'plain' where .*import the module"):
            pp.load_model(path)
    finally:
        pp.ModelConfig.kinds["plain"] = kind


def test_a_network_that_is_not_registered_is_refused() -> None:
    """No bundle of it could be read again."""

    class LostConfig(pp.PatchConfig):
        architecture: Literal["lost"] = "lost"  # type: ignore[assignment]

    with pytest.raises(pp.InputError, match="must be a registered one, received LostConfig"):
        pp.Config(model=LostConfig())
