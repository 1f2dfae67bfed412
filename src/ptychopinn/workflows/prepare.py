"""``prepare``: a scan of raw data of any kind, without ever holding all patterns in memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding, recorded_findings, with_findings
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io import native
from ptychopinn.io.atomic import atomic_path, refuse_source
from ptychopinn.io.probes import names_file
from ptychopinn.physics.scaling import SCALED, reconcile_probe, scaled_by
from ptychopinn.schema import validated
from ptychopinn.sources.assembly import Assembly, assemble, expanded
from ptychopinn.sources.conditioning import Wider, fitted
from ptychopinn.sources.file_names import ORDER, in_order
from ptychopinn.sources.places import Place, place_of
from ptychopinn.sources.recipe import KEY, Recipe, read_recipe
from ptychopinn.sources.several import opened
from ptychopinn.workflows.listening import Listening, Stages, stages_of
from ptychopinn.workflows.prepared_probe import probe_for

# Patterns whose sample stays below this share of uint16 are written as such at once.
SAFE_SHARE = 0.25

_log = logging.getLogger("ptychopinn")


@dataclass(frozen=True)
class _Unread:
    """Stands for patterns that are written, or still to be read."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        raise TypeError("these patterns are not in memory")


def _said(scan: Scan) -> Scan:
    """The scan, once what was noticed has been said."""
    for finding in recorded_findings(scan.provenance):
        _log.warning("%s: %s", scan.name, finding.message)
    return scan


def prepare(
    source: str | Path | Sequence[str | Path] | None = None,
    output: str | Path | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    *,
    force: bool = False,
    progress: Listening = None,
    **options: Any,
) -> Scan:
    """Make a scan of raw data: any HDF5 by keys, a detector's master file, images, 4D-STEM.

    Parameters
    ----------
    source : file or folder, or several that follow each other. It may be left out when the option
        ``patterns`` names a file.
    output : the scan file to write (``.h5``), read back lazily; without it the scan is made in
        memory.
    recipe : a :class:`~ptychopinn.sources.recipe.Recipe`, a mapping of its options, a YAML file
        with them, or an earlier prepared scan.
    force : overwrite ``output``.
    progress : as in all verbs; True draws a bar.
    **options : options of the recipe, which take precedence.

    Returns
    -------
    The scan: patterns (M, N, N) in counts with the zero frequency at [N/2, N/2], positions (M, 2)
    as (y, x) in object pixels. Its provenance has the ``recipe`` and the numbers found.

    Raises
    ------
    InputError
        When something is missing or contradicts itself; the sentence names the option.
    """
    chosen = merged(recipe, options)
    paths, chosen, noticed = _sources(source, chosen)
    if output is not None:
        refuse_source(Path(output), [*paths, *_named_files(chosen, paths[0])])
        _check_output(Path(output), force)
    assembly = assemble(opened(paths, chosen, noticed), chosen)
    work = _Work(assembly, chosen, paths, stages_of(progress, loss=None))
    work.check()
    if output is None:
        return _said(work.in_memory())
    work.write(Path(output), force)
    from ptychopinn.io import load_scan

    return _said(load_scan(output))


def merged(recipe: Recipe | Mapping[str, Any] | str | Path | None, options: Any) -> Recipe:
    """The recipe with these options in place of its own.

    Raises
    ------
    InputError
        For an option that is not known, or not valid.
    """
    if isinstance(recipe, str | Path):
        recipe = read_recipe(Path(recipe))
    earlier = recipe.given() if isinstance(recipe, Recipe) else dict(recipe or {})
    return validated(Recipe, {**earlier, **options})


def recorded_recipe(scan: Scan) -> Recipe:
    """The recipe of a prepared scan.

    Raises
    ------
    InputError
        When it has none.
    """
    recipe = scan.provenance.get(KEY)
    if not isinstance(recipe, Mapping):
        raise InputError(
            f"a prepared scan was expected, received '{scan.name}' without a recipe; make one "
            "with prepare."
        )
    return validated(Recipe, recipe)


def _check_output(output: Path, force: bool) -> None:
    native.check_suffix(output)
    if output.exists() and not force:
        raise InputError(
            f"the scan must be a new file, received '{output}' which exists; choose another name "
            "or add force=True to overwrite."
        )


