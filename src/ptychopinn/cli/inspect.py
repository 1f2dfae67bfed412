"""``ptychopinn inspect``: what is in a scan, a model bundle or a result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.kinds import held
from ptychopinn.cli.printing import print_json
from ptychopinn.cli.scans import (
    FLAGS,
    NOT_SAID,
    Reading,
    mend_option,
    open_scan,
    scan_options,
)
from ptychopinn.data.trials import RECORD

if TYPE_CHECKING:
    from ptychopinn.data.reconstruction import Reconstruction


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@scan_options
@click.option(
    "--check",
    is_flag=True,
    help="Look for what is wrong with a scan: what would be mended, what is doubtful. Exit code 2 "
    "when it cannot be used.",
)
@mend_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")
def command(
    file: Path, reading: Reading, check: bool, no_mend: tuple[str, ...], as_json: bool
) -> int:
    """Show what FILE contains: a scan, a model bundle (wts.h5.zip) or a result (HDF5).

    FILE may be the folder that a command wrote.
    """
    kind, file = held(file)
    if kind != "scan" and (check or no_mend or reading != NOT_SAID):
        from ptychopinn.errors import InputError

        flags = ", ".join(("--check", "--no-mend", *FLAGS))
        raise InputError(
            f"{flags} are meant for scans, received the {kind} '{file}'; leave them out."
        )
    faulty = False
    if kind == "bundle":
        content = _bundle(file)
    elif kind == "result":
        content = _result(file)
    else:
        from ptychopinn.cli.console import show_warnings
        from ptychopinn.io.summary import summarise

        show_warnings()
        scan = open_scan(file, reading, probe_needed=False)
        content = summarise(scan)
        if check:
            from ptychopinn.workflows.checking import check_scan

            if content["probe"] is None:
                from ptychopinn.probes.start import OF_PROBE

                no_mend = (*no_mend, *OF_PROBE)
            findings = check_scan(scan, no_mend=no_mend).findings
            faulty = any(found.level == "fault" for found in findings)
            content["findings"] = [found.as_json() for found in findings]
    if as_json:
        print_json(content)
    else:
        _show(file, content)
    return 2 if faulty else 0


def _bundle(path: Path) -> dict[str, Any]:
    import numpy as np

    from ptychopinn.io.models import load_bundle

    bundle = load_bundle(path)
    return {
        "kind": "bundle",
        "parameters": int(sum(int(np.prod(w.shape)) for w in bundle.weights.values())),
        "tensors": len(bundle.weights),
        "probe": {
            "modes": len(bundle.probe),
            "N": bundle.probe.shape[-1],
            "power": float((np.abs(bundle.probe).astype(np.float64) ** 2).sum()),
        },
        "manifest": bundle.manifest.model_dump(mode="json"),
    }


def _result(path: Path) -> dict[str, Any]:
    import numpy as np

    from ptychopinn.io.reconstructions import load_reconstruction

    result = load_reconstruction(path)
    seen = result.weight > 0
    amplitude = np.abs(result.object[seen])
    return {
        "kind": "result",
        "name": result.name,
        "object": {
            "shape": list(result.object.shape),
            "origin_yx_px": [int(v) for v in result.origin_px],
            "seen_fraction": float(seen.mean()),
            "mean_amplitude": float(amplitude.mean()) if amplitude.size else None,
        },
        "positions": len(result.positions_px),
        **_position_sigma(result),
        "probe": {
            "modes": len(result.probe),
            "N": result.N,
            "power": float((np.abs(result.probe).astype(np.float64) ** 2).sum()),
        },
        "losses": {
            "epochs": len(result.losses),
            "last": float(result.losses[-1]) if len(result.losses) else None,
        },
        "pixel_size_m": result.pixel_size_m,
        "energy_eV": result.energy_eV,
        "distance_m": result.distance_m,
        "effects_tried": [
            {**trial.as_json(), "words": trial.in_words} for trial in result.effects_tried
        ],
        "provenance": dict(result.provenance),
    }


def _position_sigma(result: Reconstruction) -> dict[str, Any]:
    """How exact refined positions are; nothing of others."""
    import numpy as np

    sigma = result.position_sigma_px
    if sigma is None:
        return {}
    return {"position_sigma_px": {"median": float(np.median(sigma)), "largest": float(sigma.max())}}


def _show(path: Path, content: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{content['kind']}: {path}", show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = _scan_rows(content) if content["kind"] == "scan" else _result_rows(content)
    if "findings" in content:
        found = [
            (f"{item['level']}: {item['name']}", item["message"]) for item in content["findings"]
        ]
        rows = (found or [("check", "nothing was found")]) + rows
    for label, value in rows:
        table.add_row(Text(label), Text(value))
    Console().print(table)


def _result_rows(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows of a result or a bundle."""
    tried = content.get("effects_tried", ())
    rows = [(f"tried {trial['effect']}", trial["words"]) for trial in tried]
    if tried:
        record = {**content["provenance"][RECORD]}
        del record["tried"]
        provenance = {**content["provenance"], RECORD: record}
        content = {**content, "provenance": provenance}
    return rows + _flat(content, skip=("kind", "effects_tried"))


