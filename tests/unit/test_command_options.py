"""Options that several commands share are one and the same."""

from __future__ import annotations

from collections import defaultdict
from importlib import import_module
from typing import Any

import click
import pytest

from ptychopinn.cli import COMMANDS
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
        if isinstance(option, click.Option):
            kind = (type(option.type), tuple(option.opts), option.metavar, option.is_flag)
            found[kind].append(command)
    assert len(found) == 1, dict(found)


def test_every_output_refuses_an_empty_name() -> None:
    places = [o for command in COMMANDS for n, o in options(command).items() if n == "output"]
    assert len(places) >= 7
    assert all(isinstance(option.type, OutputPath) for option in places)
