"""What the commands say about real files, and that a result keeps what was mended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.cli import run
from ptychopinn.data.findings import recorded_findings
from ptychopinn.io.reconstructions import load_reconstruction
from scan_files import Content, M, N, counts_of, positions_of, write


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a command ends."""
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and "Traceback" not in output.err
    return output.err


def test_frames_say_which_patterns_to_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = np.concatenate([counts_of(9)[:1], counts_of()])
    path = str(write("cxi", tmp_path, Content(counts=counts)))
    said = refused(["inspect", path], capsys)
    assert f"{M + 1} patterns and {M} positions" in said and "--frames 1: " in said
    assert "--frames must" in refused(["inspect", path, "--frames", "1"], capsys)
    assert run(["inspect", path, "--frames", "1:", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["M"] == M
    assert run(["convert", path, str(tmp_path / "new.h5"), "--frames", "1:"]) == 0


def test_negative_counts_are_clipped_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write("cxi", tmp_path, Content(counts=counts_of().astype(np.float32) - 3.25)))
    assert "--clip-negative" in refused(["inspect", path], capsys)
    assert run(["inspect", path, "--clip-negative"]) == 0
    assert "negative-counts" in capsys.readouterr().out


def test_fractional_numbers_need_their_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A flat field leaves no common factor.
    flat = np.linspace(0.95, 1.05, counts_of().shape[-1])
    path = str(write("npz", tmp_path, Content(counts=counts_of() / flat)))
    said = refused(["inspect", path], capsys)
    assert "--units counts" in said and "--units amplitude" in said
    assert run(["inspect", path, "--units", "counts"]) == 0


@pytest.mark.parametrize("command", ["reconstruct", "refine"])
def test_raw_and_odd_files_name_prepare(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import h5py

    with h5py.File(tmp_path / "scan_master.h5", "w") as file:
        file["entry/data/data_000001"] = counts_of()
    odd = write("npz", tmp_path, Content(counts=counts_of()[:, :-1, :-1]))
    for path in (tmp_path / "scan_master.h5", odd):
        said = refused([command, str(path), "-o", str(tmp_path / "out")], capsys)
        assert f"ptychopinn prepare {path}" in said


def test_a_result_keeps_what_was_masked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = counts_of().astype(np.uint32)
    counts[:, 20] = 2**32 - 1
    path = write("cxi", tmp_path, Content(counts=counts, positions=positions_of()))
    out = tmp_path / "out"
    # The patterns are no diffraction: the fit is poor, and the files are there.
    arguments = ["refine", str(path), "-o", str(out), "--backend", "numpy", "--passes", "1"]
    assert run(arguments) in (0, 3)
    assert f"masked {N} of {N * N} pixels" in capsys.readouterr().err
    # Nor does the probe send its beam where they are.
    names = [found.name for found in recorded_findings(load_reconstruction(out).provenance)]
    assert names == ["sentinel-pixels", "beam-off-centre"]
