"""From settings by their old names to the configuration, with a note for all without effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ptychopinn.clients.settings.rules import NEVER, Rule
from ptychopinn.clients.settings.variables import options_file
from ptychopinn.config import SECTIONS, Config, ModelConfig, merged, used_by, validated
from ptychopinn.errors import InputError
from ptychopinn.io.config_file import blaming
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import KINDS, BackendName, choose


@dataclass(frozen=True)
class Translation:
    """The configuration, the backend with its options, and a note for each value without effect."""

    config: Config
    backend: BackendName
    execution: Execution
    notes: tuple[str, ...]


def translate(
    values: Mapping[str, Any],
    rules: Mapping[str, Rule],
    *,
    architecture: str,
    backend: BackendName | None = None,
    names: Callable[[str], str] = str,
    further: Mapping[str, Any] | None = None,
) -> Translation:
    """The configuration that these settings ask for.

    Parameters
    ----------
    values : settings by their old names; those at their neutral value are left out
    rules : the table
    architecture : where the values do not name one
    backend : which computes; what is installed when not given
    names : how a name is shown to the user, for example with ``--`` before it
    further : configuration in our own names that takes precedence (see :func:`environment`)

    Raises
    ------
    InputError
        For a name that is not in the table, a value that cannot be honoured, or a backend that is
        not installed.
    """
    backend, _ = choose(backend, training=True)
    schema = KINDS[backend].execution
    own: dict[str, dict[str, Any]] = {section: {} for section in (*SECTIONS, "execution")}
    notes: list[str] = []
    chosen: dict[str, str] = {}
    given = dict(values)
    file = options_file() if further else None
    with blaming(file):
        further = merged(dict(further or {}))
    picked = further.get("model", {}).get("architecture") or given.get("architecture")
    picked = str(picked or architecture)
    own["model"]["architecture"] = picked
    kinds = ModelConfig.kinds

    def users(target: str) -> tuple[str, ...]:
        """The architectures that an option has a meaning for."""
        if target == "training.batch_size":
            # Of patches; a canvas network takes one sub-scan a step.
            return tuple(name for name, kind in kinds.items() if kind.family == "patch")
        return used_by(*target.split("."))

    for name, value in given.items():
        rule = rules.get(name)
        if rule is None:
            raise InputError(
                f"a known setting was expected, received '{names(name)}'; the settings are "
                f"{', '.join(sorted(map(names, rules)))}."
            )
        if rule.neutral is not NEVER and value == rule.neutral:
            continue
        try:
            result = value if rule.convert is None else rule.convert(value)
        except (ValueError, TypeError) as error:
            raise InputError(f"{names(name)} cannot be {value!r}: {error}; change it.") from error
        if not rule.to:
            if rule.effect:
                notes.append(f"{names(name)} = {value}: {rule.effect}")
            continue
        targets = rule.to.split()
        results = result if len(targets) > 1 else (result,)
        for target, single in zip(targets, results, strict=True):
            section, field = target.split(".")
            if section != "execution" and picked in kinds and picked not in users(target):
                notes.append(
                    f"{names(name)} = {value}: has a meaning for the architecture "
                    f"{', '.join(users(target))} only"
                )
            elif section == "execution" and field not in schema.model_fields:
                notes.append(f"{names(name)} = {value}: not known to the backend {backend}")
            elif target in chosen and own[section][field] != single:
                raise InputError(
                    f"one value was expected, received {names(chosen[target])} and {names(name)} "
                    "that contradict each other; leave one out."
                )
            else:
                own[section][field] = single
                chosen[target] = name
    try:
        execution = validated(schema, own.pop("execution"))
        with blaming(file, lambda: validated(Config, own)):
            config = validated(Config, merged(own, further))
    except InputError as error:
        # They know the names of today.
        text = str(error)
        for target, name in chosen.items():
            ours = re.escape(target.removeprefix("execution."))
            text = re.sub(rf"option {ours}(?![\w.])", names(name), text)
        raise InputError(text) from error
    return Translation(config, backend, execution, tuple(notes))


def only_effects(
    values: Mapping[str, Any], rules: Mapping[str, Rule], names: Callable[[str], str] = str
) -> list[str]:
    """The notes about settings of which none can have an effect; see :func:`translate`."""
    return [
        f"{names(name)} = {value}: {rules[name].effect}"
        for name, value in values.items()
        if value != rules[name].neutral
    ]
