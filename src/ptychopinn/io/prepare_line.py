"""The command line that makes a scan of files that hold patterns, for errors about such files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def flag(option: str, value: object = None) -> str:
    """An option as it is typed."""
    written = f"--{option.replace('_', '-')}"
    return written if value is None else f"{written} {shlex.quote(str(value))}"


def prepare_line(
    *sources: object, options: Mapping[str, object], target: str | None = "scan.h5"
) -> str:
    """``ptychopinn prepare`` with these files and options; True stands for one without a value."""
    words = ["ptychopinn prepare", *(shlex.quote(str(source)) for source in sources)]
    words += [flag(name, None if value is True else value) for name, value in options.items()]
    return " ".join(words if target is None else [*words, f"-o {target}"])
