"""The canvas network: passes of the physics, each followed by a learned correction of the object.

After each of K passes of U updates (:mod:`ptychopinn.solvers.descent`) a small U-Net on the canvas,
shared by all passes, corrects the object,

    O <- O + c_k U(O, v, illumination, noise, misfit).

The steps, momenta, phase gains and dampings of the updates and the gains c are learned. The U-Net
works on blocks of 2 x 2 pixels. Nothing depends on N, on the canvas size, the probe or the number
of patterns. Without a network the passes are the plain iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ptychopinn.contracts import SILENT, Canvas, Progress, Solved, Solver, Step
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.low_frequency import LowFrequency
from ptychopinn.solvers.descent import RIM, Descent
from ptychopinn.solvers.glances import Glances
from ptychopinn.solvers.passes import Passes
from ptychopinn.solvers.problem import Problem, scan_problem

# Shares of a learned correction that are tried, in this order, before it is rejected.
SHARES = (1.0, 0.5, 0.25)


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the canvas network.

    state : after it.  misfit : relative amplitude misfit during it.  modelled : of each update the
    intensities (m, N, N) before it, where a subset is one batch.  share : of the learned correction
    that was taken.
    """

    state: Descent
    misfit: Array
    modelled: list[Array]
    share: float


def features(
    xp: Ops, canvas: Array, velocity: Array, light: Array, noise: Any, misfit: Any, multiple: int
) -> Array:
    """What the U-Net sees, (1, channels, H', W'): the sides are multiples of ``multiple``."""
    brightest = xp.max(light)
    light = light / brightest
    # Standard deviation that photon noise gives to an object pixel in least squares.
    noise = noise / xp.sqrt(brightest * (light + RIM))
    deviation = canvas - 1
    channels = xp.stack(
        [
            xp.real(deviation),
            xp.imag(deviation),
            xp.real(velocity),
            xp.imag(velocity),
            light,
            0.25 * _log10(xp, noise + 1e-6),
            0.25 * _log10(xp, misfit + 1e-6) * xp.ones_like(light),
        ]
    )[None]
    height, width = xp.shape(light)
    return xp.pad(channels, (0, 0), (-height % multiple, -width % multiple), "edge")


def _log10(xp: Ops, values: Array) -> Array:
    return xp.log(values) * (1 / np.log(10).item())


def faded(xp: Ops, out: Array, light: Array, gain: Any) -> Array:
    """Correction (H, W) from the output (1, 2, H', W') of the U-Net.

    Nothing is known outside the illumination: the correction fades out with it.
    """
    height, width = xp.shape(light)
    relative = light / xp.max(light)
    found = out[0, :, :height, :width] * (gain * relative / (relative + RIM))
    return xp.complex(found[0], found[1])


class Tile(NamedTuple):
    """A part of an axis: ``outer`` is what it looks at, and inside of that ``inner`` what it is
    responsible for."""

    outer: slice
    inner: slice


def tiles(length: int, side: int, halo: int) -> Iterator[Tile]:
    """Tiles with cores of at most ``side`` pixels that cover an axis, each with a halo."""
    for start in range(0, length, side):
        stop = min(start + side, length)
        low, high = max(0, start - halo), min(length, stop + halo)
        yield Tile(slice(low, high), slice(start - low, stop - low))


