"""What of beam, sample and detector was tried on patterns that were left out, as a record says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ptychopinn.errors import brief

# Where the provenance of a result has the model of beam, sample and detector that was chosen or
# asked for.
RECORD = "effects_model"


@dataclass(frozen=True)
class EffectTrial:
    """One effect that was tried.

    effect : as it is written in a model, ``background`` or ``opr:4``.
    gain : share by which it lowers the misfit of the patterns that were left out; None where it
        was not tried.
    error : standard error of the gain.
    kept : whether it is in the model.
    note : why it was not tried, or what else is to be said of it.
    """

    effect: str
    gain: float | None
    error: float | None
    kept: bool
    note: str = ""

    @property
    def in_words(self) -> str:
        if self.gain is None or self.error is None:
            found = "kept without a trial" if self.kept else "not tried"
        else:
            found = (
                f"{'kept' if self.kept else 'left off'}, patterns that were left out gain "
                f"{100 * self.gain:.1f} % +- {100 * self.error:.1f} %"
            )
        return found + (f" ({self.note})" if self.note else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def recorded_trials(provenance: Mapping[str, Any]) -> tuple[EffectTrial, ...]:
    """The trials that a provenance records; what is not one of them is passed over."""
    record = provenance.get(RECORD)
    tried = record.get("tried") if isinstance(record, Mapping) else None
    return tuple(
        EffectTrial(
            brief(one.get("effect", "")),
            _number(one.get("gain")),
            _number(one.get("error")),
            one.get("kept") is True,
            brief(one.get("note", "")),
        )
        for one in (tried if isinstance(tried, list | tuple) else ())
        if isinstance(one, Mapping)
    )


def model_in_words(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a provenance records of the model of beam, sample and detector, as (what, words): the
    model, what was asked for, each effect that was tried, and why none was. Empty where it records
    none; what is not text is passed over."""
    record = provenance.get(RECORD)
    known = record if isinstance(record, Mapping) else {}
    named = (("model", "chosen"), ("asked for", "asked"), ("effects tried", "untried"))
    rows = {words: known[name] for words, name in named if isinstance(known.get(name), str)}
    if "effects tried" in rows:
        rows["effects tried"] = f"none, because {rows['effects tried']}"
    tried = [(f"tried {one.effect}", one.in_words) for one in recorded_trials(provenance)]
    return [*((words, brief(text)) for words, text in rows.items()), *tried]


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else None
