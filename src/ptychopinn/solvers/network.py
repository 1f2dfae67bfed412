"""A trained network as a solver, whatever its family."""

from __future__ import annotations

from ptychopinn.config import Config
from ptychopinn.contracts import Solver
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.networks.cnn import padded_size
from ptychopinn.networks.registry import describe, family
from ptychopinn.networks.weights import Weights
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution
from ptychopinn.solvers.patches import PatchNetwork, PatchNetworkSolver
from ptychopinn.solvers.unrolled import CanvasNetworkSolver


def network_solver(xp: Ops, config: Config, weights: Weights, execution: Execution) -> Solver:
    """The solver of the configured architecture with trained ``weights``.

    Raises
    ------
    InputError
        When the configuration describes no network.
    """
    limit = execution.inference_batch_mib << 20
    network = BuiltNetwork(xp, describe(config.model), weights)
    if family(config.model) == "canvas":
        return CanvasNetworkSolver(network, limit)
    n = config.model.N
    assert n is not None  # describe() has refused a patch network without it
    return PatchNetworkSolver(
        PatchNetwork(network, n, padded_size(n)), config.model.gridsize, limit
    )
