"""Writing results so that nothing half-written is left behind and nothing old is lost before the
new is whole.

Everything new is made under a temporary name beside its target, brought to the disk, and only then
renamed. Temporary names of dead processes are removed by the next command that writes there; a lock
of the operating system tells the dead from the living.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ptychopinn.errors import InputError, reason

if sys.platform != "win32":
    import fcntl

#: How every temporary name begins, and the name of the lock in an output folder.
TEMPORARY = ".ptychopinn-new-"
LOCK = ".ptychopinn-lock"

# Answers of a file system without locks, or without hard links.
_UNABLE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EMLINK, errno.EINVAL)

_log = logging.getLogger(__name__)


class CannotWrite(InputError):
    """A file could not be written to its end; ``reason`` says why."""

    def __init__(self, target: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the file must be writable as '{target}', received: {reason}; choose another place "
            "or make room."
        )


@contextmanager
def atomic_path(path: str | Path, force: bool = True) -> Iterator[Path]:
    """:func:`atomic_paths` for a single file."""
    with atomic_paths(path, force=force) as (temporary,):
        yield temporary


@contextmanager
def atomic_paths(*paths: str | Path, force: bool = True) -> Iterator[tuple[Path, ...]]:
    """Yield one temporary file per path, to be filled; they appear under their names together.

    Nothing happens to existing files unless the block succeeds. Of several, those after the first
    are removed before the new ones appear: a process that is killed in between leaves some missing,
    never a mixture of old and new.

    Raises
    ------
    InputError
        When a folder cannot be written to, the disk is full, a name is that of a device, or, unless
        ``force`` is set, a file of this name has appeared meanwhile.
    """
    targets = [Path(path) for path in paths]
    for target in targets:
        # Renamed into its place, a file would be where a device or a pipe was.
        if target.exists() and not target.is_file():
            kind = "folder" if target.is_dir() else "pipe or device"
            raise InputError(
                f"the name of a file was expected, received the {kind} '{target}'; choose another "
                "name."
            )
    with ExitStack() as stack:
        temporaries = tuple(stack.enter_context(temporary_file(target)) for target in targets)
        try:
            yield temporaries
            for temporary in temporaries:
                _to_disk(temporary)
            if force:
                _replace(temporaries, targets)
            else:
                _link(temporaries, targets)
        except CannotWrite as error:
            raise CannotWrite(targets[0], error.reason) from error
        except OSError as error:
            raise CannotWrite(targets[0], error.strerror or str(error)) from error


def _replace(temporaries: Sequence[Path], targets: Sequence[Path]) -> None:
    for target in targets[1:]:
        target.unlink(missing_ok=True)
    for temporary, target in zip(temporaries, targets, strict=True):
        temporary.replace(target)
        _to_disk(target.parent)


def _link(temporaries: Sequence[Path], targets: Sequence[Path]) -> None:
    """Let the files appear unless their names are taken; of two writers one is refused."""
    done: list[Path] = []
    for temporary, target in zip(temporaries, targets, strict=True):
        try:
            _link_one(temporary, target)
        except FileExistsError as error:
            for other in done:
                other.unlink(missing_ok=True)
            raise InputError(
                f"the output '{target}' must be a new file, received one that exists; choose "
                "another name or add force=True to overwrite."
            ) from error
        done.append(target)
        _to_disk(target.parent)


def _link_one(temporary: Path, target: Path) -> None:
    try:
        target.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        # The name is taken by an empty file first, which only one process can do.
        target.touch(exist_ok=False)
        temporary.replace(target)


@contextmanager
def temporary_file(target: Path) -> Iterator[Path]:
    """An empty file beside ``target``, locked as long as the block runs."""
    # Noted before it is made: a signal may end everything at any moment.
    made, descriptor = list[Path](), -1
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target.parent)
            descriptor = _new_file(target, made)
        except OSError as error:
            raise InputError(
                f"the folder of '{target}' must be writable, received: {reason(error)}; "
                "choose another output place."
            ) from error
        yield made[-1]
    finally:
        for path in made:
            path.unlink(missing_ok=True)
        if descriptor >= 0:
            os.close(descriptor)


def _new_file(target: Path, made: list[Path]) -> int:
    # Some packages choose the format by the ending; a long one may not fit behind our own name.
    ending = target.suffix if len(target.suffix) < 16 else ""
    while True:
        path = target.parent / f"{TEMPORARY}{secrets.token_hex(6)}{ending}"
        made.append(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # Between its creation and the lock another process may have swept it away.
        if _lock(descriptor) is not False and _is_open_at(path, descriptor):
            return descriptor
        os.close(descriptor)


def _sweep(folder: Path, *, stages: bool = False) -> None:
    """Remove temporary files of dead processes; ``stages`` too, for who holds the folder's lock."""
    with os.scandir(folder) as entries:
        stale = [entry for entry in entries if entry.name.startswith(TEMPORARY)]
    for entry in stale:
        path = Path(entry.path)
        if stages and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(path, ignore_errors=True)
        if not entry.is_file(follow_symlinks=False):
            continue
        with suppress(FileNotFoundError, PermissionError):
            descriptor = os.open(path, os.O_RDWR)
            try:
                if _lock(descriptor) and _is_open_at(path, descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int, *, of_process: bool = False) -> bool | None:
    """Lock a file; False when somebody else has it, None when this file system knows no locks.

    A lock ``of_process`` is not inherited by its worker processes, so that it ends with it.
    """
    if sys.platform == "win32":
        return None
    lock = fcntl.lockf if of_process else fcntl.flock
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno in _UNABLE:
            return None
        raise
    return True


