"""Keeps the import of matplotlib by a command from touching anything but itself.

Matplotlib makes folders of its own in the home folder, and keeps there a list of all fonts of the
system, which takes seconds to make. The pictures of a command need the fonts that come with
matplotlib: the import gets a temporary folder with an empty list, these fonts are added, and the
settings of the user, which would change the pictures, are not read.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = "MPLCONFIGDIR"


def load_matplotlib() -> None:
    """Import it, unless that was done or the user chose a folder for it."""
    if "matplotlib" in sys.modules or FOLDER in os.environ:
        return
    with tempfile.TemporaryDirectory(prefix="ptychopinn-") as folder:
        _list_no_fonts(Path(folder))
        os.environ[FOLDER] = folder
        try:
            manager = importlib.import_module("matplotlib.font_manager").fontManager
        finally:
            del os.environ[FOLDER]
    if not manager.ttflist:
        shipped = Path(importlib.import_module("matplotlib").get_data_path()) / "fonts" / "ttf"
        for font in sorted(shipped.glob("*.ttf")):
            manager.addfont(font)


def _list_no_fonts(folder: Path) -> None:
    """Write an empty list for the installed version; one that another version does not understand
    it replaces by its own."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return
    source = (Path(spec.origin).parent / "font_manager.py").read_text(encoding="utf-8")
    version = re.search(r"""^ +__version__ = ["']?([\w.]+)["']?$""", source, re.MULTILINE)
    if version is None:
        return
    content: dict[str, Any] = {
        "__class__": "FontManager",
        "_version": version.group(1),
        "_FontManager__default_weight": "normal",
        "default_size": None,
        "defaultFamily": {"ttf": "DejaVu Sans", "afm": "Helvetica"},
        "afmlist": [],
        "ttflist": [],
    }
    for prefix in ("fontlist-v", "fontlist-"):
        (folder / f"{prefix}{version.group(1)}.json").write_text(json.dumps(content))
