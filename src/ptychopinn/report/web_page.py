"""One HTML file about a result, which needs nothing else: no network, no server, no other file.

The words stand in the page; the pictures are drawn by its script from numbers. Whatever a scan or
a file is called, it is text: it is escaped, and the page forbids any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ptychopinn.data.findings import Finding
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.data.trials import model_in_words
from ptychopinn.evaluation import Evaluation
from ptychopinn.evaluation.beside import Compared
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.io.atomic import atomic_path, refuse_existing
from ptychopinn.report.asking import WHAT_TO_SEND
from ptychopinn.report.report_data import Other, page_data
from ptychopinn.report.two_pages import in_script

SCRIPTS = ("decode.js", "draw.js", "viewer.js", "positions.js", "page.js")
STYLE = "report.css"
VERDICTS = {
    "good": "The result explains the measured patterns.",
    "doubtful": "The result explains the measured patterns only in part.",
    "poor": "The result does not explain the measured patterns.",
}
# Letters of what is recorded about a result.
MOST_PROVENANCE = 100_000

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src '{script_hash}'; style-src '{style_hash}'; \
img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{verdict}
{findings}
</header>
<main>
<p id="trouble" class="note" role="alert"></p>
<noscript><p class="note">The pictures need JavaScript; the words do not.</p></noscript>
<section aria-labelledby="t1"><h2 id="t1">Object</h2><div id="viewer" class="split"></div></section>
<section aria-labelledby="t2"><h2 id="t2">Positions and patterns</h2>\
<div id="positions" class="split even"></div></section>
<section aria-labelledby="t3"><h2 id="t3">Probe</h2><div id="probe" class="row"></div></section>
<section aria-labelledby="t4"><h2 id="t4">Curves</h2><div id="curves" class="row"></div></section>
{tables}
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def result_page(
    result: Reconstruction,
    compared: Compared | None,
    arguments: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
    advice: str | None = None,
    evaluation: Evaluation | None = None,
    other: Other | None = None,
) -> str:
    """The page of a result.

    Parameters
    ----------
    compared : the result with its scan, whose patterns are shown; or None.
    arguments : of the command that made it.
    seconds : how long every stage took.
    advice : why the fit is not good, and what helps.
    evaluation : what was found about the result, whose numbers are shown.
    other : a picture to begin with behind the slider.
    """
    fit = evaluation.misfit if evaluation is not None else result.fit
    rings = None if evaluation is None else evaluation.frc
    if fit is not None:
        result = replace(result, fit=fit)
    script = "\n".join(_part(name) for name in SCRIPTS)
    style = _part(STYLE)
    tables = _tables(result, seconds or {}, evaluation)
    if arguments:
        tables += _command(shlex.join(["ptychopinn", *arguments]))
    tables += _provenance(result.provenance)
    if _numbers(result, fit).get("verdict") == "poor":
        tables += f"<section><h2>To ask for help</h2><p>{_shown(WHAT_TO_SEND)}</p></section>\n"
    return _PAGE.format(
        title=_shown(result.name),
        script_hash=_hash(script),
        style_hash=_hash(style),
        style=style,
        verdict=_verdict(result, fit, advice),
        findings=_findings(result.findings, () if evaluation is None else evaluation.notes),
        tables=tables,
        data=in_script(page_data(result, compared, rings, other)),
        script=script,
    )


def save_page(
    result: Reconstruction, path: str | Path, data: Scan | None = None, force: bool = False
) -> Path:
    """Write the page of a result, with the patterns of the scan ``data``, and return its path.

    Raises
    ------
    InputError
        When the file exists and ``force`` is False, the folder cannot be written to, or the two do
        not belong together.
    """
    target = Path(path)
    refuse_existing(target.parent, [target.name], force)
    compared = None if data is None else Compared.of(result, data)
    write_page(result_page(result, compared, seconds=result.seconds), target, force)
    return target


def write_page(page: str, path: Path, force: bool = True) -> None:
    """A page as a file, whole or not at all."""
    with atomic_path(path, force=force) as file:
        # The bytes that the policy of the page was made for.
        file.write_bytes(page.encode())


def _part(name: str) -> str:
    return (files("ptychopinn.report") / "web" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names a script or a style."""
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()


