"""Pretraining the canvas network on simulated scans, each drawn on the fly and seen once.

For every scan the network's objects O_k after each pass are compared with the true one T,

    e_k = 1 - |<O_k, T>|^2 / (<O_k, O_k> <T, T>),    <A, B> = sum w conj(A) B,

the smallest relative squared error over all complex scales of T, with w the light inside the box of
scan positions. The logarithm lets bright and dark scans count alike:

    loss = sum_k s_k log e_k / sum_k s_k + physics_weight log(misfit of the last pass),

s_k falling by ``iterate_decay`` for each earlier pass.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptychopinn.backends.base import Progress
from ptychopinn.backends.pytorch import physics
from ptychopinn.backends.pytorch.canvas import CanvasEstimate, CanvasNetwork
from ptychopinn.backends.pytorch.execution import computing, device_of
from ptychopinn.backends.pytorch.family import single_problem
from ptychopinn.backends.pytorch.network import BuiltNetwork
from ptychopinn.canvas_plan import canvas_subsets
from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.errors import TrainingError
from ptychopinn.networks.registry import describe
from ptychopinn.networks.weights import initial_weights
from ptychopinn.ops.options import TorchExecution
from ptychopinn.physics.forward import canvas_for
from ptychopinn.simulation.variety import draw_scan
from ptychopinn.training.data import known_object
from ptychopinn.training.interruption import StopFlag, Stopped, ignore_signals

log = logging.getLogger(__name__)

FLOOR = 1e-8
# Steps that one progress "epoch" reports on.
REPORT = 100


class DrawnScans(Dataset[PreparedScan]):
    """The scans numbered from 0 that belong to a seed; each number gives the same scan again."""

    def __init__(self, seed: int, count: int, first: int = 0) -> None:
        self.seed, self.count, self.first = seed, count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> PreparedScan:
        return prepare(draw_scan(np.random.default_rng([self.seed, self.first + number])))


def estimate(unrolled: CanvasNetwork, scan: PreparedScan, device: torch.device) -> CanvasEstimate:
    """Run the network on all patterns of a scan, in one batch per subset."""
    good = torch.from_numpy(scan.scan.good_pixels.astype(np.float32)).to(device)
    amplitudes = torch.from_numpy(scan.amplitudes(np.arange(scan.scan.M))).to(device)
    problem = single_problem(
        physics.to_fft_order(amplitudes),
        scan.scan.positions_px,
        torch.from_numpy(scan.probe).to(device),
        physics.to_fft_order(good),
        scan.photon_scale,
        canvas_subsets(scan.scan.positions_px, scan.probe, unrolled.updates),
    )
    found: CanvasEstimate = unrolled(problem)
    return found


def truth_on_canvas(scan: PreparedScan) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """The true object on the smallest canvas of the scan, and 1 inside the box of positions."""
    positions, n = scan.scan.positions_px, scan.scan.N
    (height, width), (top, left) = canvas_for(positions, n)
    obj = known_object(scan)[top : top + height, left : left + width].astype(np.complex64)
    inside = np.zeros(obj.shape, dtype=np.float32)
    low, high = positions.min(axis=0) - (top, left), positions.max(axis=0) - (top, left)
    inside[int(low[0]) : int(high[0]) + 1, int(low[1]) : int(high[1]) + 1] = 1
    return obj, inside


def relative_error(canvas: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """1 - |<canvas, truth>|^2 / (<canvas, canvas> <truth, truth>) with the weight (H, W)."""
    # Differences of nearly equal sums: double precision.
    a, b, w = canvas.to(torch.complex128), truth.to(torch.complex128), weight.double()
    overlap = (w * a.conj() * b).sum()
    powers = (w * a.abs().square()).sum() * (w * b.abs().square()).sum()
    return 1 - overlap.abs().square() / powers


def scan_loss(
    found: CanvasEstimate, scan: PreparedScan, iterate_decay: float, physics_weight: float
) -> Tensor:
    """The loss of one scan (see the module)."""
    obj, inside = truth_on_canvas(scan)
    device = found.canvas.device
    truth = torch.from_numpy(obj).to(device)
    light = (found.illumination / found.illumination.max()).clamp(max=0.3) / 0.3
    weight = torch.from_numpy(inside).to(device) * light.detach()
    last = len(found.canvases) - 1
    shares = [iterate_decay ** (last - k) for k in range(last + 1)]
    total = sum(
        share * torch.log(relative_error(canvas, truth, weight) + FLOOR)
        for share, canvas in zip(shares, found.canvases, strict=True)
    )
    return total / sum(shares) + physics_weight * torch.log(found.misfits[-1].double() + FLOOR)


class Average:
    """Exponential moving average of the parameters, which is better than any single step."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in parameters.items()}

    def update(self, parameters: Mapping[str, Tensor]) -> None:
        for name, p in parameters.items():
            self.values[name].lerp_(p.detach(), 1 - self.decay)


