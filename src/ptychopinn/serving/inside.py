"""Paths that may not lead out of one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptychopinn.errors import InputError, shown
from ptychopinn.io.reading import kind_of


@dataclass(frozen=True)
class Inside:
    """Everything within ``folder``, and nothing else, whatever names and links say.

    hidden : whether names that begin with a dot are part of it.
    """

    folder: Path
    hidden: bool = True

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
            When it leads out of the folder, also by a link, is no path, or is what no reader may
            open, such as a pipe.
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
        if not self.hidden and any(p.startswith(".") for p in found.relative_to(self.folder).parts):
            raise InputError(
                f"a path without hidden folders was expected, received {shown(name)}; name one "
                "whose parts begin without a dot."
            )
        kind_of(found)
        return found

    def there(self, name: str) -> Path:
        """As :meth:`path`, of something that is there.

        Raises
        ------
        InputError
            When it is not.
        """
        found = self.path(name)
        if not found.exists():
            raise InputError(
                f"a file or folder within '{self.folder}' was expected, received {shown(name)}, "
                "which is not there; look which are."
            )
        return found

    def name(self, path: Path) -> str:
        """The path as it is shown: relative to the folder."""
        return path.relative_to(self.folder).as_posix()
