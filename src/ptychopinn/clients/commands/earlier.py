"""What the commands of the earlier program, ``ptycho_train`` and ``ptycho_inference``, share.

Their flags come from the table in :mod:`ptychopinn.clients.settings`. Underscores and hyphens are
the same, a switch may be followed by true or false, and ``--config`` names a YAML file with the
same names, flat or with the model's under ``model:``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import click

from ptychopinn.cli.scans import Reading, mend_option, scan_options
from ptychopinn.clients.settings import TORCH, Rule
from ptychopinn.errors import InputError, PoorFitError
from ptychopinn.io.config_file import read_config_file

F = TypeVar("F", bound=Callable[..., Any])

# Flags whose values are names, whatever they look like.
WORDS = frozenset(
    {
        "train_data_file",
        "test_data_file",
        "test_data",
        "model_path",
        "output_dir",
        "backend",
        "console_level",
        "probe",
        "units",
        "frames",
        "propagation",
    }
)
#: What the commands of today can be told about a scan file as well.
ABOUT_SCANS = (*Reading._fields, "no_mend")
#: Old names of flags, and what takes their place.
DEPRECATED: Mapping[str, str] = {"n_images": "n_groups"}
# Switches whose neutral value does not tell that they are.
SWITCHES = frozenset({"torch_deterministic", "torch_recon_log_stitch"})
NO_OTHERS: Mapping[str, str] = MappingProxyType({})


def spelled(
    arguments: Sequence[str], switches: frozenset[str], others: Mapping[str, str] = NO_OTHERS
) -> list[str]:
    """The arguments with the one spelling that the commands know: underscores, values for switches.

    ``--no-flag`` of a switch becomes ``--flag false``; ``others`` are flags that are spelled
    otherwise, by their names with underscores.
    """
    result: list[str] = []
    for argument in arguments:
        if not argument.startswith("--"):
            result.append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if name.startswith("no_") and name[3:] in switches and not equals:
            result += [f"--{name[3:]}", "false"]
        else:
            result.append(f"{others.get(name, f'--{name}')}{equals}{value}")
    return result


def is_switch(name: str, rule: Rule) -> bool:
    """Whether the setting is true or false."""
    return isinstance(rule.neutral, bool) or name in SWITCHES


def switches(rules: Mapping[str, Rule]) -> frozenset[str]:
    """The names of the flags that are switches."""
    return frozenset(name for name, rule in rules.items() if is_switch(name, rule))


def rule_options(rules: Mapping[str, Rule]) -> Callable[[F], F]:
    """Decorator: one flag per setting; the command receives the words as they were typed."""

    def decorate(function: F) -> F:
        for name, rule in reversed(list(rules.items())):
            extra: dict[str, Any] = {}
            if is_switch(name, rule):
                extra = {"is_flag": False, "flag_value": "true"}
            function = click.option(
                f"--{name}",
                name,
                default=None,
                metavar="[true|false]" if extra else "VALUE",
                help=_help(name, rule),
                **extra,
            )(function)
        return function

    return decorate


def _help(name: str, rule: Rule) -> str:
    if name in DEPRECATED:
        return f"Deprecated: use --{DEPRECATED[name]}."
    if rule.to:
        return "Sets " + " and ".join(rule.to.split()) + "."
    return f"No effect: {rule.effect}." if rule.effect else "Accepted at its usual value only."


def parsed(word: Any) -> Any:
    """A value from the command line: true, false, none, a number or a word."""
    if not isinstance(word, str):
        return word
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return _WORDS.get(word.casefold(), word)


_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
    **dict.fromkeys(("none", "null"), None),
}


def settings(
    config_file: Path | None, flags: Mapping[str, Any], known: Sequence[str]
) -> dict[str, Any]:
    """What file and flags say, by old names; flags take precedence over the file.

    Raises
    ------
    InputError
        For a file with other names, or one that names a setting twice.
    """
    found: dict[str, Any] = {}
    for key, value in ({} if config_file is None else read_config_file(config_file)).items():
        content = value if isinstance(value, dict) else {key: value}
        if isinstance(value, dict) and key not in ("model", "training", "inference", "torch"):
            raise InputError(
                f"names with values and the block 'model' were expected in '{config_file}', "
                f"received the block '{key}'; write its names without the block."
            )
        prefix = TORCH if key == "torch" and isinstance(value, dict) else ""
        for name, single in content.items():
            name = prefix + str(name).replace("-", "_")
            if name not in known:
                raise InputError(
                    f"a known name was expected in '{config_file}', received '{name}'; the names "
                    "are those of the flags, see --help."
                )
            if name in found:
                raise InputError(
                    f"every name was expected once in '{config_file}', received '{name}' twice; "
                    "leave one out."
                )
            found[name] = single
    found |= {
        name: value if name in WORDS else parsed(value)
        for name, value in flags.items()
        if value is not None
    }
    found = {name: value for name, value in found.items() if value is not None}
    for old, new in DEPRECATED.items():
        if old in found:
            click.echo(f"--{old} is deprecated, use --{new}.", err=True)
            value = found.pop(old)
            if found.setdefault(new, value) != value:
                raise InputError(
                    f"one value was expected, received --{old} {value} and --{new} {found[new]}; "
                    f"leave --{old} out."
                )
    return found


def flag(name: str) -> str:
    """How a setting is shown."""
    return f"--{name}"


def is_quiet(quiet: Any, level: Any) -> bool:
    """Whether only warnings and errors are shown."""
    return bool(quiet) or str(level).upper() in ("WARNING", "ERROR", "CRITICAL", "30", "40", "50")


def need(found: dict[str, Any], *names: str) -> Any:
    """Take out the first of these settings that is there; InputError when none is."""
    values = [found.pop(name, None) for name in names]
    for value in values:
        if value is not None:
            return value
    raise InputError(
        f"--{names[0]} was expected, received neither the flag nor the name in --config; give it."
    )


def about_scans(function: F) -> F:
    """Decorator: the flags of today about scan files; the command gets all that were given as
    ``about``, by the names in :data:`ABOUT_SCANS`."""

    @wraps(function)
    def command(*arguments: Any, reading: Reading, no_mend: Sequence[str], **more: Any) -> Any:
        unsaid = Reading()._asdict()
        about = {k: value for k, value in reading._asdict().items() if value != unsaid[k]}
        if no_mend:
            about["no_mend"] = tuple(no_mend)
        return function(*arguments, about=about, **more)

    return cast(F, scan_options(mend_option(command)))


def said_of_scans(found: dict[str, Any]) -> tuple[Reading, tuple[str, ...]]:
    """Take out what is said of scan files, and the checks that are left out."""
    no_mend = found.pop("no_mend", ())
    names = {name: found.pop(name) for name in Reading._fields if name in found}
    return Reading(**names), (no_mend,) if isinstance(no_mend, str) else tuple(no_mend)


def run(
    arguments: Sequence[str] | None,
    switches: frozenset[str],
    command: click.Command,
    program: str,
    successor: str,
) -> int:
    """Run a command with these arguments, in either spelling, and return its exit code.

    Messages name the options of ``successor``, the command of today, where only that has them.
    """
    from ptychopinn.cli import run as run_command

    given = sys.argv[1:] if arguments is None else arguments
    flags = [flag[2:] for option in command.params for flag in option.opts]
    others = {name.replace("-", "_"): f"--{name}" for name in flags if "-" in name}
    return run_command(spelled(given, switches, others), command, program, successor)


@contextmanager
def saying_poor_fits() -> Iterator[None]:
    """Let the commands of old go on after a result that does not fit: it is marked, and said."""
    try:
        yield
    except PoorFitError as error:
        click.echo(f"WARNING {error}", err=True)
