"""``ptychopinn prepare`` as a user runs it: from raw files to a scan that reconstructs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.data.findings import recorded_findings
from ptychopinn.io import load_scan
from raw_files import ENERGY, PIXEL, Raw

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handed cases, written anew; skips where their recipe is not beside the checkout."""
    if not (CASES / "make_cases.py").is_file():
        pytest.skip(f"the handed cases are not there: no file {CASES / 'make_cases.py'}")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, CASES / "make_cases.py", folder], check=True)
    return folder


def flags(raw: Raw) -> list[str]:
    return [
        "--energy-ev", str(ENERGY), "--distance-m", "1", "--detector-pixel-m",
        repr(raw.detector_pixel), "--probe", str(raw.native),
    ]  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """The one sentence of a command that ends with exit code 2."""
    capsys.readouterr()
    assert run(["prepare", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err


def test_keys_to_a_scan_to_a_picture(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan.h5"
    assert run(["prepare", str(raw.keys()), *flags(raw), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "40 of 32 x 32 pixels, uint16" in said and "1e-08 m" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5"]
    scan = load_scan(out)
    np.testing.assert_array_equal(scan.diffraction[:], raw.counts)
    assert scan.pixel_size_m == pytest.approx(PIXEL)
    config = pp.RefineConfig(passes=3)
    result = pp.refine(scan, config=config, backend="numpy", no_mend="all")
    assert result.fit is not None and np.isfinite(result.object).all()


def test_nothing_is_overwritten_without_force(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan.h5"
    out.write_text("mine")
    said = refused(capsys, raw.keys(), *flags(raw), "-o", out)
    assert "add --force to overwrite" in said and out.read_text() == "mine"
    assert run(["prepare", str(raw.keys()), *flags(raw), "-o", str(out), "--force", "--quiet"]) == 0
    assert load_scan(out).M == 40 and capsys.readouterr().out == ""
    assert "must end in .h5" in refused(capsys, raw.keys(), *flags(raw), "-o", tmp_path / "s.npz")
    assert "-o scan.h5" in refused(capsys, raw.keys(), *flags(raw))


def test_a_failure_half_way_leaves_nothing(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that no sampled pattern shows: the scan appears whole or not at all."""
    path = raw.folder / "late.h5"
    values = np.repeat(raw.counts, 5, axis=0).astype(np.float32)
    values[151, 16, 16] = -3
    with h5py.File(path, "w") as file:
        file["frames"] = values
        file["y_um"], file["x_um"] = np.tile(raw.y * 1e6, 5), np.tile(raw.x * 1e6, 5)
    said = refused(capsys, path, *flags(raw), "-o", tmp_path / "scan.h5")
    assert "received -3; give --clip-negative" in said and list(tmp_path.iterdir()) == []
    more = ["--clip-negative", "-o", str(tmp_path / "scan.h5")]
    assert run(["prepare", str(path), *flags(raw), *more]) == 0


def test_numbers_that_do_not_fit_are_written_again_in_a_wider_type(
    raw: Raw, tmp_path: Path
) -> None:
    for value, kind in ((70000, np.uint32), (2.5, np.float32)):
        path = tmp_path / "late.h5"
        values = np.repeat(raw.counts, 5, axis=0).astype(np.float32)
        values[151, 16, 16] = value
        with h5py.File(path, "w") as file:
            file["frames"] = values
            file["y_um"], file["x_um"] = np.tile(raw.y * 1e6, 5), np.tile(raw.x * 1e6, 5)
        out = tmp_path / "scan.h5"
        assert run(["prepare", str(path), *flags(raw), "-o", str(out), "--force"]) == 0
        scan = load_scan(out)
        assert scan.diffraction.dtype == kind
        np.testing.assert_array_equal(scan.diffraction[:], values)


def test_a_recipe_repeats_what_was_done(
    raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = np.pad(raw.counts, ((0, 0), (8, 8), (11, 5)))[:, ::-1]
    mask = np.zeros(wide.shape[1:], np.uint8)
    mask[0, 0] = mask[20, 20] = 1
    for name in ("one.h5", "two.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["det/frames"], file["det/pixel_mask"] = wide, mask
            file["y_um"], file["x_um"] = raw.y * 1e6, raw.x * 1e6
    monkeypatch.chdir(tmp_path)
    first = ["one.h5", "--flip-y", "--crop", "32", "--centre", "23,27", "--mask", "det/pixel_mask"]
    first += ["--frames", "5:35:2", *flags(raw), "-o", "first.h5", "--save-recipe", "r.yaml"]
    assert run(["prepare", *first]) == 0
    scan = load_scan("first.h5")
    good = scan.good_pixels
    np.testing.assert_array_equal(scan.diffraction[:][:, good], raw.counts[5:35:2][:, good])
    # Row 20 of 48 is row 27 from below, and the window begins at row 8 and column 11.
    assert np.argwhere(~scan.good_pixels).tolist() == [[19, 9]]
    recipe = yaml.safe_load(Path("r.yaml").read_text())
    assert recipe == scan.provenance["recipe"]
    assert recipe["mask"] == "det/pixel_mask" and recipe["flip_y"] is True

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for recipe_file in ("../r.yaml", "../first.h5"):
        again = ["../two.h5", "--recipe", recipe_file, "-o", "again.h5", "--force"]
        assert run(["prepare", *again]) == 0
        found = load_scan("again.h5")
        np.testing.assert_array_equal(found.diffraction[:], scan.diffraction[:])
        np.testing.assert_array_equal(found.positions_px, scan.positions_px)
        assert found.provenance["recipe"] == scan.provenance["recipe"]
    assert run(["prepare", "../two.h5", "--recipe", "../r.yaml", "--frames", "0:9",
                "-o", "flag.h5"]) == 0  # fmt: skip
    assert load_scan("flag.h5").M == 9
    from_python = pp.prepare("../two.h5", recipe="../r.yaml", frames="0:9")
    np.testing.assert_array_equal(from_python.diffraction, load_scan("flag.h5").diffraction[:])


def test_binning_and_cropping_change_the_pixel_of_the_object(raw: Raw) -> None:
    """Finer pixels binned by two are the same scan; half of the detector is twice as coarse."""
    fine = np.repeat(np.repeat(raw.counts, 2, axis=1), 2, axis=2)
    path = raw.folder / "fine.h5"
    with h5py.File(path, "w") as file:
        file["frames"], file["y_um"], file["x_um"] = fine, raw.y * 1e6, raw.x * 1e6
    options: dict[str, Any] = {
        "energy_eV": ENERGY, "distance_m": 1, "detector_pixel_m": raw.detector_pixel / 2,
    }  # fmt: skip
    scan = pp.prepare(path, bin=2, probe=str(raw.native), **options)
    np.testing.assert_array_equal(scan.diffraction, 4 * raw.counts.astype(int))
    assert scan.pixel_size_m == pytest.approx(PIXEL)
    scan = pp.prepare(path, pad=64, probe=_probe_of(raw, 64), **options)
    assert scan.N == 64 and scan.pixel_size_m == pytest.approx(PIXEL)
    scan = pp.prepare(path, crop=32, probe=str(raw.native), **options)
    assert scan.N == 32 and scan.pixel_size_m == pytest.approx(2 * PIXEL)
    scan = pp.prepare(path, bin=2, pad=64, probe=_probe_of(raw, 64), **options)
    assert scan.pixel_size_m == pytest.approx(PIXEL / 2)
    step = np.ptp(scan.positions_px, axis=0)
    np.testing.assert_allclose(step, 2 * np.ptp(raw.scan.positions_px, axis=0), rtol=1e-6)
    with pytest.raises(pp.InputError, match=r"pixel_size_m=2e-08 where they give 1e-08 m"):
        pp.prepare(path, bin=2, pixel_size_m=2e-8, probe=str(raw.native), **options)


def _probe_of(raw: Raw, n: int) -> str:
    path = raw.folder / f"probe{n}.npy"
    edge = (n - 32) // 2
    np.save(path, np.pad(raw.probe, ((0, 0), (edge, edge), (edge, edge))))
    return str(path)


def test_positions_turn_from_x_towards_y(raw: Raw) -> None:
    plain = pp.prepare(raw.keys(), probe=str(raw.native), pixel_size_m=PIXEL)
    turned = pp.prepare(raw.keys(), probe=str(raw.native), pixel_size_m=PIXEL, rotate_positions=90)
    y, x = (plain.positions_px - plain.positions_px.mean(0)).T
    np.testing.assert_allclose(turned.positions_px, np.stack([x, -y], axis=1), atol=1e-9)
    np.testing.assert_array_equal(plain.diffraction, turned.diffraction)


def test_dark_flat_and_fractional_patterns(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    dark, flat = rng.uniform(90, 110, (32, 32)), rng.uniform(0.9, 1.1, (32, 32))
    path, out = raw.folder / "raw.h5", tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = (raw.counts * flat + dark).astype(np.float32)
        file["dark"], file["flat"] = np.stack([dark - 1, dark + 1]), flat
        file["y_um"], file["x_um"] = raw.y * 1e6, raw.x * 1e6
    said = refused(capsys, path, *flags(raw), "-o", out)
    assert "give --units counts or --units amplitude" in said
    corrected = ["--dark", "dark", "--flat", "flat", "-o", str(out)]
    assert run(["prepare", str(path), *flags(raw), *corrected]) == 0
    np.testing.assert_allclose(load_scan(out).diffraction[:], raw.counts, atol=1e-3)
    with h5py.File(path, "r+") as file:
        del file["frames"]
        file["frames"] = np.sqrt(raw.counts).astype(np.float32)
    assert run(["prepare", str(path), *flags(raw), "-o", str(out), "--force"]) == 0
    np.testing.assert_array_equal(load_scan(out).diffraction[:], raw.counts)
    assert load_scan(out).provenance["prepared"]["patterns"] == "amplitudes squared"


def test_the_meaning_of_a_mask_is_found_or_asked_for(
    raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    bad = np.zeros((32, 32), bool)
    bad[:2] = True
    options: dict[str, Any] = {"probe": str(raw.native), "pixel_size_m": PIXEL}
    # A picture of black and white is no code of what is wrong with a pixel.
    picture = np.where(bad, 0, 255).astype(np.uint8)
    for marked, meaning in ((bad, "bad"), (~bad, "good"), (picture, "good")):
        path = raw.keys(mask=marked)
        for told in ({}, {"mask_marks": meaning}):
            scan = pp.prepare(path, mask="mask", **told, **options)
            np.testing.assert_array_equal(scan.good_pixels, ~bad)
    with pytest.raises(pp.InputError, match=r"bad pixels hold .* mask_marks"):
        pp.prepare(path, mask="mask", mask_marks="bad", **options)
    half = np.zeros((32, 32), bool)
    half[:, :16] = True
    with pytest.raises(pp.InputError, match="mask_marks='good' or mask_marks='bad'"):
        pp.prepare(raw.keys(mask=half), mask="mask", **options)


def test_lengths_that_do_not_agree_show_both_numbers(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = raw.folder / "longer.h5", tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = np.concatenate([raw.counts[:1], raw.counts])
        file["y_um"], file["x_um"] = raw.y * 1e6, raw.x * 1e6
    positions = ["--positions", "y_um,x_um"]
    said = refused(capsys, path, *positions, *flags(raw), "-o", out)
    assert "41 patterns and 40 positions" in said and "--frames 1: leaves it out" in said
    said = refused(capsys, path, *positions, *flags(raw), "-o", out, "--frames", "3:9")
    assert "--frames 3:9 takes 6 and 40 positions" in said
    assert run(["prepare", str(path), *positions, *flags(raw), "-o", str(out),
                "--frames", "1:"]) == 0  # fmt: skip
    np.testing.assert_array_equal(load_scan(out).diffraction[:], raw.counts)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--unit", "nm"], "a span of 0.0"),
        (["--unit", "mm"], "their unit is mm|of the positions is mm"),
        (["--frames", "7:3"], "received 7:3 .* ends before it has begun"),
        (["--frames", "x"], "it must be A:B or A:B:S"),
        (["--crop", "9,9"], "it must be N or N,y,x"),
        (["--centre", "middle"], "it must be auto or y,x"),
        (["--bin", "3"], "use --pad 32"),
        (["--patterns", "nothing"], "expected as .nothing. .* probably --patterns frames"),
        (["--positions", "motors/y_um"], r"must have shape \(M, 2\)"),
        (["--positions", "motors/y_um,motors/z"], "'motors/z' was expected"),
        (["--positions", "gone.csv:x,y"], "'gone.csv' which does not exist"),
        (["--grid", "5,8"], "the step of the raster"),
        (["--mask", "frames"], "mask"),
        (["--probe", "gone.npy"], "gone.npy"),
        (["--probe", "motors/x_um"], "motors/x_um"),
        (["--energy-ev", "1e9"], "the energy must be between"),
        (["--pixel-size-m", "3e-8"], "correct one of them"),
        (["--crop", "32,16,16", "--centre", "3,3"], "leave one of them out"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_every_mistake_is_one_sentence(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    import re

    said = refused(capsys, raw.keys(), *flags(raw), *arguments, "-o", tmp_path / "scan.h5")
    assert re.search(words, said), said
    assert list(tmp_path.iterdir()) == []


def test_without_a_probe_the_sentence_names_the_option(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [raw.keys(), "--pixel-size-m", PIXEL, "-o", tmp_path / "scan.h5"]
    assert "give --probe FILE:KEY, or --probe auto" in refused(capsys, *options)
    assert "must be auto, the folder of a result" in refused(
        capsys, *options, "--probe", "lens:f=3"
    )


def test_a_probe_from_nothing_is_searched_for_and_said(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its defocus, which only the patterns tell, and so that who reconstructs knows it."""
    out = tmp_path / "scan.h5"
    truth = pp.simulate(object="leaves", N=32, patterns=64, photons=1e5, seed=3)
    pp.save_scan(truth, tmp_path / "true.h5")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["frames"] = truth.diffraction[:]
        file["y_px"], file["x_px"] = truth.positions_px.T
    assert run(["prepare", str(tmp_path / "raw.h5"), "--probe", "auto", "-o", str(out)]) == 0
    assert "the probe was found from the patterns" in " ".join(capsys.readouterr().err.split())
    scan = load_scan(out)
    (found,) = recorded_findings(scan.provenance)
    assert found.name == "probe-from-nothing"
    direct = load_scan(tmp_path / "true.h5", probe="auto")
    (other,) = recorded_findings(direct.provenance)
    assert found.details["defocus_waves"] == pytest.approx(other.details["defocus_waves"], abs=0.2)
    assert scan.provenance["recipe"]["probe"] == "auto"
    # With swapped axes the positions are turned in the scan that is written, and once only.
    with h5py.File(tmp_path / "raw.h5", "r+") as file:
        y, x = file["y_px"][()], file["x_px"][()]
        file["y_px"][...], file["x_px"][...] = x, y
    assert run(["prepare", str(tmp_path / "raw.h5"), "--probe", "auto", "-o", str(out),
                "--force"]) == 0  # fmt: skip
    scan = load_scan(out)
    names = [found.name for found in recorded_findings(scan.provenance)]
    assert names == ["probe-from-nothing", "positions-turned"]
    np.testing.assert_allclose(scan.positions_px, truth.positions_px)
    untried: dict[str, Any] = {"backend": "numpy", "no_mend": ["alternatives"]}
    result = pp.refine(scan, None, pp.RefineConfig(passes=3, refine_probe=True), **untried)
    again = pp.refine(scan, result, pp.RefineConfig(passes=1), **untried)
    np.testing.assert_allclose(again.positions_px, truth.positions_px)


def test_what_is_a_file_and_what_describes_a_probe(tmp_path: Path) -> None:
    from ptychopinn.io.probes import names_file

    (tmp_path / "probe").touch()
    for text in (f"{tmp_path}/probe", f"{tmp_path}/probe:key", "gone.npy", "gone.h5:probe", "a/b"):
        assert names_file(text), text
    made = ("auto", "gaussian:fwhm=3.5e-7", "fzp:diameter=1.8e-4,zone=5e-8", "kv=300,alpha=21.4")
    for text in made:
        assert not names_file(text), text


def test_a_listener_hears_of_every_block(raw: Raw) -> None:
    heard: list[Any] = []

    class Listener:
        def epoch(self, number: int, steps: int) -> None:
            heard.append(steps)

        def step(self, loss: float, patterns_per_s: float) -> None:
            heard.append(patterns_per_s)

        def epoch_done(self, number: int, metrics: Any) -> None:
            heard.append("done")

    pp.prepare(raw.keys(), probe=str(raw.native), pixel_size_m=PIXEL, progress=Listener())
    steps, *rates, last = heard
    assert steps == len(rates) == 1 and rates[0] > 0 and last == "done"


def test_the_list_shows_what_is_there(raw: Raw, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prepare", "--list", str(raw.nexus(True))]) == 0
    said = capsys.readouterr().out
    for words in ("5 x 8 x 32 x 32", "um", "complex64", "probe", "to type: ptychopinn prepare "):
        assert words in said
    line = next(row for row in said.splitlines() if row.startswith("to type: "))
    assert line.endswith("-o scan.h5") and "--energy-ev" not in line


@pytest.mark.skipif(sys.platform == "win32", reason="sparse files and getrusage are of POSIX")
def test_twenty_gigabytes_need_no_memory(raw: Raw, tmp_path: Path) -> None:
    """Two sparse files of 20 GB: few frames, and many strongly binned ones."""
    path, out = tmp_path / "large.h5", tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        large = file.create_dataset("frames", (2400, 2048, 2048), np.uint16, chunks=(1, 512, 512))
        for k in range(40):
            large[k, 1008:1040, 1008:1040] = raw.counts[k]
    assert 2400 * 2048 * 2048 * 2 > 20e9 and path.stat().st_size < 1e8
    np.savetxt(tmp_path / "p.txt", np.stack([raw.y, raw.x], axis=1) * 1e6, header="y_um x_um")
    common = ["prepare", str(path), "--positions", str(tmp_path / "p.txt"), "--probe",
              str(raw.native), "--pixel-size-m", str(PIXEL), "-o", str(out), "--force"]  # fmt: skip
    # All of it, in the pace of a few hundred frames a second, is for another day.
    for arguments in (["--frames", "0:40", "--crop", "32"],
                      ["--frames", "0:40", "--bin", "64"]):  # fmt: skip
        script = (
            "import json, resource, sys\n"
            "from ptychopinn.cli import run\n"
            "import ptychopinn.workflows.prepare\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "code = run(json.loads(sys.argv[1]))\n"
            "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "sys.stderr.write(json.dumps([code, before, after]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps([*common, *arguments, "--quiet"])],
            capture_output=True, text=True, env=dict(os.environ), check=True,
        )  # fmt: skip
        code, before, after = json.loads(done.stderr.splitlines()[-1])
        scale = 1024 if sys.platform == "darwin" else 1
        assert code == 0, done.stderr
        assert (after - before) / scale < 500 * 1024
        assert load_scan(out).M == 40


@pytest.mark.parametrize("name", ["15_wide_pattern", "15_odd_pattern"])
def test_cases_of_other_shapes(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The error names the line; the line leads to the patterns of the untouched scan."""
    import shlex

    assert run(["inspect", str(cases / f"{name}.npz")]) == 2
    said = capsys.readouterr().err
    line = said[said.index("ptychopinn prepare") :].strip().rstrip(".").removesuffix(".h5")
    words = shlex.split(line)[1:-1]
    assert run([*words, str(tmp_path / "scan.h5")]) == 0
    scan, base = load_scan(tmp_path / "scan.h5"), load_scan(CASES / "base.h5")
    np.testing.assert_allclose(scan.positions_px, base.positions_px)
    good = scan.good_pixels
    assert (~good).sum() == (0 if "wide" in name else 127)
    np.testing.assert_array_equal(scan.diffraction[:][:, good], base.diffraction[:][:, good])


def test_case_of_a_master_file(cases: Path, tmp_path: Path) -> None:
    out, base = tmp_path / "scan.h5", load_scan(CASES / "base.h5")
    arguments = [cases / "04_eiger_master.h5", "--positions", cases / "04_eiger_positions_um.txt"]
    arguments += ["--energy-ev", base.energy_eV, "--probe", CASES / "base.h5", "-o", out]
    assert run(["prepare", *map(str, arguments)]) == 0
    scan = load_scan(out)
    np.testing.assert_array_equal(scan.diffraction[:], base.diffraction[:])
    np.testing.assert_allclose(scan.positions_px, base.positions_px, atol=1e-6)
    assert scan.pixel_size_m == pytest.approx(base.pixel_size_m)


@pytest.mark.parametrize("probe", ["12_probe_v73.mat", "12_probe_v5.mat"])
def test_cases_of_matlab_probes_and_of_keys(cases: Path, tmp_path: Path, probe: str) -> None:
    out, base = tmp_path / "scan.h5", load_scan(CASES / "base.h5")
    arguments = [cases / "16_no_probe.h5", "--pixel-size-m", base.pixel_size_m]
    arguments += ["--probe", f"{cases / probe}:probe", "-o", out]
    assert run(["prepare", *map(str, arguments)]) == 0
    scan = load_scan(out)
    np.testing.assert_array_equal(scan.diffraction[:], base.diffraction[:])
    np.testing.assert_allclose(scan.positions_px, base.positions_px, atol=1e-6)
    # The same probe, up to its scale.
    ratio = scan.probe / base.probe
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)


def test_case_of_a_pair_whose_probe_matlab_wrote(cases: Path) -> None:
    base = load_scan(CASES / "base.h5")
    scan = load_scan(cases / "12_pair_para.hdf5")
    np.testing.assert_array_equal(scan.diffraction[:], base.diffraction[:])
    ratio = scan.probe / base.probe
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)


def test_case_of_bitshuffled_patterns(cases: Path) -> None:
    np.testing.assert_array_equal(
        load_scan(cases / "04_bitshuffle.cxi").diffraction[:],
        load_scan(CASES / "base.h5").diffraction[:],
    )


def test_a_look_of_another_name_is_refused_by_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prepare", "raw.h5", "-o", "scan.h5", "--no-mend", "nonsense"]) == 2
    said = capsys.readouterr().err
    assert "--no-mend" in said and "wrapped-counts" in said
