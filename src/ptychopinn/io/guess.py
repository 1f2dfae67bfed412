"""Which arrays of a file are probably patterns, positions, probe and mask, and what to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from ptychopinn.data.units import spelled
from ptychopinn.errors import InputError
from ptychopinn.io.axis_names import axis_of, places_among, unit_at_end, unit_in_name
from ptychopinn.io.base import signature
from ptychopinn.io.foreign import what_it_is
from ptychopinn.io.layout import SMALLEST_FRAME, frame_first, too_small_last
from ptychopinn.io.listing import Item, items_of

# 130 x 128 numbers of four bytes.
EMPAD_FRAME = 66560
PATTERN_WORDS = re.compile(
    r"data|frame|diff|dp|pattern|image|intensit|count|detector|cbed|fmag|eiger|merlin|4d", re.I
)
NOT_PATTERNS = re.compile(r"probe|object|mask|weight|dark|flat|background|illumination|thumb", re.I)
PLACE_WORDS = re.compile(
    r"(^|[^a-z])[xy]($|[^a-z])|pos|motor|coord|stage|sam[xy]|translation|pp[xy]|pi_?[xy]|scan"
    r"|points$",
    re.I,
)
# Names as motors have them, which say something where there are two of them.
MOTOR_WORDS = re.compile(r"(^|[^a-z])[a-z]{1,3}[xy]($|[^a-z])", re.I)
# Positions may be so many more or fewer than the patterns, or this share of them.
FEW_MORE, MORE = 4, 0.1
SOURCES = (  # what tells a kind of source that needs no option patterns
    re.compile(r"^entry/data/data(_\d{6})?$"),
    re.compile(r"^chunks/\d+/data$"),
    re.compile(r"^entry_1/(data_1|instrument_1/detector_1)/data$"),
    re.compile(r"datacube"),
)


@dataclass(frozen=True)
class Guess:
    """Keys of what was recognised; None, or nothing, where nothing was."""

    patterns: str | None = None
    positions: tuple[str, ...] = ()
    unit: str | None = None
    order: str | None = None
    probe: str | None = None
    mask: str | None = None
    dark: str | None = None
    flat: str | None = None
    energy: str | None = None
    distance: str | None = None
    detector_pixel: str | None = None
    wavelength: str | None = None
    # Those of ``NUMBERS`` that the file has, with a unit.
    told: tuple[str, ...] = ()
    frame: tuple[int, int] | None = None
    probe_size: int | None = None
    # The patterns need no key; positions and probe need none either.
    own_kind: bool = False
    own_points: bool = False


def check_readable(items: Sequence[Item], words: re.Pattern[str]) -> None:
    """Raise InputError for one that cannot be read, as behind a link to a file that is not there,
    where its name says that it may be what is looked for."""
    for item in items:
        if item.note and words.search(item.key) and not NOT_PATTERNS.search(item.key):
            raise InputError(item.note)


def guess(items: Sequence[Item]) -> Guess:
    """The arrays that a scan needs, by their names and shapes."""
    frames = [i for i in items if _is_stack(i)]
    stack = max(frames, key=_stack_score, default=None)
    shape, count = _frame_and_count(stack, items)
    if stack is not None and SOURCES[0].search(stack.key):
        # A master lists its files one by one.
        count = sum(prod(i.shape[:-2]) for i in items if SOURCES[0].search(i.key))
    keys, order = _positions(items, count)
    units = [spelled(i.unit) or unit_in_name(i.key) or "" for i in items if i.key in keys]
    unit = units[0] if len(set(units)) == 1 else ", ".join(units) if all(units) else None

    def picture(words: str) -> str | None:
        return _first(
            items,
            lambda i: i.is_real and len(i.shape) >= 2 and i.shape[-2:] == shape and i != stack,
            words,
        )

    def number(words: str, without: str = r"$^") -> str | None:
        return _first(
            items,
            lambda i: i.dtype.kind in "iuf" and prod(i.shape) == 1,
            words,
            re.compile(without, re.I),
        )

    numbers = {
        "energy": number(r"energy|enrg", r"threshold|cutoff|spread"),
        "distance": number(r"distance|camera_?length|^z_m$", r"focus|focal|working"),
        "detector_pixel": number(r"pixel_?size|psize|pixel_?pitch|(ccd|det\w*|cam\w*)_pixel"),
        "wavelength": number(r"wavelength|lambda"),
    }
    stated = {i.key for i in items if i.unit or unit_at_end(i.key)}
    sources = {
        "energy_eV": ("energy", "wavelength"),
        "distance_m": ("distance",),
        "detector_pixel_m": ("detector_pixel",),
    }
    own = [word.search(stack.key) is not None for word in SOURCES] if stack is not None else []
    # Of some kinds of source the unit of a number needs no word.
    known = {*numbers.values()} - {None} if any(own[1:3]) else stated
    told = tuple(n for n, keys in sources.items() if any(numbers[k] in known for k in keys))
    earlier = {"xcoords", "ycoords"} <= {i.key for i in items}
    probe = _first(items, lambda i: i.is_complex and len(i.shape) >= 2, r"probe|illum|image_1")
    sizes = [i.shape[-1] for i in items if i.key == probe]
    return Guess(
        patterns=None if stack is None else stack.key,
        positions=keys,
        unit="px" if earlier else "m" if any(own[1:3]) else unit or None,
        order=order,
        probe=probe,
        mask=picture(r"mask|bad|weight"),
        dark=picture(r"dark|background|offset"),
        flat=picture(r"flat|gain|efficiency"),
        **numbers,
        told=told,
        frame=None if shape is None else (shape[0], shape[1]),
        probe_size=sizes[0] if sizes else None,
        own_kind=earlier or any(own),
        own_points=earlier or any(own[1:3]),
    )


def _frame_and_count(
    stack: Item | None, items: Sequence[Item]
) -> tuple[tuple[int, ...] | None, int | None]:
    """The shape of a pattern and their number; positions tell whether the detector's axes come
    first."""
    if stack is None:
        return None, None
    frame, count = stack.shape[-2:], prod(stack.shape[:-2])
    other = prod(stack.shape[2:])
    first = too_small_last(stack.shape) or (
        frame_first(stack.shape, other)
        and not _positions_of(items, count, 0)[0]
        and bool(_positions_of(items, other, 0)[0])
    )
    return (stack.shape[:2], other) if first else (frame, count)


def _is_stack(item: Item) -> bool:
    return (
        item.is_real
        and len(item.shape) >= 3
        and (min(item.shape[-2:]) >= SMALLEST_FRAME or too_small_last(item.shape))
        and not NOT_PATTERNS.search(item.key.rsplit("/", 1)[-1])
    )


def _stack_score(item: Item) -> tuple[bool, int]:
    return bool(PATTERN_WORDS.search(item.key)), prod(item.shape)


def _first(
    items: Sequence[Item],
    suits: Callable[[Item], bool],
    words: str,
    without: re.Pattern[str] | None = None,
) -> str | None:
    pattern = re.compile(words, re.I)
    for item in items:
        name = item.key.rsplit("/", 1)[-1]
        named = pattern.search(name) or (item.is_complex and pattern.search(item.key))
        if suits(item) and named and not (without and without.search(name)):
            return item.key
    return None


def _positions(items: Sequence[Item], count: int | None) -> tuple[tuple[str, ...], str | None]:
    """The keys of the positions, and their order where the names do not tell it.

    Where none are as many as the patterns, those that are nearly as many: a frame too many, or a
    scan that was stopped, is said when they are paired.
    """
    exact = _positions_of(items, count, 0)
    if exact[0] or count is None:
        return exact
    return _positions_of(items, count, max(FEW_MORE, int(MORE * count)))


def _positions_of(
    items: Sequence[Item], count: int | None, off: int
) -> tuple[tuple[str, ...], str | None]:
    def plausible(item: Item) -> bool:
        return item.dtype.kind in "iuf" and bool(PLACE_WORDS.search(item.key))

    def fits(number: int) -> bool:
        return count is None or abs(number - count) <= off

    columns = [
        i
        for i in items
        if (plausible(i) or (i.dtype.kind in "iuf" and MOTOR_WORDS.search(i.key)))
        and prod(i.shape) > 1
        and fits(prod(i.shape))
    ]

    def together(y: int, x: int) -> bool:
        one, other = columns[y], columns[x]
        group, beside = (i.key.rpartition("/")[0].lower() for i in (one, other))
        named = axis_of(one.key) is not None and axis_of(other.key) is not None
        return one.shape == other.shape and (group == beside or not named)

    pair = places_among([i.key for i in columns], together)
    if pair is not None:
        return (columns[pair[0]].key, columns[pair[1]].key), None
    for item in items:
        two = len(item.shape) == 2 and 2 in item.shape
        if two and plausible(item) and fits(prod(item.shape) // 2):
            return (item.key,), "yx|xy"
    return (), None


def typed(source: Path, options: Mapping[str, str], output: str | None = "scan.h5") -> str:
    """The command ``prepare`` with these options of a recipe, as it is typed in a shell."""
    words = ["ptychopinn", "prepare"]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-').lower()}", *([shlex.quote(value)] if value else [])]
    words.insert(2, shlex.quote(str(source)))
    return " ".join(words if output is None else [*words, "-o", output])


# Words in capitals are to be filled in.
NUMBERS = {"energy_eV": "EV", "distance_m": "M", "detector_pixel_m": "M"}


def prepare_line(path: Path, frame: tuple[int, int] | None = None) -> str | None:
    """The ``ptychopinn prepare`` line to type for a file; words in capitals are to be filled in.

    None where nothing in the file looks like diffraction patterns, of the size ``frame`` if given.
    """
    if _is_container(path):
        options = {"positions": "POSITIONS.txt", "unit": "UNIT", **NUMBERS, "probe": "auto"}
        return typed(path, options)
    path, beside = _pair(path)
    if path.is_dir():
        return None
    try:
        found = guess(items_of(path))
        other = None if beside is None else guess(items_of(beside))
    except InputError:
        return None
    if found.patterns is None or frame not in (None, found.frame):
        return None
    if other is not None and not found.positions:
        # What programs write beside the patterns is in metres.
        keys = tuple(f"{beside}:{key}" for key in other.positions)
        known = replace(found, positions=keys, unit=other.unit or "m", probe_size=other.probe_size)
        probe = f"{beside}:{other.probe}" if other.probe else None
        return line_for(path, known, probe, None if other.unit else "m")
    return line_for(path, found)


def _pair(path: Path) -> tuple[Path, Path | None]:
    """The file with the patterns, and the one beside it with everything else, if there is one."""
    if path.is_dir() and (path / "diffraction.h5").is_file():
        path = path / "diffraction.h5"
    names = {"diffraction.h5": "product.h5"}
    if path.stem.endswith("_dp"):
        names[path.name] = path.stem.removesuffix("_dp") + "_para" + path.suffix
    beside = path.with_name(names.get(path.name, path.name))
    return path, beside if beside != path and beside.is_file() else None


def line_for(
    path: Path,
    found: Guess,
    probe: str | None = None,
    unit: str | None = None,
    *,
    told: Collection[str] | None = None,
) -> str:
    """See :func:`prepare_line`; for a file in which these arrays were recognised.

    ``probe`` is another one than that of the file, ``unit`` one that no file states;
    ``told`` names the numbers that were read, where somebody did.
    """
    if probe is None and found.probe:
        probe = f"{path}:{found.probe}"
    if found.patterns and "datacube" in found.patterns:
        # What its calibration tells has to be read first.
        return typed(path, {"list": ""}, None)
    options: dict[str, str] = {}
    if found.patterns and not found.own_kind:
        options["patterns"] = found.patterns
    if found.positions and not found.own_points:
        options["positions"] = ",".join(found.positions)
        if found.order:
            options["order"] = "ORDER"
    elif not found.own_points:
        options["positions"] = "POSITIONS.txt"
    if unit or found.unit is None:
        options["unit"] = unit or "UNIT"
    if found.mask and not found.own_kind:
        options["mask"] = found.mask
    if found.frame is not None and _needs_cut(found.frame):
        options |= {**_cut(found.frame, found.probe_size), "centre": "auto"}
    told = found.told if told is None else told
    if found.unit != "px" and "pixel_size_m" not in told:
        options |= {name: value for name, value in NUMBERS.items() if name not in told}
    if not (found.own_points and found.probe):
        options["probe"] = probe or "auto"
    return typed(path, options)


def _needs_cut(frame: tuple[int, int]) -> bool:
    return frame[0] != frame[1] or frame[0] % 2 == 1 or not 32 <= frame[0] <= 512


def _cut(frame: tuple[int, int], probe: int | None) -> dict[str, str]:
    """The option that makes the patterns as large as the probe, else a power of two."""
    side = min(frame)
    n = 2 ** (min(side, 512).bit_length() - 1)
    if probe is not None and not _needs_cut((probe, probe)):
        n = probe
    elif frame[0] == frame[1] and 31 <= side <= 511:
        n = side + 1
    return {"crop" if n <= side else "pad": str(n)}


def _is_container(path: Path) -> bool:
    """Whether this is a file or folder whose arrays have no names that tell what they are."""
    if path.is_dir():
        marks = (".zarray", ".zgroup", "zarr.json")
        images = any(entry.suffix.lower() in (".tif", ".tiff") for entry in path.iterdir())
        return images or any((path / mark).is_file() for mark in marks)
    if path.suffix.lower() == ".raw":
        return path.stat().st_size % EMPAD_FRAME == 0
    return signature(path).startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def with_line(reason: str, path: Path, otherwise: str) -> str:
    """A reason why a file is no scan, and what to type; ``otherwise`` where nobody knows."""
    line = prepare_line(path)
    if line is None and (known := what_it_is(path)) is not None:
        return f"{reason}, but {known[0]}; {known[1]}."
    return f"{reason}; {otherwise if line is None else 'type: ' + line}."
