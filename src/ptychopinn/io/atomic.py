"""Writing results so that nothing half-written and nothing unexpected is ever left behind."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptychopinn.errors import InputError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; rename it to ``path`` only when the block
    succeeds.

    Raises
    ------
    InputError
        When the folder cannot be written to.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
    except OSError as error:
        raise InputError(
            f"the folder of '{target}' must be writable, received: {error.strerror}; "
            "choose another output place."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(directory: Path, names: Iterable[str], force: bool) -> None:
    """Raise InputError when ``directory`` already holds one of ``names`` and ``force`` is False.

    Also when no such folder can be made.
    """
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
            f"{', '.join(present)}; choose another folder or add --force to overwrite."
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