def _scan_rows(scan: Mapping[str, Any]) -> list[tuple[str, str]]:
    from ptychopinn.data.findings import recorded_findings

    counts, positions, probe = scan["counts_per_pattern"], scan["positions_px"], scan["probe"]
    (y0, x0), (y1, x1) = positions["min_yx"], positions["max_yx"]
    mask, obj = scan["mask"], scan["object"]
    rows = [
        ("name", scan["name"]),
        ("patterns", f"{scan['M']} of {scan['N']} x {scan['N']} pixels, {scan['dtype']}"),
        (
            "counts per pattern",
            f"min {counts['min']:.6g}, mean {counts['mean']:.6g}, max {counts['max']:.6g}",
        ),
        ("positions (y, x)", f"({y0:.2f}, {x0:.2f}) to ({y1:.2f}, {x1:.2f}) px"),
        (
            "step",
            "one position only"
            if positions["median_step"] is None
            else f"{positions['median_step']:.3f} px, median distance to the nearest position",
        ),
        *_probe_rows(probe),
        (
            "overlap",
            "unknown"
            if scan["overlap"] is None
            else f"{100 * scan['overlap']:.0f} %, = 1 - step / probe diameter",
        ),
        ("mask", "all pixels good" if mask is None else f"{mask['bad_pixels']} bad pixel(s)"),
        (
            "object",
            "none"
            if obj is None
            else f"{obj['shape'][0]} x {obj['shape'][1]} px, "
            f"mean amplitude {obj['mean_amplitude']:.4g}",
        ),
    ]
    for key, unit in (("pixel_size_m", "m"), ("energy_eV", "eV"), ("distance_m", "m")):
        value = scan[key]
        rows.append((key.rsplit("_", 1)[0].replace("_", " "), _plain(value, unit)))
    found = recorded_findings(scan["provenance"])
    rows += [(finding.name, f"{finding.level}: {finding.message}") for finding in found]
    flat = _flat(scan["provenance"], skip=("findings",))
    return rows + [(f"provenance {k}", v) for k, v in flat]


def _probe_rows(probe: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if probe is None:
        return [("probe", "none")]
    fractions = ", ".join(f"{100 * f:.1f} %" for f in probe["mode_fractions"])
    power = f"{probe['power']:.6g} counts through vacuum"
    return [
        ("probe", f"{probe['modes']} mode(s) [{fractions}], {power}"),
        ("probe diameter", f"{probe['diameter_px']:.1f} px, circle with 90 % of the power"),
    ]


def _plain(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.6g} {unit}"


def _flat(
    content: Mapping[str, Any], prefix: str = "", skip: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        if key in skip:
            continue
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            rows.append((prefix + key, text))
    return rows
