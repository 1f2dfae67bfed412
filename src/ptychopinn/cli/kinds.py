"""What a file or folder holds, for commands that take, or are given, more than one kind."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["scan", "bundle", "result"]


def held(path: Path) -> tuple[Kind, Path]:
    """What is in a file, or in a folder with a result, a model or a scan of ptychodus; and the file
    itself, or the folder of the scan.

    Raises
    ------
    InputError
        When it is none of these, or a folder that holds a result and a model.
    """
    import zipfile

    from ptychopinn.errors import InputError
    from ptychopinn.io import find_format
    from ptychopinn.io.base import ZIP_SIGNATURE, UnknownFormatError, signature
    from ptychopinn.io.guess import with_line
    from ptychopinn.io.models import BUNDLE_NAME
    from ptychopinn.io.reconstructions import RESULT_FILE
    from ptychopinn.io.scans import descriptions

    if path.is_dir():
        inside = [path / name for name in (RESULT_FILE, BUNDLE_NAME) if (path / name).is_file()]
        if len(inside) > 1:
            raise InputError(
                f"a folder with one result or one model was expected, received '{path}' with "
                f"{RESULT_FILE} and {BUNDLE_NAME}; name one of these files."
            )
        if inside:
            return held(inside[0])
    elif path.is_file() and signature(path).startswith(ZIP_SIGNATURE):
        try:
            with zipfile.ZipFile(path) as archive:
                if "manifest.json" in archive.namelist():
                    return "bundle", path
        except (zipfile.BadZipFile, OSError, ValueError):
            # Whoever reads it says what is wrong with it.
            pass
        if path.name == BUNDLE_NAME:
            return "bundle", path
    try:
        found = find_format(path)
    except UnknownFormatError as error:
        expected = (
            f"a scan ({descriptions()}), a model bundle ({BUNDLE_NAME}) or a result ({RESULT_FILE} "
            f"or a ptychodus product) was expected, received '{path}' which is none of them"
        )
        raise InputError(with_line(expected, path, "convert it first")) from error
    except InputError as error:
        if path.is_dir():
            raise InputError(
                f"a folder that holds a result ({RESULT_FILE}), a model ({BUNDLE_NAME}) or "
                f"diffraction.h5 and product.h5 was expected, received '{path}' without them; name "
                "a file in it."
            ) from error
        raise
    return ("result" if found.NAME == "product" else "scan"), path


def is_kind(path: Path, kind: str) -> bool:
    """Whether the path holds this kind."""
    from ptychopinn.errors import InputError

    try:
        return held(path)[0] == kind
    except (InputError, OSError):
        return False
