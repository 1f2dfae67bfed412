"""The flags of the commands: those that several share, and those derived from the pydantic
configuration, so that there is one schema only."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ptychopinn.config import SECTIONS, ModelConfig, recipes, used_by, validated
from ptychopinn.errors import InputError
from ptychopinn.ops.options import INFERENCE_ONLY, TRAINING_ONLY, Execution
from ptychopinn.ops.selector import BACKENDS, KINDS, BackendName, choose
from ptychopinn.schema import Option, Variant, options_of


class OutputPath(click.Path):
    """The name of a file or folder to write; an empty one is refused, not the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            raise InputError(
                f"{param.human_readable_name if param else 'the output'} must name the place to "
                "write to, received an empty text; give a name."
            )
        return super().convert(value, param, ctx)


class Kinds(click.Choice):
    """The kinds of a section. Another name is passed on: the section refuses it, in the words of
    Python, which know the nearest one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value not in self.choices else super().convert(value, param, ctx)


F = TypeVar("F", bound=Callable[..., Any])

# An existing file or folder; whether it is there is found when it is opened.
ANY_PATH = click.Path(path_type=Path)

scan_argument = click.argument("scan", type=ANY_PATH)
live_option = click.option(
    "--live",
    metavar="PNG",
    type=ANY_PATH,
    default=None,
    help="Write the phase as it is found to this picture, after passes and epochs. A name that "
    "ends with .live gets probe and worst patterns as well, for the pages of serve. With --force "
    "it may exist.",
)


def check_live(live: Path | None, force: bool) -> None:
    """Raise InputError unless the picture ``live``, if any, may be written anew again and again."""
    if live is not None:
        from ptychopinn.report.live_picture import check_place

        check_place(live, force)


quiet_option = click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
config_file_option = click.option(
    "--config",
    "config_file",
    type=ANY_PATH,
    default=None,
    help="YAML or JSON file with any of the options below; flags take precedence.",
)
resume_option = click.option(
    "--resume", is_flag=True, help="Continue the run in DIR from its last finished epoch."
)
start_option = click.option(
    "--from",
    "start",
    metavar="MODEL",
    default=None,
    help="Train this model further: a bundle, or the word pretrained.",
)


def output_option(what: str, *, required: bool = True) -> Callable[[F], F]:
    """Decorator: ``-o`` for the folder that a command writes to."""
    return click.option(
        "-o", "--output", metavar="DIR", type=OutputPath(), required=required, help=what
    )


def force_option(what: str) -> Callable[[F], F]:
    """Decorator: ``--force`` to overwrite ``what``."""
    return click.option("--force", is_flag=True, help=f"Overwrite {what}.")


def config_options(
    *schemas: type[BaseModel],
    prefix: str = "",
    only: Collection[str] | None = None,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[F], F]:
    """Decorator: one flag per scalar field of the schemas; booleans become --flag/--no-flag.

    ``only`` limits the flags to these fields; ``defaults`` are those of the command, where they are
    not those of the schema.

    The command receives None for a flag that was not given, so that a file can fill the gap.
    """

    def decorate(function: F) -> F:
        for schema in reversed(schemas):
            for name, found in reversed(options_of(schema).items()):
                if only is not None and name not in only:
                    continue
                if name in defaults:
                    found = found._replace(default=defaults[name])
                whose, others = _of_architectures(schema, name)
                if name in defaults:
                    others = {}
                tells = issubclass(schema, Variant) and name == schema.tag
                option = _option(
                    prefix + name, found, whose, others, Kinds if tells else click.Choice
                )
                if option is not None:
                    function = option(function)
        return function

    return decorate


def _of_architectures(schema: type[BaseModel], option: str) -> tuple[str, dict[str, Any]]:
    """Which architectures a training option is for, if not for all, and defaults of their own."""
    section = next((name for name, known in SECTIONS.items() if known is schema), None)
    if section is None or schema is ModelConfig:
        return "", {}
    users = used_by(section, option)
    whose = "" if len(users) == len(ModelConfig.kinds) else f"{', '.join(users)}: "
    return whose, recipes(section, option)


def _option(
    name: str, option: Option, whose: str, others: Mapping[str, Any], choice: Callable[..., Any]
) -> Callable[[Any], Any] | None:
    annotation, description, default = option
    arguments = list(typing.get_args(annotation))
    optional = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    if optional:
        arguments = [a for a in arguments if a is not type(None)]
        annotation = arguments[0]
        arguments = list(typing.get_args(annotation))
    flag = "--" + name.replace("_", "-")
    alias = "--" + name
    names = [flag] if flag == alias else [flag, alias]
    text = whose + description
    defaults = [f"{owner}: {value}" for owner, value in others.items()]
    if default is not PydanticUndefined and default is not None:
        shown = ("yes" if default else "no") if isinstance(default, bool) else str(default)
        defaults.insert(0, shown)
    if defaults:
        text = f"{text}  [default: {', '.join(defaults)}]".strip()
    kind: Any
    if annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text, is_flag=True)
    if typing.get_origin(annotation) is typing.Literal:
        kind = choice([str(a) for a in arguments])
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
        for field in options_of(schema)
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
    kind = KINDS[name]
    usual = {} if training else kind.untrained
    own = given(flags, kind.execution, prefix=f"{kind.prefix}_")
    return name, validated(kind.execution, {**usual, **own}, f"{kind.prefix}_")
