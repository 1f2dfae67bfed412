"""Several ways to reconstruct one scan, with the time each takes and the scores it reaches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import common_origin, evaluate
from ptychopinn.evaluation.alignment import align, cut, scan_box
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName
from ptychopinn.solvers import ptychi
from ptychopinn.workflows.listening import Listening, stages_of
from ptychopinn.workflows.results import require_scan
from ptychopinn.workflows.verbs import reconstruct, refine

# What may follow a model, or start from an empty object.
REFINEMENTS = {
    "refine": RefineConfig(),
    "refine-probe": RefineConfig(refine_probe=True),
    "ptychi": RefineConfig(engine="ptychi"),
}


@dataclass(frozen=True)
class Method:
    """A network, iterations, or a network followed by them.

    name : as the user wrote it.  model : bundle or ``"pretrained"``, or None.
    refinement : the iterations, or None.
    """

    name: str
    model: str | None
    refinement: RefineConfig | None


@dataclass(frozen=True, eq=False)
class Row:
    """What a method gave: the result, and numbers by the names of evaluation.LABELS and
    ``seconds``, the time from the loaded scan to the result."""

    method: Method
    result: Reconstruction
    numbers: dict[str, float]


def parse_method(text: str) -> Method:
    """``MODEL``, one of the words of ``REFINEMENTS``, or a model followed by + and such a word.

    Raises
    ------
    InputError
        When it is none of them.
    """
    model, plus, after = text.rpartition("+")
    if not plus:
        model, after = ("", text) if text in REFINEMENTS else (text, "")
    if (plus and after not in REFINEMENTS) or (plus and not model) or not text:
        words = ", ".join(REFINEMENTS)
        raise InputError(
            f"a method must be a model, one of {words}, or a model followed by + and one of these, "
            f"received '{text}'; correct it."
        )
    refinement = REFINEMENTS[after] if after else None
    return Method(text, model or None, refinement)


def compare(
    scan: Scan,
    methods: Sequence[Method | str],
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    truth: Scan | None = None,
    progress: Listening = None,
) -> list[Row]:
    """Reconstruct the scan with every method and score the results.

    A method is :func:`parse_method` of a text: a model, ``"refine"``, or a model followed by it,
    as in ``["pretrained", "pretrained+refine"]``.
    ``truth`` is a scan with the true object. The object of a simulated scan is its truth; that of
    a measured one is a guess or an earlier result, and nothing is scored against it.

    Raises
    ------
    InputError
        When a model cannot be read or does not fit the scan, or pty-chi is asked for and not
        installed.
    """
    require_scan(scan, methods, "compare(scan, methods)")
    stages = stages_of(progress)
    parsed = [parse_method(m) if isinstance(m, str) else m for m in methods]
    if any(m.refinement is not None and m.refinement.engine == "ptychi" for m in parsed):
        ptychi.require()
    truth = known_truth(scan) if truth is None else truth
    rows = []
    for method in parsed:
        begun = time.perf_counter()
        result = None
        if method.model is not None:
            result = reconstruct(
                scan,
                method.model,
                refine="never",
                backend=backend,
                execution=execution,
                progress=stages,
            )
        if method.refinement is not None:
            who: dict[str, Any] = {"backend": backend, "execution": execution}
            if method.refinement.engine == "ptychi":
                who = {"execution": ptychi.obeyed(execution)}
            result = refine(scan, result, method.refinement, progress=stages, **who)
        assert result is not None  # a method has at least one of the two
        seconds = time.perf_counter() - begun
        scores = evaluate(result, truth=truth, data=scan).metrics
        rows.append(Row(method, result, {"seconds": seconds, **scores}))
    return rows


def known_truth(scan: Scan) -> Scan | None:
    """The scan itself when its object is the true one, because it was simulated."""
    return scan if scan.object is not None and "simulation" in scan.provenance else None


def pictures(
    scan: Scan, rows: Sequence[Row], truth: Scan | None = None
) -> list[tuple[str, str, NDArray[np.complex128]]]:
    """(name, scores in words, picture) of the truth or else the object in the file, if there is
    one, and of every result; all within the box of positions and aligned to the first.

    Pictures are (h, w) complex, NaN where a result holds nothing.
    """
    truth = known_truth(scan) if truth is None else truth
    known = scan if truth is None else truth
    box = scan_box(known.positions_px)
    found = []
    if known.object is not None:
        name = "object in the file" if truth is None else "truth"
        reference = known.object.astype(np.complex128)
        origins = [row.result.origin_px + common_origin(row.result, known) for row in rows]
        found.append((name, "", cut(reference, box)))
    else:
        # All in the coordinates of the first canvas.
        first = rows[0].result
        reference = first.object.astype(np.complex128)
        origins = [row.result.origin_px - first.origin_px for row in rows]
        y, x = (int(v) for v in first.origin_px)
        box = (
            slice(box[0].start - y, box[0].stop - y),
            slice(box[1].start - x, box[1].stop - x),
        )
    for row, origin in zip(rows, origins, strict=True):
        aligned = align(row.result.object, row.result.weight, origin, reference, box)
        picture = np.where(aligned.seen, aligned.reconstruction, np.nan)
        found.append((row.method.name, _words(row), picture))
    return found


def _words(row: Row) -> str:
    """The scores that fit below a name."""
    text = f"residual {row.numbers['residual']:.4f}"
    if "phase_psnr_db" in row.numbers:
        text += f", phase {row.numbers['phase_psnr_db']:.1f} dB"
    return text