def _sources(
    source: str | Path | Sequence[str | Path] | None, recipe: Recipe
) -> tuple[list[Path], Recipe, tuple[Finding, ...]]:
    """The sources, the recipe with keys in them instead of their names, and what was noticed."""
    given = [source] if isinstance(source, str | Path) else list(source or [])
    paths = expanded(given)
    noticed: tuple[Finding, ...] = ()
    if recipe.mends(ORDER):
        paths, noticed = in_order(paths)
    if recipe.patterns is not None:
        place = place_of(recipe.patterns, paths[0] if paths else None, "patterns")
        if not paths:
            paths = [place.path]
        elif place.path != paths[0]:
            raise InputError(
                f"the patterns must be in the source, received patterns={recipe.patterns} and the "
                f"source '{paths[0]}'; leave one of them out."
            )
        recipe = recipe.model_copy(update={"patterns": place.key})
    if not paths:
        raise InputError(
            "a source of patterns was expected, received none; name a file, or give "
            "patterns='FILE:KEY'."
        )
    return paths, recipe.model_copy(update=_portable(recipe, paths[0])), noticed


def _portable(recipe: Recipe, source: Path) -> dict[str, str]:
    """Names of files as whoever repeats the recipe in another folder needs them.

    What is in the source itself keeps the key only, so that it is looked for in the next one.
    """
    found: dict[str, list[str]] = {}
    for name, part, place in _places(recipe, source):
        parts = found.setdefault(name, [])
        if place is None:
            parts.append(part)
            continue
        own = place.path == source and place.key is not None and name != "probe"
        where = "" if own else str(place.path.absolute()) + (":" if place.key else "")
        parts.append(where + (place.key or ""))
    return {name: ",".join(parts) for name, parts in found.items()}


def _places(recipe: Recipe, source: Path) -> Iterator[tuple[str, str, Place | None]]:
    """Options that name files or keys, part by part, and what they name; None for nothing."""
    for name in ("positions", "mask", "dark", "flat", "probe"):
        text = getattr(recipe, name)
        if text is None or (name == "probe" and not names_file(text)):
            continue
        for part in text.split(",") if name == "positions" else [text]:
            try:
                place = place_of(part.strip(), source, name)
            except InputError:
                place = None
            # A probe may be the name of a file that is not there.
            inside = place is not None and (place.path, place.key) == (source, part.strip())
            yield name, part, None if name == "probe" and inside else place


def _named_files(recipe: Recipe, source: Path) -> list[Path]:
    return [place.path for _, _, place in _places(recipe, source) if place is not None]


