"""Processes recognised again, by their number and the time they began."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROC = Path("/proc")


def birth(number: int) -> str | None:
    """When the process began, in words that no other process of this number ever has; None when
    there is none, or it has ended and nobody fetched its exit code."""
    if not PROC.is_dir():
        return _told_by_ps(number)
    try:
        text = (PROC / str(number) / "stat").read_text(errors="replace")
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The name of the program, in brackets, may hold blanks and brackets.
    fields = text[text.rindex(")") + 2 :].split()
    # See proc(5): fields 3, the state, and 22, the start in clock ticks after the boot.
    state, start = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {start}"


def _told_by_ps(number: int) -> str | None:
    told = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(number)],
        check=False, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    return None if not told or told[0].startswith("Z") else " ".join(told[1:])
