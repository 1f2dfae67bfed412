"""The pages' server: who may, what stays inside, and jobs that outlive it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.contracts import Glance, Looked
from ptychopinn.data.levels import UNSEEN, phase_levels, seen_box
from ptychopinn.data.normalization import prepare
from ptychopinn.errors import InputError
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.report.asking import WHAT_TO_SEND
from ptychopinn.report.live_picture import LivePicture, Pause, WorstPatterns
from ptychopinn.serving.access import Guard
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.job_log import MOST, Progress
from ptychopinn.serving.job_words import Order, words_of
from ptychopinn.serving.jobs import DATABASE, Jobs
from ptychopinn.serving.live_tiles import LiveTiles
from ptychopinn.serving.living import birth
from ptychopinn.serving.web_app import WEB, web_app
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

TOKEN = "token-of-the-tests"
HERE, LIVE = "http://127.0.0.1:8000", "ws://127.0.0.1:8000/api/live"
MIB = 1 << 20
ORDER: TypeAdapter[Any] = TypeAdapter(Order)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scan") / "scan.h5"
    pp.save_scan(pp.simulate(N=32, patterns=60, photons=1e6, seed=3), made)
    return made


@pytest.fixture
def folder(tmp_path: Path, scan: Path) -> Path:
    made = tmp_path / "beamline"
    made.mkdir()
    (made / "scan.h5").write_bytes(scan.read_bytes())
    return made


def client(folder: Path, token: str | None = TOKEN, **headers: str) -> TestClient:
    app: Guard = web_app(Inside(folder), TOKEN, "127.0.0.1", at_once=1, largest=MIB)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return TestClient(app, base_url=HERE, headers=headers)


@pytest.fixture
def page(folder: Path) -> Iterator[TestClient]:
    with client(folder) as made:
        yield made


def until(seen: Callable[[], Any], most_s: float = 120.0) -> Any:
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        if found := seen():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


def part_of(message: bytes) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """What is said of a part that job 1 shows, and its levels."""
    assert message[:4] == b"\0\0\0\1"
    end = 8 + int.from_bytes(message[4:8], "big")
    about = json.loads(message[8:end])
    levels = np.frombuffer(zlib.decompress(message[end:]), np.uint8)
    if about["kind"] != "tile":
        return about, levels.reshape(about["shape"])
    # Each pixel is the difference from the one on its left.
    return about, np.cumsum(levels.reshape(about["size"]), axis=1, dtype=np.uint8)


def ended(page: TestClient, number: int) -> Any:
    def look() -> Any:
        job = page.get(f"/api/jobs/{number}").json()
        return job if job["ended"] else None

    return until(look)


def test_a_token_is_needed(folder: Path) -> None:
    paths = ("/api/state", "/api/runs", "/api/file?path=scan.h5", "/api/nothing", "/api/jobs/1")
    for token in (None, "", "wrong", TOKEN[:-1], "tökén"):
        page = client(folder)
        del page.headers["Authorization"]
        headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        for path in paths:
            answer = page.get(path, headers=headers)  # type: ignore[arg-type]
            assert answer.status_code == 401, (token, path)
            assert "token" in answer.json()["error"]
        assert page.post("/api/jobs", headers=headers).status_code == 401  # type: ignore[arg-type]
    assert client(folder).get("/api/state").json()["folder"] == "beamline"
    # In no address: those are written down.
    assert client(folder, None).get(f"/api/state?token={TOKEN}").status_code == 401


def test_the_websocket_asks_for_the_token(page: TestClient) -> None:
    for first in ('{"token": "wrong"}', "{}", "[]", "no json", '{"token": 3}', "[" * 50_000):
        with page.websocket_connect(LIVE) as socket:
            socket.send_text(first)
            with pytest.raises(WebSocketDisconnect) as left:
                socket.receive_text()
            assert left.value.code == 4401
    with pytest.raises(WebSocketDisconnect):
        page.websocket_connect(LIVE, headers={"Origin": "http://evil.example"}).__enter__()


def test_other_sites_are_refused(page: TestClient, folder: Path) -> None:
    order = {"verb": "reconstruct", "scan": "scan.h5", "output": "out"}
    for headers, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        # A name that was made to mean this machine.
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 421),
        ({"Host": ""}, 421),
    ):
        answer = page.post("/api/jobs", json=order, headers=headers)
        assert answer.status_code == status, headers
        assert answer.json()["error"].endswith(".")
        assert "access-control-allow-origin" not in answer.headers
    assert page.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert page.get("/api/jobs").json() == {"jobs": []}
    for host in ("localhost:8000", "[::1]:8000", "localhost:9000"):
        assert page.get("/api/state", headers={"Host": host}).status_code == 200
        own = {"Host": host, "Origin": f"http://{host}"}
        assert page.post("/api/check", json={}, headers=own).status_code == 422


def test_every_answer_forbids_what_it_can(page: TestClient) -> None:
    for path in ("/", "/style.css", "/app.js", "/api/state", "/api/nothing", "/nothing"):
        headers = page.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert page.get("/api/state").headers["cache-control"] == "no-store"
    # Everything is described, and the description loads nothing from elsewhere.
    assert set(page.get("/openapi.json").json()["paths"]) >= {"/api/check", "/api/jobs"}
    for path in ("/docs", "/redoc"):
        assert page.get(path).status_code == 404


def test_nothing_outside_of_the_folder(page: TestClient, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.h5").write_bytes(b"secret")
    (folder / "way.h5").symlink_to(tmp_path / "secret.h5")
    (folder / "up").symlink_to(tmp_path)
    (folder / ".hidden").write_text("secret")
    result = folder / "result"
    result.mkdir()
    (result / "run.json").write_text("{}")
    (result / "log.txt").symlink_to(tmp_path / "secret.h5")
    names = (
        "../secret.h5", "way.h5", "up/secret.h5", "/etc/passwd", ".hidden", DATABASE, "a\0b",
        ".ptychopinn-serve/1.log", "result/../../secret.h5", "",
    )  # fmt: skip
    for name in names:
        for answer in (
            page.get("/api/file", params={"path": name}),
            page.get("/api/run", params={"folder": name}),
            page.post("/api/check", json={"scan": name}),
            page.post("/api/jobs", json={"verb": "refine", "source": name, "output": "o"}),
            page.post("/api/jobs", json={"verb": "refine", "source": "scan.h5", "output": name}),
        ):
            assert answer.status_code in (400, 422), (name, answer.text)
            assert "secret" not in answer.json()["error"].replace(repr(name), "")
    assert page.get("/api/run?folder=result").status_code == 400
    for path in ("/../secret.h5", "/%2e%2e/%2e%2e/secret.h5", "/..%2f..%2fpyproject.toml"):
        assert page.get(path).status_code == 404
    assert [found["path"] for found in page.get("/api/scans").json()["scans"]] == ["scan.h5"]
    assert page.get("/api/file?path=scan.h5").content == (folder / "scan.h5").read_bytes()
    assert page.get("/api/jobs").json() == {"jobs": []}


def test_uploads(page: TestClient, folder: Path, tmp_path: Path, scan: Path) -> None:
    def sent(name: str, body: Any = b"content") -> Any:
        return page.post("/api/upload", params={"name": name}, content=body)

    for name in (
        "../x.h5", "a/b.h5", "a\\b.h5", ".x.h5", "-x.h5", "~x", "x\0.h5", "x\n.h5", "", " x.h5",
        "x.", "C:x.h5", "x" * 300, "a\u202eb.h5", "..", "x?.h5",
    ):  # fmt: skip
        answer = sent(name)
        assert answer.status_code == 400, name
        assert "name" in answer.json()["error"]
    assert sent("big.h5", bytes(MIB + 1)).status_code == 413

    def long() -> Iterator[bytes]:
        yield from (bytes(MIB // 2) for _ in range(3))

    # Without its length, which is then counted.
    answer = sent("big.h5", long())
    assert (answer.status_code, "at most 1 MiB" in answer.json()["error"]) == (413, True)
    assert sent("empty.h5", b"").status_code == 400
    uploads = folder / "uploads"
    assert [path for path in uploads.iterdir() if not path.name.startswith(".")] == []
    assert sent("mine é.h5", scan.read_bytes()).json() == {"scan": "uploads/mine é.h5"}
    assert (uploads / "mine é.h5").read_bytes() == scan.read_bytes()
    assert "is there" in sent("mine é.h5").json()["error"]
    # Other requests are small.
    assert page.post("/api/check", content=bytes(2 * MIB)).status_code == 413
    assert page.post("/api/check", content=long()).status_code == 411
    (uploads / "mine é.h5").unlink()
    for path in uploads.iterdir():
        path.unlink()
    uploads.rmdir()
    uploads.symlink_to(tmp_path)
    assert "within the folder" in sent("x.h5").json()["error"]


def test_orders_become_words(folder: Path) -> None:
    inside = Inside(folder, hidden=False)
    here = str(inside.folder)

    def typed(**order: Any) -> str:
        words, output = words_of(ORDER.validate_python(order), inside)
        assert output == inside.folder / "o"
        return " ".join(words).replace(f"{here}/", "")

    assert typed(verb="reconstruct", scan="scan.h5", output="o", backend="numpy") == (
        "reconstruct scan.h5 -o o --refine auto --backend numpy"
    )
    assert typed(
        verb="refine", source="scan.h5", output="o", passes=3, refine_probe=True, modes="auto"
    ) == ("refine scan.h5 -o o --passes 3 --refine-probe --modes auto")
    assert typed(verb="train", scans=["scan.h5"] * 2, output="o", epochs=2, architecture="fno") == (
        "train scan.h5 scan.h5 -o o --epochs 2 --architecture fno"
    )
    assert typed(verb="batch", scans=["scan.h5"], output="o", each="refine", workers=2) == (
        "batch scan.h5 -o o --verb refine --workers 2"
    )


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"verb": "doctor", "output": "o"},
        {"verb": "refine", "source": "scan.h5", "output": "o", "passes": "3; rm"},
        {"verb": "refine", "source": "scan.h5", "output": "o", "engine": "x"},
        {"verb": "train", "scans": [], "output": "o"},
        {"verb": "train", "scans": ["scan.h5"], "output": "o", "architecture": "--force"},
        {"verb": "refine", "source": "none.h5", "output": "o"},
        {"verb": "refine", "source": "scan.h5", "output": "."},
        {"verb": "refine", "source": "scan.h5", "output": "scan.h5"},
    ],
)
def test_wrong_orders_are_sentences(page: TestClient, order: dict[str, Any]) -> None:
    answer = page.post("/api/jobs", json=order)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"].count("expected") + answer.json()["error"].count("must") >= 1
    assert page.get("/api/jobs").json() == {"jobs": []}


def test_hostile_requests_are_sentences(page: TestClient, folder: Path) -> None:
    kind = {"Content-Type": "application/json"}
    for body in (b"[" * 100_000, b"{", b"\xff", b'{"scan": "\\ud800"}', b'{"scan": 3}', b""):
        answer = page.post("/api/check", content=body, headers=kind)
        assert answer.status_code in (400, 422), body[:20]
        assert len(answer.json()["error"]) < 600
    for number in (10**30, 0, -1, "x"):
        assert page.get(f"/api/jobs/{number}").status_code == 422
    broken = os.fsdecode(os.fsencode(folder) + b"/a\xffb")
    Path(broken).mkdir()
    (Path(broken) / "run.json").write_text("{}")
    Path(f"{broken}.h5").write_bytes(b"x")
    assert page.get("/api/runs").json() == {"runs": []}
    assert len(page.get("/api/scans").json()["scans"]) == 1


def test_error_pages_end_with_what_to_send(page: TestClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path, more, status in (
        ("/nothing", {}, 404),
        ("/report/used", {}, 404),
        ("/api/state", {"Authorization": "Bearer wrong"}, 401),
        ("/api/file?path=<b>", {}, 400),
        ("/", {"Host": "evil.example"}, 421),
    ):
        answer = page.get(path, headers={**browser, **more})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "<b>" not in answer.text
        assert answer.text.index('role="alert"') < answer.text.index(WHAT_TO_SEND)
        # For scripts it is JSON.
        assert page.get(path, headers=more).json()["error"]
    # The script says the same.
    words = re.sub(r'"\s*\+\s*"', "", (WEB / "dom.js").read_text(encoding="utf-8"))
    assert f'"{WHAT_TO_SEND}"' in words and "doctor --report" in WHAT_TO_SEND


def test_the_look_at_a_scan(page: TestClient, folder: Path) -> None:
    seen = page.post("/api/check", json={"scan": "scan.h5"}).json()
    assert (seen["M"], seen["usable"], seen["findings"]) == (60, True, [])
    (folder / "junk.h5").write_bytes(b"junk")
    answer = page.post("/api/check", json={"scan": "junk.h5"})
    assert answer.status_code == 400
    assert "junk.h5" in answer.json()["error"]


def test_a_job_from_start_to_verdict_for_all_viewers(page: TestClient, folder: Path) -> None:
    order = {"verb": "refine", "source": "scan.h5", "output": "out/one", "passes": 30,
             "backend": "numpy"}  # fmt: skip
    sockets = [page.websocket_connect(LIVE) for _ in range(2)]
    with sockets[0] as one, sockets[1] as two:
        for socket in (one, two):
            socket.send_text(json.dumps({"token": TOKEN}))
            assert json.loads(socket.receive_text()) == {"jobs": []}
        made = page.post("/api/jobs", json=order)
        assert made.status_code == 201
        assert "job 1 writes" in page.post("/api/jobs", json=order).json()["error"]
        two.send_text(json.dumps({"watch": 1}))
        seen: list[list[Any]] = [[], []]
        said = ""
        pictures: list[bytes] = []
        for place, socket in enumerate((one, two)):
            while not seen[place] or not seen[place][-1]["ended"]:
                sent = socket.receive()
                if sent.get("bytes"):
                    pictures.append(sent["bytes"])
                    continue
                message = json.loads(sent["text"])
                if "log" in message:
                    said += message["log"]["text"]
                else:
                    seen[place].append(message["jobs"][0])
        assert seen[0][-1] == seen[1][-1]
        # Changes came as they happened.
        assert any(
            0 < job["progress"]["number"] < 30 or job["progress"]["values"] for job in seen[0]
        )
        assert "pass 1/30: misfit" in said
        # And what was found, by parts.
        kinds = {about["kind"] for about, _ in map(part_of, pictures)}
        assert kinds == {"tile", "probe", "patterns", "within"}
    job = page.get("/api/jobs/1").json()
    assert (job["state"], job["code"], job["said"]) == ("done", 0, None)
    assert len(job["progress"]["values"]) == 30
    typed = " ".join(job["command"])
    assert typed == "ptychopinn refine scan.h5 -o out/one --passes 30 --backend numpy"
    found = page.get("/api/run?folder=out/one").json()
    assert found["verdict"] == "good"
    assert "reconstructed_phase.png" in found["pictures"]
    assert " ".join(found["command"]).endswith("out/one --passes 30 --backend numpy")
    assert [r["folder"] for r in page.get("/api/runs").json()["runs"]] == ["out/one"]
    picture = page.get("/api/file?path=out/one/reconstructed_phase.png")
    assert picture.content.startswith(b"\x89PNG")
    assert "new folder" in page.post("/api/jobs", json=order).json()["error"]
    # A command that ends with a mistake says why.
    (folder / "junk.h5").write_bytes(b"junk")
    page.post("/api/jobs", json={**order, "source": "junk.h5", "output": "two"})
    job = ended(page, 2)
    assert (job["state"], job["code"]) == ("failed", 2)
    assert "junk.h5" in job["said"]
    assert "Traceback" not in job["log"]


def test_jobs_outlive_the_server_and_save_when_stopped(folder: Path) -> None:
    # Of a size that takes a while.
    pp.save_scan(pp.simulate(N=64, patterns=600, photons=1e6, seed=3), folder / "large.h5")
    order = {"verb": "refine", "source": "large.h5", "output": "long", "passes": 100000,
             "backend": "numpy"}  # fmt: skip
    with client(folder) as page:
        page.post("/api/jobs", json=order)
        waiting = {**order, "output": "other"}
        assert page.post("/api/jobs", json=waiting).json()["state"] == "queued"
        until(lambda: page.get("/api/jobs/1").json()["progress"]["number"] >= 12)
    # Another server on the folder.
    with client(folder) as page, client(folder) as too:
        states = {job["id"]: job["state"] for job in page.get("/api/jobs").json()["jobs"]}
        assert states == {1: "running", 2: "queued"}
        assert page.post("/api/jobs/2/stop").json()["state"] == "stopped"
        assert page.post("/api/jobs/1/stop").json()["stopping"]
        job = ended(page, 1)
        assert job["state"] == "stopped"
        assert job["code"] == 128 + signal.SIGTERM
        assert too.get("/api/jobs").json() == page.get("/api/jobs").json()
    assert (folder / "long" / "reconstruction.h5").exists()
    with client(folder) as page:
        assert page.get("/api/jobs/1").json()["state"] == "stopped"
        assert "expected" in page.post("/api/jobs/9/stop").json()["error"]


def running(folder: Path, process: int, born: str | None) -> Jobs:
    """A database with a job that runs, as an earlier server left it."""
    jobs = Jobs(Inside(folder, hidden=False), at_once=0)
    jobs.add(ORDER.validate_python({"verb": "refine", "source": "scan.h5", "output": "o"}))
    with sqlite3.connect(folder / DATABASE) as database:
        database.execute(
            "UPDATE jobs SET state = 'running', began = ?, process = ?, birth = ?",
            (time.time() - 100, process, born),
        )
    database.close()
    return jobs


def test_a_process_is_known_by_its_number_and_its_birth(folder: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        jobs = running(folder, sleeper.pid, birth(sleeper.pid))
        jobs.tick()
        assert jobs.one(1)["state"] == "running"
        jobs.stop(1)
        assert sleeper.wait(60) == -signal.SIGTERM
        jobs.tick()
        assert jobs.one(1)["state"] == "lost"
        assert "no exit code" in jobs.one(1)["said"]
    finally:
        sleeper.kill()
        sleeper.wait()


def test_another_process_of_the_same_number_gets_no_signal(folder: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        jobs = running(folder, sleeper.pid, f"{birth(sleeper.pid)}0")
        jobs.stop(1)
        jobs.tick()
        assert jobs.one(1)["state"] == "lost"
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_exit_code_says_how_it_ended(folder: Path) -> None:
    for code, state, said in (
        (0, "done", None),
        (3, "done", None),
        (2, "failed", "the scan must be whole."),
        (-9, "failed", "memory"),
    ):
        jobs = running(folder, 2**22 + 1, "gone")
        (folder / ".ptychopinn-serve" / "1.exit").write_text(str(code))
        jobs.log(1).write_text("INFO one\nptychopinn: the scan must be whole.\n")
        jobs.tick()
        job = jobs.one(1)
        assert (job["state"], job["code"]) == (state, code)
        assert said is None or said in job["said"]
        (folder / DATABASE).unlink()


def test_damaged_and_foreign_databases_are_refused(folder: Path, tmp_path: Path) -> None:
    inside = Inside(folder)
    (folder / DATABASE).write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="move that file away"):
        Jobs(inside)
    (folder / DATABASE).unlink()
    with sqlite3.connect(folder / DATABASE) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(InputError, match="version 7"):
        Jobs(inside)
    (folder / DATABASE).unlink()
    (folder / DATABASE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="received a link"):
        Jobs(inside)


def test_a_report_opens_once_and_in_a_sandbox(folder: Path, tmp_path: Path) -> None:
    (folder / "result").mkdir()
    (folder / "result" / "report.html").write_text("<p>report</p>")
    (folder / "other").mkdir()
    (folder / "other" / "report.html").symlink_to(tmp_path / "secret")
    page, nobody = client(folder), {"Authorization": ""}
    sent = page.post("/api/report", json={"folder": "result"}, headers=nobody)
    assert sent.status_code == 401
    assert page.post("/api/report", json={"folder": "other"}).status_code == 400
    assert page.post("/api/report", json={"folder": "."}).status_code == 400
    address = page.post("/api/report", json={"folder": "result"}).json()["address"]
    # A new tab sends no header.
    answer = page.get(address, headers=nobody)
    assert answer.text == "<p>report</p>"
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert page.get(address, headers=nobody).status_code == 404
    assert page.get("/report/x").status_code == 404


def test_two_reports_open_as_one(folder: Path) -> None:
    for name, maps in (("one", "[1]"), ("two", '["\\u003c/script\\u003e"]'), ("none", "")):
        (folder / name).mkdir()
        data = '<script type="application/json" id="data">' + (
            f'{{"maps": {maps}, "positions": 5}}</script>' if maps else "1</script>"
        )
        (folder / name / "report.html").write_text(f"<p>{name}</p>{data}")
    page = client(folder)

    def opened(*names: str) -> Any:
        asked = dict(zip(("folder", "beside"), names, strict=False))
        return page.get(page.post("/api/report", json=asked).json()["address"])

    answer = opened("one", "two")
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts")
    scripts = re.findall(
        r"<script type=\"application/json\" id=\"(\w+)\">(.*?)</script>", answer.text
    )
    assert [name for name, _ in scripts] == ["beside", "data"]
    two = json.loads(scripts[0][1])
    assert two == {"own": "one", "other": {"maps": ["</script>"], "name": "two"}}
    assert answer.text.startswith("<p>one</p>") and "<p>two</p>" not in answer.text
    for names in (("one", "none"), ("none", "none")):
        answer = opened(*names)
        assert answer.status_code == 400 and "two reports" in answer.text
    assert page.post("/api/report", json={"folder": "one", "beside": "../x"}).status_code == 400


def test_the_phase_is_shown_as_it_is_found(tmp_path: Path) -> None:
    scan, made = pp.simulate(N=32, patterns=60, photons=1e6, seed=3), tmp_path / "now.png"
    pp.save_scan(scan, tmp_path / "scan.h5")
    words = ["refine", str(tmp_path / "scan.h5"), "-o", str(tmp_path / "r"), "--passes", "30"]
    assert run([*words, "--backend", "numpy", "--quiet", "--live", str(made)]) in (0, 3)
    levels = np.asarray(Image.open(made))
    assert levels.ndim == 2
    assert levels.std() > 10
    # Nothing else is left beside it.
    assert {path.name for path in tmp_path.iterdir()} == {"scan.h5", "r", "now.png"}


class Shown(NamedTuple):
    """The last file of a job that shows its work."""

    head: dict[str, Any]
    canvas: NDArray[np.uint8]
    probe: NDArray[np.uint8]
    patterns: NDArray[np.uint8]


def shown_in(path: Path) -> Shown:
    line, _, rest = path.read_bytes().partition(b"\n")
    head, parts = json.loads(line), []
    for part in head["parts"]:
        length = int(np.prod(part["shape"]))
        parts.append(np.frombuffer(rest[:length], np.uint8).reshape(part["shape"]))
        rest = rest[length:]
    assert rest == b"" and [p["kind"] for p in head["parts"]] == ["canvas", "probe", "patterns"]
    return Shown(head, *parts)


def test_everything_is_shown_as_it_is_found(tmp_path: Path) -> None:
    scan = pp.simulate(N=32, patterns=60, photons=1e6, seed=3)
    counts = scan.diffraction.copy()
    # No object explains this one.
    counts[41] = counts[41].T[::-1]
    scan = replace(scan, diffraction=counts)
    made = tmp_path / "now.live"
    solver = PhysicsSolver(NumpyOps(), PhysicsConfig(passes=8, refine_probe=True), 1 << 30)
    for step in solver.run(prepare(scan)):
        last = step
    assert last.glance is not None
    show, found, glance = LivePicture(made), last.result(), last.glance()
    show(last)
    shown = shown_in(made)
    assert (shown.head["pass"], shown.head["format"]) == (8, "ptychopinn-live")
    # It is not written again before it is time.
    made.unlink()
    show(last)
    assert not made.exists()
    # As the result has it, whose gradient is told by all pixels.
    seen = glance.seen
    box = seen_box(seen, 10_000)
    levels, _ = phase_levels(found.canvas.object[box], seen[box])
    told = seen[box]
    assert shown.canvas.shape == levels.shape
    assert np.corrcoef(shown.canvas[told], levels[told])[0, 1] > 0.99
    assert shown.probe.shape == (1, 2, 32, 32) and shown.probe[0, 0].max() == 255
    about = shown.head["parts"][2]
    assert (about["known"], about["all"], about["numbers"][0]) == (60, 60, 41)
    assert about["misfit"] == sorted(about["misfit"], reverse=True)
    logs = np.log1p(counts[41].astype(float))
    assert np.corrcoef(shown.patterns[0, 0].ravel(), logs.ravel())[0, 1] > 0.99
    # The misfit is that of the modelled pattern.
    look = glance.look(np.array([41]))
    apart = ((np.sqrt(look.measured) - np.sqrt(look.modelled)) ** 2).sum()
    assert look.misfit[0] == pytest.approx(apart / look.measured.sum(), rel=1e-4)
    np.testing.assert_allclose(look.measured[0], counts[41], rtol=1e-5)


def test_the_worst_patterns_of_many_are_found_in_turn() -> None:
    misfit = np.arange(1000.0) % 777
    asked: list[NDArray[np.int64]] = []

    def look(numbers: NDArray[np.int64]) -> Looked:
        asked.append(numbers)
        blank = np.ones((len(numbers), 64, 64), np.float32)
        return Looked(blank, blank, misfit[numbers])

    ones = np.ones((1, 64, 64), np.complex64)
    glance = Glance(ones[0], np.ones((64, 64), bool), ones, 1000, look)
    worst = WorstPatterns()
    for number in range(1, 40):
        worst._pause = Pause()
        worst.look(number, glance)
        assert len(asked[-1]) <= 32
    assert (worst.about["known"], worst.about["numbers"]) == (1000, [776, 775, 774])
    # Another stage begins anew, and what takes its time waits.
    worst.look(1, glance)
    assert worst.about["known"] <= 32
    worst.look(2, glance)
    assert len(asked) == 40


def test_tiles_are_sent_when_they_change(tmp_path: Path) -> None:
    made, tiles = tmp_path / "now.live", LiveTiles()
    assert tiles.of(1, made) == {}

    def written(canvas: NDArray[np.uint8], probe: int, version: int = 1) -> None:
        parts = [{"kind": "canvas", "shape": canvas.shape, "limits": [-1, 1]},
                 {"kind": "probe", "shape": [1, 2, 4, 4]}]  # fmt: skip
        head = {"format": "ptychopinn-live", "version": version, "pass": 1, "parts": parts}
        levels = canvas.tobytes() + bytes([probe] * 32)
        made.write_bytes(json.dumps(head).encode() + b"\n" + levels)
        at = made.stat().st_mtime_ns + 1_000_000
        os.utime(made, ns=(at, at))

    canvas = np.random.default_rng(0).integers(0, 256, (300, 520), np.uint8)
    written(canvas, 7)
    before = tiles.of(1, made)
    whole = np.zeros_like(canvas)
    for about, levels in map(part_of, (message for _, message in before.values())):
        if about["kind"] == "tile":
            (y, x), (height, width) = about["at"], about["size"]
            assert about["shape"] == [300, 520]
            whole[y : y + height, x : x + width] = levels
        else:
            assert (levels == 7).all() and levels.shape == (1, 2, 4, 4)
    assert len(before) == 7 and (whole == canvas).all()
    canvas[299, 519] ^= 1
    written(canvas, 7)
    after = tiles.of(1, made)
    assert [name for name in after if after[name] != before[name]] == ["tile 256 512"]
    # Another version of the program writes what this one cannot read.
    written(canvas, 7, version=2)
    assert tiles.of(1, made) == {}
    made.unlink()
    assert tiles.of(1, made) == {}


@pytest.mark.parametrize("slices", [(), (2,)])
def test_the_shown_phase(slices: tuple[int, ...]) -> None:
    phase = np.linspace(-0.5, 0.5, 40 * 30).reshape(40, 30)
    thick = np.exp(1j * phase / max(sum(slices), 1)) * np.ones((*slices, 1, 1))
    weight = np.zeros((40, 30))
    weight[5:35, 5:25] = 1
    weight[10, 10] = 0
    box = seen_box(weight > 0, 100)
    levels, limits = phase_levels(thick.astype(np.complex64)[(..., *box)], (weight > 0)[box])
    assert levels.shape == (30, 20)
    assert levels[5, 5] == UNSEEN
    assert (levels[0, 0], levels[-1, -1]) == (1, 255)
    seen = weight[5:35, 5:25] > 0
    assert np.corrcoef(levels[seen], phase[5:35, 5:25][seen])[0, 1] > 0.999
    assert limits == pytest.approx((-0.37, 0.33), abs=0.05)
    # Limits stay where a picture hardly changes.
    again = phase_levels((thick**1.01).astype(np.complex64)[(..., *box)], seen, limits)
    assert again[1] == limits
    moved = phase_levels((thick**2).astype(np.complex64)[(..., *box)], seen, limits)
    assert moved[1] != limits
    nothing = np.zeros((40, 30), bool)
    assert phase_levels(np.ones((40, 30), np.complex64), nothing)[0].max() == UNSEEN
    assert seen_box(nothing, 100) == (slice(0, 1), slice(0, 1))
    assert seen_box(np.ones((500, 300), bool), 100) == (slice(0, 500, 5), slice(0, 300, 5))


def test_a_log_tells_how_far_a_command_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    progress = Progress(log)
    assert not progress.look()
    log.write_text("INFO pass 1/6: misfit 0.5\nINFO pass 2/6: mis")
    assert progress.look()
    assert (progress.number, progress.count, progress.values) == (1, 6, [0.5])
    with log.open("a") as file:
        file.write("fit 2.5e-04\nINFO pass 1/40: misfit nan\nWARNING odd\n")
    progress.look()
    assert (progress.stage, progress.number, progress.count) == (2, 1, 40)
    assert (progress.values, progress.said) == ([0.5, 2.5e-4], "WARNING odd")
    with log.open("a") as file:
        file.writelines(
            f"INFO epoch {k + 2}/9999: train_loss {k}, val_loss 3\n" for k in range(2000)
        )
    progress.look()
    assert (progress.unit, progress.last) == ("epoch", 1999.0)
    assert len(progress.values) <= MOST
    json.dumps(progress.as_json(), allow_nan=False)


def test_the_command_prints_its_token_once_and_logs_it_nowhere(folder: Path) -> None:
    words = [sys.executable, "-m", "ptychopinn", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None and server.stderr is not None
            address, _, token = server.stdout.readline().split()[-1].partition("/#token=")
            assert len(token) >= 40
            with connect(address.replace("http", "ws") + "/api/live") as socket:
                socket.send(json.dumps({"token": token}))
                assert json.loads(socket.recv(30)) == {"jobs": []}
                socket.send("nonsense")
            port = address.rpartition(":")[2]
            assert run(["serve", str(folder), "--port", port]) == 2
        finally:
            server.terminate()
        said, errors = server.communicate(timeout=60)
        assert token not in said + errors
        assert "Traceback" not in errors
        assert server.returncode == 128 + signal.SIGTERM
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(token.encode() in content for content in kept)


def test_other_machines_are_let_in_only_when_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["serve", str(folder), "--host", "0.0.0.0", "--port", "0"]
    assert run(words) == 2
    assert "add --open-to-others" in capsys.readouterr().err
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    assert run([*words, "--open-to-others"]) == 0
    assert "WARNING other machines reach this server" in capsys.readouterr().err
    monkeypatch.setattr("ptychopinn.serving.web_server.installed", lambda name: name != "uvicorn")
    assert run(["serve", str(folder)]) == 2
    assert "pip install 'ptychopinn[serve]'" in capsys.readouterr().err


def test_serving_leaves_the_log_handlers_of_the_process_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept(logging.Handler):
        closed = False

        def close(self) -> None:
            self.closed = True

    handler = Kept()
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    assert run(["serve", str(folder), "--port", "0"]) == 0
    assert not handler.closed and logging.getLogger("uvicorn").handlers == []


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for path in WEB.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert "://" not in text.replace("${scheme}://${location.host}", ""), path.name
        assert "innerHTML" not in text and "style=" not in text, path.name
        assert len(text.splitlines()) <= 400
