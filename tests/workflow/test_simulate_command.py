"""``ptychopinn simulate`` from the command line to the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.cli import run
from ptychopinn.io import load_scan
from ptychopinn.simulation import SimulationConfig, simulate


def test_writes_the_scan_that_the_function_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "scan.h5", tmp_path / "scan.png"
    flags = ["--object", "leaves", "--patterns", "16", "--N", "32", "--modes", "2", "--seed", "5"]
    flags += ["--dead-pixels", "3", "--phase", "-0.5", "0.5", "--energy-eV", "8000"]
    assert run(["simulate", str(out), *flags, "--preview", str(picture)]) == 0
    assert "16 of 32 x 32" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5", "scan.png"]
    loaded = load_scan(out)
    expected = simulate(
        object="leaves", patterns=16, N=32, modes=2, seed=5, dead_pixels=3, phase=(-0.5, 0.5),
        energy_eV=8000,
    )  # fmt: skip
    np.testing.assert_array_equal(loaded.diffraction[:], expected.diffraction[:])
    for name in ("positions_px", "probe", "object", "mask"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(expected, name))
    assert loaded.energy_eV == 8000
    assert loaded.provenance["simulation"] == expected.provenance["simulation"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--object grf --density 3", "--density does nothing with --object grf, received"),
        ("--scan fermat --jitter-px 3", "--jitter-px does nothing with --scan fermat, received"),
        ("--photographs folder", "choose --object natural, or leave it out"),
        ("--slices 3", "give 2 slices or more with their distance, or neither"),
        ("--object-file truth.npy", "received 'truth.npy'"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, says: str
) -> None:
    assert run(["simulate", str(tmp_path / "scan.h5"), *flags.split()]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_many_true_positions_survive_the_file(tmp_path: Path) -> None:
    out = tmp_path / "scan.h5"
    flags = ["--patterns", "2500", "--N", "32", "--position-error-px", "1", "--step-px", "2"]
    assert run(["simulate", str(out), *flags]) == 0
    loaded = load_scan(out)
    true = np.array(loaded.provenance["true_positions_px"])
    assert true.shape == (2500, 2)
    assert (loaded.positions_px - true).std() == pytest.approx(1, rel=0.1)


def test_flags_override_the_file_which_overrides_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("patterns: 9\nN: 32\namplitude: [0.8, 1.0]\npoisson: false\n")
    out = tmp_path / "scan.h5"
    assert run(["simulate", str(out), "--config", str(config), "--patterns", "4"]) == 0
    loaded = load_scan(out)
    assert (loaded.M, loaded.N) == (4, 32)
    stored = SimulationConfig(**loaded.provenance["simulation"])
    assert stored.amplitude == (0.8, 1.0) and not stored.poisson


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("amplitude", ["0", "1e300"]),
        ("phase", ["-1e300", "1e300"]),
        ("diameter", ["1e-300"]),
    ],
)
def test_numbers_that_no_experiment_has(
    option: str, values: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--patterns", "4", "--N", "32"]
    assert run(["simulate", str(tmp_path / "s.h5"), *few, f"--{option}", *values]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ptychopinn: ") and option in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "scan.h5", tmp_path / "scan.png"
    short = ["--patterns", "4", "--N", "32"]
    out.write_text("mine")
    assert run(["simulate", str(out), *short]) == 2
    assert out.read_text() == "mine" and "--force" in capsys.readouterr().err
    picture.write_text("mine")
    other = tmp_path / "other.h5"
    assert run(["simulate", str(other), *short, "--preview", str(picture)]) == 2
    assert picture.read_text() == "mine" and not other.exists()
    assert run(["simulate", str(out), *short, "--preview", str(picture), "--force"]) == 0
    assert load_scan(out).M == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--N", "65"], "--N must be a multiple of 2, received 65"),
        (["--object", "file"], "--object-file is not valid: expected the file"),
        (["--object", "file", "--object-file", "missing.npy"], "missing.npy"),
        (["--defocus", "1"], "must fit"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--preview", "picture.jpg"], ".png"),
        (["--object", "cats"], "cats"),
    ],
)
def test_bad_input_is_one_sentence_and_no_file(
    tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan.h5"
    assert run(["simulate", str(out), "--patterns", "4", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_unknown_key_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("patern: 9\n")
    assert run(["simulate", str(tmp_path / "scan.h5"), "--config", str(config)]) == 2
    assert "'patern'" in capsys.readouterr().err


def test_other_suffix_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(tmp_path / "scan.npz")]) == 2
    assert ".h5" in capsys.readouterr().err


def test_every_parameter_is_a_flag_and_help_is_light() -> None:
    code = (
        "import sys\nfrom ptychopinn.cli import run\nrun(['simulate', '--help'])\n"
        "heavy = {'scipy', 'skimage', 'matplotlib', 'h5py', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    for name in SimulationConfig.model_fields:
        assert "--" + name.replace("_", "-") in shown.stdout
