"""A model of beam, sample and detector in one line: ``far-field+background+opr:3+slices:2``.

Each term is a short way of writing options that exist; what is not named is switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ptychopinn.config import RefineConfig, validated
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.data.trials import RECORD
from ptychopinn.errors import InputError, shown
from ptychopinn.physics.effects import restored
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.slices import Slices
from ptychopinn.physics.varying_probe import VaryingProbe
from ptychopinn.solvers.configs import PhysicsConfig

AUTO = "auto"
FIELDS = ("far-field", "near-field")
# Eigenprobes and slices where a term does not say how many.
EIGENPROBES, SLICES = 4, 2
# What terms decide, so that an option beside them would contradict them.
DECIDED = (
    "beam_current",
    "background",
    "exposure_px",
    "exposure_along",
    "point_spread",
    "point_spread_px",
    "eigenprobes",
    "slices",
)
# Options that a term needs and that may be given as well, as long as they say the same.
NEEDED = ("refine_probe",)

Modes = int | Literal["auto"] | None


@dataclass(frozen=True)
class Term:
    """written : with its values.  options : gives those of the refinement for the values.
    values : how many there may be."""

    written: str
    options: Callable[..., dict[str, Any]]
    least: int = 0
    most: int = 0


TERMS: Mapping[str, Term] = {
    "beam-current": Term("beam-current", lambda: {"beam_current": True}),
    "background": Term("background", lambda: {"background": True}),
    "probe": Term("probe", lambda: {"refine_probe": True}),
    "opr": Term(
        "opr:K", lambda k=EIGENPROBES: {"eigenprobes": _whole(k), "refine_probe": True}, most=1
    ),
    "slices": Term("slices:K", lambda k=SLICES: {"slices": _whole(k)}, most=1),
    "fly": Term(
        "fly:PIXELS or fly:PIXELS:y|x|scan",
        lambda px, along="scan": {"exposure_px": _real(px), "exposure_along": along},
        least=1,
        most=2,
    ),
    "modes": Term("modes:K", lambda k=AUTO: {"modes": k, "refine_probe": True}, most=1),
    "point-spread": Term(
        "point-spread or point-spread:PIXELS",
        lambda px=None: (
            {"point_spread": True}
            if px is None
            else {"point_spread": False, "point_spread_px": _real(px)}
        ),
        most=1,
    ),
}
WRITTEN = ", ".join(("auto", *FIELDS, *(term.written for term in TERMS.values())))


def _whole(text: Any) -> int:
    return text if isinstance(text, int) else int(text)


def _real(text: str) -> float:
    return float(text)


def with_model(
    model: Any, scan: Scan, config: RefineConfig | None, modes: Modes
) -> tuple[RefineConfig, Modes]:
    """The options of a refinement and its modes, as a written ``model`` says; as they are for
    ``"auto"``, which chooses them later.

    Raises
    ------
    InputError
        When the model cannot be read, contradicts itself, the scan or another option.
    """
    config = RefineConfig() if config is None else config
    if not isinstance(model, str) or not model.strip():
        raise InputError(
            f"a model must be auto or terms joined by +, received {shown(model)}; give some of "
            f"{WRITTEN}."
        )
    if not isinstance(config, PhysicsConfig):
        raise InputError(
            f"a model needs the engine physics, received {shown(model)} with the engine "
            f"{config.engine}; leave either out."
        )
    terms = [term.strip() for term in model.split("+")]
    if AUTO in terms:
        if len(terms) > 1:
            raise InputError(
                f"the model auto stands alone, received {shown(model)}; give auto or the other "
                "terms."
            )
        if modes == AUTO:
            raise InputError(
                "the model auto chooses the modes as well, received modes 'auto' beside it; leave "
                "either out."
            )
        return config, modes
    found: dict[str, Any] = {"beam_current": False, "background": False}
    names: list[str] = []
    for text in terms:
        name, *values = text.split(":")
        if name in names or (name in FIELDS and set(names) & set(FIELDS)):
            raise InputError(
                f"a model must name each term once and one of {' and '.join(FIELDS)}, received "
                f"{shown(model)}; leave one out."
            )
        names.append(name)
        found.update(_options_of(name, values, scan, text))
    if "modes" in names and "opr" in names:
        raise InputError(
            f"eigenprobes need a probe of one mode, received {shown(model)}; leave out opr or "
            "modes."
        )
    said = [name for name in DECIDED if name in config.model_fields_set]
    said += [
        name
        for name in NEEDED
        if name in config.model_fields_set and getattr(config, name) != found.get(name, True)
    ]
    if modes is not None:
        said.append("modes")
    if said:
        raise InputError(
            f"a model says all of beam, sample and detector, received {shown(model)} and the "
            f"option {said[0]}; leave either out."
        )
    asked = found.pop("modes", None)
    known = {name: getattr(config, name) for name in config.model_fields_set}
    if asked is not None and asked != AUTO:
        asked = int(asked)
    return validated(RefineConfig, {**known, **found}), asked


def _options_of(name: str, values: list[str], scan: Scan, text: str) -> dict[str, Any]:
    if name in FIELDS:
        kind = scan.propagation if isinstance(scan.propagation, str) else "other propagator"
        if values or name != kind:
            raise InputError(
                f"the model must be that of the scan, received {shown(text)} and a scan of the "
                f"{kind.replace('-', ' ')}; correct the model, or write the scan with its "
                "propagation."
            )
        return {}
    term = TERMS.get(name)
    if term is None:
        raise InputError(
            f"a term of a model must be one of {WRITTEN}, received {shown(text)}; correct it."
        )
    try:
        if not term.least <= len(values) <= term.most:
            raise ValueError
        found = term.options(*values)
        if name == "modes" and found["modes"] != AUTO:
            found["modes"] = int(found["modes"])
        return found
    except ValueError as error:
        raise InputError(
            f"this term of a model is written {term.written}, received {shown(text)}; correct it."
        ) from error


def written(propagation: Any, terms: Iterable[str]) -> str:
    """The model of a scan with this propagation and these terms, as it is typed."""
    kind = propagation if isinstance(propagation, str) else FIELDS[0]
    return "+".join([kind, *terms])


def terms_of(result: Reconstruction) -> list[str]:
    """What a result knows of beam, sample and detector, as terms."""
    found = [f"modes:{len(result.probe)}"] if len(result.probe) > 1 else []
    for known in restored(result.effects, len(result.positions_px), result.N):
        term = known.name
        if isinstance(known, VaryingProbe):
            term = f"opr:{len(known.values)}"
        elif isinstance(known, Slices):
            term = f"slices:{known.slices}"
        elif isinstance(known, MovingExposure):
            term = f"fly:{float(np.median(known.lengths)):.1f}"
        found.append(term)
    return found


def with_record(result: Reconstruction, model: str | None) -> Reconstruction:
    """The result with the model that was asked for, beside what is recorded of it."""
    if model is None:
        return result
    known = result.provenance.get(RECORD, {})
    record = {**known, "asked": model}
    return replace(result, provenance={**result.provenance, RECORD: record})
