"""A command in a process of its own, and what it said."""

from __future__ import annotations

import subprocess
import sys

# Exit codes of commands whose result is there: whole, and with a poor fit.
DONE, POOR = 0, 3


async def ran(*words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; it ends when the caller is cancelled."""
    import anyio

    done = await anyio.run_process(
        [sys.executable, "-m", "ptychopinn", *words],
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return (
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def sentence(errors: str) -> str:
    """What a command said last."""
    lines = [line for line in errors.splitlines() if line.strip()]
    return lines[-1].removeprefix("ptychopinn: ") if lines else "the command ended without a word."
