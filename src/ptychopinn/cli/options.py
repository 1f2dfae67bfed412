"""Command-line flags derived from the pydantic configuration, so that there is one schema only."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ptychopinn.config import validated
from ptychopinn.errors import InputError
from ptychopinn.ops.options import INFERENCE_ONLY, TRAINING_ONLY, Execution
from ptychopinn.ops.selector import BACKENDS, KINDS, BackendName, choose

F = TypeVar("F", bound=Callable[..., Any])


def config_options(
    *schemas: type[BaseModel], prefix: str = "", only: Collection[str] | None = None
) -> Callable[[F], F]:
    """Decorator: one flag per scalar field of the schemas; booleans become --flag/--no-flag.

    ``only`` limits the flags to these fields.

    The command receives None for a flag that was not given, so that a file can fill the gap.
    """

    def decorate(function: F) -> F:
        for schema in reversed(schemas):
            for name, info in reversed(schema.model_fields.items()):
                if only is not None and name not in only:
                    continue
                option = _option(prefix + name, info.annotation, info.description, info.default)
                if option is not None:
                    function = option(function)
        return function

    return decorate


def _option(
    name: str, annotation: Any, description: str | None, default: Any
) -> Callable[[Any], Any] | None:
    arguments = list(typing.get_args(annotation))
    optional = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    if optional:
        arguments = [a for a in arguments if a is not type(None)]
        annotation = arguments[0]
        arguments = list(typing.get_args(annotation))
    flag = "--" + name.replace("_", "-")
    alias = "--" + name
    names = [flag] if flag == alias else [flag, alias]
    text = description or ""
    if default is not PydanticUndefined and default is not None:
        shown = ("yes" if default else "no") if isinstance(default, bool) else default
        text = f"{text}  [default: {shown}]".strip()
    kind: Any
    if annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text, is_flag=True)
    if typing.get_origin(annotation) is typing.Literal:
        kind = click.Choice([str(a) for a in arguments])
    elif annotation in (int, float, str):
        kind = annotation
    elif annotation is Path:
        kind = click.Path(path_type=Path)
    elif typing.get_origin(annotation) is tuple and Ellipsis not in arguments:
        return click.option(*names, name, type=tuple(arguments), default=None, help=text)
    else:
        return None
    return click.option(*names, name, type=kind, default=None, help=text)


def given(flags: Mapping[str, Any], schema: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """The flags that were given and belong to ``schema``, by field name."""
    return {
        field: flags[prefix + field]
        for field in schema.model_fields
        if flags.get(prefix + field) is not None
    }


def backend_options(*, training: bool) -> Callable[[F], F]:
    """Decorator: ``--backend`` and the flags of every backend's own options."""

    def decorate(function: F) -> F:
        for name in reversed(BACKENDS):
            kind = KINDS[name]
            unused = INFERENCE_ONLY if training else TRAINING_ONLY
            fields = [field for field in kind.execution.model_fields if field not in unused]
            function = config_options(kind.execution, prefix=f"{kind.prefix}_", only=fields)(
                function
            )
        text = "Framework to compute with.  [default: the installed one, pytorch if both are]"
        return click.option("--backend", type=click.Choice(BACKENDS), default=None, help=text)(
            function
        )

    return decorate


def chosen_backend(
    name: BackendName | None, flags: Mapping[str, Any], *, training: bool
) -> tuple[BackendName, Execution]:
    """The backend to use, with its options out of the flags.

    Raises
    ------
    InputError
        When options of another backend were given, or the packages are not installed.
    """
    name, _ = choose(name, training=training)
    for other in BACKENDS:
        kind = KINDS[other]
        foreign = given(flags, kind.execution, prefix=f"{kind.prefix}_")
        if foreign and other != name:
            flag = f"--{kind.prefix}-{next(iter(foreign)).replace('_', '-')}"
            raise InputError(
                f"{flag} is an option of the {other} backend, received it with {name}; leave it "
                f"out, or add --backend {other}."
            )
    schema = KINDS[name].execution
    return name, validated(schema, given(flags, schema, prefix=f"{KINDS[name].prefix}_"))
