"""How much memory is free."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from ptychopinn.errors import InputError
from ptychopinn.machine.threads import cores

# What is taken to be free where nobody knows.
UNKNOWN = 2 << 30
# The number of this option of mallopt(3).
ARENA_MAX = -8


def available_memory() -> int | None:
    """Bytes of memory that are free for use; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) << 10
    except (OSError, ValueError, IndexError):
        return None
    return None


def few_heaps() -> None:
    """Let the threads of this process share two heaps of glibc, or one for four cores, unless the
    user decided otherwise: each thread would keep up to 64 MiB that it no longer uses in its own.

    For a command, which owns its process.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(ARENA_MAX, max(2, len(cores()) // 4))


def part_of_free(part: float) -> int:
    """Bytes that are this part of the free memory; of 2 GiB where the system does not tell."""
    free = available_memory()
    return int(part * (UNKNOWN if free is None else free))


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise InputError unless ``needed`` bytes are free.

    ``what`` begins the sentence: "'key' in 'file', of shape ...".
    """
    free = available_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{what} must fit into the memory, received a need of {size_text(needed)} where "
            f"{size_text(free)} are free; {remedy}."
        )


def size_text(size: int) -> str:
    """A number of bytes in words, at most three digits."""
    value, unit = float(min(size, 10**300)), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}"
