"""The page of a result that begins with another result behind its slider."""

from __future__ import annotations

import json
import re
from typing import Any

from ptychopinn.errors import InputError

_DATA = '<script type="application/json" id="data">'
# What a picture behind the slider is made of.
_LAYER = ("maps", "origin", "step", "cyclic", "pixel_m")


def in_script(data: Any) -> str:
    """Data as JSON inside of a script element, which only these signs can end or begin."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page_beside(page: str, own: str, other: str, name: str) -> str:
    """The text of the ``page`` of a result, which is called ``own`` there, with the picture of the
    page ``other``, which is called ``name``.

    Raises
    ------
    InputError
        When one of the two is no page of a result.
    """
    data = _data_of(other)
    layer = {key: data[key] for key in _LAYER if key in data}
    two = in_script({"own": own, "other": {**layer, "name": name}})
    if _DATA not in page:
        raise _none()
    script = f'<script type="application/json" id="beside">{two}</script>\n'
    return page.replace(_DATA, script + _DATA, 1)


def _data_of(page: str) -> dict[str, Any]:
    found = re.search(re.escape(_DATA) + "(.*?)</script>", page, re.DOTALL)
    try:
        data = json.loads(found[1]) if found else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "maps" not in data:
        raise _none()
    return data


def _none() -> InputError:
    return InputError(
        "two reports of results were expected, received another file; make the results again with "
        "this version."
    )
