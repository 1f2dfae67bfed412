"""Runs of a folder, paths that stay in it, and the tools of an agent over the real protocol."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters, stdio_client

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.errors import InputError
from ptychopinn.serving.agent_tools import server
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.runs import runs_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a scan and a result on it."""
    made = tmp_path_factory.mktemp("beamline")
    pp.save_scan(pp.simulate(N=32, patterns=60, photons=1e6, seed=3), made / "scan.h5")
    words = ["reconstruct", str(made / "scan.h5"), "-o", str(made / "first"), "--quiet"]
    assert run([*words, "--backend", "numpy"]) == 0
    return made


def test_paths_stay_inside(folder: Path, tmp_path: Path) -> None:
    inside = Inside(folder)
    assert inside.path("first/run.json") == (folder / "first" / "run.json").resolve()
    assert inside.path(str(folder / "new")).name == "new"
    (folder / "way").symlink_to(tmp_path)
    for name in (
        "..",
        "../x",
        "/etc/passwd",
        "first/../../x",
        "",
        "a\0b",
        "way",
        "way/x",
        "~/../x/../../..",
    ):
        with pytest.raises(InputError, match="within the folder"):
            inside.path(name)
    with pytest.raises(InputError, match="must be there"):
        Inside(folder / "nowhere")


def test_runs_are_told_from_their_records(folder: Path) -> None:
    broken = folder / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "run.json").write_text("{")
    odd = folder / "odd"
    odd.mkdir(exist_ok=True)
    (odd / "run.json").write_text(
        json.dumps({"fit": 3, "command": {}, "seconds": "x", "findings": 1})
    )
    os.utime(odd / "run.json", (0, 0))
    one, other = runs_in(Inside(folder))
    assert (one.folder, one.verb, one.verdict, one.patterns) == ("first", "reconstruct", "good", 60)
    assert one.residual is not None and one.expected is not None
    assert 0 < one.residual < 2 * one.expected
    assert (other.folder, other.verdict, other.finished) == ("odd", None, "1970-01-01T00:00:00Z")
    json.dumps([r.as_json() for r in (one, other)])


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    text = answer.content[0].text  # type: ignore[union-attr]
    return text if answer.is_error else answer.structured_content


def test_an_agent_goes_the_whole_way(folder: Path) -> None:
    async def way() -> None:
        async with Client(server(folder)) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {
                "check_scan", "reconstruct", "refine", "evaluate", "compare", "list_runs"
            }  # fmt: skip
            assert all(tool.description for tool in tools.values())
            seen = await called(client, "check_scan", scan="scan.h5")
            assert seen["usable"]
            assert isinstance(seen["findings"], list)
            found = await called(client, "refine", source="first", output="second", passes=3)
            assert found["verdict"] == "good"
            assert {"findings", "likely", "residual", "expected"} <= set(found)
            assert "reconstructed_phase.png" in found["pictures"]
            score = await called(client, "evaluate", result="second", data="scan.h5")
            assert score["verdict"] == "good"
            # Against a known object there is no fit to judge: what was recorded of it is said.
            alone = await called(client, "evaluate", result="second", truth="scan.h5")
            for answer in (score, alone):
                assert answer["run"]["verdict"] == "good" and "findings" in answer["run"]
            both = await called(client, "compare", results=["first", "second"])
            assert set(both["least_residual"].values()) <= {"first", "second"}
            listed = await called(client, "list_runs")
            assert {"first", "second"} <= {entry["folder"] for entry in listed["runs"]}

    anyio.run(way)


def test_mistakes_of_an_agent_are_sentences(folder: Path) -> None:
    async def way() -> None:
        async with Client(server(folder)) as client:
            for tool, arguments, sentence in (
                ("check_scan", {"scan": "../other.h5"}, "within the folder"),
                ("check_scan", {"scan": "none.h5"}, "none.h5"),
                ("reconstruct", {"scan": "scan.h5", "output": "first"}, "overwrite"),
                ("reconstruct", {"scan": "scan.h5", "output": "../x"}, "within the folder"),
                ("evaluate", {"result": "first"}, "something to compare with"),
                (
                    "refine",
                    {"source": "first", "output": "fine", "refine_prob": True},
                    "of source, output, refine_probe,",
                ),
                ("compare", {"results": ["first", "nothing"]}, "run.json"),
            ):
                said = await called(client, tool, **arguments)
                assert isinstance(said, str), said
                assert sentence in said
                assert "Traceback" not in said

    anyio.run(way)
    assert not (folder.parent / "x").exists() and not (folder / "fine").exists()


def test_the_command_speaks_the_protocol_on_its_streams(folder: Path) -> None:
    async def way() -> None:
        words = ["-m", "ptychopinn", "mcp", str(folder)]
        given = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))
        async with Client(stdio_client(given)) as client:
            listed = await called(client, "list_runs")
            assert "first" in {entry["folder"] for entry in listed["runs"]}

    anyio.run(way)


def test_without_the_package_its_name_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ptychopinn.serving.agent_tools.installed", lambda package: False)
    assert run(["mcp", str(folder)]) == 2
    assert "pip install 'ptychopinn[mcp]'" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(["mcp", str(folder / "nowhere")]) == 2
    assert "must be there" in capsys.readouterr().err
