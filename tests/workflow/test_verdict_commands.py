"""What the commands say of a fit that is doubtful, and that all of them say the same."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from training_commands import read_json

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.clients.running import reconstruct as for_client
from ptychopinn.evaluation.verdict import (
    AS_IT_IS,
    FOLLOWED,
    LIT,
    LONGER,
    POSITIONS_FREE,
    PROBE_FREE,
    SHIFTED,
    SPREAD,
)
from ptychopinn.workflows.model import PRETRAINED, load_model

AMBER = np.array([0x9A, 0x67, 0x00]) / 255
QUIET = ["--backend", "numpy", "--quiet"]


@pytest.fixture(scope="module")
def unsteady() -> pp.Scan:
    """The beam changes by 25 per cent from pattern to pattern, in no order."""
    scan = pp.simulate(N=32, patterns=81, photons=1e6, seed=21, step_px=3.0, poisson=False)
    rng = np.random.default_rng(8)
    factor = 1 + 0.25 * np.sign(rng.normal(size=81)) * rng.uniform(0.6, 1, 81)
    counts = rng.poisson(np.asarray(scan.diffraction) * factor[:, None, None]).astype(np.uint32)
    return replace(scan, diffraction=counts, object=None)


@pytest.fixture(scope="module")
def file(unsteady: pp.Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verdict") / "scan.h5"
    pp.save_scan(unsteady, path)
    return path


def marked(picture: Path) -> bool:
    """Whether a picture carries the amber banner."""
    pixels = matplotlib.image.imread(picture)[..., :3]
    return bool((np.abs(pixels - AMBER).max(axis=-1) < 0.02).sum() > 500)


def test_all_commands_say_the_same(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, further = tmp_path / "r", tmp_path / "f"
    options = ["--no-mend", "beam-current", *QUIET]
    assert run(["reconstruct", str(file), "-o", str(result), *options]) == 0
    said = capsys.readouterr().err
    assert "WARNING DOUBTFUL FIT" in said and "the intensity of the beam changed" in said
    fit = read_json(result / "run.json")["fit"]
    assert (fit["verdict"], fit["likely"]) == ("doubtful", "beam-current")
    # The command says what to type in place of the options of Python.
    assert fit["cause"].partition(";")[0] in said
    assert "DOUBTFUL FIT" in (result / "log.txt").read_text()
    assert marked(result / "reconstructed_phase.png")
    assert marked(result / "reconstructed_amplitude.png")

    assert run(["evaluate", str(result), "--data", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "doubtful" in shown and "beam changed" in " ".join(shown.split())
    content = read_json(result / "evaluation.json")
    assert (content["verdict"], content["likely"], content["cause"]) == (
        "doubtful", "beam-current", fit["cause"],
    )  # fmt: skip
    assert marked(result / "evaluation.png")

    options = ["--passes", "6", "--no-beam-current", *QUIET]
    assert run(["refine", str(result), "-o", str(further), *options]) == 0
    assert "DOUBTFUL FIT" in capsys.readouterr().err
    assert read_json(further / "run.json")["fit"]["likely"] == "beam-current"


def test_python_and_clients_say_the_same(
    unsteady: pp.Scan, caplog: pytest.LogCaptureFixture
) -> None:
    found = pp.reconstruct(unsteady, backend="numpy", refine="never")
    assert found.fit is not None
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", "beam-current")
    assert "doubtful" in repr(found)
    evaluation = pp.evaluate(found, data=unsteady)
    assert evaluation.verdict == "doubtful"
    assert evaluation.cause == found.fit.cause and evaluation.cause in evaluation.summary()
    bundle = load_model(PRETRAINED).bundle
    with caplog.at_level(logging.INFO):
        for_client(bundle, unsteady, logging.getLogger("client"), "numpy")
    (record,) = (r for r in caplog.records if r.name == "client")
    assert record.levelno == logging.WARNING
    assert "DOUBTFUL FIT" in record.getMessage() and "beam changed" in record.getMessage()


def test_a_wrong_probe_is_blamed_where_a_free_one_is_better(unsteady: pp.Scan) -> None:
    settings = {"N": 32, "patterns": 81, "photons": 1e6, "seed": 22, "step_px": 3.0}
    scan = pp.simulate(**settings)
    other = pp.simulate(**settings, defocus=0.29).probe
    found = pp.refine(replace(scan, probe=other), None, pp.RefineConfig(passes=8), backend="numpy")
    assert found.fit is not None and found.fit.likely == "probe"
    assert found.fit.verdict == "doubtful"
    tried = [words for words, _ in found.fit.alternatives]
    assert tried == [AS_IT_IS, PROBE_FREE, POSITIONS_FREE, FOLLOWED, LIT, SPREAD, SHIFTED, LONGER]
    assert found.provenance["fit"]["likely"] == "probe"
    # It is remembered, and a later look says the same.
    assert pp.misfit(found, scan).likely == "probe"
    # Left out, nothing is tried.
    silent = pp.refine(
        replace(scan, probe=other), None, pp.RefineConfig(passes=8), backend="numpy", no_mend="all"
    )
    assert silent.fit is not None and silent.fit.alternatives == ()


def test_a_probe_of_too_few_modes_is_told_from_a_wrong_one() -> None:
    scan = pp.simulate(
        N=32, patterns=100, photons=1e6, seed=24, step_px=3.0, modes=3, object="leaves"
    )
    coherent = replace(scan, probe=scan.probe[:1], object=None)
    config = pp.RefineConfig(passes=10, refine_probe=True)
    found = pp.refine(coherent, None, config, backend="numpy")
    assert found.fit is not None
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", "modes")
    assert found.fit.cause is not None and "option modes" in found.fit.cause
    whole = pp.refine(replace(scan, object=None), None, config, backend="numpy")
    assert whole.fit is not None and whole.fit.verdict == "good"


@pytest.fixture(scope="module")
def faint() -> pp.Scan:
    """The residual is nearly that of noise in any orientation."""
    scan = pp.simulate(N=32, patterns=100, photons=300, seed=25, step_px=3.0, object="leaves")
    return replace(scan, object=None)


def test_few_photons_still_tell_a_wrong_orientation(faint: pp.Scan) -> None:
    given = replace(faint, positions_px=faint.positions_px[:, ::-1].copy())
    config = pp.RefineConfig(passes=10)
    found = pp.refine(given, None, config, backend="numpy")
    assert found.fit is not None and found.fit.verdict == "good"
    (turned,) = (one for one in found.findings if one.name == "orientation")
    assert turned.level == "mended" and "axes swapped" in turned.message
    np.testing.assert_allclose(found.positions_px, faint.positions_px)
    # Where that is left out it is named.
    left = pp.refine(given, None, config, backend="numpy", no_mend=["orientation"])
    assert left.fit is not None and left.fit.residual < 1.2 * left.fit.expected
    assert (left.fit.verdict, left.fit.likely) == ("doubtful", "geometry-or-probe")
    assert left.fit.cause is not None and "axes swapped" in left.fit.cause


def test_few_photons_upright_are_good(faint: pp.Scan) -> None:
    found = pp.refine(faint, None, pp.RefineConfig(passes=10), backend="numpy")
    assert found.fit is not None and found.fit.residual < 1.2 * found.fit.expected
    assert found.fit.verdict == "good"
    assert [one.name for one in found.findings if one.name == "orientation"] == []


def test_the_check_before_training_names_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    """With an excess that it tolerated where nothing else was tried; and not of a whole scan."""
    settings = {"N": 32, "patterns": 100, "photons": 1e6, "seed": 22, "step_px": 3.0}
    few = pp.Config(
        model={"architecture": "cnn", "n_filters_scale": 0.25},
        data={"n_groups": 16},
        training={"epochs": 1},
    )

    def said(scan: pp.Scan) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            pp.train(scan, few)
        return "".join(r.getMessage() for r in caplog.records if r.name.endswith("train"))

    assert said(pp.simulate(**settings)) == ""
    moved = said(pp.simulate(**settings, position_error_px=1.5))
    assert moved.startswith("DOUBTFUL FIT") and "likely because the positions are not" in moved
    unlike = replace(pp.simulate(**settings), probe=pp.simulate(**settings, diameter=0.3).probe)
    with pytest.raises(pp.InputError, match=r"likely because .* the probe .*; correct order"):
        pp.train(unlike, few)


def test_positions_are_blamed_where_free_ones_are_better() -> None:
    scan = pp.simulate(N=32, patterns=100, photons=1e6, seed=23, step_px=3.0, position_error_px=1.0)
    found = pp.refine(replace(scan, object=None), None, pp.RefineConfig(passes=8), backend="numpy")
    assert found.fit is not None
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", "positions")
