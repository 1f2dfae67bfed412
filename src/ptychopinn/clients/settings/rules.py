"""What can become of one setting of the earlier program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Stands for "no value says nothing".
NEVER = object()


@dataclass(frozen=True)
class Rule:
    """What becomes of one setting; a rule without anything is for what another setting says too.

    Attributes
    ----------
    to : ``section.field`` of the configuration or ``execution.field``; several are separated by a
        blank and get the values of ``convert`` in that order
    convert : from the value to that of the field; raises ``ValueError`` with the reason when the
        value cannot be honoured
    effect : why the setting changes nothing, or what happens in its place
    neutral : the value at which it says nothing, and is left out
    """

    to: str = ""
    convert: Callable[[Any], Any] | None = None
    effect: str = ""
    neutral: Any = NEVER


def only(*allowed: Any, why: str) -> Callable[[Any], Any]:
    """A conversion that lets these values through and refuses all others for the reason."""

    def convert(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(why)
        return value

    return convert


def choice(table: Mapping[str, Any], why: str = "") -> Callable[[Any], Any]:
    """A conversion by name, upper or lower case."""
    known = {str(key).casefold(): value for key, value in table.items()}

    def convert(value: Any) -> Any:
        if str(value).casefold() not in known:
            raise ValueError(why or f"expected one of {', '.join(map(str, table))}")
        return known[str(value).casefold()]

    return convert
