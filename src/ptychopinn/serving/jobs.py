"""Jobs of a server: a queue in a database beside the scans, and processes that outlive the server.

Everything that is known of a job is in the database, in its log and in the file with its exit code;
the server keeps nothing of its own, so that another one goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ptychopinn.errors import InputError, brief, shown
from ptychopinn.serving.command import DONE, POOR, sentence
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.job_log import Progress, tail
from ptychopinn.serving.job_words import live_words, words_of
from ptychopinn.serving.living import birth

DATABASE, LOGS = ".ptychopinn-serve.sqlite", ".ptychopinn-serve"
VERSION = 1
# So many of the latest jobs are shown.
SHOWN = 200
# A job whose process has no number after so many seconds was never started.
START_S = 60.0
ACTIVE = ("queued", "running")
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    verb TEXT NOT NULL, words TEXT NOT NULL, sources TEXT NOT NULL, output TEXT NOT NULL,
    state TEXT NOT NULL, process INTEGER, birth TEXT, code INTEGER, stops INTEGER NOT NULL,
    asked REAL NOT NULL, began REAL, ended REAL, said TEXT
)
"""


class Jobs:
    """The jobs of a folder.

    Parameters
    ----------
    inside : the folder.
    at_once : how many run at a time; the others wait.

    Raises
    ------
    InputError
        When the database is damaged or of another version, or there are no processes to fork.
    """

    def __init__(self, inside: Inside, at_once: int = 1) -> None:
        if not hasattr(os, "fork"):
            raise InputError(
                "jobs that outlive the server need a system with fork, received one without; use "
                "Linux, macOS or WSL."
            )
        self.inside, self.at_once = inside, at_once
        self._file, self._logs = inside.folder / DATABASE, inside.folder / LOGS
        self._progress: dict[int, Progress] = {}
        self._lock = threading.Lock()
        for path in (self._file, self._logs):
            if path.is_symlink():
                raise InputError(
                    f"jobs are kept in '{path}' itself, received a link; remove the link."
                )
        try:
            self._logs.mkdir(mode=0o700, exist_ok=True)
            self._file.touch(mode=0o600)
            with self._opened() as database:
                found = database.execute("PRAGMA user_version").fetchone()[0]
                if found not in (0, VERSION):
                    raise InputError(
                        f"jobs of version {VERSION} were expected in '{self._file}', received "
                        f"version {found}; use the program that wrote them, or move the file away."
                    )
                database.execute("PRAGMA journal_mode=WAL")
                database.execute(SCHEMA)
                database.execute(f"PRAGMA user_version={VERSION}")
        except OSError as error:
            raise self._unusable(error) from error

    def add(self, order: Any) -> dict[str, Any]:
        """Queue what is asked for (see :mod:`ptychopinn.serving.job_words`).

        Raises
        ------
        InputError
            For paths that lead out of the folder, sources that are not there, and an output that
            exists or that another job is to write.
        """
        words, output = words_of(order, self.inside)
        name = self.inside.name(output)
        goes_on = order.verb == "batch" or getattr(order, "resume", False)
        if output.exists() and not goes_on and (output.is_file() or any(output.iterdir())):
            raise InputError(
                f"the output must be a new folder, received {shown(name)}, which holds something; "
                "choose another name."
            )
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            taken = database.execute(
                "SELECT id FROM jobs WHERE output = ? AND state IN (?, ?)", (name, *ACTIVE)
            ).fetchone()
            if taken is not None:
                raise InputError(
                    f"the output must be a folder of one job, received {shown(name)}, which job "
                    f"{taken[0]} writes; choose another name, or wait for it."
                )
            made = database.execute(
                "INSERT INTO jobs (verb, words, sources, output, state, stops, asked) "
                "VALUES (?, ?, ?, ?, 'queued', 0, ?)",
                (order.verb, json.dumps(words), json.dumps(order.sources()), name, time.time()),
            ).lastrowid
            database.execute("COMMIT")
        return self.one(int(made or 0))

    def stop(self, number: int) -> dict[str, Any]:
        """Take a job out of the queue, or ask its command to save what is finished and end; asked
        again, it ends at once.

        Raises
        ------
        InputError
            When there is none of this number.
        """
        with self._lock, self._opened() as database:
            row = self._row(database, number)
            if row["state"] == "queued":
                self._ended(database, number, "stopped", None, "it had not begun.")
            elif row["state"] == "running" and row["process"] is not None:
                database.execute("UPDATE jobs SET stops = stops + 1 WHERE id = ?", (number,))
                if birth(row["process"]) == row["birth"]:
                    with suppress(ProcessLookupError):
                        os.kill(row["process"], signal.SIGTERM)
        return self.one(number)

    def one(self, number: int) -> dict[str, Any]:
        """All that is known of a job, with its curve.

        Raises
        ------
        InputError
            When there is none of this number.
        """
        with self._opened() as database:
            return self._as_json(self._row(database, number), curve=True)

    def all(self) -> list[dict[str, Any]]:
        """The latest first; the curves of those that run."""
        with self._opened() as database:
            rows = database.execute(
                "SELECT * FROM jobs ORDER BY id DESC LIMIT ?", (SHOWN,)
            ).fetchall()
            return [self._as_json(row, curve=row["state"] == "running") for row in rows]

    def log(self, number: int) -> Path:
        """Where what a job says is kept."""
        return self._logs / f"{number}.log"

    def picture(self, number: int) -> Path:
        """Where a job shows its work as it goes on."""
        return self._logs / f"{number}.live"

    def tick(self) -> None:
        """See which jobs have ended, and start as many of the others as may run."""
        with self._lock, self._opened() as database:
            running = "SELECT * FROM jobs WHERE state = 'running'"
            for row in database.execute(running).fetchall():
                self._look(database, row)
            while (row := self._claimed(database)) is not None:
                self._start(database, row)

    def _look(self, database: sqlite3.Connection, row: sqlite3.Row) -> None:
        gone = (
            # A clock may be set back.
            abs(time.time() - row["began"]) > START_S
            if row["process"] is None
            else birth(row["process"]) != row["birth"]
        )
        # In this order: a process that has gone left its code before.
        code = self._code(row["id"])
        if code is None and not gone:
            return
        log = tail(self.log(row["id"]))
        if code is None:
            self._ended(
                database, row["id"], "lost", None,
                "its process is gone and left no exit code: it was killed, the disk was full, or "
                "the machine was started anew.",
            )  # fmt: skip
        elif code in (DONE, POOR):
            self._ended(database, row["id"], "done", code, None)
        elif row["stops"]:
            stopped = [line for line in log.splitlines() if "stopped by" in line]
            self._ended(database, row["id"], "stopped", code, sentence("\n".join(stopped) or log))
        elif code < 0:
            said = f"it was ended by signal {-code}" + (
                ", as the system does when memory runs out." if -code == signal.SIGKILL else "."
            )
            self._ended(database, row["id"], "failed", code, said)
        else:
            self._ended(database, row["id"], "failed", code, sentence(log))

    def _code(self, number: int) -> int | None:
        try:
            text = (self._logs / f"{number}.exit").read_bytes()
        except FileNotFoundError:
            return None
        # What a machine left that lost its power is none.
        return int(text) if re.fullmatch(rb"-?\d{1,4}\s*", text) else None

    def _claimed(self, database: sqlite3.Connection) -> sqlite3.Row | None:
        """The next job, when one may run; no other server gets it."""
        database.execute("BEGIN IMMEDIATE")
        running = database.execute("SELECT count(*) FROM jobs WHERE state = 'running'").fetchone()
        row: sqlite3.Row | None = database.execute(
            "SELECT * FROM jobs WHERE state = 'queued' ORDER BY id LIMIT 1"
        ).fetchone()
        if row is not None and running[0] < self.at_once:
            database.execute(
                "UPDATE jobs SET state = 'running', began = ? WHERE id = ?",
                (time.time(), row["id"]),
            )
        else:
            row = None
        database.execute("COMMIT")
        return row

    def _start(self, database: sqlite3.Connection, row: sqlite3.Row) -> None:
        files = [str(self._logs / f"{row['id']}.{ending}") for ending in ("log", "exit")]
        # Of a job of that number in a database that was moved away.
        for left in (*map(Path, files), self.picture(row["id"])):
            left.unlink(missing_ok=True)
        begun = subprocess.run(
            [
                sys.executable, "-m", "ptychopinn.serving.job_process",
                str(self.inside.folder), *files, *json.loads(row["words"]),
                *live_words(row["verb"], self.picture(row["id"])),
            ],
            check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if begun.returncode != 0:
            said = f"its process could not be started: {sentence(begun.stderr)}"
            self._ended(database, row["id"], "failed", begun.returncode, said)
            return
        number = int(begun.stdout)
        database.execute(
            "UPDATE jobs SET process = ?, birth = ? WHERE id = ?",
            (number, birth(number), row["id"]),
        )

    def _ended(
        self,
        database: sqlite3.Connection,
        number: int,
        state: str,
        code: int | None,
        said: str | None,
    ) -> None:
        database.execute(
            "UPDATE jobs SET state = ?, code = ?, said = ?, ended = ? WHERE id = ?",
            (state, code, said, time.time(), number),
        )
        self.picture(number).unlink(missing_ok=True)

    @staticmethod
    def _row(database: sqlite3.Connection, number: int) -> sqlite3.Row:
        row: sqlite3.Row | None = database.execute(
            "SELECT * FROM jobs WHERE id = ?", (number,)
        ).fetchone()
        if row is None:
            raise InputError(f"the number of a job was expected, received {number}; list them.")
        return row

    def _as_json(self, row: sqlite3.Row, curve: bool) -> dict[str, Any]:
        number = row["id"]
        progress = self._progress.setdefault(number, Progress(self.log(number)))
        if row["state"] != "queued":
            progress.look()
        far = progress.as_json()
        if not curve:
            far["values"] = []
        return {
            "id": number, "verb": row["verb"], "sources": json.loads(row["sources"]),
            "output": row["output"], "state": row["state"], "stopping": row["stops"] > 0,
            "code": row["code"], "asked": row["asked"], "began": row["began"],
            "ended": row["ended"], "said": row["said"], "progress": far,
            "command": self._shown(json.loads(row["words"])),
        }  # fmt: skip

    def _shown(self, words: list[str]) -> list[str]:
        """The words with the paths as one types them within the folder."""
        within = f"{self.inside.folder}{os.sep}"
        return ["ptychopinn", *(word.removeprefix(within) for word in words)]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database; whatever is wrong with it or with what it holds becomes InputError."""
        try:
            database = sqlite3.connect(self._file, timeout=10.0, isolation_level=None)
            database.row_factory = sqlite3.Row
            try:
                yield database
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            finally:
                database.close()
        except InputError:
            raise
        except (sqlite3.Error, ValueError, LookupError, TypeError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> InputError:
        return InputError(
            f"the jobs must be kept in '{self._file}', received: {brief(error)}; move that file "
            "away, make room, or choose a folder that can be written to."
        )
