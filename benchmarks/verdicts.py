"""Is the verdict on a fit honest? Simulated scans with one fault each, and what is said of them.

python benchmarks/verdicts.py --seeds 33
python benchmarks/verdicts.py --seeds 50 --first 200
python benchmarks/verdicts.py --rows benchmark-results/verdicts_rows_200.jsonl

Thresholds were set on seeds below 200; the others are held out. A picture that is
wrong (5 dB below the one without a fault, or below 30 dB) and called good is a false good; one that
is right (within 2 dB of the one without a fault) and not called good is a false alarm. "blind" are
wrong pictures of scans whose patterns show no structure beyond noise, which no residual can tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import arguments, report
from ptychopinn.evaluation.gain_steps import GainStep
from ptychopinn.evaluation.signs import Signs, signs_of
from ptychopinn.evaluation.verdict import judge
from ptychopinn.workflows.before_axes import SHOWN
from verdict_cases import FAULTS, cases

# Which words of the verdict name the fault that was made.
NAMES = {
    "axes swapped": {"geometry", "geometry-or-probe"},
    "y axis flipped": {"geometry", "geometry-or-probe"},
    "patterns transposed": {"geometry", "geometry-or-probe"},
    "shuffled": {"geometry", "geometry-or-probe", "patterns"},
    "offset by one": {"geometry", "geometry-or-probe", "positions", "frame-slip"},
    "positions off 0.5 px": {"positions"},
    "positions off 1.5 px": {"positions"},
    "positions off 3 px": {"positions"},
    "scan axes scaled 4 %": {"positions", "geometry"},
    "scan axes turned 3 deg": {"positions", "geometry"},
    "probe defocused": {"probe", "geometry-or-probe"},
    "probe much defocused": {"probe", "geometry-or-probe"},
    "probe too narrow": {"probe", "geometry-or-probe"},
    "modes missing": {"probe", "modes"},
    "background": {"background"},
    "beam current": {"beam-current"},
    "hot pixels": {"pixels", "background"},
    "dead pixels": {"pixels"},
    "some shuffled": {"patterns"},
    "some empty": {"patterns", "beam-current"},
    "frames averaged": {"afterglow"},
    "beam drifts": {"pattern-shift"},
    "moved in mid-scan": {"pattern-shift"},
    "one axis in another unit": {"axis-unit", "geometry"},
}


def measured(seeds: int, first: int, path: Path) -> Iterator[dict[str, Any]]:
    """A row for each picture, kept in a file as they come."""
    with path.open("w") as file:
        for seed in range(first, first + seeds):
            for row, result in cases(seed):
                assert result.fit is not None
                full = {
                    **row,
                    "signs": asdict(signs_of(result.fit)),
                    "alternatives": list(result.fit.alternatives),
                }
                file.write(json.dumps(full) + "\n")
                file.flush()
                yield full


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """A kept row with what is said today."""
    values = dict(row["signs"])
    values["pixels"] = tuple(tuple(p) for p in values["pixels"])
    values["patterns"] = tuple(values["patterns"])
    values["empty"] = tuple(values.get("empty", ()))
    values["quiet"] = tuple(tuple(p) for p in values.get("quiet", ()))
    if values.get("step") is not None:
        axis, place, part, step = values["step"]
        values["step"] = GainStep(axis, place, tuple(part), step)
    # No change in mid-scan is no number.
    missing = {
        k: float("nan") for k, v in values.items() if v is None and k not in ("change", "step")
    }
    values |= missing
    signs = Signs(**values)
    tried = [(str(words), float(left)) for words, left in row["alternatives"]]
    if judge(signs).likely in SHOWN:
        tried = []
    found = judge(signs, tried)
    return {**row, "verdict": found.verdict, "likely": found.likely, "explained": signs.explained}


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each kind of fault what is said of right and of wrong pictures."""
    found = []
    for kind in ["all", "none", *FAULTS]:
        chosen = [r for r in rows if kind in ("all", r["fault"])]
        wrong = [r for r in chosen if r["state"] == "wrong"]
        right = [r for r in chosen if r["state"] == "right"]
        seen = [r for r in wrong if r["explained"] == r["explained"]]
        told = [r for r in chosen if r["verdict"] != "good" and r["state"] != "right"]
        named = sum(r["likely"] in NAMES.get(r["fault"], {r["likely"]}) for r in told)
        found.append(
            {
                "fault": kind,
                "pictures": len(chosen),
                "wrong": len(wrong),
                "false good": sum(r["verdict"] == "good" for r in seen),
                "blind": sum(r["verdict"] == "good" for r in wrong if r not in seen),
                "right": len(right),
                "false alarm": sum(r["verdict"] != "good" for r in right),
                "called poor": sum(r["verdict"] == "poor" for r in right),
                "between, good": sum(
                    r["verdict"] == "good" for r in chosen if r["state"] == "between"
                ),
                "told": len(told),
                "cause right": named,
            }
        )
    return found


def main() -> None:
    o = arguments(__doc__, seeds=90, first=0, rows="")
    path = Path(o.rows) if o.rows else o.out / f"verdicts_rows_{o.first}.jsonl"
    if o.rows:
        kept = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        kept = list(measured(o.seeds, o.first, path))
    rows = [judged(row) for row in kept]
    report(f"verdicts_{min(row['seed'] for row in rows)}", o.out, table(rows))


if __name__ == "__main__":
    main()