@dataclass
class _Work:
    """Reads the patterns of an assembly once, and makes the scan."""

    assembly: Assembly
    recipe: Recipe
    paths: list[Path]
    stages: Stages
    # How many patterns the sum of the assembly's is made of.
    _seen: int = 1
    # Found by check, with what is to be said about it.
    _probe: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    _made: tuple[Finding, ...] = ()

    def check(self) -> None:
        """Find what is wrong before the patterns are read; the probe too."""
        patterns = self.assembly.patterns
        sample = patterns.indices[:: max(1, len(patterns.indices) // 16)][:16]
        for _ in patterns.blocks(sample):
            pass
        if not patterns.sum.any():
            raise InputError(
                "the patterns must hold counts, received only zeros, or marks of pixels without a "
                "value (NaN, infinity, the largest integer), in those that were looked at; check "
                "the source, the mask and the crop."
            )
        found = probe_for(self.assembly, self.recipe)
        self._probe, self._made = found.modes, found.findings
        places = found.turn.of_positions(self.assembly.positions_px)
        self.assembly = replace(self.assembly, positions_px=places)
        for _ in patterns.blocks(sample):
            pass
        self._seen = len(sample)
        self._scan(_Unread(patterns.shape, np.dtype(np.uint32)))

    def _scan(self, patterns: Any) -> Scan:
        """The scan of patterns whose sum is that of the assembly's."""
        read = self.assembly.patterns
        good = read.mask()
        if not good.any() or not read.sum[good].any():
            raise InputError(
                "good pixels must hold counts, received a mask or a window without any; check "
                "mask, centre and crop."
            )
        counts = float(read.sum[good].sum()) / self._seen
        scan = Scan(
            diffraction=patterns,
            positions_px=self.assembly.positions_px,
            probe=self._probe,
            mask=None if good.all() else good,
            pixel_size_m=self.assembly.pixel_size_m,
            energy_eV=self.assembly.energy_eV,
            distance_m=self.assembly.distance_m,
            saturation=self.assembly.saturation,
            **self.assembly.way,
            # The name of a file may be no text.
            name=self.paths[0].stem.encode("utf-8", "backslashreplace").decode(),
        )
        scaled, factor = reconcile_probe(scan.probe, counts, scan.mask, scan.propagator)
        provenance = {
            "made_by": "ptychopinn prepare",
            "sources": [str(path.absolute()) for path in self.paths],
            "kind": self.assembly.source.kind,
            KEY: self.recipe.given(),
            "prepared": {
                **self.assembly.done,
                "bad_pixels": int((~good).sum()),
                "pixel_size_m": self.assembly.pixel_size_m,
                "probe_factor": factor,
            },
            SCALED: scaled_by(counts / factor**2, counts, factor),
            **self.assembly.source.notes,
        }
        found = with_findings(provenance, self._findings())
        return replace(scan, probe=scaled, provenance=found)

    def _findings(self) -> tuple[Finding, ...]:
        """What was noticed, by what is known so far."""
        patterns = self.assembly.patterns
        found = [*self.assembly.findings, *self._made]
        missing = (patterns.bad & ~self.assembly.given_bad)[patterns.window]
        if missing.any():
            message = (
                f"masked {int(missing.sum())} pixels of the detector that hold no measurement: the "
                "largest number of a counter, NaN, or negative numbers throughout."
            )
            details = {"pixels": int(missing.sum())}
            found.append(Finding("missing-pixels", "mended", message, details))
        if patterns.lost:
            message = (
                f"set {patterns.lost} of {len(patterns.indices)} patterns to 0, which hold no "
                "measurement in any pixel; who reconstructs leaves them out."
            )
            found.append(Finding("lost-patterns", "mended", message, {"number": patterns.lost}))
        return tuple(found)

    def _first_dtype(self) -> np.dtype[Any]:
        """The narrowest type that probably holds all counts."""
        look, patterns = self.assembly.look, self.assembly.patterns
        largest = look.largest * look.largest if patterns.amplitude else look.largest
        largest *= patterns.cut.binning**2
        floats = patterns.frames.dtype.kind == "f"
        if patterns.dark is not None or patterns.flat is not None:
            return np.dtype(np.float32)
        if floats and not (look.squares_whole if patterns.amplitude else look.whole):
            return np.dtype(np.float32)
        small = largest < SAFE_SHARE * np.iinfo(np.uint16).max
        return np.dtype(np.uint16 if small else np.uint32)

    def _parts(self, dtype: np.dtype[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
        patterns = self.assembly.patterns
        self._seen = 0
        with self.stages(1) as listener:
            listener.epoch(0, patterns.steps())
            begun = time.perf_counter()
            for part, block in patterns.blocks():
                yield part, fitted(block, dtype, patterns.amplitude)
                self._seen += len(block)
                seconds = max(time.perf_counter() - begun, 1e-9)
                listener.step(float("nan"), self._seen / seconds)
            listener.epoch_done(0, {})

    def _whole(self, use: Callable[[np.dtype[Any]], None]) -> np.dtype[Any]:
        """Go through all patterns with the type that holds them; begin again if one does not."""
        dtype = self._first_dtype()
        while True:
            try:
                use(dtype)
                return dtype
            except Wider as wider:
                _log.info("patterns do not fit into %s: written again as %s", dtype, wider.dtype)
                dtype = wider.dtype

    def write(self, output: Path, force: bool) -> None:
        """Write the scan, whole or not at all."""
        shape = self.assembly.patterns.shape

        def rest() -> Scan:
            return self._scan(_Unread(shape, np.dtype(np.uint32)))

        def fill(dtype: np.dtype[Any]) -> None:
            with atomic_path(output, force) as temporary:
                native.fill_in_parts(temporary, shape, dtype, self._parts(dtype), rest)

        self._whole(fill)

    def in_memory(self) -> Scan:
        """The scan with its patterns in memory."""
        held: list[NDArray[Any]] = []

        def fill(dtype: np.dtype[Any]) -> None:
            held.clear()
            held.extend(block for _, block in self._parts(dtype))

        self._whole(fill)
        return self._scan(np.concatenate(held))
