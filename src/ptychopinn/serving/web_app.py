"""The pages of ``ptychopinn serve`` and the interface behind them (FastAPI).

Every answer is JSON; a mistake is ``{"error": sentence}``, or a page that says so for whoever
opened an address in a browser. The interface describes itself at /openapi.json.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ptychopinn.errors import InputError, brief, unforeseen
from ptychopinn.ops.selector import BACKENDS, KINDS, installed
from ptychopinn.report.two_pages import page_beside
from ptychopinn.serving.access import REPORT, REPORT_POLICY, Guard, error_body
from ptychopinn.serving.command import DONE, ran, sentence
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.job_log import TAIL, tail
from ptychopinn.serving.job_words import Name, Number, Order, Scan
from ptychopinn.serving.jobs import Jobs
from ptychopinn.serving.live_tiles import LiveTiles
from ptychopinn.serving.runs import command_of, has_letters, run_of, runs_in
from ptychopinn.serving.tickets import Tickets
from ptychopinn.serving.uploads import TooLarge, receive, scans_in
from ptychopinn.workflows.model import package_versions

REPORT_FILE = "report.html"
WEB = Path(__file__).parent / "web"
# Seconds between two looks at the jobs and at what one of them shows, for a first message, and for
# the check of a scan.
LOOK_S, FOLLOW_S, FIRST_S, CHECK_S = 0.25, 0.1, 5.0, 600.0
# Checks at a time, and viewers.
CHECKS, VIEWERS = 1, 200


class ScanName(BaseModel):
    """A scan of the folder."""

    model_config = ConfigDict(extra="forbid")

    scan: Scan


class Folder(BaseModel):
    """A result, and another one behind its slider."""

    model_config = ConfigDict(extra="forbid")

    folder: Name = Field(description="Folder of a result with a report.")
    beside: Name | None = Field(None, description="Another one.")


class Board:
    """What all viewers see: the jobs as of the last look, sent to everybody when it changes."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.text = ""
        self.viewers = 0
        self.tiles = LiveTiles()
        self._changed = asyncio.Condition()

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look now."""
        text = await asyncio.to_thread(self._seen)
        if text != self.text:
            async with self._changed:
                self.text = text
                self._changed.notify_all()

    def _seen(self) -> str:
        try:
            self.jobs.tick()
            return json.dumps({"jobs": self.jobs.all()}, allow_nan=False)
        except (InputError, OSError) as error:
            # A full disk, a file system that is away: said to all viewers until it is back.
            return json.dumps({"error": f"the jobs cannot be read: {brief(error, 400)}"})

    async def after(self, text: str) -> str:
        """What follows ``text``, as soon as it does."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.text != text)
            return self.text


