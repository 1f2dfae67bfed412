"""The options that every command which reads a scan shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

import click

if TYPE_CHECKING:
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan

F = TypeVar("F", bound=Callable[..., Any])

Units = Literal["counts", "amplitude"]
MOST_MODES = 32


class ModesOrAuto(click.ParamType):
    """A number of modes, or auto."""

    name = "modes"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        if value == "auto":
            return "auto"
        text = str(value)
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_MODES):
            self.fail(f"must be auto or a number from 1 to {MOST_MODES}, received {text[:40]!r}.")
        return int(text)


class Reading(NamedTuple):
    """What the options say about a scan file; see :func:`ptychopinn.io.load_scan`."""

    probe: str | None = None
    modes: int | None = None
    units: Units | None = None
    photons: float | None = None
    frames: str | None = None
    clip_negative: bool = False
    propagation: Literal["far-field", "near-field"] | None = None
    distance_m: float | None = None
    focus_distance_m: float | None = None


NOT_SAID = Reading()
FLAGS = (
    "--probe", "--modes", "--units", "--photons", "--frames", "--clip-negative", "--propagator",
    "--distance-m", "--focus-distance-m",
)  # fmt: skip


def scan_options(function: F) -> F:
    """Add the options about a scan file; the command gets them as ``reading``."""
    return click.option(
        "--modes",
        metavar="K",
        type=click.IntRange(min=1, max=MOST_MODES),
        default=None,
        help="Let the probe have so many incoherent modes; those that are added start weak.",
    )(scan_options_but_modes(function))


def scan_options_but_modes(function: F) -> F:
    """The same for a command that has an option of its own for the modes; it gives ``modes`` as
    None unless another sets it."""

    @wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        said = Reading(**{name: options.pop(name) for name in Reading._fields if name in options})
        return function(*arguments, reading=said, **options)

    metres = click.FloatRange(min=0, min_open=True)
    for option in (
        click.option(
            "--focus-distance-m",
            type=metres,
            default=None,
            help="Focus of a cone beam to the sample in metres, of a near field in a CXI file.",
        ),
        click.option(
            "--distance-m",
            type=metres,
            default=None,
            help="Sample to detector in metres, where a CXI file does not tell.",
        ),
        click.option(
            "--propagator",
            "propagation",
            type=click.Choice(["far-field", "near-field"]),
            default=None,
            help="How waves reach the detector, which a CXI file does not tell.",
        ),
        click.option(
            "--clip-negative",
            is_flag=True,
            help="Set negative counts to 0, whatever they look like.",
        ),
        click.option(
            "--frames",
            metavar="A:B",
            default=None,
            help="Use patterns A to B-1, counted from 0; 1: drops a first one without position.",
        ),
        click.option(
            "--photons",
            type=click.FloatRange(min=0, min_open=True),
            default=None,
            help="Mean counts per pattern, for files that store normalised amplitudes.",
        ),
        click.option(
            "--units",
            type=click.Choice(["counts", "amplitude"]),
            default=None,
            help="What the stored patterns are, where the file does not tell.",
        ),
        click.option(
            "--probe",
            metavar="PROBE",
            default=None,
            help="Use this probe in place of the one in the scan file: FILE[:KEY], the folder of "
            "an earlier result, auto to find it from the patterns, or the optics: fzp:..., kb:..., "
            "gaussian:..., disc:..., electron:... with KEY=VALUE,...",
        ),
    ):
        command = option(command)
    return cast(F, command)


def mend_option(function: F) -> F:
    """Add ``--no-mend``, which may be given several times."""
    return click.option(
        "--no-mend",
        metavar="NAME",
        multiple=True,
        help="Leave out this check of the scan, or all of them; inspect --check shows their names.",
    )(function)


def said_again(reading: Reading, result: Reconstruction) -> Reading:
    """What is said about the scan of a result, with what was said when the result was made.

    Its probe has taken the place of any other, so that one is not given again.
    """
    from ptychopinn.io.scans import READ_WITH

    scan = result.provenance.get("scan")
    before = scan.get(READ_WITH) if isinstance(scan, Mapping) else None
    if not isinstance(before, Mapping):
        return reading
    kinds = {
        "units": str,
        "photons": int | float,
        "frames": str,
        "clip_negative": bool,
        "propagation": str,
        "distance_m": int | float,
        "focus_distance_m": int | float,
    }
    known = {
        name: before[name]
        for name, kind in kinds.items()
        if isinstance(before.get(name), kind) and getattr(reading, name) == getattr(NOT_SAID, name)
    }
    return reading._replace(**known)


def open_scan(path: str | Path, reading: Reading = NOT_SAID, *, probe_needed: bool = True) -> Scan:
    """Read the scan that a command was given; see :func:`ptychopinn.io.load_scan`."""
    from ptychopinn.errors import InputError
    from ptychopinn.io import load_scan

    try:
        return load_scan(path, **reading._asdict(), probe_needed=probe_needed)
    except InputError as error:
        from ptychopinn.cli.kinds import is_kind

        for kind, words in (("result", "a result"), ("bundle", "a model")):
            if is_kind(Path(path), kind):
                raise InputError(
                    f"a scan was expected, received '{path}' with {words} in it; name the file of "
                    "the measured patterns."
                ) from error
        raise
