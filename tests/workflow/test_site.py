"""The site of the documents: what is in its navigation and its reference, and its notebooks.

`make docs` builds it, strictly; here is what can be asked without MkDocs.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import ptychopinn as pp
from ptychopinn.cli import COMMANDS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 400_000


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    return script("hooks")


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def pages(navigation: Any) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
    else:
        for part in navigation.values() if isinstance(navigation, dict) else navigation:
            yield from pages(part)


def test_every_document_is_in_the_navigation_once(settings: dict[str, Any]) -> None:
    shown = list(pages(settings["nav"]))
    assert len(shown) == len(set(shown))
    documents = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in NOTEBOOKS}
    generated = {"index.md", "changes.md", "contributing.md", "gallery.md"}
    generated |= {"reference/python.md", "reference/commands.md"}
    assert set(shown) == documents | notebooks | generated


def test_links_and_anchors_are_checked_strictly(settings: dict[str, Any]) -> None:
    assert settings["strict"]
    checks = settings["validation"]
    assert set(checks["nav"].values()) | set(checks["links"].values()) == {"warn"}
    assert {"anchors", "not_found", "unrecognized_links"} <= set(checks["links"])
    assert settings["theme"]["font"] is False


def test_every_public_name_is_in_the_reference(hooks: ModuleType) -> None:
    page = hooks.python_page()
    named = re.findall(r"^::: ptychopinn\.(\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(pp.__all__)
    # Options are there with what they mean.
    for option in pp.RefineConfig.kinds["physics"].model_fields:
        assert re.search(rf"^\| `{option}` \| .* \| \S.* \|$", page, re.MULTILINE), option


def test_every_command_is_in_the_reference(hooks: ModuleType) -> None:
    page = hooks.commands_page()
    assert re.findall(r":prog_name: ptychopinn (.*)$", page, re.MULTILINE) == list(COMMANDS)


def test_what_is_missing_is_found(hooks: ModuleType, tmp_path: Path) -> None:
    """After a build the pages are searched for every name and option, and for foreign scripts."""
    (tmp_path / "reference").mkdir()
    names = "".join(f'<h3 id="ptychopinn.{n}">' for n in pp.__all__ if n != "refine")
    (tmp_path / "reference" / "python.html").write_text(names)
    commands = "".join(
        f'<h2 id="ptychopinn-{name}">' for name in COMMANDS if name not in ("serve", "mcp")
    )
    (tmp_path / "reference" / "commands.html").write_text(commands)
    (tmp_path / "index.html").write_text(
        '<script src="https://example.org/x.js"></script><a href="https://example.org">y</a>'
        '<img src="figures/z.png"><link href="//example.org/a.css">'
    )
    found = list(hooks.faults(tmp_path))
    assert "the reference of Python lacks refine" in found
    assert not any("lacks train" in fault for fault in found)
    assert "the reference of the commands lacks serve" in found
    assert "the reference of refine lacks --modes" in found
    assert [fault for fault in found if "loads" in fault] == [
        'index.html loads <script src="https://example.org/x.js">',
        'index.html loads <link href="//example.org/a.css">',
    ]


@pytest.mark.parametrize(
    ("place", "link", "on_site"),
    [
        ("README.md", "docs/physics.md", "physics.md"),
        ("README.md", "docs/physics.md#near-field", "physics.md#near-field"),
        ("README.md", "examples", "gallery.md"),
        ("README.md", "CHANGELOG.md", "changes.md"),
        ("docs/cluster.md", "../examples/many_scans.py", "gallery.md#many_scans"),
        ("docs/cluster.md", "figures.md", "figures.md"),
        ("docs/user-guide.md", "notebooks/first_picture.ipynb", "notebooks/first_picture.md"),
        ("docs/notebooks/first_picture.ipynb", "../physics.md", "../physics.md"),
        ("docs/notebooks/a.ipynb", "your_own_data.ipynb", "your_own_data.md"),
        ("docs/notebooks/a.ipynb", "../../examples/own_data.py", "../gallery.md#own_data"),
        ("docs/serve.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
        ("docs/serve.md", "#who-may", "#who-may"),
    ],
)
def test_links_lead_to_pages_of_the_site(
    place: str, link: str, on_site: str, hooks: ModuleType
) -> None:
    code = f"```python\nx[0](../examples/{link})\n```\n"
    text = f"{code}See [this]({link}).\n{code}"
    assert hooks.with_site_links(text, place) == f"{code}See [this]({on_site}).\n{code}"


DOCSTRING = """The first line, see :func:`~ptychopinn.refine`.

number : of the pass, from 1.  misfit, loss : relative
misfit during it.

Parameters
----------
scans : the scans; all
    of one N.
probe : (P, N, N) complex64
    Modes.

Returns
-------
What was found; ``.require()`` gives
the scan.

Raises
------
InputError
    When: it is a : b.
"""
READABLE = """The first line, see `ptychopinn.refine`.

- `number`: of the pass, from 1.
- `misfit, loss`: relative misfit during it.

Parameters
----------
scans
    the scans; all
    of one N.
probe
    (P, N, N) complex64.
    Modes.

Returns
-------
Checked
    What was found; `.require()` gives
    the scan.

Raises
------
InputError
    When: it is a : b.
"""


def test_docstrings_are_readable() -> None:
    pytest.importorskip("griffe", reason="the reference is made with griffe: the extra docs")
    assert script("docstrings").readable(DOCSTRING, "Checked").strip() == READABLE.strip()


def test_a_type_that_comes_back_stays_one() -> None:
    pytest.importorskip("griffe", reason="the reference is made with griffe: the extra docs")
    typed = "Words.\n\nReturns\n-------\nScan\n    With its object."
    assert script("docstrings").readable(typed, "Scan") == typed


def outputs(notebook: Path) -> Iterator[Any]:
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        yield from cell.get("outputs", ())


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_what_it_shows(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    content = json.loads(text)
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not any("execution" in cell["metadata"] for cell in code)
    pictures = 0
    for output in outputs(notebook):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", output
        if "image/png" in output.get("data", {}):
            pictures += 1
            assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
            # Neither the words for a picture nor a number of a figure beside it.
            assert "text/html" not in output["data"]
    assert pictures >= 1


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_nothing_of_the_machine(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    text = re.sub(r'"image/png": "[^"]*"|base64,[\w+/=]+', "", text)
    for forbidden in ("/home/", "/tmp/", "/root/", "/Users/", r"[A-Z]:\\\\", " at 0x"):
        assert not re.search(forbidden, text), forbidden
    for name in (socket.gethostname(), str(Path.home()), str(ROOT), sys.prefix):
        assert not re.search(rf"\b{re.escape(name)}\b", text), name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path) -> None:
    pytest.importorskip("torch", reason="the notebooks train with PyTorch")
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"notebooks run with {package}: the extra dev")
    new = script("run_notebooks").run(notebook)
    shown = [output for cell in new.cells for output in cell.get("outputs", ())]
    kept = list(outputs(notebook))
    assert [o["output_type"] for o in shown] == [o["output_type"] for o in kept]
