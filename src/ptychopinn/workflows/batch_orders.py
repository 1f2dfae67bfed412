"""What is to be done with many scans: the same for all, and their names."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, get_args

from ptychopinn.config import RefineConfig
from ptychopinn.errors import InputError, listed, shown
from ptychopinn.io.base import WAY
from ptychopinn.io.log_file import Wording
from ptychopinn.io.models import BUNDLE_NAME
from ptychopinn.io.reading import kind_of
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName
from ptychopinn.workflows.beyond_probe import require_meaning
from ptychopinn.workflows.model import PRETRAINED, Model, open_model
from ptychopinn.workflows.model_terms import with_model
from ptychopinn.workflows.result_folder import Look
from ptychopinn.workflows.verbs import Further

Verb = Literal["reconstruct", "refine", "infer"]
Share = Literal["nothing", "probe", "positions"]
TABLES = ("batch.csv", "batch.html")
# What load_scan is told about every scan.
READING = ("probe", "modes", "units", "photons", "frames", "clip_negative", *WAY)
SEPARATOR = "-"

# Why a fit is not good, and what helps, of the name of the likeliest cause and its sentence.
Advice = Callable[[str | None, str | None], str]


def in_python(likely: str | None, cause: str | None) -> str:
    """The advice that Python gives: the sentence as it is."""
    return cause or "nothing is wrong."


@dataclass(frozen=True)
class Orders:
    """What is done with every scan; the names are those of :func:`reconstruct_many`.

    model : a path or "pretrained", and ``model_digest`` that of its bundle.  effects : the model of
    beam, sample and detector, of the verbs that have no other one.  reading : what
    :func:`ptychopinn.load_scan` is told.  recipe : how raw data become a scan, or None.
    """

    verb: Verb
    model: str | None
    model_digest: str | None
    refine: Further
    config: RefineConfig | None
    modes: int | Literal["auto"] | None
    uncertainty: bool
    no_mend: tuple[str, ...]
    reading: Mapping[str, Any]
    recipe: Mapping[str, Any] | None
    share: str
    backend: BackendName
    execution: Execution
    force: bool = False
    advice: Advice = in_python
    wording: Wording = str
    look: Look = field(default_factory=Look)
    effects: str | None = None

    def options(self) -> dict[str, Any]:
        """What decides about a result, as plain JSON data; not which threads make it."""
        config = None if self.config is None else self.config.model_dump(mode="json")
        execution = self.execution.model_dump(mode="json", exclude={"threads", "side_by_side"})
        return {
            "verb": self.verb,
            "model": self.model_digest,
            "refine": self.refine if self.verb == "reconstruct" else None,
            "config": config,
            "modes": self.modes,
            "effects": self.effects,
            "uncertainty": self.uncertainty,
            "no_mend": sorted(self.no_mend),
            "reading": {k: v for k, v in self.reading.items() if v not in (None, False)},
            "recipe": None if self.recipe is None else dict(self.recipe),
            "share": self.share,
            "backend": self.backend,
            "execution": execution,
        }


@dataclass(frozen=True)
class Order:
    """One scan: its path, the folder of its result, the arguments of the command that are about it,
    and the result whose probe it starts with, with the scan axes that were found there."""

    scan: str
    folder: str
    arguments: tuple[str, ...] = ()
    lead: str | None = None
    axes: Mapping[str, float] | None = None


def paths_of(scans: Iterable[str | Path]) -> list[Path]:
    given = [scans] if isinstance(scans, str | Path) else list(scans)
    paths = [Path(scan).absolute() for scan in given]
    if not paths:
        raise InputError("scans were expected, received none; name their files.")
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise InputError(
            f"every scan is named once, received '{twice[0]}' more often; leave it out."
        )
    return paths


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name for the folder of each scan: that of its file without the ending.

    Files of one folder that differ in their ending only keep it, behind a hyphen. Those that are
    alike then get the names of the folders above before them, as many as tell them apart. None of
    this depends on the order.

    Raises
    ------
    InputError
        When that does not tell them apart.
    """
    alike = _alike([_name(path) for path in paths])
    places = Counter((paths[k].parent, paths[k].stem.casefold()) for k in alike)
    ending = {k for k in alike if places[paths[k].parent, paths[k].stem.casefold()] > 1}
    above = [0] * len(paths)
    for _ in range(1 + max(len(path.parts) for path in paths)):
        names = [_name(path, above[k], k in ending) for k, path in enumerate(paths)]
        alike = _alike(names)
        if not alike:
            return names
        for k in alike:
            above[k] += 1
    raise InputError(
        f"scans must have names that can be told apart, received '{paths[min(alike)]}' and another "
        "one like it; rename it."
    )


