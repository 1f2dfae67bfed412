"""Patterns that move on the detector: found, followed, kept, named and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.data.trials import RECORD
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.physics.effects import restored
from ptychopinn.physics.pattern_shift import PatternShift
from ptychopinn.simulation import simulate

pytest.importorskip("torch")

NAME = PatternShift.name
COUNT = 100


def still(**options: object) -> Scan:
    settings = {"object": "leaves", "N": 32, "patterns": COUNT, "photons": 1e5, "seed": 4}
    return simulate(**{**settings, **options})


def moved(scan: Scan, shifts: NDArray[np.int64]) -> Scan:
    """The patterns rolled by whole pixels (M, 2)."""
    frames = [
        np.roll(frame, by, axis=(0, 1)) for frame, by in zip(scan.diffraction, shifts, strict=True)
    ]
    return replace(scan, diffraction=np.stack(frames))


def drifting(scan: Scan, pixels: float) -> tuple[Scan, NDArray[np.int64]]:
    along = np.round(np.linspace(0, pixels, scan.M)).astype(int)
    shifts = np.stack([0 * along, along], axis=1)
    return moved(scan, shifts), shifts


def knocked(scan: Scan, y: int, x: int) -> tuple[Scan, NDArray[np.int64]]:
    shifts = np.zeros((scan.M, 2), int)
    shifts[scan.M // 2 :] = y, x
    return moved(scan, shifts), shifts


def refined(scan: Scan, start: Reconstruction | None = None, **options: object) -> Reconstruction:
    config = RefineConfig(**{"passes": 100, **options})
    return pp.refine(replace(scan, object=None), start, config, no_mend="all")


def phase_decibels(result: Reconstruction, truth: Scan) -> float:
    return float(evaluate(result, truth=truth).to_json()["metrics"]["phase_psnr_db"])


@pytest.mark.parametrize("how", [lambda scan: drifting(scan, 2), lambda scan: knocked(scan, 2, -1)])
def test_shifts_are_found_and_followed(how: object) -> None:
    truth = still()
    scan, shifts = how(truth)  # type: ignore[operator]
    ignorant, fitted = refined(scan), refined(scan, pattern_shift=True)
    wrong = fitted.effects[NAME] - (shifts - shifts.mean(axis=0))
    assert np.sqrt((wrong**2).mean(axis=0)).max() < 0.3
    assert phase_decibels(fitted, scan) > phase_decibels(ignorant, scan) + 5
    assert fitted.fit is not None and ignorant.fit is not None
    assert fitted.fit.excess < ignorant.fit.excess / 4
    said = [found.message for found in fitted.findings if found.name == NAME]
    assert len(said) == 1 and "moved on the detector" in said[0]


@pytest.mark.parametrize("photons", [1e3, 1e6])
def test_patterns_that_stay_where_they_are_have_none(photons: float) -> None:
    found = refined(still(photons=photons), pattern_shift=True)
    assert np.abs(found.effects.get(NAME, np.zeros(1))).max() < 0.2
    assert not [one for one in found.findings if one.name == NAME]


def test_the_verdict_names_them_and_the_choice_of_a_model_takes_them_up() -> None:
    scan, _ = knocked(still(), 2, 1)
    scan = replace(scan, object=None)
    fit = pp.refine(scan).fit
    assert fit is not None
    assert (fit.verdict, fit.likely) == ("doubtful", NAME)
    assert fit.cause is not None and "pattern_shift=True" in fit.cause
    chosen = pp.refine(scan, model="auto")
    assert chosen.provenance[RECORD]["chosen"] == "far-field+pattern-shift"
    assert chosen.fit is not None and chosen.fit.verdict == "good"


@pytest.mark.parametrize("no_mend", [(), (NAME,)])
def test_noise_hides_none_unless_they_are_not_looked_for(no_mend: tuple[str, ...]) -> None:
    scan, _ = knocked(replace(still(photons=4e2, patterns=64), object=None), 1, 1)
    fit = pp.refine(scan, config=RefineConfig(passes=15), backend="numpy", no_mend=no_mend).fit
    assert fit is not None and fit.excess < 0.1 * fit.expected
    told = (fit.verdict, fit.likely) == ("doubtful", NAME)
    assert told is not bool(no_mend)


def test_the_probe_and_few_photons_are_taken_for_none() -> None:
    scan = replace(still(photons=2e3, patterns=64, modes=2), object=None)
    for given in (scan, replace(scan, probe=scan.probe[:1])):
        found = pp.refine(given, config=RefineConfig(passes=15), backend="numpy")
        assert found.fit is not None and found.fit.likely != NAME


def test_a_result_goes_on_with_its_own(tmp_path: Path) -> None:
    scan, _ = drifting(still(), 2)
    first = refined(scan, pattern_shift=True)
    first.save(tmp_path / "reconstruction.h5")
    read = pp.load_reconstruction(tmp_path / "reconstruction.h5")
    further = refined(scan, read, passes=2)
    assert further.effects[NAME].tolist() == first.effects[NAME].tolist()
    assert further.losses[-1] < 1.2 * first.losses[-1]


def test_bad_and_saturated_pixels_tell_nothing() -> None:
    scan, shifts = knocked(still(photons=1e6), 2, 0)
    counts, mask = np.array(scan.diffraction), np.ones((32, 32), bool)
    mask[10:14, 18:22] = False
    counts[:, ~mask] = 0
    top = float(np.quantile(counts, 0.999))
    spoiled = replace(
        scan, diffraction=np.minimum(counts, np.uint32(top)), mask=mask, saturation=top
    )
    found = refined(spoiled, pattern_shift=True).effects[NAME]
    assert np.sqrt(((found - (shifts - shifts.mean(axis=0))) ** 2).mean()) < 0.3


def test_patterns_without_counts_have_the_centres_of_those_around_them() -> None:
    centres = np.repeat([[0.0, 1.0], [2.0, 1.0]], 20, axis=0)
    centres[[3, 30]] = np.nan
    found = PatternShift.of_centres(centres).values
    assert found[:15, 0] == pytest.approx(-1) and found[25:, 0] == pytest.approx(1)
    assert found[:, 1] == pytest.approx(0)
    assert not PatternShift.of_centres(np.full((5, 2), np.nan)).changes


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[np.nan, 0.0]] * 10, [[40.0, 0.0]] * 10])
def test_other_numbers_are_refused(values: list[list[float]]) -> None:
    with pytest.raises(InputError, match=r"shifts of the patterns must be of shape \(10, 2\)"):
        restored({NAME: values}, 10, 32)


def test_the_near_field_has_none() -> None:
    scan = replace(still(propagator="near-field", patterns=36), object=None)
    with pytest.raises(InputError, match=r"option pattern_shift.*near field; leave the option out"):
        pp.refine(scan, config=RefineConfig(passes=2, pattern_shift=True))
