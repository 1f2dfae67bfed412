"""A trained network as a solver, whatever its family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptychopinn.contracts import Solver
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.networks.cnn import padded_size
from ptychopinn.networks.registry import describe, family
from ptychopinn.networks.weights import Weights
from ptychopinn.ops.base import Ops
from ptychopinn.ops.options import Execution
from ptychopinn.solvers.patches import PatchNetwork, PatchNetworkSolver
from ptychopinn.solvers.unrolled import CanvasNetworkSolver

if TYPE_CHECKING:
    from ptychopinn.config import ModelConfig


def network_solver(xp: Ops, model: ModelConfig, weights: Weights, execution: Execution) -> Solver:
    """The solver of the configured architecture with trained ``weights``.

    Raises
    ------
    InputError
        When the configuration describes no network.
    """
    limit = execution.inference_batch_mib << 20
    network = BuiltNetwork(xp, describe(model), weights)
    if family(model) == "canvas":
        return CanvasNetworkSolver(network, limit)
    n = model.N
    assert n is not None  # describe() has refused a patch network without it
    return PatchNetworkSolver(PatchNetwork(network, n, padded_size(n)), model.gridsize, limit)
