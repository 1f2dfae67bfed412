"""Several ways to reconstruct one scan, with the time each takes and the scores it reaches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ptychopinn.backends.options import Execution
from ptychopinn.backends.selector import BackendName
from ptychopinn.config import RefineConfig
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.result import Reconstruction
from ptychopinn.scan import Scan
from ptychopinn.workflows import reconstruct, refine

REFINE, REFINE_PROBE = "refine", "refine-probe"


@dataclass(frozen=True)
class Method:
    """A network, physics iterations, or a network followed by them.

    name : as the user wrote it.  model : bundle or ``"pretrained"``, or None.
    refinement : the physics iterations, or None.
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
    """``MODEL``, ``refine``, ``refine-probe``, ``MODEL+refine`` or ``MODEL+refine-probe``.

    Raises
    ------
    InputError
        When it is none of them.
    """
    model, plus, after = text.rpartition("+")
    if not plus:
        model, after = ("", text) if text in (REFINE, REFINE_PROBE) else (text, "")
    if (plus and after not in (REFINE, REFINE_PROBE)) or (plus and not model) or not text:
        raise InputError(
            f"a method must be a model, {REFINE}, {REFINE_PROBE}, or a model followed by "
            f"+{REFINE} or +{REFINE_PROBE}, received '{text}'; correct it."
        )
    refinement = RefineConfig(refine_probe=after == REFINE_PROBE) if after else None
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
        When a model cannot be read or does not fit the scan.
    """
    rows = []
    for method in methods:
        begun = time.perf_counter()
        result = None
        if method.model is not None:
            result = reconstruct(method.model, scan, backend=backend, execution=execution)
        if method.refinement is not None:
            result = refine(
                scan, result, method.refinement, backend=backend, execution=execution
            ).result
        assert result is not None  # a method has at least one of the two
        seconds = time.perf_counter() - begun
        scores = evaluate(result, truth=None if scan.object is None else scan, data=scan).metrics
        rows.append(Row(method, result, {"seconds": seconds, **scores}))
    return rows
