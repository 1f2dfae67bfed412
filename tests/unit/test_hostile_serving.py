"""The pages' server beside files that nobody expects: pipes, damaged records and databases."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

import ptychopinn as pp
from ptychopinn.errors import InputError
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.job_words import Order
from ptychopinn.serving.jobs import DATABASE, LOGS, Jobs
from ptychopinn.serving.runs import run_of
from ptychopinn.serving.web_app import web_app

ORDER: TypeAdapter[Any] = TypeAdapter(Order)
REFINE = {"verb": "refine", "source": "scan.h5", "output": "o"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pp.save_scan(pp.simulate(N=32, patterns=4, photons=1e6, seed=3), tmp_path / "scan.h5")
    good = tmp_path / "good"
    good.mkdir()
    (good / "run.json").write_text('{"command": ["refine"]}')
    return tmp_path


@pytest.fixture
def page(folder: Path) -> Iterator[TestClient]:
    app = web_app(Inside(folder), "secret", "127.0.0.1", at_once=1, largest=1 << 20)
    headers = {"Authorization": "Bearer secret"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=headers) as made:
        yield made


def refused(answer: Any) -> str:
    sentence: str = answer.json()["error"]
    assert 400 <= answer.status_code < 500, sentence
    assert sentence.endswith(".") and "fault of this program" not in sentence
    return sentence


def running(folder: Path) -> Jobs:
    """A job whose process is gone, as an earlier server left it."""
    jobs = Jobs(Inside(folder, hidden=False), at_once=0)
    jobs.add(ORDER.validate_python(REFINE))
    _change(folder, "state = 'running', process = 4194305, birth = 'gone', began = 0")
    return jobs


def _change(folder: Path, values: str) -> None:
    database = sqlite3.connect(folder / DATABASE)
    with database:
        database.execute(f"UPDATE jobs SET {values}")
    database.close()


def test_a_pipe_keeps_nobody_waiting(page: TestClient, folder: Path) -> None:
    os.mkfifo(folder / "good" / "log.txt")
    assert "a pipe" in refused(page.get("/api/run", params={"folder": "good"}))
    os.mkfifo(folder / "scan2.h5")
    assert "a pipe" in refused(page.post("/api/check", json={"scan": "scan2.h5"}))


def test_what_is_no_folder_of_a_result(page: TestClient, folder: Path) -> None:
    (folder / "good" / "log.txt").mkdir()
    assert page.get("/api/run", params={"folder": "good"}).json()["log"] == ""
    assert "folder of a result" in refused(page.get("/api/run", params={"folder": "scan.h5"}))
    long = "x" * 300
    for answer in (
        page.get("/api/run", params={"folder": long}),
        page.get("/api/file", params={"path": long}),
        page.post("/api/report", json={"folder": long}),
        page.post("/api/jobs", json={**REFINE, "output": long}),
    ):
        assert "name too long" in refused(answer)
    body = {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}
    assert "cannot be read" in refused(page.post("/api/jobs", **body))


def test_one_odd_record_hides_no_other(page: TestClient, folder: Path) -> None:
    """Names of files that are no text get into records as half of a pair of code units."""
    odd = folder / "odd"
    odd.mkdir()
    name = os.fsdecode(b"n\xff.h5")
    nested: Any = []
    for _ in range(600):
        nested = [nested]
    record = {
        "command": ["refine", name], "scan": name, "fit": {"cause": name},
        "findings": [{"name": name, name: [name], "details": nested}],
    }  # fmt: skip
    (odd / "run.json").write_text(json.dumps(record))
    (odd / os.fsdecode(b"p\xff.png")).write_bytes(b"")
    runs = page.get("/api/runs").json()["runs"]
    assert sorted(run["folder"] for run in runs) == ["good", "odd"]
    assert "n\\udcff.h5" in {run["scan"] for run in runs}
    shown = page.get("/api/run", params={"folder": "odd"}).json()
    assert shown["command"] == ["refine", "n\\udcff.h5"] and shown["pictures"] == []
    json.dumps(run_of(Inside(folder), odd).as_json()).encode()


@pytest.mark.parametrize("left", [b"", b"x\n", b"9" * 6000, b"\xff", b"99999999999999999999\n"])
def test_a_damaged_exit_code_is_none(left: bytes, folder: Path) -> None:
    jobs = running(folder)
    (folder / LOGS / "1.exit").write_bytes(left)
    jobs.tick()
    assert jobs.one(1)["state"] == "lost"


@pytest.mark.parametrize(
    "damage", ["words = '['", "sources = x'ff'", "sources = CAST(x'd5' AS TEXT)"]
)
def test_a_damaged_row_is_said_to_all(damage: str, page: TestClient, folder: Path) -> None:
    Jobs(Inside(folder, hidden=False), at_once=0).add(ORDER.validate_python(REFINE))
    _change(folder, f"state = 'stopped', {damage}")
    assert "move that file away" in refused(page.get("/api/jobs"))
    with page.websocket_connect("ws://127.0.0.1:8000/api/live") as socket:
        socket.send_json({"token": "secret"})
        said = socket.receive_json()
        while "error" not in said:
            said = socket.receive_json()
        assert "move that file away" in said["error"]
        # The server goes on looking.
        _change(folder, "words = '[]', sources = '[]'")
        while "error" in said:
            said = socket.receive_json()
    assert page.get("/api/jobs").json()["jobs"][0]["sources"] == []


def test_a_database_without_a_column(folder: Path) -> None:
    jobs = Jobs(Inside(folder, hidden=False), at_once=0)
    database = sqlite3.connect(folder / DATABASE)
    database.execute("ALTER TABLE jobs RENAME COLUMN words TO wards")
    database.close()
    with pytest.raises(InputError, match="move that file away"):
        jobs.add(ORDER.validate_python(REFINE))


def test_what_an_earlier_database_left_counts_for_no_job(folder: Path) -> None:
    """Whoever moves a damaged database away starts with number 1 again."""
    running(folder)
    logs = folder / LOGS
    (logs / "1.exit").write_text("0\n")
    (logs / "1.live").write_text("old")
    (logs / "1.log").write_text("old")
    (folder / DATABASE).unlink()
    jobs = Jobs(Inside(folder, hidden=False))
    jobs.add(ORDER.validate_python({**REFINE, "passes": 1, "backend": "numpy"}))
    jobs.tick()
    try:
        jobs.tick()
        assert jobs.one(1)["state"] == "running"
        assert "old" not in jobs.log(1).read_text()
    finally:
        jobs.stop(1)
        jobs.stop(1)
        end = time.monotonic() + 60
        while jobs.one(1)["state"] == "running" and time.monotonic() < end:
            time.sleep(0.05)
            jobs.tick()
