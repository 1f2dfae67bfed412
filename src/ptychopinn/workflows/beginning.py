"""A folder to begin with: all options of a training with their defaults, and a notebook for the
user's own files."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ptychopinn.config import SECTIONS, Config
from ptychopinn.errors import InputError
from ptychopinn.io.atomic import claimed, replacing
from ptychopinn.io.scans import load_scan
from ptychopinn.schema import options_of

RECIPE, NOTEBOOK = "recipe.yaml", "first_steps.ipynb"
WIDTH = 96


def begin(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    architecture: str = "unrolled",
    force: bool = False,
) -> tuple[Path, ...]:
    """Write ``recipe.yaml`` and ``first_steps.ipynb`` into the folder ``output``.

    The recipe holds every option of :func:`ptychopinn.train` with its description and its default,
    for a file of options or ``Config(**yaml)``. The notebook looks at the files,
    reconstructs, judges and refines them; of a file that is no scan it says how to make one.

    Parameters
    ----------
    sources : files of the user, scans or raw data; a simulated scan without any.
    output : folder, made when it is not there.
    architecture : whose options the recipe holds.
    force : overwrite files of the same names.

    Raises
    ------
    InputError
        When a file is not there, the architecture is unknown, or files would be overwritten.
    """
    output = Path(output)
    config = Config(model={"architecture": architecture})
    files = [Path(source) for source in sources]
    for file in files:
        if not file.exists():
            raise InputError(
                f"the notebook needs files that are there, received '{file}', which is not; "
                "correct the path."
            )
    cells = list(_cells(files, output))
    with claimed(output, (RECIPE, NOTEBOOK), force), replacing(output, (RECIPE, NOTEBOOK)) as new:
        (new / RECIPE).write_text(recipe_of(config), encoding="utf-8")
        (new / NOTEBOOK).write_text(_notebook(cells), encoding="utf-8")
    return output / RECIPE, output / NOTEBOOK


def recipe_of(config: Config) -> str:
    """The options of a configuration as YAML, each below its description; those without a value
    are comments."""
    lines = [
        "# All options of a training, with their defaults. Change what you like and delete the",
        "# rest: what is not here has its default.",
    ]
    for section in SECTIONS:
        values = getattr(config, section)
        lines += ["", f"{section}:"]
        for name, option in options_of(type(values)).items():
            text = textwrap.wrap(option.description, WIDTH) or []
            lines += [f"  # {line}" for line in text]
            value = getattr(values, name)
            written = yaml.safe_dump(value, default_flow_style=True, width=1000)
            written = written.removesuffix("...\n").strip()
            lines.append(f"  # {name}:" if value is None else f"  {name}: {written}")
    return "\n".join(lines) + "\n"


def _cells(files: Sequence[Path], output: Path) -> Iterator[tuple[str, str]]:
    """Kind and text of the cells."""
    yield (
        "markdown",
        "# First steps\n\nRun the cells from top to bottom. Every result says how well it explains "
        "the patterns: *good*, *doubtful* or *poor*.",
    )
    yield "code", "import ptychopinn as pp"
    if not files:
        yield "markdown", "A simulated scan; name your own file with `pp.load_scan(...)`."
        yield "code", 'scan = pp.simulate(object="leaves", N=64, patterns=225, photons=1e6, seed=1)'
        yield from _steps()
    for file in files:
        name = os.path.relpath(file, output) if not file.is_absolute() else str(file)
        yield "markdown", f"## {file.name}"
        said = _not_a_scan(file)
        if said is not None:
            yield (
                "markdown",
                "This file is raw data. Make a scan of it at a command line, then go on with that "
                f"file:\n\n```\n{said}\n```",
            )
            name = os.path.relpath(Path("scan.h5"), output)
        yield "code", f"scan = pp.load_scan({name!r})\nscan"
        yield from _steps()


def _steps() -> Iterator[tuple[str, str]]:
    yield "markdown", "What is in it, and is anything wrong with it?"
    yield (
        "code",
        "for finding in pp.check_scan(scan).findings:\n    print(finding.level, finding.message)",
    )
    yield "markdown", "The pretrained network, and physics iterations where the fit asks for them:"
    yield "code", "result = pp.reconstruct(scan, progress=True)\nresult"
    yield "code", "result.crop().plot()"
    yield (
        "code",
        "fit = result.fit\nprint(fit.verdict, fit.residual, 'photon noise:', fit.expected)\n"
        "print(fit.cause or 'nothing is wrong')",
    )
    yield "markdown", "Better still, by physics alone:"
    yield (
        "code",
        "refined = pp.refine(scan, result, pp.RefineConfig(passes=20), progress=True)\n"
        "refined.save('refined.h5', force=True)\nrefined.crop().plot()",
    )


def _not_a_scan(file: Path) -> str | None:
    """Why a file is no scan, with what to type; None where it is one."""
    try:
        load_scan(file)
    except InputError as error:
        return str(error)
    return None


def _notebook(cells: Sequence[tuple[str, str]]) -> str:
    """The notebook as JSON (nbformat 4.5)."""

    def cell(number: int, kind: str, text: str) -> dict[str, Any]:
        # The name of a file may be no text.
        text = text.encode("utf-8", "backslashreplace").decode()
        common = {"cell_type": kind, "id": f"cell-{number}", "metadata": {},
                  "source": text.splitlines(keepends=True)}  # fmt: skip
        return common if kind == "markdown" else {**common, "execution_count": None, "outputs": []}

    content = {
        "cells": [cell(k, kind, text) for k, (kind, text) in enumerate(cells, 1)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
