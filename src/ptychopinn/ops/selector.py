"""Chooses a backend by name and imports only that one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal, cast, get_args

from ptychopinn.errors import InputError, MissingDependencyError, shown
from ptychopinn.machine.interruption import imported_whole
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution, NumpyExecution, TFExecution, TorchExecution

BackendName = Literal["pytorch", "tensorflow", "numpy"]
# In the order in which they are tried when none is asked for.
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


@dataclass(frozen=True)
class _Kind:
    """What is known of a backend without importing it.

    module, operations : file in this folder, and its class.
    packages : needed for inference.  training : needed beyond that to train; None if it cannot.
    execution : schema of its own options.  prefix : of their flags, ``--PREFIX-``.
    untrained : options for a process that never trains, unless the user gives them.
    """

    module: str
    operations: str
    packages: tuple[str, ...]
    training: tuple[str, ...] | None
    execution: type[Execution]
    prefix: str
    untrained: Mapping[str, object] = field(default_factory=dict)


KINDS: Mapping[BackendName, _Kind] = {
    "pytorch": _Kind("torch", "TorchOps", ("torch",), ("lightning",), TorchExecution, "torch"),
    "tensorflow": _Kind(
        "tensorflow",
        "TensorflowOps",
        ("tensorflow",),
        (),
        TFExecution,
        "tf",
        untrained={"side_by_side": True},
    ),
    # Without a framework: it reconstructs and refines, slower and exact.
    "numpy": _Kind("numpy", "NumpyOps", (), None, NumpyExecution, "numpy"),
}


def choose(
    name: BackendName | None = None,
    execution: Execution | None = None,
    *,
    training: bool = False,
) -> tuple[BackendName, Execution]:
    """The backend asked for with its execution options; without a name, the first that is usable.

    A given ``execution`` names its backend too. Nothing is imported.

    Raises InputError when there is no such backend, or ``execution`` belongs to another one;
    MissingDependencyError when the packages of the backend, or of all, are not installed."""
    if name is not None and name not in KINDS:
        raise InputError(
            f"the backend must be one of {', '.join(BACKENDS)}, received {shown(name)}; correct it."
        )
    owner = next((b for b in BACKENDS if isinstance(execution, KINDS[b].execution)), None)
    if execution is not None and owner is None:
        kinds = ", ".join(KINDS[b].execution.__name__ for b in BACKENDS)
        raise InputError(
            f"the execution options must be one of {kinds}, received {shown(execution)}; give one."
        )
    if name is not None and owner is not None and owner != name:
        raise InputError(
            f"the execution options must be those of the {name} backend, received a "
            f"{type(execution).__name__}; give a {KINDS[name].execution.__name__}."
        )
    chosen = name or owner or _first_usable(training)
    if training and KINDS[chosen].training is None:
        raise InputError(
            f"training needs derivatives, received the {chosen} backend, which knows none; use the "
            "backend pytorch or tensorflow."
        )
    missing = _missing(chosen, training)
    if missing is not None:
        raise MissingDependencyError(
            f"the {chosen} backend needs the package {missing}, received an installation without "
            f"it; run: pip install 'ptychopinn[{chosen}]'."
        )
    return chosen, KINDS[chosen].execution() if execution is None else execution


def get_ops(name: BackendName, execution: Execution) -> Ops:
    """The operations of the backend ``name``, which is imported, and no other.

    Raises InputError when the machine cannot run with these options."""
    kind = KINDS[name]
    with imported_whole():
        module = importlib.import_module(f"ptychopinn.ops.{kind.module}")
    return cast(Ops, getattr(module, kind.operations)(execution))


def _first_usable(training: bool) -> BackendName:
    able = [name for name in BACKENDS if not training or KINDS[name].training is not None]
    for name in able:
        if _missing(name, training) is None:
            return name
    # One that lacks a part only is nearer to the aim than one that lacks everything.
    for name in able:
        if _missing(name, False) is None:
            return name
    commands = " or ".join(f"pip install 'ptychopinn[{name}]'" for name in able)
    raise MissingDependencyError(
        f"training needs PyTorch or TensorFlow, received an installation with neither; run: "
        f"{commands}."
    )


def _missing(name: BackendName, training: bool) -> str | None:
    """The first package that this backend lacks."""
    kind = KINDS[name]
    needed = (*kind.packages, *((kind.training or ()) if training else ()))
    return next((package for package in needed if not installed(package)), None)


def installed(package: str) -> bool:
    """Whether the package can be imported; it is not imported for that."""
    try:
        return find_spec(package) is not None
    except ImportError:
        return False
