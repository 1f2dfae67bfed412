"""A patch network that sees the probe, through the commands: trained, pretrained, used on a scan
with another probe, on either backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_commands import BACKENDS, check_sentence, infer, read_json, train

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.io import save_scan
from ptychopinn.io.models import load_bundle
from ptychopinn.io.reconstructions import load_reconstruction

pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("tensorflow")

SMALL = ["--architecture", "cnn", "--n-filters-scale", "0.1"]
SEES = [*SMALL, "--probe-input", "channels"]
# Nothing is tried where a network of a single epoch fits poorly.
PLAIN = ["--no-mend", "all", "--no-report"]
SHORT = ["--epochs", "1", "--n-groups", "40"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan whose probe no network of these tests was trained with."""
    path = tmp_path_factory.mktemp("other") / "other.h5"
    save_scan(pp.simulate(N=32, patterns=60, photons=1e6, seed=6, defocus=-0.4, probe_seed=9), path)
    return path


@pytest.mark.parametrize("by", BACKENDS)
def test_a_scan_with_another_probe_is_seen_with_its_own(
    by: str, scans: Path, other: Path, tmp_path: Path
) -> None:
    """The bundle of one backend gives the same on the other; another probe of the scan gives
    another object."""
    assert train(scans / "a.h5", tmp_path / "m", *SEES, *SHORT, backend=by) == 0
    bundle = load_bundle(tmp_path / "m")
    assert bundle.manifest.backend == by
    assert bundle.manifest.config["model"]["probe_input"] == "channels"  # type: ignore[index,call-overload]
    found = []
    for backend in BACKENDS:
        assert infer(tmp_path / "m", other, tmp_path / backend, *PLAIN, backend=backend) in (0, 3)
        found.append(load_reconstruction(tmp_path / backend))
    seen = found[0].weight > 0.05 * found[0].weight.max()
    size = np.abs(found[0].object[seen]).max()
    assert np.abs(found[0].object - found[1].object)[seen].max() < 1e-4 * size
    scan = pp.load_scan(other)
    np.testing.assert_allclose(found[0].probe, scan.probe, rtol=1e-5)
    given = tmp_path / "given"
    infer(tmp_path / "m", other, given, *PLAIN, "--probe", scans / "a.h5", backend=by)
    assert np.abs(load_reconstruction(given).object - found[0].object)[seen].max() > 1e-3 * size


def test_it_is_pretrained_on_drawn_probes(
    other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--scans", "2", "--quiet", "--torch-threads", "1"]
    folder = tmp_path / "m"
    command = ["pretrain", "-o", str(folder), *short]
    assert run([*command, *SMALL, "--N", "32"]) == 2
    check_sentence(capsys.readouterr().err, "--probe-input channels")
    assert run([*command, *SEES]) == 2
    check_sentence(capsys.readouterr().err, "give --N")
    assert not folder.exists()
    assert run([*command, *SEES, "--N", "32"]) == 0
    model = pp.load_model(folder)
    assert model.probe.shape[1:] == (32, 32)
    assert model.manifest.statistics["simulated_scans"] == 2
    assert infer(folder, other, tmp_path / "r", *PLAIN) in (0, 3)
    onward = ["reconstruct", str(other), "-o", str(tmp_path / "o"), "--torch-threads", "1", *PLAIN]
    assert run([*onward, "--network", str(folder), "--refine", "never"]) in (0, 3)
    assert read_json(tmp_path / "o" / "run.json")["model"] == str(folder)
    same = [load_reconstruction(tmp_path / name).object for name in ("r", "o")]
    np.testing.assert_array_equal(*same)
    assert train(other, tmp_path / "further", *SHORT, "--from", folder) == 0
    assert read_json(tmp_path / "further" / "run.json")["config"]["model"] == (
        model.config.model.model_dump(mode="json")
    )


def test_a_probe_that_is_refined_is_refused(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(scans / "a.h5", tmp_path / "m", *SEES, "--probe-trainable") == 2
    check_sentence(capsys.readouterr().err, "--probe-trainable", "--probe-input channels")
    assert not (tmp_path / "m").exists()


def test_a_network_in_place_of_effects_is_named(
    other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reconstruct", str(other), "-o", str(tmp_path / "o")]
    assert run([*command, "--model", str(tmp_path)]) == 2
    check_sentence(capsys.readouterr().err, "--model", f"--network '{tmp_path}'")
    assert run([*command, "--network", str(other)]) == 2
    check_sentence(capsys.readouterr().err, "bundle")
    assert not (tmp_path / "o").exists()
