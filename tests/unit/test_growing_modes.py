"""Modes of the probe that are added while patterns that were left out gain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import numpy as np
import pytest

from oracle.forward import intensities
from ptychopinn.cli.scans import ModesOrAuto
from ptychopinn.config import RefineConfig
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.probes import orthogonalised, with_modes
from ptychopinn.probes.modes import hermite_like
from ptychopinn.simulation import simulate
from ptychopinn.workflows.growing_modes import LEAST_PATTERNS, judged_trial
from ptychopinn.workflows.refinement import refine

POWERS = np.array([0.7, 0.2, 0.1])
ALONE = {"beam_current": False, "background": False}


@pytest.fixture(scope="module")
def coherent() -> Scan:
    return simulate(object="leaves", N=32, patterns=225, step_px=3, photons=1e6, seed=3)


@pytest.fixture(scope="module")
def partly(coherent: Scan) -> Scan:
    """The same scan with three modes, of which it states one."""
    first = coherent.probe[0]
    strength = np.sqrt(POWERS * (np.abs(first) ** 2).sum())
    modes = hermite_like(first, 3, 0.6) * strength[:, None, None]
    counts = intensities(
        np.asarray(coherent.object), modes, coherent.positions_px, np.zeros(2, np.int64)
    )
    drawn = np.random.default_rng(0).poisson(counts).astype(np.uint32)
    return replace(coherent, diffraction=drawn, object=None)


def test_orthogonal_modes_are_the_same_beam() -> None:
    rng = np.random.default_rng(1)
    probe = rng.normal(size=(4, 16, 16)) + 1j * rng.normal(size=(4, 16, 16))
    canvas = rng.normal(size=(24, 24)) + 1j * rng.normal(size=(24, 24))
    positions = np.array([[8.0, 8.3], [12.6, 9.1]])
    found = orthogonalised(probe)
    gram = np.einsum("pyx,qyx->pq", found.conj(), found)
    powers = np.diagonal(gram).real
    assert np.abs(gram - np.diag(powers)).max() < 1e-5 * powers.max()
    assert (np.diff(powers) <= 0).all()
    before, after = (intensities(canvas, p, positions, np.zeros(2)) for p in (probe, found))
    assert after == pytest.approx(before, rel=1e-4, abs=1e-4 * before.max())
    assert orthogonalised(found) == pytest.approx(found, abs=1e-5)


def test_modes_are_added_where_none_is_yet() -> None:
    """Of modes that are there already hardly anything is left to be made a new one."""
    y, x = np.mgrid[-16:16, -16:16]
    first = np.exp(-(x**2 + y**2) / 40)
    known = hermite_like(first, 3)
    new = with_modes(known * np.array([3.0, 1.0, 1.0])[:, None, None], 4)[3].ravel()
    second_order = hermite_like(first, 6)[3:].reshape(3, -1)
    assert (np.abs(second_order.conj() @ new) ** 2).sum() / np.vdot(new, new).real > 0.99


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (np.full(20, 0.02), np.full(20, 0.012) + np.arange(20) * 1e-5, True),
        (np.full(20, 0.02), np.full(20, 0.0199), False),  # hardly anything
        (np.full(20, 0.02), np.tile([0.01, 0.03], 10), False),  # now up, now down
        (np.full(20, 0.0101), np.full(20, 0.0100), False),  # within the noise
        (np.full(20, 0.02), np.full(20, 0.03), False),
    ],
)
def test_a_gain_is_believed_when_it_is_clear(before: Any, after: Any, kept: bool) -> None:
    assert judged_trial(before, after, 0.01, 3).kept is kept


@pytest.mark.parametrize("backend", ["pytorch", "tensorflow"])
def test_modes_grow_from_one(partly: Scan, backend: Any) -> None:
    config = RefineConfig(passes=20, **ALONE)
    free = config.model_copy(update={"refine_probe": True})
    one = refine(partly, None, free, backend=backend, no_mend="all")
    grown = refine(partly, None, config, modes="auto", backend=backend, no_mend="all")
    assert one.fit is not None and grown.fit is not None
    assert len(one.probe) == 1 and len(grown.probe) >= 3
    assert grown.fit.excess < 0.5 * one.fit.excess
    assert grown.probe_mode_powers.sum() == pytest.approx(1)
    assert (np.diff(grown.probe_mode_powers) <= 0).all()
    assert grown.provenance["modes_tried"][0]["kept"]


def test_an_ideal_scan_gains_nothing(coherent: Scan) -> None:
    config = RefineConfig(passes=20, refine_probe=True)
    alone = refine(coherent, None, config, no_mend="all")
    asked = refine(coherent, None, config, modes="auto", no_mend="all")
    assert np.array_equal(asked.object, alone.object)
    assert np.array_equal(asked.probe, alone.probe)


def test_few_patterns_are_not_left_out(partly: Scan) -> None:
    few = partly.select(slice(0, LEAST_PATTERNS - 1))
    found = refine(few, None, RefineConfig(passes=3), modes="auto", no_mend="all")
    assert len(found.probe) == 1


def test_what_modes_may_be(partly: Scan) -> None:
    kind = ModesOrAuto()
    assert kind.convert("auto", None, None) == "auto" and kind.convert("3", None, None) == 3
    for wrong in ("0", "many"):
        with pytest.raises(click.BadParameter):
            kind.convert(wrong, None, None)
    for value in (True, 2.5, "three"):
        with pytest.raises(InputError, match="modes must be a number or 'auto'"):
            refine(partly, modes=value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="engine ptychi"):
        refine(partly, config=RefineConfig(engine="ptychi"), modes="auto")
    assert len(refine(partly, None, RefineConfig(passes=1), modes=2, no_mend="all").probe) == 2
