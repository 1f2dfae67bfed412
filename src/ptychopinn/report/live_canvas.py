"""The object while it is being found, in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptychopinn.errors import MissingDependencyError
from ptychopinn.ops.selector import installed

if TYPE_CHECKING:
    from ptychopinn.report.live_widget import LiveCanvas


def live_canvas() -> LiveCanvas:
    """A widget for notebooks that shows the phase, the pass and the misfit as they come.

    Show it in one cell, and give it as ``progress`` to :func:`ptychopinn.refine`,
    :func:`ptychopinn.reconstruct`, :func:`ptychopinn.iterate` or another verb in the next; in a
    loop over the passes of a :class:`ptychopinn.Solver` call ``canvas.show(step)``. What was never
    seen is blue; a fifth of the time at most goes into the pictures. They change within a pass as
    well where that takes long, and after the epochs of a training.

    Raises
    ------
    MissingDependencyError
        Without the package anywidget, which the extra ``notebook`` brings.
    """
    if not installed("anywidget"):
        raise MissingDependencyError(
            "a live canvas needs the package anywidget, received an installation without it; run: "
            "pip install 'ptychopinn[notebook]'."
        )
    from ptychopinn.report.live_widget import LiveCanvas

    return LiveCanvas()
