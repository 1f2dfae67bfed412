"""Tables of positions as programs write them: other letters, a row of units, SPEC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptychopinn.errors import InputError
from ptychopinn.sources.columns import read_table
from ptychopinn.sources.scan_points import read_points

VALUES = np.array([[1.5, -2.0], [3.25, 4.0], [5.0, 6.5]])
ROWS = "".join(f"{x},{y}\n" for y, x in VALUES)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_letters(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_bytes(("x [µm],y [µm]\n" + ROWS).encode(encoding))
    points = read_points(str(path), path, None, 3)
    np.testing.assert_array_equal(points.values, VALUES)
    assert points.unit == "um"


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        ("x,y\num,um\n", "um"),
        ("x,y\n[µm],[µm]\n", "um"),
        ("x,y\nmm,um\n", "um, mm"),
        ("# x y\n# nm nm\n", "nm"),
        ("x_um,y_um\n", "um"),
        ("#S 1 mesh\n#L x  y\n", None),
        ("Scan 12\nx,y\n", None),
    ],
)
def test_lines_above_the_numbers(head: str, unit: str | None, tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text(head + ROWS, encoding="utf-8")
    points = read_points(str(path), path, None, 3)
    np.testing.assert_array_equal(points.values, VALUES)
    assert points.unit == unit


def test_a_column_of_words_is_named(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("x,y,state\n1,2,done\n3,4,done\n", encoding="utf-8")
    with pytest.raises(InputError, match="with 'done' among the numbers of a line"):
        read_table(path)


def test_what_is_no_text_stays_none(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    for content in (b"\xff\xfe\x00\xd8", bytes(range(256)), b"\xff\xfe1"):
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_table(path)
