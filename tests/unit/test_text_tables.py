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
        ("#S 1 mesh\n#L Sample X  Sample Y\n", None),
        ("Scan 12\nx,y\n", None),
    ],
)
def test_lines_above_the_numbers(head: str, unit: str | None, tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text(head + ROWS, encoding="utf-8")
    points = read_points(str(path), path, None, 3)
    np.testing.assert_array_equal(points.values, VALUES)
    assert points.unit == unit


@pytest.mark.parametrize("separator", [",", ";", "\t", " , "])
def test_a_row_of_empty_cells_keeps_its_place(separator: str, tmp_path: Path) -> None:
    """Without it all rows behind it would belong to other patterns; at the end there is none."""
    rows = [f"{x}{separator}{y}" for y, x in VALUES]
    path = tmp_path / "places.csv"
    text = "\n".join([f"x_um{separator}y_um", rows[0], separator, *rows[1:], "", separator, ""])
    path.write_text(text, encoding="utf-8")
    points = read_points(str(path), path, None, 4).values
    np.testing.assert_array_equal(points[[0, 2, 3]], VALUES)
    assert np.isnan(points[1]).all()


@pytest.mark.parametrize(
    ("head", "measured", "unit"),
    [
        ("x_set_um,y_set_um,x_read_um,y_read_um", True, "um"),
        ("x_um,y_um,x_cmd_um,y_cmd_um", False, "um"),
        ("X (microns),Y (microns),row,col", False, "um"),
        ("x_nanometers,y_nanometers,a,b", False, "nm"),
        ("x_a,y_a,b,c", False, None),
    ],
)
def test_what_names_of_columns_say(
    head: str, measured: bool, unit: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "places.csv"
    path.write_text(head + "\n" + "".join(f"{k},{2 * k},{3 * k},{5 * k}\n" for k in range(9)))
    points = read_points(str(path), path, None, 9)
    assert points.values[1].tolist() == ([5, 3] if measured else [2, 1])
    assert points.unit == unit


def test_numbers_of_fortran(tmp_path: Path) -> None:
    path = tmp_path / "places.txt"
    path.write_text("x_um y_um\n1.5D-01 2D+00\n-.25d1 3.0D0\n", encoding="utf-8")
    np.testing.assert_allclose(read_table(path).values, [[0.15, 2], [-2.5, 3]])


def test_a_table_without_numbers_shows_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("x,y\n1.5 um,2.5 um\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"without any, but lines such as '1\.5 um,2\.5 um'"):
        read_table(path)


def test_a_column_of_words_is_named(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("1,2,done\n3,4,done\n", encoding="utf-8")
    with pytest.raises(InputError, match="with 'done' among the numbers of a line"):
        read_table(path)


def test_what_is_no_text_stays_none(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    for content in (b"\xff\xfe\x00\xd8", bytes(range(256)), b"\xff\xfe1"):
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_table(path)


@pytest.mark.parametrize("first", [0, 1, 501])
@pytest.mark.parametrize("name", ["index", "Frame", "frame_number", "No."])
def test_rows_are_taken_in_the_order_of_their_numbers(
    name: str, first: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = np.random.default_rng(0).permutation(20)
    path = tmp_path / "positions.txt"
    rows = [f"{first + k};{10 + k};{2 * k}" for k in order]
    path.write_text("\n".join([f"{name};x_um;y_um", *rows]))
    points = read_points(str(path), path, None, 20)
    np.testing.assert_array_equal(points.values[:, 0], 2 * np.arange(20))
    assert f"not in the order of their column '{name}'" in caplog.text


@pytest.mark.parametrize(("name", "step"), [("index", 1), ("current", -1), ("frame", -2)])
def test_rows_stay_where_no_column_orders_them(name: str, step: int, tmp_path: Path) -> None:
    path = tmp_path / "positions.txt"
    rows = [f"{100 + step * k} {10 + k} {2 * k}" for k in range(20)]
    path.write_text("\n".join([f"{name} x_um y_um", *rows]))
    points = read_points(str(path), path, None, 20)
    np.testing.assert_array_equal(points.values[:, 0], 2 * np.arange(20))


def spec(path: Path, *counts: int) -> Path:
    """A file of SPEC with scans 11, 12 ... of so many points."""
    lines = ["#F fly", "#D Mon Nov 02 10:00:00 2026"]
    for k, count in enumerate(counts):
        lines += ["", f"#S {11 + k} mesh", "#N 3", "#L sy  sx  Seconds"]
        lines += [f"{100 * k + i} {2 * i} 0.1" for i in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_of_several_scans_the_one_with_as_many_points_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = spec(tmp_path / "run.spec", 4, 6, 5)
    points = read_points(str(path), path, None, 6)
    np.testing.assert_array_equal(points.values[:, 0], np.arange(100, 106))
    assert "11 (4 points)" in caplog.text and "those of scan 12" in caplog.text


def test_scans_that_are_lines_of_one_are_joined(tmp_path: Path) -> None:
    path = spec(tmp_path / "run.spec", 4, 4, 4)
    points = read_points(str(path), path, None, 12)
    np.testing.assert_array_equal(points.values[::4, 0], [0, 100, 200])


@pytest.mark.parametrize(("counts", "patterns"), [((4, 6), 5), ((6, 6), 6)])
def test_which_scan_is_meant_must_be_told(
    counts: tuple[int, ...], patterns: int, tmp_path: Path
) -> None:
    path = spec(tmp_path / "run.spec", *counts)
    with pytest.raises(InputError, match=rf"11 \({counts[0]} points\), 12 \(6 points\)"):
        read_points(str(path), path, None, patterns)


def test_scans_may_have_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "run.spec"
    path.write_text("#S 1 ascan\n#L th  I\n1 2\n#S 2 mesh\n#L sy  sx  I\n1 2 3\n2 4 3\n")
    np.testing.assert_array_equal(read_points(str(path), path, None, 2).values, [[1, 2], [2, 4]])


def test_a_column_of_words_is_no_column_of_positions(tmp_path: Path) -> None:
    path = tmp_path / "places.csv"
    path.write_text("x,y,time\n1,2,10:01:02\n3,4,10:01:03\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"received column 'time' of .* without any; name another"):
        read_points(f"{path}:time,y", path, "xy", 2)


def test_decimal_commas_between_commas_are_told(tmp_path: Path) -> None:
    path = tmp_path / "positions.csv"
    path.write_text("x_um,y_um\n" + "".join(f"{k},25,{2 * k},5\n" for k in range(9)))
    with pytest.raises(InputError, match=r"x_um, y_um must hold one number.*decimal commas"):
        read_table(path)
    path.write_text("x_um,y_um\n" + "".join(f"{k}.5,25,{2 * k},5\n" for k in range(9)))
    assert read_table(path).values.shape == (9, 4)


@pytest.mark.parametrize("word", ["N/A", "-", "#NUM!", "#DIV/0!", "null", "na"])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_words_for_a_missing_number(word: str, row: int, tmp_path: Path) -> None:
    lines = ["1,2", "3,4", "5,6"]
    lines[row] = f"{word},{word}"
    path = tmp_path / "p.csv"
    path.write_text("x_um,y_um\n" + "\n".join(lines) + "\n", encoding="utf-8")
    values = read_table(path).values
    assert np.isnan(values[row]).all() and np.isfinite(np.delete(values, row, axis=0)).all()


def test_quoted_cells_with_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('"x, set","y, set"\n"1,5","-2,25"\n"3","4,5"\n', encoding="utf-8")
    table = read_table(path)
    assert table.names == ("x, set", "y, set")
    np.testing.assert_array_equal(table.values, [[1.5, -2.25], [3, 4.5]])


def test_a_minus_sign_as_it_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("x_um;y_um\n\u22121.5;2\n3;\u22120,25\n", encoding="utf-8")
    np.testing.assert_array_equal(read_table(path).values, [[-1.5, 2], [3, -0.25]])


def test_units_behind_a_slash(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("x/nm,y / um\n1,2\n3,4\n", encoding="utf-8")
    assert read_points(str(path), path, None, 2).unit == "um, nm"
