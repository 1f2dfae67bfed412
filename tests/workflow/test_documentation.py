"""The code blocks of the documents listed here run, the long runs among them with fewer epochs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the documented commands train with PyTorch")
pytest.importorskip("lightning", reason="the documented commands train with Lightning")

ROOT = Path(__file__).parents[2]
# What shortens the long runs of the documents; everything else is executed literally.
SHORTER = {"ptychopinn train train.h5 -o model": " --epochs 1 --n-groups 20"}


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def shell(command: str, folder: Path) -> None:
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("document", ["README.md", "docs/physics.md"])
def test_python_examples_run(document: str, tmp_path: Path) -> None:
    code = blocks(document, "python")
    assert code
    for number, block in enumerate(code):
        script = tmp_path / f"example{number}.py"
        script.write_text(block)
        shell(f"{shlex.quote(sys.executable)} {script.name}", tmp_path)


@pytest.mark.parametrize("document", ["README.md", "docs/user-guide.md", "docs/data-formats.md"])
def test_commands_run(document: str, tmp_path: Path) -> None:
    lines = [
        line.split(" #")[0].rstrip()
        for block in blocks(document, "sh")
        for line in block.splitlines()
        if line.startswith("ptychopinn ")
    ]
    assert lines
    for line in lines:
        shell(line + SHORTER.get(line, ""), tmp_path)


def test_the_guide_to_simulation_runs_from_top_to_bottom(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "simulation.md").read_text()
    found = re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)
    assert {language for language, _ in found} == {"sh", "python"}
    for number, (language, block) in enumerate(found):
        if language == "sh":
            shell(f"set -e\n{block}", tmp_path)
        else:
            (tmp_path / f"example{number}.py").write_text(block)
            shell(f"{shlex.quote(sys.executable)} example{number}.py", tmp_path)


def test_every_link_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        prose = re.sub(r"^    .*$", "", document.read_text(), flags=re.MULTILINE)  # no formulas
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name} -> {target}"
