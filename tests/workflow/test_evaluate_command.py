"""``ptychopinn evaluate`` and ``ptychopinn doctor``, run as a user runs them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import warm_processes
from oracle.forward import intensities
from ptychopinn.cli import doctor, run
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.io import save_scan


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with a good result, and the scan it belongs to."""
    rng = np.random.default_rng(3)
    y, x = np.indices((90, 100))
    obj = (0.8 + 0.2 * np.cos(y / 6)) * np.exp(0.8j * np.sin(x / 7))
    u, v = np.indices((32, 32)) - 16
    probe = 60 * np.exp(-(u**2 + v**2) / 40)[None] * np.exp(0.02j * (u**2 + v**2))
    positions = rng.uniform((20, 20), (70, 80), size=(40, 2))
    counts = rng.poisson(intensities(obj, probe, positions)).astype(np.uint16)
    scan = Scan(diffraction=counts, positions_px=positions, probe=probe, object=obj)
    save_scan(scan, tmp_path / "scan.h5")
    result = Reconstruction(
        object=obj,
        origin_px=(0, 0),
        weight=np.ones(obj.shape),
        probe=probe,
        positions_px=positions,
        name="[bold] name",
    )
    (tmp_path / "result").mkdir()
    result.save(tmp_path / "result")
    return tmp_path / "result", tmp_path / "scan.h5"


def test_evaluate_writes_numbers_and_a_picture(
    places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, scan = places
    assert run(["evaluate", str(folder), "--truth", str(scan), "--data", str(scan)]) == 0
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["verdict"] == "good"
    assert content["metrics"]["nrmse"] < 1e-3
    assert (folder / "evaluation.png").stat().st_size > 10_000
    shown = capsys.readouterr().out
    assert "phase PSNR [dB]" in shown
    assert "fit of the patterns" in shown
    assert "[bold] name" in shown


def test_evaluate_prints_json_and_writes_elsewhere(
    places: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, scan = places
    other = tmp_path / "elsewhere"
    arguments = ["evaluate", str(folder / "reconstruction.h5"), "--data", str(scan)]
    assert run([*arguments, "-o", str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(
        (other / "evaluation.json").read_text()
    )
    assert {p.name for p in folder.iterdir()} == {"reconstruction.h5"}


def test_evaluate_needs_force_to_overwrite(
    places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, scan = places
    arguments = ["evaluate", str(folder), "--data", str(scan), "--json"]
    assert run(arguments) == 0
    assert run(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert run([*arguments, "--force"]) == 0


def test_evaluate_in_a_process_of_its_own_refuses_bad_input(places: tuple[Path, Path]) -> None:
    folder, scan = places
    cases = (
        ([str(folder)], "--truth"),
        ([str(folder / "nothing"), "--data", str(scan)], "nothing"),
        ([str(scan), "--data", str(scan)], "product"),
    )
    for arguments, word in cases:
        done = warm_processes.run(
            [sys.executable, "-m", "ptychopinn", "evaluate", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert word in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_doctor_reports_and_agrees_with_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run(["doctor", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert code == (0 if content["usable"] else 1)
    found = {finding["name"]: finding for finding in content["findings"]}
    assert found["physics, NumPy"]["status"] == "ok"
    assert found["numpy"]["value"] == np.__version__
    if found["torch"]["status"] == "ok":
        assert found["physics, torch cpu"]["status"] == "ok"
    assert run(["doctor"]) == code
    assert "ptychopinn doctor" in capsys.readouterr().out


def test_doctor_names_a_compromised_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # An installed package as pip records it, found before the real one.
    record = tmp_path / "lightning-2.6.3.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.metadata.version("lightning") == "2.6.3"
    finding = doctor.package("lightning")
    assert finding.status == "error"
    assert "compromised" in finding.value
    assert "2.6.4" in finding.remedy
    run(["doctor", "--json"])
    assert "pytorch" not in json.loads(capsys.readouterr().out)["backends"]


def test_doctor_says_that_python_keeps_nothing_of_what_it_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    found = {finding.name: finding for finding in doctor.examine()[0]}["start of commands"]
    assert found.status == "info" and "torch" in found.value and "compileall" in found.remedy
    kept = Path(importlib.util.cache_from_source(torch.__file__))
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert not doctor.uncompiled("torch")


def test_doctor_names_what_is_not_installed() -> None:
    finding = doctor.package("surely-not-installed-here")
    assert (finding.status, finding.value) == ("missing", "not installed")


def test_the_code_in_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    blocks = [part.split("```", 1)[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/evaluation.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "NRMSE" in shown
    assert "from noise alone" in shown


def test_a_probe_can_be_replaced(places: tuple[Path, Path]) -> None:
    """The patterns are predicted with the probe of --probe, which here is out of focus."""
    folder, scan = places
    u, v = np.indices((32, 32)) - 16
    wrong = np.exp(-(u**2 + v**2) / 40) * np.exp(-0.05j * (u**2 + v**2))
    np.savez(folder / "other.npz", wrong=wrong.astype(np.complex64))
    residuals = []
    for options in ([], ["--probe", f"{folder / 'other.npz'}:wrong"]):
        assert run(["evaluate", str(folder), "--data", str(scan), "--force", *options]) == 0
        content = json.loads((folder / "evaluation.json").read_text())
        residuals.append(content["metrics"]["residual"])
    assert residuals[1] > 2 * residuals[0]
