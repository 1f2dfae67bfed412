"""Scan positions: their unit, their overlap, single ones far away."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding, numbered
from ptychopinn.data.far_away import SAME_PLACE_PX
from ptychopinn.data.scan import Scan
from ptychopinn.io.summary import nearest_px, probe_diameter
from ptychopinn.physics.propagators import wavelength_of

# Scans of fewer positions may lie anywhere.
FEWEST = 8
# Positions that all lie within so many pixels see one and the same place.
NARROW_PX = 2.0
# Object pixels of so many metres are hardly ever used, nor are distances and pixels of a detector
# beyond these, nor energies (eV) between visible light and soft X-rays.
LARGE_PIXEL_M, LARGE_DISTANCE_M, SMALL_DETECTOR, KEV = 2e-6, 30.0, 1e-6, (4.0, 90.0)
# So many steps from the next one a position is far away; this share of all, or one, may be.
# Up to two others may be there with it.
LONELY_STEPS, MOST_LONELY, TOGETHER = 6.0, 0.05, 3
# Fewer positions are always on a line, or nearly. They are when they differ across it by this
# share of the probe at most, and so many times as much along it.
FEWEST_ON_LINE, ACROSS, LONG = 3, 0.1, 5.0
# Different numbers along an axis that tell of more than one line.
MANY = 3
# So many patterns have positions at so many different places, as a share; a place is so wide.
FEWEST_MOVES, MOST_PLACES, PLACE_PX, SUMS = 64, 0.1, 3.0, 0.8
# A median step of more than this share of the probe is doubted.
LITTLE_OVERLAP = 0.7


@check("narrow-positions")
def narrow_positions(look: Look) -> Iterator[Noticed]:
    """Positions that hardly differ are in a larger unit than pixels."""
    positions = look.scan.positions_px
    extent = float(np.ptp(positions, axis=0).max())
    if look.scan.M < FEWEST or extent >= NARROW_PX:
        return
    pixel = look.scan.pixel_size_m
    hint = "" if pixel is None else f" of {pixel:.4g} m"
    yield (
        finding(
            "narrow-positions", "fault",
            f"the positions must be in object pixels{hint}, received {look.scan.M} that span "
            f"{extent:.3g} px together, so that all patterns would show the same place; they look "
            "like another unit, such as um or m: give their unit"
            f"{_pixel_too_large(look.scan, extent)}.",
            extent_px=extent,
        ),
        None,
    )  # fmt: skip


def _pixel_too_large(scan: Scan, extent: float) -> str:
    """What makes the pixel of the object larger than those that scans have, in words."""
    behind = _behind_pixel(scan)
    if behind is None:
        return ""
    numbers, unusual = behind
    said = f", or correct what the pixel follows from: {numbers}"
    if unusual:
        said += f", of which the {unusual} is hardly ever used"
    if unusual == "energy":
        said += f"; with {scan.energy_eV:.4g} keV the positions would span {1e3 * extent:.3g} px"
    return said


def _behind_pixel(scan: Scan) -> tuple[str, str] | None:
    """The numbers that a pixel of the object follows from, and which of them no experiment has,
    where anything is wrong; None where the pixel is one that scans have."""
    pixel, energy, distance = scan.pixel_size_m, scan.energy_eV, scan.distance_m
    if pixel is None or energy is None or distance is None:
        return None
    if pixel < LARGE_PIXEL_M or scan.propagation != "far-field":
        return None
    detector = wavelength_of(energy) * distance / (scan.N * pixel)
    unusual = {
        "energy": KEV[0] <= energy <= KEV[1],
        "distance": distance > LARGE_DISTANCE_M,
        "detector pixel": detector < SMALL_DETECTOR,
    }
    return (
        f"an energy of {energy:.4g} eV, a distance of {distance:.4g} m and detector pixels of "
        f"{detector:.3g} m",
        next((name for name, is_so in unusual.items() if is_so), ""),
    )


@check("object-pixel")
def object_pixel(look: Look) -> Iterator[Noticed]:
    """A pixel of the object that no scan has, because of a number that it follows from."""
    behind = _behind_pixel(look.scan)
    if behind is None or not behind[1]:
        return
    numbers, unusual = behind
    pixel, energy = look.scan.pixel_size_m or 0.0, look.scan.energy_eV
    so = f" (it would be {1e-3 * pixel:.3g} m with {energy:.4g} keV)" if unusual == "energy" else ""
    yield (
        finding(
            "object-pixel", "doubt",
            f"the pixel of the object is {pixel:.4g} m, which hardly any scan has, since it "
            f"follows from {numbers}, of which the {unusual} is hardly ever used{so}: correct it, "
            "or all lengths of the result are wrong.",
            pixel_size_m=pixel,
        ),
        None,
    )  # fmt: skip


@check("no-overlap")
def no_overlap(look: Look) -> Iterator[Noticed]:
    """Patterns whose illuminations do not overlap cannot be joined."""
    scan = look.scan
    if scan.M < FEWEST:
        yield from _alone(scan)
        return
    nearest = nearest_px(scan.positions_px)
    step, wide = float(np.median(nearest)), probe_diameter(scan.probe, 0.98)
    numbers = {"step_px": step, "probe_diameter_px": wide}
    if step > min(scan.N, max(wide, 4.0)):
        yield (
            finding(
                "no-overlap", "fault",
                f"neighbouring patterns must overlap, received positions with a median step of "
                f"{step:.4g} px and a probe of {wide:.3g} px (98 % of its power) in patterns of "
                f"{scan.N} px; the positions look like another unit: give their unit, or the "
                "right pixel size.",
                **numbers,
            ),
            None,
        )  # fmt: skip
        return
    if step > LITTLE_OVERLAP * max(wide, 4.0):
        yield (
            finding(
                "no-overlap", "doubt",
                f"neighbouring patterns hardly overlap: positions with a median step of {step:.4g} "
                f"px and a probe of {wide:.3g} px (98 % of its power); patterns that see nothing "
                "in common can be explained by wrong objects too, so check the unit of the "
                "positions and the pixel size.",
                **numbers,
            ),
            None,
        )  # fmt: skip
    away = _from_others(scan.positions_px)
    lonely = np.flatnonzero(away > max(LONELY_STEPS * step, wide))
    if len(lonely) and len(lonely) <= max(1.0, MOST_LONELY * scan.M):
        numbered_ones = numbered(look.origin[lonely])
        yield (
            finding(
                "no-overlap", "mended",
                f"left out pattern{'s' if len(lonely) > 1 else ''} {numbered_ones}, whose "
                f"position is {float(away[lonely].max()):.4g} px from the others, which have "
                f"{step:.3g} px from one to the next.",
                patterns=look.origin[lonely].tolist(), **numbers,
            ),
            Mend(left_out=lonely),
        )  # fmt: skip


def _from_others(positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) distance of each position to the nearest ones but for two, which may be off with it."""
    from scipy.spatial import KDTree

    return np.asarray(KDTree(positions_px).query(positions_px, k=TOGETHER + 1)[0][:, -1])


