"""Bad pixels by the mask that was given, and whether a mask can be meant as it is."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.detector import seems_opposite
from ptychopinn.sources.base import Source
from ptychopinn.sources.conditioning import Look
from ptychopinn.sources.places import Place, image_at, place_of
from ptychopinn.sources.recipe import Recipe

# A mask whose marked pixels hold this share of the counts marks the good ones.
MOST_COUNTS = 0.9
# Numbers by which masks of two kinds of pixels say yes: one, and black and white pictures.
YES = (1, 255, 65535)

_log = logging.getLogger("ptychopinn")


def own_mask(source: Source, recipe: Recipe, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W), True at pixels that the source itself says to be bad.

    Raises
    ------
    InputError
        When its mask is of another size, and no other one is given.
    """
    mask = source.mask
    if mask is not None and mask.shape == size:
        return ~mask
    if mask is not None and recipe.mask is None:
        raise InputError(
            f"{source.mask_from} must be as large as the patterns, {size[0]} x {size[1]} pixels, "
            f"received {' x '.join(map(str, mask.shape))}; cut it as the patterns were cut, and "
            "give it with the option mask."
        )
    return np.zeros(size, bool)


def given_mask(
    recipe: Recipe, source: Source, size: tuple[int, int], look: Look
) -> NDArray[np.bool_]:
    """(H, W), True at pixels that the option mask says to be bad.

    Raises
    ------
    InputError
        When neither the numbers nor the counts tell which pixels it marks.
    """
    if recipe.mask is None:
        return np.zeros(size, bool)
    place = place_of(recipe.mask, source.path, "mask")
    array = image_at(place, size, "the mask", average=False)
    none = np.isnan(array) if array.dtype.kind == "f" else np.zeros(size, bool)
    if none.any() and not none.all():
        # No number is no pixel, whatever the others say; where these are all the same, that is all.
        rest = array[~none]
        array = np.where(none, 0, array)
        if (rest == rest[0]).all():
            return none
    marked = np.asarray(array != 0)
    return none | _told(recipe, place, array, marked, look)


def _told(
    recipe: Recipe,
    place: Place,
    array: NDArray[Any],
    marked: NDArray[np.bool_],
    look: Look,
) -> NDArray[np.bool_]:
    """(H, W), True at bad pixels, of a mask whose pixels are ``marked`` where it is not 0."""
    if recipe.mask_marks is not None:
        return marked if recipe.mask_marks == "bad" else ~marked
    number = array.max()
    if number not in YES or not np.isin(array, (0, number)).all():
        return marked  # codes of what is wrong with a pixel
    share = look.mean[marked].sum() / max(float(look.mean.sum()), 1e-300)
    if 1 - MOST_COUNTS < share < MOST_COUNTS:
        raise InputError(
            f"what the mask marks must be known, received {place} whose marked pixels hold "
            f"{100 * share:.3g} % of the counts; give mask_marks='good' or mask_marks='bad'."
        )
    _log.info(
        "mask %s: the pixels marked with %d hold %.3g %% of the counts and are taken as %s",
        place, number, 100 * share, "good" if share >= MOST_COUNTS else "bad",
    )  # fmt: skip
    return ~marked if share >= MOST_COUNTS else marked


def check_mask(bad: NDArray[np.bool_], look: Look) -> None:
    """Raise InputError for bad pixels (H, W) that hold what was measured."""
    seen = look.mean + look.hidden
    total = max(float(seen.sum()), 1e-300)
    share = float(seen[bad].sum()) / total
    # Masked pixels may hold any number, so that a few of them prove nothing.
    beyond = float(look.mean[bad].sum()) > MOST_COUNTS * total
    if beyond or bad.all() or seems_opposite(float(bad.mean()), share):
        raise InputError(
            f"good pixels must hold most of the counts, received a mask whose bad pixels hold "
            f"{100 * share:.3g} % of them ({int(bad.sum())} of {bad.size} pixels), as if its "
            "meaning were the opposite; give mask_marks=... with the option mask, or correct the "
            "mask in the file."
        )
