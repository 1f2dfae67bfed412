"""The table of many scans."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from ptychopinn.report.batch_tables import COLUMNS, csv_text, html_page


def row(name: str) -> dict[str, Any]:
    made = dict.fromkeys(COLUMNS)
    return made | {
        "name": name,
        "verdict": "good",
        "residual": -0.5,
        "thumbnail": None,
        "link": None,
    }


@pytest.mark.parametrize("name", ["=1+1.h5", "+1.h5", "-1.h5", "@SUM(1).h5", "\t=1.h5"])
def test_a_spreadsheet_computes_no_name(name: str) -> None:
    read = next(csv.DictReader(io.StringIO(csv_text([row(name)]), newline="")))
    assert read["name"] == f"'{name}"
    assert float(read["residual"]) == -0.5 and read["seconds"] == ""
    assert f"'{name}" not in html_page("scans", "one", [row(name)])


def test_other_names_stay_as_they_are() -> None:
    assert "\nleaf = 2.h5," in csv_text([row("leaf = 2.h5")]).replace("\r", "")