def web_app(inside: Inside, token: str, host: str, at_once: int, largest: int) -> Guard:
    """The application.

    Parameters
    ----------
    inside : the folder of scans and results.
    token : the secret of those who may.
    host : where it will listen.
    at_once : jobs that run at a time.
    largest : bytes of an upload, at most.
    """
    visible = Inside(inside.folder, hidden=False)
    board = Board(Jobs(visible, at_once))
    tickets = Tickets[list[tuple[str, Path]]]()
    checks = anyio.CapacityLimiter(CHECKS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(board.watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    app = FastAPI(
        title="PtychoPINN", version=package_versions().get("ptychopinn", ""),
        description="Scans, results and jobs of one folder.",
        docs_url=None, redoc_url=None, lifespan=lifespan,
    )  # fmt: skip
    guard = Guard(app, token, host, largest)
    _mistakes(app)

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        """The folder and what this installation can do."""
        backends = [name for name in BACKENDS if all(map(installed, KINDS[name].packages))]
        return {
            "folder": inside.folder.name, "version": app.version, "backends": backends,
            "at_once": at_once, "largest_upload": largest,
        }  # fmt: skip

    @app.get("/api/scans")
    def scans() -> dict[str, Any]:
        """Files that may be scans."""
        return {"scans": scans_in(visible)}

    @app.post("/api/check")
    async def check(asked: ScanName) -> dict[str, Any]:
        """What a scan contains and what is wrong with it; ``usable`` is false where nothing can be
        reconstructed before that is mended."""
        path = visible.there(asked.scan)
        try:
            with anyio.fail_after(CHECK_S):
                async with checks:
                    code, out, errors = await ran("inspect", str(path), "--check", "--json")
        except TimeoutError:
            raise InputError(
                f"a scan must be looked at within {CHECK_S:.0f} s, received one that takes longer; "
                "look at it with ptychopinn inspect."
            ) from None
        if not out.strip():
            raise InputError(sentence(errors))
        return {**json.loads(out), "usable": code == DONE}

    @app.post("/api/upload", status_code=201)
    async def upload(request: Request, name: str) -> dict[str, Any]:
        """A new scan: the body is the file."""
        made = await receive(request.stream(), visible, name, largest)
        return {"scan": visible.name(made)}

    @app.get("/api/runs")
    def runs() -> dict[str, Any]:
        """All results and trainings, the newest first, with their verdicts."""
        return {"runs": [run.as_json() for run in runs_in(visible)]}

    @app.get("/api/run")
    def run(folder: str) -> dict[str, Any]:
        """A result: its record, the names of its pictures and files, the end of its log."""
        place = visible.there(folder)
        if not place.is_dir():
            raise InputError("the folder of a result was expected, received a file; name it.")
        files = [
            p for p in sorted(place.iterdir())
            if p.is_file() and not p.is_symlink() and not p.name.startswith(".") and has_letters(p)
        ]  # fmt: skip
        return {
            **run_of(visible, place).as_json(),
            "pictures": [p.name for p in files if p.suffix == ".png"],
            "files": [{"name": p.name, "bytes": p.stat().st_size} for p in files],
            "command": command_of(visible, place),
            "log": tail(visible.path(f"{folder}/log.txt")),
        }

    @app.get("/api/file", response_class=FileResponse)
    def file(path: str) -> FileResponse:
        """A file of the folder, to keep."""
        found = visible.there(path)
        if not found.is_file():
            raise InputError("a file was expected, received a folder; name a file in it.")
        return FileResponse(found, filename=found.name)

    @app.post("/api/report", status_code=201)
    def report(asked: Folder) -> dict[str, Any]:
        """An address that opens the report of a result, once; with another result behind its
        slider where one is named."""
        names = [name for name in (asked.folder, asked.beside) if name is not None]
        pages = [(name, visible.there(f"{name}/{REPORT_FILE}")) for name in names]
        return {"address": f"{REPORT}{tickets.issue(pages)}"}

    @app.get(f"{REPORT}{{ticket}}", include_in_schema=False)
    def opened(ticket: str) -> Response:
        pages = tickets.redeem(ticket)
        if pages is None:
            raise HTTPException(404, "an address that opens a report is good once")
        # It may run its own scripts, as of another site: what is here, it cannot see.
        headers = {"content-security-policy": REPORT_POLICY}
        (name, page), *others = pages
        if not others:
            return FileResponse(page, media_type="text/html; charset=utf-8", headers=headers)
        texts = [path.read_text(encoding="utf-8", errors="replace") for _, path in pages]
        both = page_beside(texts[0], name, texts[1], others[0][0])
        return HTMLResponse(both, headers=headers)

    @app.get("/api/jobs")
    def jobs() -> dict[str, Any]:
        """The latest jobs first."""
        return {"jobs": board.jobs.all()}

    @app.post("/api/jobs", status_code=201)
    async def add(order: Order) -> dict[str, Any]:
        """Queue a job."""
        made = await asyncio.to_thread(board.jobs.add, order)
        await board.look()
        return await asyncio.to_thread(board.jobs.one, made["id"])

    @app.get("/api/jobs/{number}")
    def job(number: Number) -> dict[str, Any]:
        """A job, its curve and the end of what it said."""
        return {**board.jobs.one(number), "log": tail(board.jobs.log(number))}

    @app.post("/api/jobs/{number}/stop")
    async def stop(number: Number) -> dict[str, Any]:
        """Let a job save what is finished and end; asked again, it ends at once."""
        found = await asyncio.to_thread(board.jobs.stop, number)
        await board.look()
        return found

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        """Jobs as they change. The first message is {"token": ...}; {"watch": NUMBER} asks for
        what a job says, from then on, and for what it shows, as it changes: bytes as
        :mod:`ptychopinn.serving.live_tiles` says."""
        await socket.accept()
        try:
            first = json.loads(await asyncio.wait_for(socket.receive_text(), FIRST_S))
        except (ValueError, KeyError, RecursionError, TimeoutError, WebSocketDisconnect):
            first = None
        if not isinstance(first, dict) or not guard.knows(first.get("token")):
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(4401, "the token that the server printed was expected.")
            return
        if board.viewers >= VIEWERS:
            await socket.close(4429, f"at most {VIEWERS} viewers were expected.")
            return
        board.viewers += 1
        try:
            await _follow(socket, board)
        finally:
            board.viewers -= 1

    app.mount("/", StaticFiles(directory=WEB, html=True))
    return guard


async def _follow(socket: WebSocket, board: Board) -> None:
    """Send changes until the viewer goes."""
    watched: dict[str, Any] = {"job": None, "read": 0}
    sent: dict[str, int] = {}

    async def listen() -> None:
        while True:
            asked = json.loads(await socket.receive_text())
            number = asked.get("watch") if isinstance(asked, dict) else None
            watched.update(
                job=number if type(number) is int and 0 < number < 2**31 else None,
                read=None,
            )
            sent.clear()

    async def changes() -> None:
        text = ""
        while True:
            text = await board.after(text)
            await socket.send_text(text)

    async def words() -> None:
        while True:
            number = watched["job"]
            if number is not None:
                path = board.jobs.picture(number)
                for name, (version, message) in (
                    await asyncio.to_thread(board.tiles.of, number, path)
                ).items():
                    # Another job may have been asked for meanwhile.
                    if watched["job"] == number and sent.get(name) != version:
                        sent[name] = version
                        await socket.send_bytes(message)
                new, read = await asyncio.to_thread(_news, board.jobs.log(number), watched["read"])
                if watched["job"] == number:
                    begins = watched["read"] is None
                    watched["read"] = read
                    if new or begins:
                        said = {"log": {"job": number, "text": new, "begins": begins}}
                        await socket.send_text(json.dumps(said))
            await asyncio.sleep(FOLLOW_S)

    async with anyio.create_task_group() as group:

        async def until_gone(work: Callable[[], Awaitable[None]]) -> None:
            # A viewer that goes is no mistake, and one that sends nonsense is left.
            with suppress(WebSocketDisconnect, RuntimeError, ValueError, KeyError):
                await work()
            group.cancel_scope.cancel()

        for work in (listen, changes, words):
            group.start_soon(until_gone, work)
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(4400, "JSON was expected.")


def _news(log: Path, read: int | None) -> tuple[str, int]:
    """What a log says from byte ``read`` on, or its end; and up to where."""
    try:
        with log.open("rb") as file:
            length = file.seek(0, 2)
            start = max(0, length - TAIL) if read is None else min(read, length)
            file.seek(start)
            text = file.read(TAIL)
    except FileNotFoundError:
        return "", read or 0
    return text.decode(errors="replace"), start + len(text)


def _mistakes(app: FastAPI) -> None:
    """Every mistake is one sentence."""

    def said(request: Request, status: int, text: str) -> Response:
        kind, body = error_body(" ".join(text.split()), request.headers.get("accept", ""))
        return Response(body, status, media_type=kind)

    @app.exception_handler(InputError)
    async def known(request: Request, error: InputError) -> Response:
        return said(request, 413 if isinstance(error, TooLarge) else 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or "the request"
        return said(
            request,
            422,
            f"what /openapi.json describes was expected, received {brief(place, 80)}: "
            f"{brief(first['msg'])}; correct it.",
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:
            return said(request, 400, f"a request was expected, received one that cannot be read "
                        f"({brief(error.detail)}); see /openapi.json.")  # fmt: skip
        return said(
            request,
            error.status_code,
            f"something that is here was expected, received {request.method} "
            f"{brief(request.url.path, 80)} ({brief(error.detail)}); see /openapi.json.",
        )

    @app.exception_handler(Exception)
    async def surprise(request: Request, error: Exception) -> Response:
        return said(request, 500, unforeseen(error))