def _is_open_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _to_disk(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, would survive a power failure."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do it for folders.
        if error.errno not in _UNABLE:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def claimed(folder: Path, names: Iterable[str] = (), force: bool = False) -> Iterator[None]:
    """Keep the output folder for this process inside the block; it is made when it is missing, and
    one that was made and stays empty is removed again.

    Raises
    ------
    InputError
        When it holds one of ``names`` and ``force`` is False, another process is writing there, or
        it cannot be written to.
    """
    names = tuple(names)
    refuse_existing(folder, names, force)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    descriptor = -1
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = _lock_folder(folder)
            _sweep(folder, stages=True)
        except OSError as error:
            raise InputError(
                f"the folder '{folder}' must be writable, received: {reason(error)}; choose "
                "another one."
            ) from error
        # Another process may have finished since the first look.
        refuse_existing(folder, names, force)
        yield
    finally:
        if descriptor >= 0:
            (folder / LOCK).unlink(missing_ok=True)
            os.close(descriptor)
        with suppress(OSError):
            for path in made:
                path.rmdir()


def _lock_folder(folder: Path) -> int:
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        held = _lock(descriptor, of_process=True)
        if held is False:
            os.close(descriptor)
            raise InputError(
                f"the output folder '{folder}' must be used by one command at a time, received one "
                "in which another is writing; wait for it or choose another folder."
            )
        if held is None:
            _log.warning(
                "the file system of '%s' has no locks: run only one command in this folder", folder
            )
        # Who held the lock before removes the file when it is done.
        if _is_open_at(path, descriptor):
            return descriptor
        os.close(descriptor)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield an empty folder in ``folder``, which the caller has claimed, and remove it at the end.

    Raises InputError when it cannot be made.
    """
    stage = folder / f"{TEMPORARY}{secrets.token_hex(6)}"
    try:
        try:
            stage.mkdir()
        except OSError as error:
            raise CannotWrite(stage, error.strerror or str(error)) from error
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def replacing(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield an empty folder for new files; at the end they take the place of ``names`` at once.

    ``folder`` is claimed by the caller. Earlier files of these names that have no successor are
    removed, and nothing is touched when the block fails.

    Raises
    ------
    InputError
        When the disk is full or the folder cannot be written to.
    """
    try:
        with scratch(folder) as stage:
            yield stage
            move_in(stage, folder, names)
    except CannotWrite as error:
        raise CannotWrite(folder / names[0], error.reason) from error
    except OSError as error:
        raise CannotWrite(folder / names[0], error.strerror or str(error)) from error


def move_in(stage: Path, folder: Path, names: Sequence[str]) -> None:
    """Move all files of ``stage`` into ``folder``, where they replace ``names``.

    ``names`` are in the order of their weight, the result first, what a run needs to be resumed
    last. The old companions of the result go before the new result comes: whoever kills the process
    in between never finds a result with pictures of another.

    Raises
    ------
    InputError
        When the disk is full or the folder cannot be written to.
    """
    try:
        _move_in(stage, folder, names)
    except OSError as error:
        raise CannotWrite(folder / names[0], error.strerror or str(error)) from error


def _move_in(stage: Path, folder: Path, names: Sequence[str]) -> None:
    new = [path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()]
    new.sort(key=lambda name: (names.index(name) if name in names else 1, name))
    for name in new:
        _to_disk(stage / name)
    for name in names:
        if name not in new[:1]:
            (folder / name).unlink(missing_ok=True)
    for number, name in enumerate(new):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if number == 0:
            (stage / name).replace(target)
        else:
            # Under both names until all are there: a run that is killed here can be resumed.
            target.unlink(missing_ok=True)
            _link_one(stage / name, target)
    for inner in {(folder / name).parent for name in names} - {folder}:
        with suppress(OSError):  # not empty, or not there
            inner.rmdir()
    _to_disk(folder)


def refuse_existing(directory: Path, names: Iterable[str], force: bool) -> None:
    """Raise InputError when ``directory`` already holds one of ``names`` and ``force`` is False, or
    when no such folder can be made."""
    if directory.exists() and not directory.is_dir():
        raise InputError(
            f"the output must be a folder, received the file '{directory}'; choose another name."
        )
    parent = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(
            f"the output must be a folder that can be written to, received '{directory}' in "
            f"'{parent}', which cannot; choose another place."
        )
    present = [name for name in names if (directory / name).exists()]
    if present and not force:
        raise InputError(
            f"the output folder '{directory}' must not hold earlier results, received one with "
            f"{', '.join(present)}; choose another folder or add force=True to overwrite."
        )


def refuse_source(target: Path, sources: Iterable[Path]) -> None:
    """Raise InputError when the file to be written is one of those that are read."""
    for source in sources:
        with suppress(OSError):  # what does not exist, or is no name
            if target.resolve() == source.resolve() or target.samefile(source):
                raise InputError(
                    f"the output must be another file than what it is made of, received '{target}' "
                    "for both; choose another name."
                )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
