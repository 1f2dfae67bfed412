"""Options that several commands share are one and the same."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import ptychopinn
from ptychopinn.cli import COMMANDS, run
from ptychopinn.cli.border import as_flags
from ptychopinn.cli.options import OutputPath

SHARED = ("quiet", "force", "output", "config_file", "resume", "start", "probe", "units",
          "photons", "backend", "uncertainty")  # fmt: skip


def options(name: str) -> dict[str, click.Parameter]:
    command: click.Command = import_module(f"ptychopinn.cli.{name}").command
    return {p.name: p for p in command.params if p.name and isinstance(p, click.Option)}


@pytest.mark.parametrize("name", SHARED)
def test_an_option_is_spelled_and_read_alike_everywhere(name: str) -> None:
    found: dict[Any, list[str]] = defaultdict(list)
    for command in COMMANDS:
        option = options(command).get(name)
        # A simulated scan has a probe and photons of another kind: they are made, not read.
        if command == "simulate" and name in ("probe", "photons"):
            continue
        # These write a file and not a folder; the probe of prepare may also be a key of the source.
        if (command, name) in {("prepare", "output"), ("export", "output"), ("prepare", "probe")}:
            continue
        if isinstance(option, click.Option):
            kind = (type(option.type), tuple(option.opts), option.metavar, option.is_flag)
            found[kind].append(command)
    assert len(found) == 1, dict(found)


TRAIN, REFINE, CONVERT = (
    import_module(f"ptychopinn.cli.{name}").command.params
    for name in ("train", "refine", "convert")
)


@pytest.mark.parametrize(
    ("parameters", "text", "shown"),
    [
        (TRAIN, "option training.epochs must be 1", "--epochs must be 1"),
        (TRAIN, "knows the options width, epochs, other.", "knows --width, --epochs, other."),
        (TRAIN, "with the options of its result", "with the options of its result"),
        (TRAIN, "lower learning_rate or batch_size.", "lower --learning-rate or --batch-size."),
        (TRAIN, "refine it with probe_trainable=True", "refine it with --probe-trainable"),
        (TRAIN, "all the same with probe_check=False.", "all the same with --no-probe-check."),
        (TRAIN, "received units='amplitude'; leave", "received --units amplitude; leave"),
        (TRAIN, "with photons=... or 'photons'", "with --photons or 'photons'"),
        (TRAIN, "received photons=5e+06, too", "received --photons 5e+06, too"),
        (TRAIN, "leave out the option start.", "leave out --from."),
        (TRAIN, "raise option momentum, or", "raise --momentum, or"),
        (TRAIN, "add force=True to overwrite.", "add --force to overwrite."),
        (TRAIN, "received batch_size = 3 where", "received --batch-size = 3 where"),
        (REFINE, "give that one as the option scan", "give that one as --scan"),
        (CONVERT, "say it with the option to.", "say it with --to."),
        # Ordinary words, options of other commands, names of files and of keys stay.
        (TRAIN, "the probe of the scan, its width and photons", None),
        (TRAIN, "the option scan", None),
        (REFINE, "batch_sizes and epochs", None),
        (REFINE, "passes and learning_rate", None),
        (TRAIN, "the file 'batch_size' or x/batch_size.h5 or batch_size.h5", None),
        (TRAIN, "force=False", None),
        (CONVERT, "in 'scan.h5', pixel_size_m must be positive, received -1", None),
        (TRAIN, "'epoch' is not an option; expected one of epochs, batch_size", None),
        ([], "lower learning_rate", None),
    ],
)
def test_messages_call_options_what_the_command_line_calls_them(
    parameters: list[click.Parameter], text: str, shown: str | None
) -> None:
    assert as_flags(text, parameters) == (text if shown is None else shown)


# What composes the command line to type for a file that is no scan, or one that it runs.
TYPED = {
    "io/guess.py", "report/asking.py", "sources/by_keys.py", "sources/overview.py",
    "sources/places.py", "serving/agent_tools.py", "serving/job_words.py", "serving/runs.py",
    "serving/web_app.py",
}  # fmt: skip


def test_the_package_knows_no_dashes() -> None:
    """They belong to the command line."""
    root = Path(ptychopinn.__file__).parent
    wrong = [
        f"{path.relative_to(root)}:{number} {found.group()}"
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).parts[0] not in ("cli", "clients")
        and path.relative_to(root).as_posix() not in TYPED
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := re.search(r"(?<![-\w])--[a-z][a-z-]+", line))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_command_shows_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = ptychopinn.simulate(N=32, patterns=40, seed=1)
    wrong = replace(scan, probe=np.roll(scan.probe, 5, axis=-1) + scan.probe[:, ::-1])
    ptychopinn.save_scan(wrong, tmp_path / "scan.h5")
    arguments = ["train", str(tmp_path / "scan.h5"), "-o", str(tmp_path / "m"), "--epochs", "1"]
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert "--probe-trainable, or train all the same with --no-probe-check" in said
    (tmp_path / "m").mkdir(exist_ok=True)
    (tmp_path / "m" / "wts.h5.zip").write_bytes(b"x")
    assert run(arguments) == 2
    assert "or add --force to overwrite" in capsys.readouterr().err


def test_every_output_refuses_an_empty_name() -> None:
    places = [o for command in COMMANDS for n, o in options(command).items() if n == "output"]
    assert len(places) >= 7
    assert all(isinstance(option.type, OutputPath) for option in places)
