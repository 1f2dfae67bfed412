"""The plan of the house: imports point one way, and each thing has its room."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

import ptychopinn

ROOT = Path(ptychopinn.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the ground up: a room imports only from rooms that stand before it.
ORDER = (
    "errors",
    "schema",
    "contracts",
    "entry",  # how a command begins: needs errors alone
    "machine",
    "ops",
    "physics",
    "data",
    "io",
    "sources",
    "networks",
    "solvers",
    "checks",
    "probes",
    "config",  # of everything below: networks and solvers define their own options
    "evaluation",
    "simulation",
    "training",
    "report",
    "workflows",
    "serving",
    "cli",
    "clients",
)
# ``save``, ``plot`` and ``Scan.from_arrays`` call what stands above them, for
# whoever has a result or arrays.
STEPS_UP = {
    ("data/reconstruction.py", "io"),
    ("data/reconstruction.py", "report"),
    ("data/scan.py", "io"),
    ("data/scan.py", "report"),
    ("evaluation/__init__.py", "report"),
    # Options in a notebook.
    ("schema.py", "report"),
    # ``load_scan(probe="auto")`` calls solvers, for whoever has a file.
    ("io/scans.py", "probes"),
}
FRAMEWORKS = {"torch", "tensorflow", "lightning", "keras", "jax"}
# pty-chi is a program on PyTorch, whose solver hands it tensors; the doctor looks whether a
# framework works at all.
FOREIGN = {"solvers/ptychi.py", "cli/doctor.py"}
# Scores, random objects and spectral convolutions work on pictures, not on waves: no propagation.
PICTURES = {
    "evaluation/alignment.py",
    "evaluation/resolution.py",
    "simulation/random_fields.py",
    "networks/mixing.py",
}
TRANSFORMS = {
    f"{inverse}{kind}fft{dimensions}"
    for inverse in ("", "i")
    for kind in ("", "r", "h")
    for dimensions in ("", "2", "n")
} | {"fft2d", "ifft2d", "rfft2d", "irfft2d", "fftconvolve"}
MOST_MODULES, MOST_LINES = 6, 400


class Import(NamedTuple):
    """What line of a file imports which module."""

    file: str
    line: int
    module: str


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def statements(path: Path) -> Iterator[ast.stmt | ast.expr]:
    """Everything that can run; imports for type checkers only cannot."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.stmt | ast.expr):
            yield node


def imports(path: Path) -> Iterator[Import]:
    """Of a file, at its head and inside of functions; names of modules are whole."""
    package = ("ptychopinn", *path.relative_to(ROOT).parent.parts)
    for node in statements(path):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            # ``from package import x`` may mean a module.
            modules = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            yield Import(name_of(path), node.lineno, module)


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def test_imports_point_one_way() -> None:
    """No room imports from one above it, at its head or inside of a function: no circle."""
    wrong = []
    for path in FILES:
        own = room_of(name_of(path))
        if own in ("__init__", "__main__"):
            continue
        for found in imports(path):
            parts = found.module.split(".")
            if parts[0] != "ptychopinn" or len(parts) < 2 or parts[1] == own:
                continue
            assert own in ORDER, f"where does the room '{own}' stand?"
            if (found.file, parts[1]) in STEPS_UP:
                continue
            if parts[1] not in ORDER or ORDER.index(parts[1]) > ORDER.index(own):
                wrong.append(f"{found.file}:{found.line} imports {found.module}")
    assert not wrong, "\n".join(wrong)


def test_only_the_operations_import_a_framework() -> None:
    """Whoever else needs one asks for its operations."""
    wrong = [
        f"{found.file}:{found.line} imports {found.module}"
        for path in FILES
        for found in imports(path)
        if found.module.split(".")[0] in FRAMEWORKS
        and room_of(found.file) != "ops"
        and found.file not in FOREIGN
    ]
    assert not wrong, "\n".join(wrong)


def test_nobody_but_operations_and_physics_transforms_a_field() -> None:
    """A propagator is asked for the way to the detector."""
    wrong = []
    for path in FILES:
        file = name_of(path)
        if room_of(file) in ("ops", "physics") or file in PICTURES:
            continue
        for node in statements(path):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in TRANSFORMS:
                wrong.append(f"{file}:{node.lineno} calls {ast.unparse(called)}")
    assert not wrong, "\n".join(wrong)


def test_no_module_knows_the_facades() -> None:
    """They translate for other programs; the package would do without them."""
    wrong = [
        f"{found.file}:{found.line} imports {found.module}"
        for path in FILES
        for found in imports(path)
        if found.module.split(".")[0] in ("ptycho", "ptycho_torch")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_root_is_no_drawer() -> None:
    modules = [path.name for path in ROOT.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, modules


def test_modules_can_be_read_in_one_sitting() -> None:
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {file: count for file, count in lines.items() if count > MOST_LINES} == {}


# Names that mean the same thing in several rooms: what all files of a room have in common, the
# options of a room, a command and what it calls.
ALIKE = {"__init__", "base", "config", *(path.stem for path in (ROOT / "cli").glob("*.py"))}
# Two sides of one thing: probes read and made, noise as a formula and drawn, the learned and the
# computed part of the canvas network.
SIDES = {
    "noise": {"physics", "simulation"},
    "probes": {"io", "simulation"},
    "unrolled": {"networks", "solvers"},
}


def test_a_name_means_one_thing() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        if path.stem not in ALIKE:
            places[path.stem].add(room_of(name_of(path)))
    shared = {name: rooms for name, rooms in places.items() if len(rooms) > 1}
    assert all(rooms == SIDES.get(name) for name, rooms in shared.items()), shared


@pytest.mark.parametrize("name", ptychopinn.__all__)
def test_what_the_package_offers_is_there(name: str) -> None:
    home = import_module(f"ptychopinn.{ptychopinn._HOMES[name]}")
    assert getattr(ptychopinn, name) is getattr(home, name)
