"""Files of every format. What reads and writes scans is loaded when it is used, because the options
of a command, say, need none of the formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptychopinn.io.lazy import LazyPatterns
    from ptychopinn.io.probes import read_probe
    from ptychopinn.io.scans import FORMATS, find_format, identify, load_scan, save_scan, scan_of

__all__ = [
    "FORMATS",
    "LazyPatterns",
    "find_format",
    "identify",
    "load_scan",
    "read_probe",
    "save_scan",
    "scan_of",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ptychopinn.io' has no attribute {name!r}")
    from ptychopinn.io import scans

    return getattr(scans, name)
