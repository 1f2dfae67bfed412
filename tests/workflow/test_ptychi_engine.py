"""The engine ptychi: the hand-over to pty-chi is exact, and its results are like our own."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from oracle.forward import canvas_for, illumination, intensities
from ptychopinn.cli import run
from ptychopinn.config import RefineConfig, validated
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, MissingDependencyError, TrainingError
from ptychopinn.io.reconstructions import load_reconstruction


def _why_not() -> str | None:
    """Why pty-chi cannot be used here; None when it can."""
    from ptychopinn.solvers import ptychi

    try:
        ptychi.require()
    except MissingDependencyError as error:
        return str(error)
    return None


WHY_NOT = _why_not()
needs_ptychi = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
BUMP = (27.3, 36.8)  # where the object "bump" has its only feature
FEW = 25  # patterns per update: several updates in each pass of a small scan


def ptychi_config(**changes: object) -> RefineConfig:
    return validated(RefineConfig, {"engine": "ptychi", "batch_size": FEW, **changes})


@pytest.fixture(scope="module")
def lines() -> Scan:
    return pp.simulate(object="lines", photons=1e6, seed=1, patterns=100, N=32, step_px=4.0)


def a_scan(
    rows: int, columns: int, spare: int, obj_of: str, modes: int = 1, whole: bool = False
) -> Scan:
    """A noise-free scan of rows x columns positions that starts at an odd place of its object,
    which is ``spare`` pixels larger than needed."""
    rng = np.random.default_rng(5)
    probe = pp.simulate(N=32, patterns=4, photons=1e6, modes=modes).probe
    y, x = np.meshgrid(3.7 * np.arange(rows), 3.3 * np.arange(columns), indexing="ij")
    positions = np.stack([y.ravel() + 19, x.ravel() + 23], axis=1)
    positions += rng.uniform(-1, 1, positions.shape)
    if whole:
        positions = np.round(positions)
    height, width = np.ceil(positions.max(axis=0)).astype(int) + 17 + spare
    v, u = np.indices((height, width))
    if obj_of == "bump":
        squared = (v - BUMP[0]) ** 2 + (u - BUMP[1]) ** 2
        obj = np.exp(0.8j * np.exp(-squared / (2 * 2.5**2)))
    else:
        waves = np.sin(v / 2.3 + u / 5) + np.cos(u / 3.1 - v / 4)
        obj = (0.8 + 0.1 * np.sin(v / 3)) * np.exp(0.4j * waves)
    obj = obj.astype(np.complex64)
    counts = intensities(obj.astype(np.complex128), probe, positions)
    return Scan(counts.astype(np.float32), positions, probe, object=obj)


def refined(scan: Scan, start: Reconstruction | None, config: pp.RefineConfig) -> Any:
    """The iterations alone: what else would explain the patterns is tried in other tests."""
    return pp.refine(scan, start, config, no_mend="all")


def truth_of(scan: Scan) -> Reconstruction:
    """The known object of a scan as a result, on the smallest canvas."""
    assert scan.object is not None
    shape, origin = canvas_for(scan.positions_px, scan.N)
    part = scan.object[origin[0] : origin[0] + shape[0], origin[1] : origin[1] + shape[1]]
    light = illumination(scan.positions_px, scan.probe, shape, origin)
    return Reconstruction(
        part, origin, (light / light.max()).astype(np.float32), scan.probe, scan.positions_px
    )


@needs_ptychi
@pytest.mark.parametrize(
    ("rows", "columns", "spare", "modes", "whole"),
    [(6, 11, 0, 1, False), (9, 5, 1, 1, False), (7, 8, 4, 1, True), (6, 9, 3, 2, True)],
)
def test_the_truth_stays_as_it_is(
    rows: int, columns: int, spare: int, modes: int, whole: bool
) -> None:
    """Positions, origin, FFT, units and scale: only if all are exact does nothing move."""
    scan = a_scan(rows, columns, spare, "waves", modes, whole)
    start = truth_of(scan)
    found = refined(scan, start, ptychi_config(passes=2))
    assert found.losses[0] < 1e-7
    assert found.fit.residual < 1e-7
    assert found.fit.scale == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(found.positions_px, scan.positions_px)
    np.testing.assert_allclose(found.probe, scan.probe, rtol=1e-5, atol=1e-5 * 300)
    y, x = start.origin_px - found.origin_px
    height, width = start.object.shape
    same = found.object[y : y + height, x : x + width]
    seen = start.weight > 0.01
    assert np.abs(same - start.object)[seen].max() < 2e-3


@needs_ptychi
@pytest.mark.parametrize("stop", [False, True])
def test_bad_pixels_are_left_out(stop: bool) -> None:
    """Wrong counts on pixels that the mask excludes change nothing, whatever light fell there."""
    scan = a_scan(6, 7, 0, "waves")
    mask = np.ones((32, 32), dtype=bool)
    mask[14:19, 12:21] = False
    if stop:
        mask = np.asarray(scan.diffraction[:]).mean(axis=0) < 800
        assert scan.diffraction[:][:, mask].sum() < 0.5 * scan.diffraction[:].sum()
    counts = np.where(mask, scan.diffraction[:], 1e6).astype(np.float32)
    found = refined(
        replace(scan, diffraction=counts, mask=mask), truth_of(scan), ptychi_config(passes=3)
    )
    assert found.fit.residual < 1e-6


@needs_ptychi
@pytest.mark.parametrize(("rows", "columns", "spare"), [(9, 12, 0), (12, 8, 3)])
def test_a_feature_is_found_at_its_place(rows: int, columns: int, spare: int) -> None:
    scan = a_scan(rows, columns, spare, "bump")
    found = refined(scan, None, ptychi_config(passes=40))
    assert (np.array(found.object.shape) % 2).any()
    height, centre = upper_half(found.object, found.origin_px)
    assert height == pytest.approx(0.8, abs=0.08)
    np.testing.assert_allclose(centre, BUMP, atol=0.05)


def upper_half(obj: np.ndarray, origin: np.ndarray) -> tuple[float, np.ndarray]:
    """Height of the bump in phase, and centre (y, x) of what is above half of it."""
    phase = np.angle(obj * np.exp(-1j * np.angle(np.median(obj))))
    phase -= np.median(phase)
    y, x = np.indices(phase.shape) + np.reshape(origin, (2, 1, 1))
    height = float(phase[np.hypot(y - BUMP[0], x - BUMP[1]) < 8].max())
    above = np.clip(phase - height / 2, 0, None)
    return height, np.array([(above * y).sum(), (above * x).sum()]) / above.sum()


@needs_ptychi
@pytest.mark.parametrize(
    ("algorithm", "batching", "least_db"),
    [
        ("lsqml", "random", 33),
        ("lsqml", "compact", 30),
        ("rpie", "random", 33),
        ("epie", "random", 20),
    ],
)
def test_from_nothing(lines: Scan, algorithm: str, batching: str, least_db: float) -> None:
    """The result explains the patterns, agrees with the truth and needs no further scale."""
    config = ptychi_config(passes=25, algorithm=algorithm, batching=batching)
    found = refined(lines, None, config)
    scores = pp.evaluate(found, truth=lines, data=lines).metrics
    assert scores["phase_psnr_db"] > least_db
    assert np.hypot(scores["shift_y_px"], scores["shift_x_px"]) < 0.1
    assert scores["scale_abs"] == pytest.approx(1, abs=0.03)
    assert found.provenance["global_scale"] == pytest.approx(1, abs=0.03)
    assert len(found.losses) == 25
    assert found.losses[-1] < 0.2 * found.losses[0]
    if algorithm != "epie":  # slower, with the steps that pty-chi gives it
        assert found.fit.residual < 1.5 * found.fit.expected
    # The misfit of the last pass, in our definition, is near that of the result.
    assert found.losses[-1] == pytest.approx(found.fit.residual, rel=0.3)


@needs_ptychi
def test_flux_and_probe_scale_do_not_matter(lines: Scan) -> None:
    few = ptychi_config(passes=4)
    plain = refined(lines, None, few)
    counts = (100 * lines.diffraction[:].astype(np.float64)).astype(np.float32)
    brighter = refined(replace(lines, diffraction=counts, probe=10 * lines.probe), None, few)
    scaled = refined(replace(lines, probe=3 * lines.probe), None, few)
    seen = plain.weight > 0.1
    for other in (brighter.object, 3 * scaled.object):
        assert np.abs(other - plain.object)[seen].max() < 0.01


@needs_ptychi
def test_a_disturbed_start_with_probe_and_positions_is_put_right(lines: Scan) -> None:
    rng = np.random.default_rng(3)
    start = refined(lines, None, ptychi_config(passes=20))
    moved = lines.positions_px + rng.normal(0, 0.25, lines.positions_px.shape)
    noise = rng.normal(0, 0.1, (2, *start.object.shape))
    start = replace(
        start,
        object=start.object * np.exp(noise[0] + 1j * noise[1]),
        positions_px=np.clip(moved, lines.positions_px.min(0), lines.positions_px.max(0)),
        probe=lines.probe * np.exp(0.3j * np.linspace(-1, 1, 32) ** 2),
    )
    fixed = refined(lines, start, ptychi_config(passes=30))
    config = ptychi_config(passes=60, refine_probe=True, refine_positions=True, positions_from=5)
    free = refined(lines, start, config)
    assert free.fit.excess < 0.2 * fixed.fit.excess
    assert free.fit.residual < 1.5 * free.fit.expected
    power = [float((np.abs(r.probe) ** 2).sum()) for r in (fixed, free)]
    assert power[1] == pytest.approx(power[0], rel=0.03)

    def error(positions: np.ndarray) -> float:
        off = positions - lines.positions_px
        return float((off - off.mean(axis=0)).std())

    # pty-chi takes small steps: it is on the way, and the patterns are explained already.
    assert error(free.positions_px) < 0.7 * error(start.positions_px)


@needs_ptychi
@pytest.mark.parametrize("batching", ["random", "compact"])
def test_it_repeats_and_leaves_the_process_as_it_was(lines: Scan, batching: str) -> None:
    import torch

    def state() -> tuple[object, ...]:
        generators = (torch.get_rng_state().tolist(), random.getstate())
        legacy = np.random.get_state()[1].tolist()  # noqa: NPY002
        torch_settings = (torch.get_default_dtype(), torch.get_num_threads())
        return *generators, legacy, torch_settings, torch.get_default_device()

    few = ptychi_config(passes=2, batching=batching)
    handlers = list(logging.getLogger().handlers)
    torch.set_default_dtype(torch.float64)
    try:
        before = state()
        first = pp.refine(lines, None, few)
        assert state() == before
    finally:
        torch.set_default_dtype(torch.float32)
    torch.manual_seed(11)
    second = pp.refine(lines, None, few)
    np.testing.assert_array_equal(first.object, second.object)
    assert logging.getLogger().handlers == handlers


@needs_ptychi
def test_divergence_is_said(lines: Scan) -> None:
    with pytest.raises(TrainingError, match="lower batch_size"):
        pp.refine(lines, None, ptychi_config(passes=30, algorithm="rpie", batch_size=100))


@needs_ptychi
def test_commands(scans: Path, tmp_path: Path, elsewhere: Path) -> None:
    """From a scan, from its result, and compared; every stage is recorded."""
    options = ["--engine", "ptychi", "--batch-size", "30", "--torch-threads", "1", "--quiet"]
    first, second = tmp_path / "first", tmp_path / "second"
    scan = str(scans / "a.h5")
    assert run(["refine", scan, "-o", str(first), "--passes", "8", *options]) == 0
    assert run(["refine", str(first), "-o", str(second), "--passes", "3", *options]) == 0
    record = json.loads((second / "run.json").read_text())
    stages = load_reconstruction(second).provenance["stages"]
    assert record["stages"] == stages
    assert [stage["passes"] for stage in stages] == [8, 3]
    for stage in stages:
        assert stage["stage"] == "refinement"
        assert stage["engine"] == "ptychi"
        assert (stage["algorithm"], stage["batch_size"]) == ("lsqml", 30)
        assert stage["version"] == record["versions"]["ptychi"]
    assert record["config"]["batch_size"] == 30
    assert "subsets" not in record["config"]
    compared = tmp_path / "compared"
    methods = ["--with", "ptychi", "--with", "pretrained+ptychi"]
    assert run(["compare", scan, "-o", str(compared), *methods, "--quiet"]) == 0
    rows = json.loads((compared / "comparison.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["ptychi", "pretrained+ptychi"]
    assert all(row["phase_psnr_db"] > 28 for row in rows)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "ptychi", "--subsets", "4"], "subsets has no meaning for the engine ptychi"),
        (
            ["--engine", "ptychi", "--stagnation", "0.1"],
            "stagnation has no meaning",
        ),
        (["--engine", "ptychi", "--uncertainty"], "calibrated for the engine physics only"),
        (["--engine", "ptychi", "--backend", "tensorflow"], "computes with PyTorch"),
        (["--algorithm", "epie"], "algorithm has no meaning for the engine physics"),
        (["--batching", "compact"], "batching has no meaning for the engine physics"),
        (["--batch-size", "10"], "--batch-size has no meaning for the engine physics"),
    ],
)
def test_what_an_engine_does_not_know_is_refused(
    flags: list[str],
    message: str,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "result"
    assert run(["refine", str(scans / "a.h5"), "-o", str(output), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


@needs_ptychi
def test_an_option_of_the_other_engine_is_refused(scans: Path, tmp_path: Path) -> None:
    flags = ["--engine", "ptychi", "--torch-inference-batch-mib", "64"]
    assert run(["refine", str(scans / "a.h5"), "-o", str(tmp_path / "r"), *flags]) == 2


@pytest.mark.skipif(find_spec("ptychi") is not None, reason="pty-chi is installed")
def test_without_the_package(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the remedy, exit code 2, nothing written."""
    sentence = (
        "the engine ptychi needs the package ptychi, received an installation without it; run: "
        "pip install 'ptychopinn[ptychi]'."
    )
    output = tmp_path / "result"
    scan = str(scans / "a.h5")
    for command in (
        ["refine", scan, "-o", str(output), "--engine", "ptychi"],
        ["compare", scan, "-o", str(output), "--with", "pretrained", "--with", "ptychi"],
    ):
        assert run(command) == 2
        error = " ".join(capsys.readouterr().err.split())
        assert sentence in error
        assert not (output / "run.json").exists() and not (output / "comparison.json").exists()
    with pytest.raises(InputError, match="pip install"):
        pp.refine(pp.load_scan(scan), None, RefineConfig(engine="ptychi"))


def test_a_package_that_does_not_load(scans: Path, tmp_path: Path) -> None:
    """A torchvision of another build than torch: a sentence, not a traceback."""
    broken = tmp_path / "packages" / "ptychi"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    path = os.pathsep.join([str(broken.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "ptychopinn", "refine", str(scans / "a.h5"), "-o",
         str(tmp_path / "result"), "--engine", "ptychi"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    error = " ".join(done.stderr.split())
    assert "Traceback" not in error
    assert "torchvision::nms does not exist" in error
    assert "torch and torchvision of one build" in error
    assert not (tmp_path / "result").exists()