def pretrain(
    config: Config,
    steps: int,
    execution: TorchExecution,
    *,
    start: Mapping[str, NDArray[np.float32]] | None = None,
    physics_weight: float = 0.1,
    average: float = 0.995,
    progress: Progress,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, list[tuple[int, float]]], int | None]:
    """Train the canvas network of ``config`` on ``steps`` random scans.

    Batches, learning rate, clipping, seed and ``iterate_decay`` are those of the configuration; the
    rate falls as a cosine after the warm-up. Ctrl-C and SIGTERM end it early with what is there.

    Returns
    -------
    weights, history of ``train_loss`` per hundred scans, and the signal that ended it, or None.

    Raises
    ------
    TrainingError
        When the loss is not finite.
    """
    training, device, stop = config.training, device_of(execution), StopFlag()
    description = describe(config.model)
    network = BuiltNetwork(
        description, initial_weights(description, training.seed) if start is None else start
    )
    unrolled = CanvasNetwork(network).to(device)
    optimizer = torch.optim.Adam(network.parameters(), training.learning_rate, betas=(0.9, 0.99))
    mean = Average(network.parameters_by_name(), average)
    scans: Any = DataLoader(
        DrawnScans(training.seed, steps),
        batch_size=None,
        num_workers=execution.num_workers,
        worker_init_fn=ignore_signals if execution.num_workers else None,
    )
    history: dict[str, list[tuple[int, float]]] = {"train_loss": []}
    losses: list[float] = []
    begun = time.perf_counter()
    with computing(execution), stop.installed():
        try:
            for number, scan in enumerate(scans):
                if number % REPORT == 0:
                    progress.epoch(number // REPORT, min(REPORT, steps - number))
                loss = scan_loss(
                    estimate(unrolled, scan, device), scan, config.loss.iterate_decay,
                    physics_weight,
                )  # fmt: skip
                (loss / training.batch_size).backward()
                losses.append(float(loss.detach()))
                if not math.isfinite(losses[-1]):
                    raise TrainingError(
                        f"the loss must stay finite, received {losses[-1]} at scan {number}: "
                        "training diverged; lower --learning-rate."
                    )
                if (number + 1) % training.batch_size == 0:
                    _step(optimizer, network, config, number + 1, steps)
                    mean.update(network.parameters_by_name())
                progress.step(
                    losses[-1], scan.scan.M * (number + 1) / (time.perf_counter() - begun)
                )
                if (number + 1) % REPORT == 0:
                    value = float(np.mean(losses[-REPORT:]))
                    history["train_loss"].append(((number + 1) // REPORT, value))
                    progress.epoch_done(number // REPORT, {"train_loss": value})
                stop.check()
        except Stopped:
            log.warning("stopped by signal %s after %d scans", stop.signal, len(losses))
    weights = {
        name: value.cpu().numpy().astype(np.float32, copy=True)
        for name, value in mean.values.items()
    }
    return weights, history, stop.signal


def _step(
    optimizer: torch.optim.Optimizer, network: Any, config: Config, done: int, steps: int
) -> None:
    training = config.training
    warm = min(1.0, done / (training.batch_size * (training.warmup_steps + 1)))
    rate = warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done / steps)))
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * rate
    if training.gradient_clip_val:
        torch.nn.utils.clip_grad_norm_(network.parameters(), training.gradient_clip_val)
    optimizer.step()
    optimizer.zero_grad()
