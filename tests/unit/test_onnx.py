"""Networks as ONNX files: onnxruntime computes from them what the package does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import ptychopinn as pp
from laws.adapters import SMALL_NETWORKS, small_network
from ptychopinn.cli import run
from ptychopinn.config import ModelConfig
from ptychopinn.errors import InputError
from ptychopinn.io.models import Bundle, Manifest
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.solvers.patches import PatchNetwork
from ptychopinn.workflows.model import Model


def model_of(config: ModelConfig, seed: int = 1) -> Model:
    """A model whose heads are not zero, as those of a new network are."""
    rng = np.random.default_rng(seed)
    weights = {
        name: values + 0.05 * rng.standard_normal(values.shape).astype(np.float32)
        for name, values in initial_weights(config.describe(), seed).items()
    }
    manifest = Manifest(
        backend="pytorch", config={"model": config.model_dump(mode="json")}, versions={}, seed=seed
    )
    n = getattr(config, "N", None) or 32
    return Model(Bundle(manifest, weights, np.ones((1, n, n), np.complex64)))


def session_of(path: Path) -> Any:
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", sorted(SMALL_NETWORKS))
@pytest.mark.parametrize(
    "options",
    # N = 34 is filled up to a multiple, and leaves odd numbers of frequencies.
    [{}, {"head": "cos_sin"}, {"head": "real_imaginary", "gridsize": 2}, {"N": 34}],
    ids=["plain", "cos_sin", "groups", "odd"],
)
def test_a_patch_network_gives_the_same_object(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    config: Any = small_network(name, **options)
    model = model_of(config)
    done = pp.export_onnx(model, tmp_path / "network.onnx")
    channels, n = config.patterns_per_group, config.N
    assert done.inputs == {"amplitudes": ("batch", channels, n, n)}
    own = PatchNetwork(BuiltNetwork(NumpyOps(), config.describe(), model.weights), n)
    session = session_of(done.file)
    for batch in (1, 3):
        x = np.random.default_rng(batch).random((batch, channels, n, n)).astype(np.float32)
        expected = own.objects(own.xp, x, list(own.network.parameters.values()))
        real, imag = session.run(["object_real", "object_imag"], {"amplitudes": x})
        assert np.abs(expected).max() > 0.5
        np.testing.assert_allclose(real + 1j * imag, expected, atol=2e-5)


@pytest.mark.parametrize("options", [{"N": 34}, {"gridsize": 2}], ids=["odd", "groups"])
def test_a_network_that_sees_the_probe_has_a_second_input(
    options: dict[str, Any], tmp_path: Path
) -> None:
    config: Any = small_network("cnn", probe_input="channels", **options)
    model = model_of(config)
    done = pp.export_onnx(model, tmp_path / "network.onnx")
    n, channels = config.N, config.patterns_per_group
    assert done.inputs == {"amplitudes": ("batch", channels, n, n), "probe": (1, 4, n, n)}
    own = PatchNetwork(BuiltNetwork(NumpyOps(), config.describe(), model.weights), n)
    session = session_of(done.file)
    assert "without a sample" in session.get_modelmeta().custom_metadata_map["probe"]
    rng = np.random.default_rng(4)
    for batch in (1, 3):
        x = rng.random((batch, channels, n, n)).astype(np.float32)
        probe = rng.random((1, 4, n, n)).astype(np.float32)
        weights = list(own.network.parameters.values())
        expected = own.objects(own.xp, x, weights, probe)
        assert np.abs(expected - own.objects(own.xp, x, weights, 2 * probe)).max() > 1e-3
        given = {"amplitudes": x, "probe": probe}
        real, imag = session.run(["object_real", "object_imag"], given)
        np.testing.assert_allclose(real + 1j * imag, expected, atol=2e-5)


@pytest.mark.parametrize("transform", ["sqrt", "log1p", "instancenorm"])
def test_what_is_done_to_the_patterns_first_is_in_the_file(transform: str, tmp_path: Path) -> None:
    config: Any = small_network("fno", fno_input_transform=transform)
    model = model_of(config)
    session = session_of(pp.export_onnx(model, tmp_path / "network.onnx").file)
    own = PatchNetwork(BuiltNetwork(NumpyOps(), config.describe(), model.weights), config.N)
    x = np.random.default_rng(1).random((2, 1, 32, 32)).astype(np.float32)
    expected = own.objects(own.xp, x, list(own.network.parameters.values()))
    real, imag = session.run(None, {"amplitudes": x})
    np.testing.assert_allclose(real + 1j * imag, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 48, 64), (2, 160, 112)])
def test_the_corrector_of_the_pretrained_network_is_the_same(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    model = pp.load_model()
    done = pp.export_onnx(model, tmp_path / "corrector.onnx")
    assert done.inputs == {"canvas": ("batch", 7, "height", "width")}
    batch, height, width = shape
    canvas = np.random.default_rng(2).standard_normal((batch, 7, height, width)).astype(np.float32)
    own = BuiltNetwork(NumpyOps(), model.config.model.describe(), model.weights)
    (expected,) = own(canvas=canvas)
    (found,) = session_of(done.file).run(None, {"canvas": canvas})
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_file_says_what_it_holds_and_is_the_same_again(tmp_path: Path) -> None:
    model = model_of(small_network("cnn"))
    one, two = (pp.export_onnx(model, tmp_path / f"{k}.onnx").file for k in (1, 2))
    assert one.read_bytes() == two.read_bytes()
    facts = session_of(one).get_modelmeta().custom_metadata_map
    assert facts["architecture"] == "cnn"
    assert "sqrt(counts)" in facts["amplitudes"]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        pp.export_onnx("pretrained", target)
    assert target.read_text() == "mine"
    pp.export_onnx("pretrained", target, force=True)
    session_of(target)


def test_a_corrector_that_sees_the_whole_canvas_is_refused(tmp_path: Path) -> None:
    config: Any = ModelConfig(**{"architecture": "unrolled", "corrector": "ffno", "width": 8})
    with pytest.raises(InputError, match="corrector=unet"):
        pp.export_onnx(model_of(config), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "m.onnx"
    assert run(["export", "pretrained", "--onnx", "-o", str(target)]) == 0
    said = capsys.readouterr().out
    assert "corrector" in said
    assert "(batch, 7, height, width)" in said
    assert run(["export", "pretrained", "-o", str(tmp_path / "m.h5")]) == 2
    assert "must end in .onnx" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "none.zip"), "-o", str(tmp_path / "n.onnx")]) == 2
    assert not (tmp_path / "n.onnx").exists()


def test_no_framework_is_needed(tmp_path: Path) -> None:
    code = f"""
import sys
for name in ("torch", "tensorflow"):
    sys.modules[name] = None
import ptychopinn as pp
pp.export_onnx("pretrained", {str(tmp_path / "m.onnx")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "m.onnx").exists()


def test_without_onnx_the_package_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptychopinn.workflows.export.installed", lambda package: False)
    with pytest.raises(pp.PtychoPINNError, match=r"pip install 'ptychopinn\[onnx\]'"):
        pp.export_onnx("pretrained", tmp_path / "m.onnx")
