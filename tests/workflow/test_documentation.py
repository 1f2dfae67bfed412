"""Every block of code in the documents runs as it stands, in the order of the page.

A block that cannot run here says why, in a comment on the line before it that readers do not see:
``<!-- not run: takes days -->``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import warm_processes

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
# What may stand in a fence; a language that is not here would run nowhere.
RUN, SHOWN = {"python", "sh"}, {"", "yaml", "json"}
# Blocks that are not run, and why. The list is here so that it does not grow unnoticed.
NOT_RUN = {
    ("agents.md", "make demo and make test install with the same versions"),
    ("CONTRIBUTING.md", "CI runs them"),
    ("README.md", "CI runs these two commands, and this is one of the tests"),
    ("README.md", "make demo and make test install with the same versions"),
    ("cluster.md", "make demo and make test install with the same versions"),
    ("cluster.md", "needs several free cores"),
    ("cluster.md", "needs two nodes with GPUs"),
    ("cluster.md", "tests/workflow/test_cluster_scripts.py runs it with a stand-in for srun"),
    ("evaluation.md", "RESULT and SCAN stand for files"),
    ("migrating.md", "tests/workflow/test_earlier_commands.py runs such lines on small scans"),
    ("pretrained.md", "takes days"),
    ("serve.md", "it serves until it is ended"),
    ("serve.md", "needs a server"),
    ("ptychodus.md", "make clients installs the same"),
}
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>.*) -->\n)?```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```$",
    re.MULTILINE,
)


class Block(NamedTuple):
    language: str
    code: str
    first_line: int
    not_run: str | None


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        first = text.count("\n", 0, match.start("code")) + 1
        yield Block(match["language"], match["code"], first, match["why"])


def script_of(document: Path) -> str:
    """A Python script of all blocks that run, each in the lines that it has on the page."""
    lines: list[str] = []
    for block in blocks(document):
        if block.language not in RUN or block.not_run is not None:
            continue
        lines += [""] * (block.first_line - 1 - len(lines))
        if block.language == "python":
            lines += block.code.splitlines()
        else:
            shell = ["bash", "-xeuo", "pipefail", "-c", block.code]
            lines.append(f"import subprocess; subprocess.run({shell!r}, check=True)")
    return "\n".join(lines)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if script_of(d)], ids=lambda d: d.name)
def test_the_code_of_a_document_runs(document: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the documented commands train with PyTorch")
    pytest.importorskip("lightning", reason="the documented commands train with Lightning")
    (tmp_path / document.stem).mkdir()
    script = tmp_path / document.with_suffix(".py").name
    script.write_text(script_of(document), encoding="utf-8")
    environment = dict(os.environ)
    commands = tmp_path / "bin"
    commands.mkdir()
    warm_processes.executable("ptychopinn", commands)
    found = (str(commands), str(Path(sys.executable).parent), environment["PATH"])
    environment["PATH"] = os.pathsep.join(found)
    done = warm_processes.run(
        [sys.executable, str(script)],
        cwd=tmp_path / document.stem, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{document.name}\n{done.stdout}\n{done.stderr}"


def test_what_is_not_run_says_why() -> None:
    marked = [(d.name, b.not_run) for d in DOCUMENTS for b in blocks(d) if b.not_run is not None]
    assert sorted(marked) == sorted(NOT_RUN)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_no_code_escapes(document: Path) -> None:
    """All fences are found, in a known language; commands do not hide in indented text."""
    found = list(blocks(document))
    text = document.read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*(```|~~~)", text, re.MULTILINE)) == 2 * len(found)
    assert {block.language for block in found} <= RUN | SHOWN
    for block in found:
        assert block.language in RUN or block.not_run is None
        assert block.language or not re.search(r"^(ptychopinn|python|pip) ", block.code, re.M)
    prose = FENCE.sub("", text)
    assert not re.search(r"^ {4,}(ptychopinn|ptycho_\w+|python|pip|make) ", prose, re.MULTILINE)


def test_every_link_leads_somewhere() -> None:
    for document in DOCUMENTS:
        prose = re.sub(r"^    .*$", "", document.read_text(), flags=re.MULTILINE)  # no formulas
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name} -> {target}"
