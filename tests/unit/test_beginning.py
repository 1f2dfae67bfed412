"""``init`` and ``doctor --report``: what one begins with, and what one sends when nothing helps."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.io.config_file import read_config_file


def cells_of(notebook: Path) -> list[tuple[str, str]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


@pytest.mark.parametrize("architecture", list(pp.ModelConfig.kinds))
def test_the_recipe_is_the_default_configuration(architecture: str, tmp_path: Path) -> None:
    assert run(["init", "-o", str(tmp_path), "--architecture", architecture]) == 0
    options = read_config_file(tmp_path / "recipe.yaml")
    default = pp.Config(model={"architecture": architecture})
    assert pp.Config(**options) == default
    # Each option has its line, with or without a value.
    text = (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    for section in (default.model, default.data, default.loss, default.training):
        assert all(f"{name}:" in text for name in type(section).model_fields)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux only")
def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"n\xff.h5")
    pp.save_scan(pp.simulate(N=32, patterns=4), tmp_path / "n.h5")
    (tmp_path / "n.h5").rename(path)
    assert run(["init", str(path), "-o", str(tmp_path / "out")]) == 0
    cells = cells_of(tmp_path / "out" / "first_steps.ipynb")
    code = next(text for kind, text in cells if kind == "code" and "load_scan" in text)
    scope: dict[str, Any] = {"pp": pp}
    exec(code, scope)
    assert scope["scan"].M == 4


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pp.save_scan(pp.simulate(N=32, patterns=60, photons=1e6, seed=2), tmp_path / "scan.h5")
    monkeypatch.chdir(tmp_path)
    assert run(["init", "scan.h5", "-o", "begun"]) == 0
    cells = cells_of(tmp_path / "begun" / "first_steps.ipynb")
    assert any("scan.h5" in text for kind, text in cells if kind == "markdown")
    monkeypatch.chdir(tmp_path / "begun")
    names: dict[str, Any] = {}
    for kind, text in cells:
        if kind == "code":
            exec(compile(text, "cell", "exec"), names)
    assert names["refined"].fit.verdict == "good"
    assert (tmp_path / "begun" / "refined.h5").exists()


def test_raw_data_are_told_how_to_become_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("raw.h5", "w") as file:
        file["entry/frames"] = np.ones((30, 40, 40), np.uint16)
        file["entry/motor_x"] = np.arange(30.0)
        file["entry/motor_y"] = np.arange(30.0)
    assert run(["init", "raw.h5", "-o", "begun"]) == 0
    texts = [text for _, text in cells_of(Path("begun/first_steps.ipynb"))]
    assert any("ptychopinn prepare" in text and "raw.h5" in text for text in texts)


def test_nothing_of_the_user_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    assert run(["init", "-o", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "recipe.yaml").read_text() == "mine"
    assert run(["init", str(tmp_path / "none.h5"), "-o", str(tmp_path / "new")]) == 2
    assert "are there" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_report_is_complete_and_names_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("MPLBACKEND", "/home/somebody/plugins")
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    assert run(["doctor", "--report"]) == 0
    said = capsys.readouterr().out
    for part in ("python:", "numpy", "physics, NumPy: ok", "PTYCHOPINN_DEBUG=1", "run.json"):
        assert part in said
    assert "MPLBACKEND=~/plugins" in said
    assert "somebody" not in said
    assert "hush" not in said
