"""A thick sample with the real commands: simulated, refined, evaluated, continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_commands import check_sentence, read_json

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.evaluation.alignment import scan_box
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.io import load_scan
from ptychopinn.simulation import true_slices

SPACING = 8e-6
REFINE = ("--backend", "numpy", "--no-mend", "all")
THICK = ("--slices", "2", "--slice-spacing-m", str(SPACING), *REFINE)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thick") / "scan.h5"
    made = ["--object", "leaves", "--N", "32", "--patterns", "144", "--photons", "1e6"]
    slices = ["--slices", "2", "--slice-spacing-m", str(SPACING), "--quiet"]
    assert run(["simulate", str(path), *made, *slices]) == 0
    return path


def refine(source: Path, output: Path, *options: str) -> int:
    return run(["refine", str(source), "-o", str(output), "--quiet", *options])


def scored(result: Path, scan: Path) -> dict[str, Any]:
    assert run(["evaluate", str(result), "--truth", str(scan), "--data", str(scan)]) == 0
    found: dict[str, Any] = read_json(result / "evaluation.json")
    return found


@pytest.fixture(scope="module")
def thick(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("results") / "thick"
    assert refine(scan, output, *THICK, "--passes", "60") == 0
    return output


def correlations(result: pp.Reconstruction, scan: pp.Scan) -> np.ndarray[Any, Any]:
    """Of the phases of the slices found with those of the true ones, (2, 2)."""
    assert result.slices is not None
    box = scan_box(scan.positions_px)
    here = tuple(slice(b.start - o, b.stop - o) for b, o in zip(box, result.origin_px, strict=True))
    both = []
    for slices in (result.slices[:, *here], true_slices(scan)[:, *box]):
        means = slices.sum(axis=(1, 2), keepdims=True)
        both.append(np.angle(slices * np.conj(means)).reshape(2, -1))
    return np.asarray(np.corrcoef(*both)[:2, 2:])


def test_slices_explain_what_a_thin_object_does_not(
    scan: Path, thick: Path, tmp_path: Path
) -> None:
    refine(scan, tmp_path / "thin", *REFINE)
    metrics = scored(thick, scan)["metrics"]
    thin = pp.load_reconstruction(tmp_path / "thin")
    before, after = (misfit(r, load_scan(scan)) for r in (thin, pp.load_reconstruction(thick)))
    assert after.residual < 0.2 * before.residual
    assert after.verdict == "good"
    assert metrics["phase_psnr_db"] > 30


def test_each_slice_is_like_its_own_truth(scan: Path, thick: Path) -> None:
    found, truth = pp.load_reconstruction(thick), load_scan(scan)
    assert found.slices is not None
    own = correlations(found, truth)
    assert own[0, 0] > own[0, 1] + 0.3
    assert own[1, 1] > own[1, 0] + 0.3
    assert np.abs(found.slices.prod(axis=0) - found.object).max() < 1e-5
    assert "slices" in {item.name for item in found.findings}


def test_a_result_goes_on_with_its_slices(scan: Path, thick: Path, tmp_path: Path) -> None:
    assert refine(thick, tmp_path / "further", "--scan", str(scan), "--passes", "2", *REFINE) == 0
    before, after = pp.load_reconstruction(thick), pp.load_reconstruction(tmp_path / "further")
    assert after.slices is not None
    assert before.effects["slices"].tolist() == after.effects["slices"].tolist()
    data = load_scan(scan)
    assert misfit(after, data).residual <= 1.02 * misfit(before, data).residual


def test_their_spacing_is_found(scan: Path, tmp_path: Path) -> None:
    assert refine(scan, tmp_path / "found", "--slices", "2", "--passes", "3", *REFINE) in (0, 3)
    spacing = pp.load_reconstruction(tmp_path / "found").effects["slices"][1]
    assert spacing == pytest.approx(SPACING, rel=0.15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--slices", "0"), "slices"),
        (("--slices", "9"), "slices"),
        (
            ("--slices", "2", "--slice-spacing-m", "-1e-6"),
            "--slice-spacing-m must be greater than 0",
        ),
        (("--slice-spacing-m", "1e-6"), "at least 2 slices"),
        ((*THICK, "--uncertainty"), "thin object"),
        (("--engine", "ptychi", "--slices", "2"), "slices"),
    ],
)
def test_what_does_not_go_with_them_is_said(
    scan: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refine(scan, tmp_path / "none", *options) == 2
    said = capsys.readouterr().err
    check_sentence(said)
    assert words in said
    assert not (tmp_path / "none" / "reconstruction.h5").exists()
