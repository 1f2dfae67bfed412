"""A model of beam, sample and detector in one line: ``far-field+background+opr:3+slices:2``.

Each term is a short way of writing options that exist; what is not named is switched off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from ptychopinn.probes.modes import MOST_MODES
from ptychopinn.schema import meant
from ptychopinn.solvers.configs import PhysicsConfig

AUTO = "auto"
FIELDS: tuple[str, str] = ("far-field", "near-field")
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
    "pattern_shift",
    "eigenprobes",
    "slices",
)
# Options that a term needs and that may be given as well, as long as they say the same.
NEEDED = ("refine_probe",)

# Terms that contradict each other, and why.
APART: Mapping[tuple[str, str], str] = {
    FIELDS: "because a scan is of one of them",
    ("opr", "modes"): "because eigenprobes need a probe of one mode",
}

Modes = int | Literal["auto"] | None


@dataclass(frozen=True)
class Number:
    """A value of a term, as ``letter`` in what is written: a number within the limits of a field
    of the options, whole or not."""

    letter: str
    option: str
    whole: bool = True
    auto: bool = False

    @property
    def words(self) -> str:
        least, most, above = LIMITS.get(self.option) or _limits(self.option)
        kind = "a whole number" if self.whole else "a number"
        within = f"above {least:g} up to" if above else f"from {least:g} to"
        return f"{self.letter} is {'auto or ' if self.auto else ''}{kind} {within} {most:g}"

    def read(self, text: str) -> Any:
        """ValueError for another one."""
        if self.auto and text == AUTO:
            return AUTO
        if not re.fullmatch(r"[0-9]{1,9}" if self.whole else NUMERAL, text):
            raise ValueError
        value = int(text) if self.whole else float(text)
        least, most, above = LIMITS.get(self.option) or _limits(self.option)
        if not least <= value <= most or (above and value == least):
            raise ValueError
        return value


@dataclass(frozen=True)
class Choice:
    """A value of a term that is one of some words."""

    among: tuple[str, ...]
    words: str = ""

    def read(self, text: str) -> str:
        """ValueError for another one."""
        if text not in self.among:
            raise ValueError
        return text


@dataclass(frozen=True)
class Term:
    """written : with its values.  options : gives those of the refinement for the values.
    values : that it may have.  least : how many it must have.  passes : that it takes."""

    written: str
    options: Callable[..., dict[str, Any]]
    values: tuple[Number | Choice, ...] = ()
    least: int = 0
    passes: int = 0

    @property
    def in_words(self) -> str:
        """How it is written, and what its values may be."""
        return ", where ".join([self.written, *(v.words for v in self.values if v.words)])

    def read(self, values: Sequence[str]) -> dict[str, Any]:
        """The options of a term with these values; ValueError where they are not its."""
        if not self.least <= len(values) <= len(self.values):
            raise ValueError
        return self.options(*(v.read(text) for v, text in zip(self.values, values, strict=False)))


# Numbers without sign, underscore or name.
NUMERAL = r"[0-9]{1,9}(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?|\.[0-9]+"
# Least and most where no option has them, and whether the value must be above the least.
LIMITS: Mapping[str, tuple[float, float, bool]] = {"modes": (1, MOST_MODES, False)}


def _limits(option: str) -> tuple[float, float, bool]:
    """Those of a field of the options."""
    known: dict[str, float] = {}
    for limit in PhysicsConfig.model_fields[option].metadata:
        known |= {name: getattr(limit, name) for name in ("ge", "gt", "le") if hasattr(limit, name)}
    return known.get("ge", known.get("gt", 0)), known["le"], "gt" in known


TERMS: Mapping[str, Term] = {
    "beam-current": Term("beam-current", lambda: {"beam_current": True}),
    "background": Term("background", lambda: {"background": True}),
    "probe": Term("probe", lambda: {"refine_probe": True}),
    "opr": Term(
        "opr:K",
        lambda k=EIGENPROBES: {"eigenprobes": k, "refine_probe": True},
        (Number("K", "eigenprobes"),),
        passes=60,
    ),
    "slices": Term(
        "slices:K", lambda k=SLICES: {"slices": k}, (Number("K", "slices"),), passes=100
    ),
    "fly": Term(
        "fly:PIXELS or fly:PIXELS:y|x|scan",
        lambda px, along="scan": {"exposure_px": px, "exposure_along": along},
        (Number("PIXELS", "exposure_px", whole=False), Choice(("y", "x", "scan"))),
        least=1,
    ),
    "modes": Term(
        "modes:K",
        lambda k=AUTO: {"modes": k, "refine_probe": True},
        (Number("K", "modes", auto=True),),
    ),
    "pattern-shift": Term("pattern-shift", lambda: {"pattern_shift": True}, passes=100),
    "point-spread": Term(
        "point-spread or point-spread:PIXELS",
        lambda px=None: (
            {"point_spread": True} if px is None else {"point_spread": False, "point_spread_px": px}
        ),
        (Number("PIXELS", "point_spread_px", whole=False),),
    ),
}
WRITTEN = ", ".join(("auto", *FIELDS, *(term.written for term in TERMS.values())))


def passes_with(terms: Iterable[str], passes: int) -> int:
    """How many passes a model takes that has these terms, where another one takes ``passes``."""
    names = [term.partition(":")[0] for term in terms]
    return max([passes, *(TERMS[name].passes for name in names if name in TERMS)])


def with_model(
    model: Any, scan: Scan | None, config: RefineConfig | None, modes: Modes
) -> tuple[RefineConfig, Modes]:
    """The options of a refinement and its modes, as a written ``model`` says; as they are for
    ``"auto"``, which chooses them later. Passes that the options do not say are as many as the
    terms take. Without a ``scan`` its propagation is not compared.

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
    terms = [":".join(part.strip() for part in term.split(":")) for term in model.split("+")]
    if "" in terms:
        raise InputError(
            f"a model must have a term on both sides of each +, received {shown(model)}; leave out "
            "the + that is too many."
        )
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
        if name in names:
            raise InputError(
                f"a model must name each term once, received {name} twice in {shown(model)}; leave "
                "one out."
            )
        names.append(name)
        for pair in APART:
            if set(pair) <= set(names):
                raise InputError(
                    f"{' and '.join(pair)} cannot be in one model, {APART[pair]}, received "
                    f"{shown(model)}; leave either out."
                )
        found.update(_options_of(name, values, scan, text))
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
    known.setdefault("passes", passes_with(names, config.passes))
    return validated(RefineConfig, {**known, **found}), asked


def _options_of(name: str, values: list[str], scan: Scan | None, text: str) -> dict[str, Any]:
    term = Term(name, dict) if name in FIELDS else TERMS.get(name)
    if term is None:
        guess = meant(name, (AUTO, *FIELDS, *TERMS))
        raise InputError(
            f"a term of a model must be one of {WRITTEN}, received {shown(text)}"
            f"{'' if guess is None else f' (did you mean {guess})'}; correct it."
        )
    try:
        found = term.read(values)
    except ValueError as error:
        raise InputError(
            f"the term {name} of a model is written {term.in_words}, received {shown(text)}; "
            "correct it."
        ) from error
    if scan is None:
        return found
    kind = scan.propagation if isinstance(scan.propagation, str) else "other propagator"
    if name in FIELDS and name != kind:
        raise InputError(
            f"the model must be that of the scan, received {shown(text)} and a scan of the "
            f"{kind.replace('-', ' ')}; correct the model, or write the scan with its "
            "propagation."
        )
    return found


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
