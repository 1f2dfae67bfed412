"""Warnings of a command call options what the command line calls them; a table of many scans has
what was noticed about each."""

from __future__ import annotations

import logging
from importlib import import_module
from io import StringIO
from pathlib import Path

import click
import numpy as np
import pytest
from rich.console import Console
from tests.scan_files import Content, counts_of, positions_of, write

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.cli.console import logging_to
from ptychopinn.workflows.batch_orders import Order, Orders, reading_of
from ptychopinn.workflows.batch_work import Bench

SAID = "refine it with probe_trainable=True, or give another with the option probe"


@pytest.mark.parametrize("terminal", [False, True])
def test_on_the_screen_and_in_the_log(terminal: bool, tmp_path: Path) -> None:
    shown = StringIO()
    console = Console(file=shown, force_terminal=terminal, width=200, color_system=None)
    log = logging.getLogger("ptychopinn.training")
    with (
        click.Context(import_module("ptychopinn.cli.train").command),
        logging_to(console) as file,
    ):
        log.warning("%s: %s", "probe_check", SAID)
        log.warning("lower learning_rate below %.1f", 0.5)
        log.warning("refine with the option refine_positions to correct that")
        log.info("the stage had probe_trainable=True")
        file.open(tmp_path / "log.txt")
    for text in (shown.getvalue(), (tmp_path / "log.txt").read_text()):
        # The name of a scan is no option.
        assert "probe_check: refine it with --probe-trainable, or give another with --probe" in text
        assert "lower --learning-rate below 0.5" in text
        assert "refine with --refine-positions (of ptychopinn refine) to correct that" in text
        assert "the stage had probe_trainable=True" in text


def test_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = counts_of()
    more = Content(counts=np.concatenate([counts[:1], counts]), positions=positions_of())
    line = [
        "refine",
        str(write("ptychodus", tmp_path, more) / "diffraction.h5"),
        "-o",
        str(tmp_path / "r"),
    ]
    line += ["--backend", "numpy", "--passes", "1", "--no-mend", "all", "--no-report"]
    assert run(line) in (0, 3)
    for text in (capsys.readouterr().err, (tmp_path / "r" / "log.txt").read_text()):
        assert "say so with --frames, as in --frames 1:" in text


def test_a_table_of_scans_has_what_was_noticed(tmp_path: Path) -> None:
    scan = pp.simulate(N=32, patterns=40, photons=1e5, seed=1)
    np.asarray(scan.diffraction)[[3, 9]] = 0
    pp.save_scan(scan, tmp_path / "s.h5")
    orders = Orders(
        verb="refine", model=None, model_digest=None, refine="auto",
        config=pp.PhysicsConfig(passes=4), modes=None, uncertainty=False,
        no_mend=("orientation", "frame-offset", "frame-slip", "position-unit", "alternatives"),
        reading=reading_of({}), recipe=None, share="nothing", backend="numpy",
        execution=pp.NumpyExecution(), wording=lambda text: text.replace("left out", "OMITTED"),
    )  # fmt: skip
    row = Bench(orders, 1)(Order(str(tmp_path / "s.h5"), str(tmp_path / "r")))
    assert row["error"] is None
    assert "OMITTED patterns 3, 9: 2 of 40 patterns" in (row["remark"] or "")
    assert "OMITTED" in (tmp_path / "r" / "log.txt").read_text()
    # And so it has when the result is taken from the folder.
    again = Bench(orders, 1)(Order(str(tmp_path / "s.h5"), str(tmp_path / "r")))
    assert again["kept"] and again["remark"] == row["remark"]
