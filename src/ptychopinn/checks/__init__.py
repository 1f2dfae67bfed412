"""A look at a scan before anything is computed: what is mended, what is doubtful, what is wrong.

Each check is a function that a file of this package registers by name. They run in ``ORDER``,
because each sees what those before it have mended.
"""

from __future__ import annotations

from importlib import import_module

from ptychopinn.checks.base import CHECKS, Checked, examine

ORDER = (
    "stored_numbers", "mask", "running_sums", "level", "photon_steps", "beam", "patterns",
    "repeats", "lines", "pixels", "filled", "torn", "late_parts", "probe_phase", "clipped",
    "shared_noise", "centre", "placement", "separate_parts",
    "rounded_positions",
)  # fmt: skip
for _name in ORDER:
    import_module(f"{__name__}.{_name}")

__all__ = ["CHECKS", "ORDER", "Checked", "examine"]
