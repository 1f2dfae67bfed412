"""Scans without a probe, by the real commands: looked at, refused, and reconstructed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.io import save_scan

pytest.importorskip("torch", reason="the command takes PyTorch where it is installed")


def bare(source: Path, target: Path, most: int | None = None) -> Path:
    """The scan in an NPZ without anything that tells its probe.

    most : so many patterns around the middle of the scan.
    """
    with np.load(source) as stored:
        hidden = ("probeGuess", "probeRecon", "objectGuess")
        arrays = {key: stored[key] for key in stored.files if key not in hidden}
    x, y = arrays["xcoords"], arrays["ycoords"]
    near = np.argsort(np.hypot(x - np.median(x), y - np.median(y)), kind="stable")
    chosen = np.sort(near[:most])
    whole = {key for key, values in arrays.items() if values.shape[:1] != x.shape}
    np.savez(target, **{k: v if k in whole else v[chosen] for k, v in arrays.items()})
    return target


def reconstructed(scan: Path, output: Path, *options: str) -> dict[str, Any]:
    assert run(["reconstruct", str(scan), "-o", str(output), "--quiet", *options]) == 0
    record: dict[str, Any] = json.loads((output / "run.json").read_text())
    return record


def test_a_scan_without_probe_is_refused_with_the_remedy(
    star: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = bare(star, tmp_path / "bare.npz")
    assert run(["reconstruct", str(scan), "-o", str(tmp_path / "result")]) == 2
    said = capsys.readouterr().err
    assert "give --probe auto to find it from the patterns" in said and "Traceback" not in said
    assert run(["reconstruct", str(scan), "-o", str(tmp_path / "r"), "--probe", "fzp:a=1"]) == 2
    assert "the keys of fzp are diameter, zone" in capsys.readouterr().err


def test_a_scan_without_probe_can_be_looked_at(
    star: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = bare(star, tmp_path / "bare.npz")
    assert run(["inspect", str(scan), "--check", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["probe"] is None and content["overlap"] is None
    assert run(["inspect", str(scan)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("probe" in line and "none" in line for line in lines)


def test_the_small_star_without_its_probe(star: Path, tmp_path: Path, elsewhere: Path) -> None:
    """And the result is refined and evaluated with the same scan, which still has no probe."""
    scan, output = bare(star, tmp_path / "bare.npz"), tmp_path / "result"
    record = reconstructed(scan, output, "--probe", "auto")
    assert record["fit"]["residual"] < 0.013
    result = pp.load_reconstruction(output)
    # The measured beam is not steady.
    names = [found.name for found in result.findings]
    assert {"twin", "probe-from-nothing"} <= set(names)
    assert set(names) <= {"twin", "probe-from-nothing", "beam-current"}
    further = ["--refine-probe", "--passes", "2", "--modes", "2", "--quiet"]
    further += ["--no-mend", "alternatives"]
    assert run(["refine", str(output), "-o", str(tmp_path / "more"), *further]) == 0
    refined = pp.load_reconstruction(tmp_path / "more")
    assert len(refined.probe) == 2
    assert run(["evaluate", str(output), "--data", str(scan), "--json"]) == 0


def test_the_star_without_its_probe(shared_data: Path, tmp_path: Path, elsewhere: Path) -> None:
    source = shared_data / "siemens_star" / "tike_siemens_star_128.npz"
    scan = bare(source, tmp_path / "bare.npz", most=100)
    options = ["--probe", "auto", "--no-mend", "alternatives"]
    record = reconstructed(scan, tmp_path / "result", *options)
    assert record["fit"]["residual"] <= 0.013
    twin, found, *others = pp.load_reconstruction(tmp_path / "result").findings
    assert (twin.name, twin.level) == ("twin", "note")
    assert {other.name for other in others} <= {"beam-current"}
    assert found.details["defocus_waves"] < -3
    assert found.details["stop_diameter_px"] == pytest.approx(22, abs=4)


PROBES = {
    "converging": {"defocus": -0.35},
    "astigmatic": {"defocus": 0.5, "astigmatism": 0.5, "diameter": 0.5},
    "with a stop": {"diameter": 0.5, "central_stop": 0.4},
}


@pytest.mark.parametrize("name", PROBES)
def test_simulated_scans_without_their_probe(name: str, tmp_path: Path, elsewhere: Path) -> None:
    """As good as with the known probe, to a few per cent of the residual."""
    truth = pp.simulate(object="leaves", N=32, patterns=144, photons=1e5, seed=11, **PROBES[name])
    save_scan(truth, tmp_path / "scan.h5")
    found = reconstructed(tmp_path / "scan.h5", tmp_path / "auto", "--probe", "auto")
    config = pp.RefineConfig(passes=24, refine_probe=True)
    known = pp.refine(truth, None, config, no_mend="all").fit
    assert known is not None
    assert found["fit"]["residual"] < 1.05 * known.residual
    # The sample may lie elsewhere under the beam, and the beam may come from another direction.
    scores = pp.evaluate(pp.load_reconstruction(tmp_path / "auto"), truth=truth)
    assert scores.metrics["phase_psnr_db"] > 25


def test_a_probe_from_nothing_with_swapped_axes(tmp_path: Path, elsewhere: Path) -> None:
    """Neither can be found without the other; a refinement of the result finds both again."""
    truth = pp.simulate(object="leaves", N=32, patterns=100, photons=1e5, seed=11)
    y, x = truth.positions_px.T
    swapped = tmp_path / "swapped.npz"
    np.savez(swapped, diff3d=truth.diffraction[:], xcoords=y, ycoords=x)
    record = reconstructed(swapped, tmp_path / "r", "--probe", "auto")
    assert record["fit"]["verdict"] == "good"
    names = [found.name for found in pp.load_reconstruction(tmp_path / "r").findings]
    assert names == ["twin", "probe-from-nothing", "orientation"]
    scores = pp.evaluate(pp.load_reconstruction(tmp_path / "r"), truth=truth)
    assert scores.metrics["phase_psnr_db"] > 25
    more = ["refine", str(tmp_path / "r"), "-o", str(tmp_path / "m"), "--passes", "2", "--quiet"]
    assert run(more) == 0
    further = json.loads((tmp_path / "m" / "run.json").read_text())
    assert further["fit"]["residual"] < 1.05 * record["fit"]["residual"]
    assert run(["evaluate", str(tmp_path / "r"), "--data", str(swapped), "--json"]) == 0


def test_the_probe_of_an_earlier_result(scans: Path, tmp_path: Path, elsewhere: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    reconstructed(scans / "a.h5", first)
    record = reconstructed(scans / "b.h5", second, "--probe", str(first), "--modes", "2")
    # The second mode is not in the patterns, which a high dose shows.
    assert record["fit"]["verdict"] in ("good", "doubtful")
    assert pp.load_reconstruction(second).probe.shape == (2, 32, 32)


def test_a_described_probe_is_written_by_convert(scans: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.h5"
    options = ["--probe", "gaussian:fwhm=10px", "--modes", "3", "--quiet"]
    assert run(["convert", str(scans / "a.h5"), str(target), *options]) == 0
    written = pp.load_scan(target)
    assert written.probe.shape == (3, 32, 32)
    counts = written.diffraction[:].sum(axis=(1, 2)).mean()
    assert (np.abs(written.probe) ** 2).sum() == pytest.approx(counts, rel=0.02)
