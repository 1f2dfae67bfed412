"""Large canvases in parts."""

from __future__ import annotations

from dataclasses import dataclass

# Side of the canvas tiles that the correction of a canvas network is computed in, a multiple of
# every ``multiple_of``: a larger canvas would need gigabytes for the channels of the network.
TILE = 512


@dataclass(frozen=True)
class Tile:
    """A part of an image: ``core`` is what it is responsible for, ``outer`` what it looks at, and
    ``inner`` where the core lies inside of that. Slices (rows, columns)."""

    core: tuple[slice, slice]
    outer: tuple[slice, slice]
    inner: tuple[slice, slice]


def tiles(shape: tuple[int, int], side: int, halo: int) -> list[Tile]:
    """Tiles with cores of at most ``side`` pixels that cover an image (H, W), each with a halo."""

    def along(length: int) -> list[tuple[slice, slice, slice]]:
        found = []
        for start in range(0, length, side):
            stop = min(start + side, length)
            low, high = max(0, start - halo), min(length, stop + halo)
            found.append((slice(start, stop), slice(low, high), slice(start - low, stop - low)))
        return found

    return [
        Tile((y[0], x[0]), (y[1], x[1]), (y[2], x[2]))
        for y in along(shape[0])
        for x in along(shape[1])
    ]
