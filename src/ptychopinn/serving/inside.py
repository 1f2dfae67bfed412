"""Paths that may not lead out of one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptychopinn.errors import InputError, shown


@dataclass(frozen=True)
class Inside:
    """Everything within ``folder``, and nothing else, whatever names and links say."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(
                f"the folder must be there, received '{self.folder}', which is none; create it, or "
                "name another."
            )
        object.__setattr__(self, "folder", self.folder.resolve())

    def path(self, name: str) -> Path:
        """The path of a file or folder, relative to the folder or absolute within it; it need not
        be there.

        Raises
        ------
        InputError
            When it leads out of the folder, also by a link, or is no path.
        """
        try:
            found = (self.folder / name).resolve()
        except (ValueError, OSError, RuntimeError):
            found = None
        # A leading dash would be taken for an option by a command.
        if not name or found is None or not found.is_relative_to(self.folder):
            raise InputError(
                f"a path must lie within the folder '{self.folder}', received {shown(name)}; name "
                "one that does."
            )
        return found

    def name(self, path: Path) -> str:
        """The path as it is shown: relative to the folder."""
        return path.relative_to(self.folder).as_posix()