class Unrolled:
    """The passes of a canvas network on the operations of its framework.

    count, updates : number K of passes, and U of updates in each.
    """

    def __init__(self, network: BuiltNetwork) -> None:
        self.network, self.xp = network, network.xp
        vectors = network.description.vectors
        self.count = len(vectors["gain"])
        self.updates = len(vectors["step"]) // self.count
        self.reach = network.description.reach()

    def passes(
        self,
        problem: Problem,
        start: Array | None = None,
        *,
        guarded: bool = False,
        low: LowFrequency | None = None,
        follow: Callable[[Descent, int, Callable[[], Array]], None] | None = None,
    ) -> Iterator[Pass]:
        """Run all passes; ``follow`` is told of the state what :class:`Descent` tells as glimpse.

        With ``guarded`` a learned correction or a low-frequency phase that raises the misfit of
        the patterns that come next is damped or left out; that costs three further predictions of
        one subset a pass.
        """
        state = Descent(problem, start, low=low)
        if follow is not None:
            state.glimpse = partial(follow, state)
        for k in range(self.count):
            yield self._pass(k, state, guarded)

    def _pass(self, k: int, state: Descent, guarded: bool) -> Pass:
        problem, updates, vectors = state.problem, self.updates, self.network.vectors
        total: Any = 0.0
        intensities = []
        for u in range(k * updates, (k + 1) * updates):
            found = state.update(
                u,
                vectors["step"][u],
                vectors["momentum"][u],
                vectors["phase_gain"][u],
                vectors["damp"][u],
                decide=guarded and (u + 1) % updates == 0,
            )
            total = total + found.misfit * (len(problem.subsets) / updates)
            intensities.append(found.modelled)
        misfit = total / problem.power
        change = self._correction(state, misfit, vectors["gain"][k], guarded)
        share = self._share(state, (k + 1) * updates, change) if guarded else 1.0
        state.canvas = state.canvas + (change if share == 1.0 else share * change)
        return Pass(state, misfit, intensities, share)

    def _share(self, state: Descent, subset: int, change: Array) -> float:
        """How much of a correction to take: what does not raise the misfit beyond the noise."""
        problem = state.problem
        floor = problem.expected * float(problem.power) / len(problem.subsets)
        plain = state.next_misfit
        assert plain is not None  # decided in the last update
        for share in SHARES:
            if float(state.misfit(subset, state.canvas + share * change)) <= max(plain, floor):
                return share
        return 0.0

    def _correction(self, state: Descent, misfit: Array, gain: Array, in_tiles: bool) -> Array:
        xp, light = self.xp, state.total_illumination()
        multiple = self.network.description.multiple_of
        seen = xp.call(
            features, state.canvas, state.velocity, light, state.problem.noise, misfit, multiple
        )
        # Tiles bound the memory where nothing is differentiated; they would cut the derivative.
        out = self._in_tiles(seen) if in_tiles else self.network(canvas=seen)[0]
        return xp.call(faded, out, light, gain)

    def _in_tiles(self, seen: Array) -> Array:
        """The U-Net on (1, channels, H, W), tile by tile where the canvas is large."""
        height, width = self.xp.shape(seen)[-2:]
        # Within a graph sides are not known; the sub-scans of training are small.
        known = isinstance(height, int) and isinstance(width, int)
        side = self.xp.tile
        if not known or max(height, width) <= side or self.reach is None:
            return self.network(canvas=seen)[0]
        multiple = self.network.description.multiple_of
        halo = -(-self.reach // multiple) * multiple
        whole = []
        for rows in tiles(height, side, halo):
            row = []
            for columns in tiles(width, side, halo):
                out = self.network(canvas=seen[:, :, rows.outer, columns.outer])[0]
                row.append(out[:, :, rows.inner, columns.inner])
            whole.append(self.xp.concat(row, axis=3))
        return self.xp.concat(whole, axis=2)


class CanvasNetworkSolver(Solver):
    """A trained canvas network, guarded by the misfit.

    network : with the trained weights.
    limit_bytes : memory for patterns that are held at once.
    """

    def __init__(self, network: BuiltNetwork, limit_bytes: int) -> None:
        self.unrolled, self.xp, self.limit = Unrolled(network), network.xp, limit_bytes

    def run(
        self, scan: PreparedScan, start: Canvas | None = None, progress: Progress = SILENT
    ) -> Iterator[Step]:
        xp = self.xp
        losses: list[float] = []
        shares: list[float] = []
        glances = Glances()

        def follow(state: Descent, patterns: int, canvas: Callable[[], Array]) -> None:
            if xp.ranks.size == 1:
                shown.within(patterns, lambda: glances.of(state, scan, origin, canvas()))

        shown = Passes(progress, scan.scan.M)
        with xp.running():
            problem, origin = scan_problem(xp, scan, self.unrolled.updates, self.limit)
            canvas = None if start is None else xp.asarray(start.on(problem.shape, origin))
            passes = self.unrolled.passes(problem, canvas, guarded=True, follow=follow)

        def result() -> Solved:
            state = found.state
            canvas = state.found(origin, losses)
            return Solved(
                replace(canvas, corrections=tuple(shares)),
                scan.probe,
                scan.scan.positions_px,
                len(losses),
            )

        for number in range(self.unrolled.count):
            shown.begin(1)
            # Entered for each pass, so that nothing is switched while the caller looks.
            with xp.running():
                found = next(passes)
                found.state.canvas = xp.agreed(found.state.canvas)
                losses.append(float(found.misfit))
            shares.append(found.share)
            shown.step(losses[-1])
            shown.end()
            glance = partial(glances.of, found.state, scan, origin)
            yield Step(number + 1, losses[-1], result, glance)
