"""Patterns seen otherwise: some of them, rolled or turned, whether in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import PatternArray

Change = Callable[[NDArray[Any]], NDArray[Any]]


class PatternView:
    """Patterns ``index`` of a lazy array, each changed by a function of (m, N, N) arrays.

    ``known_total`` is their sum (N, N), once somebody has added them up.
    """

    def __init__(
        self,
        source: PatternArray,
        index: NDArray[np.int64] | None = None,
        change: Change | None = None,
    ) -> None:
        self._source, self._change = source, change
        self._index = np.arange(len(source)) if index is None else index
        self.known_total: NDArray[np.float64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._index), *self._source.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._source.dtype

    @property
    def ndim(self) -> int:
        return len(self._source.shape)

    def __len__(self) -> int:
        return len(self._index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        chosen = self._index[first]
        patterns = np.asarray(self._source[chosen])
        if self._change is not None:
            whole = patterns.reshape(-1, *patterns.shape[-2:])
            patterns = self._change(whole).reshape(patterns.shape)
        return patterns[(slice(None),) * np.ndim(chosen) + rest] if rest else patterns


def chosen_patterns(source: PatternArray, index: NDArray[np.int64]) -> PatternArray:
    """The patterns ``index``; those on disk stay there."""
    return source[index] if isinstance(source, np.ndarray) else PatternView(source, index)


def changed_patterns(source: PatternArray, change: Change) -> PatternArray:
    """Every pattern changed by a function of (m, N, N) arrays; those on disk stay there."""
    if isinstance(source, np.ndarray):
        return np.ascontiguousarray(change(source))
    return PatternView(source, change=change)


def rolled_patterns(source: PatternArray, by: tuple[int, int]) -> PatternArray:
    """Every pattern rolled by (y, x) pixels."""
    return changed_patterns(source, _Rolled(by))


class _Rolled:
    """Rolls patterns; an object of a class, so that worker processes can have it."""

    def __init__(self, by: tuple[int, int]) -> None:
        self.by = by

    def __call__(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return np.roll(patterns, self.by, (1, 2))
