"""The table of many scans, as CSV for programs and as one HTML page that needs nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

COLUMNS = (
    "name", "scan", "folder", "verdict", "residual", "expected", "seconds", "patterns", "likely",
    "remark", "started_from", "kept", "error",
)  # fmt: skip
TITLES = ("phase", "scan", "verdict", "residual", "photon noise", "seconds", "remark")

# Nothing is loaded and nothing runs, whatever a scan is called.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1f2933; background: #fff; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .4rem .9rem; border-bottom: 1px solid #d5dae0; text-align: left;
 vertical-align: middle; }}
th {{ white-space: nowrap; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.s {{ min-width: 7rem; max-width: 20rem; overflow-wrap: anywhere; }}
td.r {{ max-width: 40rem; overflow-wrap: anywhere; }}
img {{ display: block; max-width: 128px; max-height: 128px; }}
.good {{ color: #1b6e3c; }} .doubtful {{ color: #9a6700; }} .poor, .failed {{ color: #b3261e; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<table>
<thead><tr>{titles}</tr></thead>
<tbody>
"""


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per scan under a line of names; numbers that are not known are empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(["" if row[name] is None else _cell(row[name]) for name in COLUMNS])
    return file.getvalue()


def html_page(title: str, summary: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The same as a page with pictures.

    A row has the ``COLUMNS``, a ``thumbnail`` (base64 of a PNG, or None) and a ``link`` to its
    folder, relative to the page, or None, and may have the name of a ``page`` in it.
    """
    titles = "".join(f"<th>{escape(name)}</th>" for name in TITLES)
    page = [_HEAD.format(title=_shown(title), summary=_shown(summary), titles=titles)]
    for row in rows:
        picture = row["thumbnail"]
        shown = "" if not picture else f'<img alt="phase" src="data:image/png;base64,{picture}">'
        name = _shown(row["name"])
        if row["link"] is not None:
            # The bytes of the name, whatever they mean. "./" keeps a colon from being a scheme.
            target = quote(str(row["link"]).encode("utf-8", "surrogateescape"))
            name = f'<a href="./{target}/">{name}</a>'
            if row.get("page") is not None:
                shown = f'<a href="./{target}/{quote(row["page"])}">{shown or "page"}</a>'
        verdict = _shown(row["verdict"])
        page.append(
            f'<tr><td>{shown}</td><td class="s">{name}</td><td class="{verdict}">{verdict}</td>'
            f'<td class="n">{_number(row["residual"], ".4f")}</td>'
            f'<td class="n">{_number(row["expected"], ".4f")}</td>'
            f'<td class="n">{_number(row["seconds"], ".1f")}</td>'
            f'<td class="r">{_shown(row["error"] or row["remark"] or "")}</td></tr>\n'
        )
    page.append("</tbody>\n</table>\n</body>\n</html>\n")
    return "".join(page)


def _cell(value: Any) -> Any:
    """A spreadsheet computes what begins like a formula, and a name comes from whoever made the
    file: an apostrophe keeps such text as text."""
    if not isinstance(value, str):
        return value
    text = _plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _plain(text: str) -> str:
    """Text that UTF-8 can hold: the bytes of a name that are no text become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shown(text: Any) -> str:
    return escape(_plain(str(text)), quote=True)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
