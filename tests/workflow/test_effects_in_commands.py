"""Effects of beam, sample and detector, chosen or set by hand: every verb says the same of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from oracle.forward import intensities
from ptychopinn.cli import run
from ptychopinn.contracts import Silent
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError

NUMPY = ["--backend", "numpy", "--quiet"]


@pytest.fixture(scope="module")
def lit() -> Scan:
    """A scan with a background, and the probe that belongs to it."""
    ideal = pp.simulate(object="leaves", N=32, patterns=100, step_px=3, photons=1e6, seed=3)
    counts = intensities(
        np.asarray(ideal.object), ideal.probe, ideal.positions_px, np.zeros(2, int)
    )
    drawn = np.random.default_rng(0).poisson(counts + 0.3 * counts.mean())
    return replace(ideal, diffraction=drawn.astype(np.uint32), object=None)


@pytest.fixture(scope="module")
def path(lit: Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pp.save_scan(lit, tmp_path_factory.mktemp("lit") / "lit.h5")


def record_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_auto_is_no_worse_than_without_where_the_probe_is_wrong() -> None:
    """Too few patterns to choose by, and a probe that must be refined."""
    scan = pp.simulate(object="leaves", N=32, patterns=49, step_px=3, photons=1e6, seed=3)
    y, x = np.mgrid[-16:16, -16:16]
    wrong = scan.probe * np.exp(0.02j * (y**2 + x**2))
    scan = replace(scan, probe=wrong.astype(np.complex64), object=None)
    plain, auto = (
        pp.reconstruct(scan, refine_model=model, no_mend="all", backend="numpy")
        for model in (None, "auto")
    )
    assert plain.fit is not None and auto.fit is not None
    assert auto.fit.residual <= plain.fit.residual
    record = auto.provenance["effects_model"]
    assert record["untried"] == "that takes 64 patterns, received 49"
    assert "probe" in record["chosen"].split("+")


def test_where_the_network_suffices_the_result_says_so() -> None:
    scan = pp.simulate(object="leaves", N=32, patterns=100, step_px=3, photons=5e3, seed=3)
    found = pp.reconstruct(
        replace(scan, object=None), refine_model="auto", no_mend="all", backend="numpy"
    )
    assert [stage["stage"] for stage in found.provenance["stages"]] == ["network"]
    assert found.provenance["effects_model"] == {
        "asked": "auto", "chosen": "far-field", "tried": [],
        "untried": "the patterns are explained to within photon noise",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "said"), [("refine", "model"), ("reconstruct", "refine_model")]
)
def test_a_command_says_what_was_chosen(
    path: Path, tmp_path: Path, command: str, said: str
) -> None:
    model = "far-field+background+probe"
    options = ["--model", model, "--no-mend", "all", *NUMPY]
    assert run([command, str(path), "-o", str(tmp_path / "out"), *options]) == 0
    record = record_of(tmp_path / "out")
    assert record[said] == model and record["effects_model"] == {"asked": model}
    assert record["stages"][-1]["effects"] == ["background"]
    assert list(pp.load_reconstruction(tmp_path / "out").effects) == ["background"]
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Beam, sample and detector" in page and model in page


def test_many_scans_follow_a_model_too(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="many scans need distributed: the extra batch")
    common = ["--no-mend", "all", "--workers", "1", *NUMPY]
    model = ["--verb", "refine", "--passes", "5", "--model", "background"]
    words = ["batch", str(path), "-o", str(tmp_path / "out"), *common]
    assert run([*words, *model]) == 0
    record = record_of(tmp_path / "out/lit")
    assert record["model"] == "background" and record["effects_model"]["asked"] == "background"
    # With another model it is another result.
    assert run([*words, *model[:-1], "probe"]) == 2


@pytest.mark.parametrize(
    ("verb", "model", "words"),
    [
        ("refine", "far-field+fog", "a term of a model must be one of auto"),
        ("reconstruct", "opr:2+modes:3", "opr and modes cannot be in one model"),
        ("refine", "pretrained", "a network is for the verb infer"),
    ],
)
def test_a_model_of_many_scans_is_read_at_once(
    path: Path, tmp_path: Path, verb: Any, model: str, words: str
) -> None:
    pytest.importorskip("distributed", reason="many scans need distributed: the extra batch")
    with pytest.raises(InputError, match=words):
        pp.reconstruct_many([path], tmp_path / "out", verb=verb, model=model)
    with pytest.raises(InputError, match="refine 'never'"):
        pp.reconstruct_many([path], tmp_path / "out", model="auto", refine="never")


class Heard(Silent):
    """Which passes were begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    def epoch(self, number: int, steps: int) -> None:
        self.begun.append(number)


def test_a_model_that_contradicts_the_scan_is_refused_before_the_network(lit: Scan) -> None:
    thin = replace(lit, pixel_size_m=None, energy_eV=None)
    two = replace(lit, probe=np.concatenate([lit.probe, 0.1 * lit.probe[:, ::-1]]))
    known = replace(lit, pixel_size_m=1e-8, energy_eV=8000.0)
    heard = Heard()
    for scan, model, words, uncertainty in (
        (thin, "slices:2", "slices need the pixel size and the wavelength", False),
        (two, "opr:3", "need a probe of one mode, received 2", False),
        (known, "slices:2", "an uncertainty needs a thin object", True),
    ):
        with pytest.raises(InputError, match=words):
            pp.reconstruct(scan, refine_model=model, uncertainty=uncertainty, progress=heard)
    assert not heard.begun
