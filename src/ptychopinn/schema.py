"""What all schemas of options share: frozen, strict, and a bad value is one sentence."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ptychopinn.errors import InputError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

M = TypeVar("M", bound=BaseModel)

# How much of a value that was refused is shown, in characters.
SHOWN = 120


class _OneSentence(ModelMetaclass):
    """Building a schema with values that it refuses raises InputError."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise InputError(_sentence(cls, error)) from error


class Section(BaseModel, metaclass=_OneSentence):
    """Options that belong together: frozen, and an unknown name is an error.

    Raises
    ------
    InputError
        For an unknown name, a wrong type or a value out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def validated(schema: type[M], values: Mapping[str, Any]) -> M:
    """Build the options of a schema from a mapping that came from outside.

    Raises
    ------
    InputError
        For an unknown name, a wrong type or a value out of range.
    """
    return schema(**values)


def meant(word: str, known: Collection[str]) -> str | None:
    """The one of the known words that was probably meant."""
    found = difflib.get_close_matches(word.lower(), {k.lower(): k for k in known}, n=1, cutoff=0.6)
    return next((k for k in known if found and k.lower() == found[0]), None)


def _sentence(schema: Any, error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return _unknown(schema, place)
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] == "value_error" and isinstance(first["input"], Mapping | BaseModel):
        # Options that do not go together: the message names them and what to do.
        return f"{message}."
    field = ".".join(place) or schema.__name__
    return (
        f"option '{field}' is not valid: {message}, received {shown(first['input'])}; change it "
        "(see --help)."
    )


def _unknown(schema: Any, place: list[str]) -> str:
    *sections, name = place
    for section in sections:
        schema = schema.model_fields[section].annotation
    within = "".join(f"{section}." for section in sections)
    inner = {key: _section(info.annotation) for key, info in schema.model_fields.items()}
    deep = {f"{key}.{field}" for key, kind in inner.items() if kind for field in kind.model_fields}
    # A name without its section counts as well, and is answered with it.
    names = {each.rsplit(".", 1)[-1]: each for each in [*deep, *inner]}
    guess = meant(name, names)
    hint = "" if guess is None else f" (did you mean '{within}{names[guess]}')"
    where = f" in the section {sections[-1]}" if sections else ""
    return (
        f"'{shorter(within + name)}' is not an option{hint}; expected{where} one of "
        f"{', '.join(inner)}; check the spelling."
    )


def _section(annotation: Any) -> Any:
    """The schema that a field holds, if it holds one."""
    known = typing.get_origin(annotation) is None and isinstance(annotation, type)
    return annotation if known and issubclass(annotation, BaseModel) else None


def shown(value: Any) -> str:
    """A value as text that fits into a sentence, whatever it is."""
    try:
        return shorter(repr(value))
    except (ValueError, RecursionError):
        # Whole numbers of thousands of digits, lists within lists.
        return f"one of type {type(value).__name__}, too long to show"


def shorter(text: str, length: int = SHOWN) -> str:
    """The text on one line, its middle left out when it is long."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 3 :]}"
