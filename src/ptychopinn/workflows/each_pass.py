"""What :func:`ptychopinn.iterate` gives after each pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ptychopinn.data.reconstruction import Reconstruction


@dataclass(frozen=True, eq=False)
class Iteration:
    """A pass that is done.

    number : of the pass, from 1.  misfit : relative amplitude misfit during it, NaN if the solver
    knows none.  result : gives what was found so far, in the units of the scan, as :func:`refine`
    does; to be called before the next pass.
    """

    number: int
    misfit: float
    result: Callable[[], Reconstruction]

    def __repr__(self) -> str:
        return f"Iteration(number={self.number}, misfit={self.misfit:.4g})"