def _name(path: Path, above: int = 0, ending: bool = False) -> str:
    folders = path.parts[1:-1][-above:] if above else ()
    last = path.stem + path.suffix.replace(".", SEPARATOR) if ending else path.stem
    name = SEPARATOR.join([*folders, last])
    # Names with a dot before them are hidden, and belong to this program.
    return "_" + name[1:] if name.startswith(".") else name


def _alike(names: Sequence[str]) -> set[int]:
    counts = Counter(name.casefold() for name in (*names, *TABLES))
    return {k for k, name in enumerate(names) if counts[name.casefold()] > 1}


def model_of(verb: Verb, model: str | Path | Model | None) -> tuple[str | None, str | None]:
    """The bundle of a verb, a path or "pretrained", and the model of beam, sample and detector."""
    if verb not in get_args(Verb):
        raise InputError(
            f"verb must be one of {', '.join(get_args(Verb))}, received {shown(verb)}; correct it."
        )
    if verb != "infer":
        network = isinstance(model, Model | Path) or model == PRETRAINED
        if network or (isinstance(model, str) and kind_of(Path(model)) != "nothing"):
            raise InputError(
                f"a network is for the verb infer, received one as option model with {verb}; leave "
                "it out, or give auto or terms like far-field+background."
            )
        return (PRETRAINED if verb == "reconstruct" else None), model  # type: ignore[return-value]
    if isinstance(model, Model):
        if model.source is None:
            raise InputError(
                "the model of many scans must be a file that every worker can read, received one "
                "that is in memory; save it and give its path."
            )
        model = model.source
    if model is None:
        raise InputError(
            "the verb infer needs a model, received none; give the path of one with the option "
            "model."
        )
    return (str(model) if str(model) == PRETRAINED else str(Path(model).absolute())), None


def digest_of(model: str | None) -> str | None:
    """Which bundle a model is; it must be a valid one."""
    if model is None:
        return None
    open_model(model)
    if model == PRETRAINED:
        with as_file(files("ptychopinn") / "pretrained" / BUNDLE_NAME) as shipped:
            content = shipped.read_bytes()
    else:
        path = Path(model)
        content = (path / BUNDLE_NAME if path.is_dir() else path).read_bytes()
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def reading_of(reading: Mapping[str, Any] | None) -> dict[str, Any]:
    found = dict(reading or {})
    unknown = [name for name in found if name not in READING]
    if unknown:
        raise InputError(
            f"reading must hold some of {', '.join(READING)}, received {listed(unknown)}; correct "
            "it."
        )
    probe = found.get("probe")
    if isinstance(probe, str) and kind_of(Path(probe)) != "nothing":
        # Workers may work in another folder.
        found["probe"] = str(Path(probe).absolute())
    return found


def check(orders: Orders) -> None:
    """Raise InputError when options contradict each other."""
    verb = orders.verb
    for name, chosen, its in (
        ("config", orders.config is not None, "refine"),
        ("modes", orders.modes is not None, "refine"),
        ("refine", orders.refine != "auto", "reconstruct"),
    ):
        if chosen and verb != its:
            raise InputError(
                f"option {name} is for the verb {its}, received it with {verb}; leave it out."
            )
    for name, value, words in (
        ("refine", orders.refine, get_args(Further)),
        ("share", orders.share, get_args(Share)),
    ):
        if value not in words:
            raise InputError(
                f"{name} must be one of {', '.join(words)}, received {shown(value)}; correct it."
            )
    require_meaning(orders.config, orders.modes, orders.effects is not None)
    if orders.effects is not None:
        with_model(orders.effects, None, orders.config, orders.modes)
        if orders.refine == "never":
            raise InputError(
                "a model is followed by a refinement, received option model with option "
                "refine 'never'; leave either out."
            )
    moved = orders.config is not None and orders.config.refine_positions
    if orders.share == "positions" and not moved:
        raise InputError(
            "share='positions' needs axes that were found, received iterations that leave "
            "positions where they are; use verb='refine' with refine_positions=True, or "
            "share='probe'."
        )
