"""How much rows of a detector are alike: light is as coarse as the illumination is narrow.

The intensity of a pattern is the transform of an autocorrelation, which ends at twice the width of
the illumination: rows beside each other change together from pattern to pattern, those further away
less and less (speckle of coherent light; J. W. Goodman, *Speckle Phenomena in Optics*, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# Rows count that change by this share of what the one that changes most does, and of which this
# share of the pixels measures.
LIT, WHOLE = 0.1, 0.9
# Rows around tell how much alike two rows ought to be when they are by this much.
AROUND = 0.3
# Pixels by which a row is moved along itself.
REACH = 3


@dataclass(frozen=True)
class RowLikeness:
    """covariance : (H, H) of the changes of two rows from pattern to pattern.  lit : (H - 1,)
    whether a row and the next one change enough to tell.  along : (H - 1,) pixels by which the next
    row is to be moved along itself to be like a row."""

    covariance: Float
    lit: NDArray[np.bool_]
    along: Float

    @property
    def count(self) -> int:
        return len(self.covariance)

    def at(self, distance: int) -> float:
        """How much alike rows at a distance are, with their noise: 1 for the same ones."""
        seen = np.diagonal(self.covariance, distance)
        variance = np.diagonal(self.covariance)
        both = np.sqrt(variance[:-distance] * variance[distance:])
        return float(seen.sum() / max(float(both.sum()), 1e-30))

    @property
    def parity(self) -> tuple[float, float]:
        """How much alike rows 0 and 1, 2 and 3 ... are, and rows 1 and 2, 3 and 4 ..."""
        seen, variance = np.diagonal(self.covariance, 1), np.diagonal(self.covariance)
        both = np.sqrt(variance[:-1] * variance[1:])
        even, odd = (float(seen[k::2].sum() / max(float(both[k::2].sum()), 1e-30)) for k in (0, 1))
        return even, odd

    @property
    def drops(self) -> Float:
        """(H - 1,) how much alike a row and the next one are, relative to the two pairs around;
        NaN where these tell nothing."""
        variance = np.maximum(np.diagonal(self.covariance), 1e-30)
        alike = np.diagonal(self.covariance, 1) / np.sqrt(variance[:-1] * variance[1:])
        around = np.minimum(alike[:-2], alike[2:])
        told = self.lit[:-2] & self.lit[1:-1] & self.lit[2:] & (around > AROUND)
        found = np.full(len(alike), np.nan)
        found[1:-1][told] = alike[1:-1][told] / around[told]
        return found


def row_likeness(patterns: NDArray[np.float32], good: NDArray[np.bool_], axis: int) -> RowLikeness:
    """The likeness of the rows (``axis`` 0) or columns (1) of patterns (m, N, N)."""
    amplitudes = np.sqrt(patterns)
    changes = np.where(good, amplitudes - amplitudes.mean(axis=0), np.float32(0))
    if axis == 1:
        changes, good = changes.swapaxes(1, 2), good.T
    count, height, width = changes.shape
    rows = np.ascontiguousarray(changes.transpose(1, 0, 2))
    flat = rows.reshape(height, -1)
    covariance = (flat @ flat.T).astype(np.float64) / (count * width)
    variance = np.diagonal(covariance)
    usable = (variance > LIT * variance.max()) & (good.mean(axis=1) >= WHOLE * good.mean(1).max())
    seen = np.empty((2 * REACH + 1, height - 1))
    for k in range(-REACH, REACH + 1):
        low, high = max(0, -k), width - max(0, k)
        one, other = rows[:-1, :, low:high], rows[1:, :, low + k : high + k]
        seen[k + REACH] = np.einsum("ymx,ymx->y", one, other)
    return RowLikeness(covariance, usable[:-1] & usable[1:], _tops(seen))


def _tops(seen: Float) -> Float:
    """Where curves (K, n) at whole numbers around 0 have their maximum."""
    best = np.clip(np.argmax(seen, axis=0), 1, len(seen) - 2)
    each = np.arange(seen.shape[1])
    low, middle, high = (seen[best + k, each] for k in (-1, 0, 1))
    bend = np.where(low + high < 2 * middle, 2 * middle - low - high, np.inf)
    return best - REACH + np.clip((high - low) / (2 * bend), -1, 1)


def lagged_likeness(lines: NDArray[np.float32], good: NDArray[np.bool_], most: int) -> Float:
    """How much alike a line is with the one beside it in a frame up to ``most`` earlier and later.

    Parameters
    ----------
    lines : (m, 2, W) counts of two lines in m frames that follow each other.
    good : (2, W), True at pixels that measure.

    Returns
    -------
    (2 most + 1,): 1 for the same changes; the second line ``k - most`` frames later at number k.
    """
    total = lines[:, good].sum(axis=1, keepdims=True)
    # A beam that changes makes all pixels alike in all frames.
    steady = np.sqrt(lines / np.maximum(total, 1e-30)[..., None])
    changes = np.where(good, steady - steady.mean(axis=0), 0).astype(np.float64)
    m = len(lines)
    found = np.zeros(2 * most + 1)
    for k, late in enumerate(range(-most, most + 1)):
        one = changes[max(0, -late) : m - max(0, late), 0]
        other = changes[max(0, late) : m - max(0, -late), 1]
        both = float(np.sqrt((one**2).sum() * (other**2).sum()))
        found[k] = float((one * other).sum()) / max(both, 1e-30)
    return found