@check("one-line")
def one_line(look: Look) -> Iterator[Noticed]:
    """Positions on one line: across it patterns do not verify each other."""
    scan = look.scan
    if scan.M < FEWEST_ON_LINE:
        return
    centred = scan.positions_px - scan.positions_px.mean(axis=0)
    along, across = np.linalg.svd(centred, full_matrices=False)[2] @ centred.T
    wide = probe_diameter(scan.probe, 0.98)
    if np.ptp(across) >= ACROSS * max(wide, 4.0) or np.ptp(along) < LONG * np.ptp(across):
        return
    yield (
        finding(
            "one-line", "doubt",
            f"the positions lie on one line ({np.ptp(along):.4g} px long, within "
            f"{np.ptp(across):.2g} px across): patterns verify each other along it only, so that "
            f"other objects may explain them as well; scan an area{_other_axis(scan)}.",
            along_px=float(np.ptp(along)), across_px=float(np.ptp(across)),
        ),
        None,
    )  # fmt: skip


def _other_axis(scan: Scan) -> str:
    """Which axis is in another unit where the positions of an area are on a line, in words."""
    extents = np.ptp(scan.positions_px, axis=0)
    short = int(extents.argmin())
    places = np.unique(scan.positions_px[:, short])
    if not extents[short] or extents[short] > ACROSS * extents[1 - short] or len(places) < MANY:
        return ""
    return (
        f", or give the unit of the positions along {'yx'[short]}, which span "
        f"{extents[short]:.2g} px, if an area was scanned"
    )


@check("few-places")
def few_places(look: Look) -> Iterator[Noticed]:
    """Moves from each position to the next one in the place of positions."""
    scan, positions = look.scan, look.scan.positions_px
    if scan.M < FEWEST_MOVES or np.ptp(positions, axis=0).max() < NARROW_PX:
        return
    places = len(np.unique(np.rint(positions / PLACE_PX), axis=0))
    # Sums of moves are positions; sums of positions go far beyond them.
    wide = float(np.ptp(positions, axis=0).max())
    sums = float(np.ptp(np.cumsum(positions, axis=0), axis=0).max())
    if places > MOST_PLACES * scan.M or not 0.5 * wide < sums < SUMS * np.sqrt(scan.M) * wide:
        return
    yield (
        finding(
            "few-places", "doubt",
            f"{scan.M} patterns have positions at {places} different places only (within "
            f"{PLACE_PX:g} px), as where the moves from each position to the next one are given: "
            "then give their running sums; several patterns of one place show the same.",
            places=places,
        ),
        None,
    )  # fmt: skip


def _alone(scan: Scan) -> Iterator[Noticed]:
    """A few patterns that see nothing in common, or nothing but the same place."""
    places, wide = scan.positions_px, probe_diameter(scan.probe, 0.98)
    extent = float(np.ptp(places, axis=0).max())
    step = float("inf") if scan.M < 2 else float(nearest_px(places).min())
    if scan.M > 1 and extent >= SAME_PLACE_PX and step <= min(scan.N, max(wide, 4.0)):
        return
    why = "received a single one"
    if scan.M > 1:
        why = f"received {scan.M} that are {step:.4g} px apart, with a probe of {wide:.3g} px"
    if scan.M > 1 and extent < SAME_PLACE_PX:
        why = f"received {scan.M} at one place (within {extent:.3g} px)"
    yield (
        finding(
            "no-overlap", "doubt",
            f"patterns verify each other where they overlap, {why}: many objects explain such "
            "patterns, and nothing tells which one is right.",
            patterns=scan.M, extent_px=extent,
        ),
        None,
    )  # fmt: skip
