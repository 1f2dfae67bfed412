"""What a command prints for other programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import click


def plain(value: Any) -> Any:
    """JSON data without NaN and infinity, which JSON does not know: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def print_json(content: Mapping[str, Any]) -> None:
    """Print the content as indented JSON."""
    click.echo(json.dumps(plain(content), indent=2, allow_nan=False))