def _shown(value: Any) -> str:
    """Text as it is; bytes of a name that are no text, and letters that turn what follows around,
    become escapes."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    plain = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return escape(plain, quote=True)


def _numbers(result: Reconstruction, fit: Misfit | None) -> Mapping[str, Any]:
    """Of the fit, as it is known or as it was recorded; nothing where it never was looked at."""
    numbers = result.provenance.get("fit") if fit is None else fit.summary()
    return numbers if isinstance(numbers, Mapping) else {}


def _verdict(result: Reconstruction, fit: Misfit | None, advice: str | None) -> str:
    numbers = _numbers(result, fit)
    if numbers.get("verdict") not in VERDICTS:
        return '<div class="verdict"><p>How well the result fits was not looked at.</p></div>'
    verdict = str(numbers["verdict"])
    residual, expected = numbers.get("residual"), numbers.get("expected")
    parts = []
    if isinstance(residual, int | float) and isinstance(expected, int | float):
        parts.append(f"Residual {residual:.4f}; photon noise alone gives {expected:.4f}.")
    explained = numbers.get("explained")
    if isinstance(explained, int | float):
        parts.append(f"Share of the structure explained: {explained:.2f}.")
    text = f"<p>{_shown(' '.join(parts))}</p>"
    why = advice or numbers.get("cause")
    if verdict != "good" and why:
        text += f"<p>Likely: {_shown(why)}</p>"
    return (
        f'<div class="verdict {verdict}"><p><strong>{verdict.capitalize()} fit.</strong> '
        f"{VERDICTS[verdict]}</p>{text}</div>"
    )


def _findings(findings: Iterable[Finding], notes: Iterable[str]) -> str:
    lines = [
        f'<li><span class="level {found.level}">{found.level}</span> {_shown(found.message)}</li>'
        for found in findings
    ]
    lines += [f'<li><span class="level note">note</span> {_shown(note)}</li>' for note in notes]
    if not lines:
        return '<p class="note">Nothing else was noticed about the scan.</p>'
    return f'<ul class="findings">{"".join(lines)}</ul>'


def _tables(
    result: Reconstruction, seconds: Mapping[str, float], evaluation: Evaluation | None
) -> str:
    height, width = result.object.shape
    modes = "1 mode" if len(result.probe) == 1 else f"{len(result.probe)} modes"
    about = [
        ("object", f"{height} x {width} pixels"),
        ("positions", str(len(result.positions_px))),
        ("probe", f"{modes} of {result.N} x {result.N} pixels"),
        ("pixel size", _quantity(result.pixel_size_m, 1e-9, "nm")),
        ("photon energy", _quantity(result.energy_eV, 1e3, "keV")),
        ("distance", _quantity(result.distance_m, 1.0, "m")),
        ("backend", result.backend or str(result.provenance.get("backend", "unknown"))),
    ]
    about += [(f"time: {name}", f"{value:.2f} s") for name, value in seconds.items()]
    sections = [("About the result", about)]
    if evaluation is not None:
        sections.insert(0, ("Scores", evaluation.rows()))
    model = model_in_words(result.provenance)
    if model:
        sections.append(("Beam, sample and detector", model))
    stages = result.provenance.get("stages")
    for stage in stages if isinstance(stages, list) else []:
        if isinstance(stage, Mapping):
            rows = [(str(key), _setting(value)) for key, value in stage.items() if key != "stage"]
            sections.append((f"Settings of the stage: {stage.get('stage', 'unknown')}", rows))
    return "".join(
        f"<section><h2>{_shown(title)}</h2><table><tbody>"
        + "".join(f"<tr><th scope=row>{_shown(a)}</th><td>{_shown(b)}</td></tr>" for a, b in rows)
        + "</tbody></table></section>\n"
        for title, rows in sections
    )


def _setting(value: Any) -> str:
    words = {None: "none", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_setting(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _quantity(value: float | None, unit: float, name: str) -> str:
    return "unknown" if value is None else f"{value / unit:.5g} {name}"


def _command(line: str) -> str:
    return (
        '<section><h2>To make it again</h2><pre id="command">'
        f'{_shown(line)}</pre><button type="button" data-copy="command">Copy</button></section>\n'
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    text = json.dumps(provenance, indent=2, ensure_ascii=False)
    if len(text) > MOST_PROVENANCE:
        text = text[:MOST_PROVENANCE] + "\n… the rest is in the file of the result"
    return (
        "<section><h2>Where it comes from</h2><details><summary>Everything that is recorded"
        f"</summary><pre>{_shown(text)}</pre></details></section>\n"
    )
