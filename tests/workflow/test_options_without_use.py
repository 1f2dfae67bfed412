"""What is typed is followed or refused: options that would do nothing, or contradict others."""

from __future__ import annotations

from pathlib import Path

import pytest

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.errors import InputError

QUIET = ["--passes", "1", "--backend", "numpy", "--quiet"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--positions-from 2", "--positions-from does nothing without --refine-positions"),
        ("--probe-from 2", "--probe-from does nothing without --refine-probe"),
        ("--exposure-along x", "--exposure-along does nothing without --exposure-px"),
        ("--wavelength-m 1e-10", "--wavelength-m does nothing without --slices"),
        ("--modes auto --no-refine-probe", "modes are found together with the probe"),
        ("--eigenprobes 2 --no-refine-probe", "eigenprobes are found together with the probe"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, words: str
) -> None:
    output = tmp_path / "out"
    code = run(["refine", str(scans / "a.h5"), "-o", str(output), *options.split(), *QUIET])
    assert code == 2 and words in capsys.readouterr().err
    assert not (output / "run.json").exists()


@pytest.mark.parametrize("options", [{"refine_probe": True}, {"eigenprobes": 2}])
def test_options_that_do_something_are_taken(scans: Path, options: dict[str, int]) -> None:
    config = pp.PhysicsConfig(passes=1, probe_from=1, **options)
    next(iter(pp.iterate(pp.load_scan(scans / "a.h5"), config, backend="numpy")))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("refine SCAN --passes 0", "--passes must be at least 1, received 0"),
        ("refine SCAN --exposure-px -1", "--exposure-px must be greater than 0, received -1.0"),
        ("refine SCAN --algorithm epie", "--algorithm has no meaning for the engine physics"),
        ("train SCAN --epochs 0", "--epochs must be at least 1, received 0"),
        ("train SCAN --torch-threads 0", "--torch-threads must be at least 1, received 0"),
        ("reconstruct SCAN --torch-device gpu", "--torch-device must be cpu, mps, cuda:N or xpu:N"),
        ("reconstruct SCAN --propagator near-field", "only of a CXI file can --propagator be said"),
        ("train SCAN --config FILE", "in 'FILE', --epochs must be at least 1, received 0"),
        ("train SCAN --config FILE --width 1", ": --width must be at least 4, received 1"),
    ],
)
def test_a_wrong_value_is_told_by_its_flag_or_its_file(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("epochs: 0\n")
    line = words.replace("SCAN", str(scans / "a.h5")).replace("FILE", str(file))
    assert run([*line.split(), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert says.replace("FILE", str(file)) in said
    assert not (tmp_path / "out").exists()


def test_iterations_refuse_them_at_once(scans: Path) -> None:
    with pytest.raises(
        InputError, match="positions_from does nothing without option refine_positions"
    ):
        pp.iterate(pp.load_scan(scans / "a.h5"), pp.PhysicsConfig(positions_from=2))


def test_the_scan_of_a_result_needs_a_result(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that was misspelt, and a scan: both ended as an object from nothing."""
    scan = str(scans / "a.h5")
    for source in (str(tmp_path / "misspelt"), str(scans / "b.h5")):
        out = tmp_path / "out"
        assert run(["refine", source, "--scan", scan, "-o", str(out), *QUIET]) == 2
        said = capsys.readouterr().err
        assert "result" in said and source in said
        assert not (out / "run.json").exists()


def test_a_result_under_another_name_is_refined_with_its_own_probe(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = pp.load_scan(scans / "a.h5")
    config = pp.PhysicsConfig(passes=2)
    found = pp.refine(scan, config=config, backend="numpy", no_mend="all")
    renamed = tmp_path / "renamed.h5"
    found.save(renamed)
    out = tmp_path / "out"
    again = ["refine", str(renamed), "--scan", str(scans / "a.h5"), "-o", str(out)]
    assert run([*again, *QUIET, "--no-mend", "alternatives"]) in (0, 3)
    assert len(pp.load_reconstruction(out).provenance["stages"]) == 2
    other = ["-o", str(tmp_path / "other"), "--probe", "gaussian:fwhm=6"]
    assert run(["refine", str(out), *other, *QUIET]) == 2
    assert "refined with its own probe, received --probe gaussian" in capsys.readouterr().err
