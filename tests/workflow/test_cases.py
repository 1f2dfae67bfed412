"""Small faulty scans beside the checkout, each of a kind: a right result, or the true cause."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptychopinn.cli import run
from ptychopinn.io.reconstructions import load_reconstruction

pytest.importorskip("torch")
pytest.importorskip("hdf5plugin")

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not CASES.is_dir():
        pytest.skip(f"the faulty scans are not there: no folder {CASES}")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, CASES / "make_cases.py", folder], check=True)
    return folder


def phase_db(result: Path) -> float:
    """PSNR of the phase against the object that all cases share."""
    assert run(["evaluate", str(result), "--truth", str(CASES / "base.h5"), "--force"]) == 0
    found = json.loads((result / "evaluation.json").read_text())
    return float(found["metrics"]["phase_psnr_db"])


# The whole scan gives 30.6 dB.
@pytest.mark.parametrize(
    ("name", "finding", "words", "least"),
    [
        ("05_far_position.npz", "far-positions", "position 70", 30),
        ("07_one_empty.cxi", "empty-patterns", "pattern 33", 30),
        ("07_three_flooded.cxi", "flooded-patterns", "patterns 5, 60, 99", 30),
        ("08_hot_pixels.cxi", "hot-pixels", "2 pixels", 30),
        ("08_zingers.cxi", "zingers", "10 pixels", 30),
        ("08_saturated_150.cxi", "saturated-pixels", "150 counts", 30),
        ("08_background_4.cxi", "background", "counts per pixel", 31),
        ("14_beam_current_30pct.npz", "beam-current", "19.", 31),
        ("09_axes_swapped.npz", "orientation", "positions were turned", 30),
        ("09_patterns_flipped.npz", "orientation", "patterns were turned", 30),
        ("11_patterns_fftshifted.npz", "patterns-in-corner", "corner", 30),
        ("11_probe_fftshifted.npz", "probe-in-corner", "corner", 30),
    ],
)
def test_mended(
    name: str,
    finding: str,
    words: str,
    least: float,
    cases: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = tmp_path / "r"
    assert run(["reconstruct", str(cases / name), "-o", str(result)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert any(words in line for line in warnings), warnings
    record = json.loads((result / "run.json").read_text())["findings"]
    assert [found["name"] for found in record] == [finding]
    assert [found.name for found in load_reconstruction(result).findings] == [finding]
    assert phase_db(result) >= least
    # What was mended is mended again for the verbs that follow.
    assert run(["evaluate", str(result), "--data", str(cases / name), "--force"]) == 0
    further = [str(result), "-o", str(tmp_path / "f"), "--passes", "2", "--scan", str(cases / name)]
    assert run(["refine", *further, "--no-mend", "alternatives"]) == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("10_positions_um.npz", "span 0.705 px"),
        ("10_positions_10x.npz", "must overlap"),
    ],
)
def test_refused(
    name: str, words: str, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-o", str(tmp_path / "r"), "--quiet"]
    assert run(["reconstruct", str(cases / name), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not re.search("probe does not fit", line)
    assert not (tmp_path / "r").exists()


def test_inspect_shows_findings(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["inspect", str(cases / "08_hot_pixels.cxi"), "--check", "--json"]
    assert run(options) == 0
    assert [f["name"] for f in json.loads(capsys.readouterr().out)["findings"]] == ["hot-pixels"]
    assert run([*options, "--no-mend", "hot-pixels"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    assert run(["inspect", str(cases / "10_positions_um.npz"), "--check", "--json"]) == 2
    capsys.readouterr()
    assert run([*options, "--no-mend", "hot"]) == 2
    assert "--no-mend" in capsys.readouterr().err
