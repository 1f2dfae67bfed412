"""What the commands write to look at: figures in some formats, and the page of a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_commands import check_sentence, files

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.io import save_scan

REFINE = ["--backend", "numpy", "--passes", "3", "--no-mend", "all"]
RESULT = {
    "reconstruction.h5", "reconstructed_amplitude.png", "reconstructed_phase.png", "run.json",
    "log.txt",
}  # fmt: skip


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("look") / "a <b>bold</b> name.h5"
    save_scan(pp.simulate(N=32, patterns=49, photons=1e5, seed=4, step_px=3.0), path)
    return path


def test_figures_and_page_of_a_result(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["refine", str(scan), "-o", str(out), *REFINE, "--figures", "pdf,tiff"]) in (0, 3)
    drawn = {name for name in files(out) if name.startswith("figures/")}
    assert {"figures/patterns.pdf", "figures/phase.tiff", "figures/passes.pdf"} <= drawn
    assert files(out) == RESULT | drawn | {"report.html"}
    assert f"to look at: {out / 'report.html'}" in capsys.readouterr().out
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "ptychopinn refine" in page and "<b>bold" not in page
    # Nothing of an earlier result stays.
    again = ["refine", str(scan), "-o", str(out), *REFINE, "--no-report"]
    assert run(again) == 2
    check_sentence(capsys.readouterr().err, "report.html", "--force")
    assert run([*again, "--force"]) in (0, 3)
    assert files(out) == RESULT and not (out / "figures").exists()

    both = ["evaluate", str(out), "--truth", str(scan), "--data", str(scan)]
    assert run([*both, "--figures", "svg"]) == 0
    new = {"evaluation.json", "evaluation.png", "evaluation.svg", "evaluation.html"}
    assert files(out) == RESULT | new
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert '"name":"truth"' in page and "NRMSE of the complex object" in page
    assert run([*both, "--force", "--no-report"]) == 0
    assert files(out) == RESULT | {"evaluation.json", "evaluation.png"}


def test_a_format_that_is_none_is_refused_before_anything_is_done(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for command in (
        ["refine", str(scan), "-o", str(out), *REFINE, "--figures", "gif"],
        ["compare", str(scan), "-o", str(out), "--figures", "tiff"],
        ["evaluate", str(scan), "--truth", str(scan), "--figures", "gif"],
    ):
        assert run(command) == 2
        check_sentence(capsys.readouterr().err, "png, pdf, svg", "received")
        assert not out.exists()
