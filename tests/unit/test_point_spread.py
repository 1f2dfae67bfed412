"""Points of a pattern that spread over neighbouring pixels: given, fitted, kept and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.physics.effects import restored
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.simulation import simulate

pytest.importorskip("torch")


def scan_with(width: float, **options: object) -> Scan:
    settings = {"object": "leaves", "N": 32, "patterns": 144, "photons": 1e6, "seed": 4}
    return simulate(**{**settings, "point_spread_px": width, **options})


def refined(scan: Scan, start: Reconstruction | None = None, **options: object) -> Reconstruction:
    config = RefineConfig(**{"passes": 25, **options})
    return pp.refine(replace(scan, object=None), start, config, no_mend="all")


def phase_decibels(result: Reconstruction, truth: Scan) -> float:
    return float(evaluate(result, truth=truth).to_json()["metrics"]["phase_psnr_db"])


@pytest.mark.parametrize("width", [0.6, 1.0])
def test_it_is_found_and_followed(width: float) -> None:
    truth = scan_with(width)
    ignorant, fitted = refined(truth), refined(truth, point_spread=True)
    assert fitted.effects[PointSpread.name][0] == pytest.approx(width, rel=0.05)
    assert phase_decibels(fitted, truth) > phase_decibels(ignorant, truth) + 5
    assert fitted.fit is not None and ignorant.fit is not None
    assert fitted.fit.excess < ignorant.fit.excess / 4
    messages = [found.message for found in fitted.findings if found.name == PointSpread.name]
    assert len(messages) == 1 and "spreads over" in messages[0]


def test_the_verdict_names_it() -> None:
    truth = scan_with(1.0, photons=1e5, patterns=100)
    found = pp.refine(replace(truth, object=None)).fit
    assert found is not None
    assert (found.verdict, found.likely) == ("doubtful", "point-spread")
    assert found.cause is not None and "point_spread=True" in found.cause


def test_patterns_without_any_have_none() -> None:
    for photons in (1e3, 1e6):
        found = refined(scan_with(0, photons=photons), point_spread=True)
        assert found.effects.get(PointSpread.name, np.zeros(1))[0] < 0.2


def test_a_given_one_stays_and_a_result_goes_on_with_its_own(tmp_path: Path) -> None:
    truth = scan_with(0.8)
    given = refined(truth, point_spread_px=0.8, passes=12)
    assert given.effects[PointSpread.name].tolist() == [0.8]
    given.save(tmp_path / "reconstruction.h5")
    read = pp.load_reconstruction(tmp_path / "reconstruction.h5")
    further = refined(truth, read, passes=2)
    assert further.effects[PointSpread.name].tolist() == [0.8]
    assert further.losses[-1] < 1.2 * given.losses[-1]


def test_saturated_and_bad_pixels_tell_nothing() -> None:
    truth = scan_with(0.7)
    counts = np.array(truth.diffraction)
    mask = np.ones((32, 32), bool)
    mask[10:14, 18:22] = False
    counts[:, ~mask] = 0
    spoiled = replace(truth, diffraction=counts, mask=mask)
    found = refined(spoiled, point_spread=True).effects[PointSpread.name][0]
    assert found == pytest.approx(0.7, rel=0.1)


@pytest.mark.parametrize("values", [[-1.0], [9.0], [np.nan], [0.5, 0.5]])
def test_other_numbers_are_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="a point spread must be one number of pixels"):
        restored({PointSpread.name: values}, 10, 32)
