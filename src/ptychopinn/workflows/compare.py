"""Several ways to reconstruct one scan, with the time each takes and the scores it reaches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName
from ptychopinn.solvers import ptychi
from ptychopinn.workflows.verbs import reconstruct, refine

# What may follow a model, or start from nothing.
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
    methods: Sequence[Method],
    *,
    backend: BackendName | None = None,
    execution: Execution | None = None,
) -> list[Row]:
    """Reconstruct the scan with every method and score the results.

    Raises
    ------
    InputError
        When a model cannot be read or does not fit the scan, or pty-chi is asked for and not
        installed.
    """
    if any(m.refinement is not None and m.refinement.engine == "ptychi" for m in methods):
        ptychi.require()
    rows = []
    for method in methods:
        begun = time.perf_counter()
        result = None
        if method.model is not None:
            result = reconstruct(method.model, scan, backend=backend, execution=execution)
        if method.refinement is not None:
            who: dict[str, Any] = {"backend": backend, "execution": execution}
            if method.refinement.engine == "ptychi":
                who = {"execution": ptychi.obeyed(execution)}
            result = refine(scan, result, method.refinement, **who).result
        assert result is not None  # a method has at least one of the two
        seconds = time.perf_counter() - begun
        scores = evaluate(result, truth=None if scan.object is None else scan, data=scan).metrics
        rows.append(Row(method, result, {"seconds": seconds, **scores}))
    return rows
