"""The runs of a folder: what the commands left there, told from their records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ptychopinn.errors import InputError, brief, shown
from ptychopinn.io.reading import read_json
from ptychopinn.serving.inside import Inside

RECORD = "run.json"
LIVE = "--live"
# Folders below this depth are not looked into, and no more of them than that.
DEPTH, MOST = 6, 5000
# Of the findings in a record.
DEEPEST = 6


@dataclass(frozen=True)
class Run:
    """A folder with the record of a command.

    Attributes
    ----------
    folder : relative to the folder that was asked for.
    verb : the command that wrote it.  scan : what it worked on.
    verdict, residual, expected : of the fit, None of a training.
    likely, cause : of a fit that is not good.  findings : of the look at the scan, as in run.json.
    seconds : in all.  patterns : how many.  finished : time of the record, ISO 8601, UTC.
    """

    folder: str
    verb: str | None
    scan: str | None
    verdict: str | None
    residual: float | None
    expected: float | None
    likely: str | None
    cause: str | None
    findings: list[dict[str, Any]]
    seconds: float | None
    patterns: int | None
    finished: str

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def run_of(inside: Inside, folder: Path) -> Run:
    """The run whose record is in ``folder``.

    Raises
    ------
    InputError
        When there is no record, or it is damaged, or it is a link out of the folder.
    """
    record = inside.path(str(folder / RECORD))
    content = read_json(record)
    fit = content.get("fit")
    fit = fit if isinstance(fit, dict) else {}
    command, seconds = content.get("command"), content.get("seconds")
    if isinstance(seconds, dict):
        seconds = seconds.get("total")
    findings = content.get("findings")
    try:
        when = datetime.fromtimestamp(record.stat().st_mtime, UTC)
    except (OverflowError, ValueError) as error:
        raise InputError(
            f"a time of the calendar was expected for '{record}', received one that is none "
            f"({brief(error)}); set it anew with touch."
        ) from error
    return Run(
        folder=inside.name(folder),
        verb=_text(command[0]) if isinstance(command, list) and command else None,
        scan=_text(content.get("scan")),
        verdict=_text(fit.get("verdict")),
        residual=_number(fit.get("residual")),
        expected=_number(fit.get("expected")),
        likely=_text(fit.get("likely")),
        cause=_text(fit.get("cause")),
        findings=[_plain(f) for f in findings if isinstance(f, dict)]
        if isinstance(findings, list)
        else [],
        seconds=_number(seconds),
        patterns=int(number) if (number := _number(content.get("patterns"))) is not None else None,
        finished=when.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def command_of(inside: Inside, folder: Path) -> list[str] | None:
    """The words of the command that made a run, as its record has them, without the picture that
    was shown meanwhile.

    Raises
    ------
    InputError
        As :func:`run_of`.
    """
    words = read_json(inside.path(str(folder / RECORD))).get("command")
    if not isinstance(words, list):
        return None
    kept = [str(_plain(word)) for word in words]
    while LIVE in kept[:-1]:
        place = kept.index(LIVE)
        del kept[place : place + 2]
    return kept


def runs_in(inside: Inside, folder: Path | None = None) -> list[Run]:
    """All runs below ``folder``, the newest first; a record that is damaged counts as none."""
    found = []
    for place in _with_record(inside.folder if folder is None else folder):
        try:
            found.append(run_of(inside, place))
        except (InputError, OSError):
            continue
    return sorted(found, key=lambda run: run.finished, reverse=True)


def _with_record(top: Path) -> Iterator[Path]:
    for place, folders, files in islice(os.walk(top), MOST):
        depth = len(Path(place).relative_to(top).parts)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if depth < DEPTH else []
        known = RECORD in files and has_letters(Path(place))
        if known and not (Path(place) / RECORD).is_symlink():
            yield Path(place)


def has_letters(path: Path) -> bool:
    """Whether a name can be sent: bytes that are no letters cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str | None:
    return _plain(value) if isinstance(value, str) else None


def _plain(value: Any, depth: int = 0) -> Any:
    """What can be sent: bytes of a name that are no letters become escapes, and what is nested
    deeply one text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict | list) and depth == DEEPEST:
        return shown(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, depth + 1) for part in value]
    return value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
