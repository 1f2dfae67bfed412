"""A trained network as a solver, whatever its family."""

from __future__ import annotations

from ptychopinn.contracts import Solver
from ptychopinn.errors import InputError
from ptychopinn.networks.architecture import ModelConfig, PatchConfig
from ptychopinn.networks.build import BuiltNetwork, Weights
from ptychopinn.ops.base import Ops
from ptychopinn.solvers.patches import PatchNetwork, PatchNetworkSolver
from ptychopinn.solvers.unrolled import CanvasNetworkSolver


def network_solver(xp: Ops, config: ModelConfig, weights: Weights, limit_bytes: int) -> Solver:
    """The solver of the configured architecture with trained ``weights``.

    ``limit_bytes`` is the memory for patterns that are held at once.

    Raises InputError when the configuration describes no network, or a patch network without a
    pattern size."""
    network = BuiltNetwork(xp, config.describe(), weights)
    if not isinstance(config, PatchConfig):
        return CanvasNetworkSolver(network, limit_bytes)
    if config.N is None:
        raise InputError("a patch network must know the pattern size, received N=None; set N.")
    return PatchNetworkSolver(PatchNetwork(network, config.N), config.gridsize, limit_bytes)
