"""The probe of a scan that is being prepared: read from a file, or made of its patterns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.data.orientation import AS_GIVEN, Orientation
from ptychopinn.errors import InputError
from ptychopinn.io import read_probe
from ptychopinn.io.base import ScanFields, sample_indices
from ptychopinn.io.guess import guess
from ptychopinn.io.layout import own_edge, probe_modes
from ptychopinn.io.listing import items_of
from ptychopinn.io.probes import names_file
from ptychopinn.physics.resampling import resampled_probe
from ptychopinn.probes import makes_probe, with_start_probe
from ptychopinn.probes.start import ORIENTATION
from ptychopinn.sources.assembly import Assembly
from ptychopinn.sources.places import Place, array_at, place_of
from ptychopinn.sources.ptypy_files import result_probe
from ptychopinn.sources.recipe import Recipe
from ptychopinn.sources.zarr_store import items_of_store, matches

TURNED = "positions-turned"
# Patterns that a probe is made from, and the bytes that they take at most.
MADE_FROM, MADE_BYTES = 256, 512 << 20


@dataclass(frozen=True, eq=False)
class Probe:
    """modes : (P, N, N) in any scale.  findings : what is to be said about them.
    turn : how the positions are turned, for a probe that was found so."""

    modes: NDArray[Any]
    findings: tuple[Finding, ...] = ()
    turn: Orientation = AS_GIVEN


def probe_for(assembly: Assembly, recipe: Recipe) -> Probe:
    """The probe of the scan to be.

    Raises
    ------
    InputError
        When there is none, it has another size, or its description is wrong.
    """
    n, text = assembly.patterns.cut.n, recipe.probe
    if text is None:
        held = assembly.source.probe
        if held is None:
            path = assembly.source.path
            there = guess(items_of(path)).probe if path.is_file() else None
            words = "none in the source; give probe='FILE:KEY'"
            if there is not None:
                words = f"'{path}' with '{there}', which may be one; give probe='{there}'"
            raise InputError(
                f"a scan needs a probe, received {words}, or probe='auto' to make one from the "
                "patterns."
            )
        where = f"the probe in '{assembly.source.path}'"
        probe = probe_modes(held, where, own_edge(held))
    elif makes_probe(text):
        return _made(assembly, text)
    else:
        where = f"the probe '{text}'"
        inside = place_of(text, assembly.source.path, "probe")
        if not names_file(text) and _holds(inside):
            held = array_at(inside)
            probe = probe_modes(held, str(inside), own_edge(held))
        else:
            of_ptypy = result_probe(Path(text))
            probe = read_probe(text) if of_ptypy is None else probe_modes(of_ptypy, where)
    stored = assembly.source.patterns.shape[1:]
    if probe.shape[1:] == stored != (n, n) and stored[0] == stored[1]:
        # It belongs to the patterns as they are stored.
        probe = resampled_probe(probe, n * assembly.patterns.cut.binning, n)
    if probe.shape[1:] != (n, n):
        raise InputError(
            f"{where} must have {n} x {n} pixels as the prepared patterns, or those of the square "
            f"stored ones, received {probe.shape[1]} x {probe.shape[2]}; give one of this size, or "
            "probe='auto'."
        )
    return Probe(probe)


def _holds(place: Place) -> bool:
    """Whether a file, or a store, has an array of this name."""
    items = items_of_store(place.path) if matches(place.path) else items_of(place.path)
    return place.key in {item.key for item in items}


def _made(assembly: Assembly, text: str) -> Probe:
    """A probe by description: of patterns around the middle of the scan and some all over."""
    patterns, places = assembly.patterns, assembly.positions_px
    most = max(MADE_FROM // 8, min(MADE_FROM, MADE_BYTES // (8 * patterns.cut.n**2)))
    away = np.abs(places - np.median(places, axis=0)).max(axis=1)
    near = np.argsort(away, kind="stable")[: most // 2]
    chosen = np.union1d(near, sample_indices(len(places), most // 2))
    counts = np.concatenate([block for _, block in patterns.blocks(patterns.indices[chosen])])
    good = patterns.mask()
    fields = ScanFields(
        diffraction=np.where(good, counts, 0).astype(np.float32),
        positions_px=places[chosen],
        probe=None,
        probe_in_counts=False,
        mask=None if good.all() else good,
        pixel_size_m=assembly.pixel_size_m,
        energy_eV=assembly.energy_eV,
        distance_m=assembly.distance_m,
        **assembly.way,
        name=assembly.source.path.stem,
    )
    made = with_start_probe(fields, text, None)
    assert made.probe is not None  # it was asked for
    turn, findings = AS_GIVEN, []
    for found in made.findings:
        if found.name == ORIENTATION:
            parts = ("transpose", "flip_y", "flip_x")
            turn = Orientation(*(bool(found.details[part]) for part in parts))
            # The scan that is written is turned already: nobody turns it again.
            found = Finding(TURNED, "mended", found.message, {"turn": str(turn)})
        findings.append(found)
    return Probe(made.probe, tuple(findings), turn)
