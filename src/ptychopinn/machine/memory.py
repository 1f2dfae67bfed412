"""How much memory is free."""

from __future__ import annotations

from pathlib import Path

from ptychopinn.errors import InputError

# What is taken to be free where nobody knows.
UNKNOWN = 2 << 30


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
