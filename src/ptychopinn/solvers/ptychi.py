"""Handing a scan over to pty-chi and taking its result back, through its public interface.

Both programs place sub-pixel positions alike: patches on whole pixels, the remainder moves the
probe. What differs is converted here:

- **Fields.** pty-chi predicts counts with the FFT without a factor, ``I = abs(fft2(P O))^2``; this
  package uses the unitary one. Its probe is therefore ours in sqrt(counts), divided by N. The
  object is handed over in network units, where its modulus is near 1, as pty-chi expects.
- **Patterns** are counts with the zero frequency in the middle; pty-chi shifts them itself.
- **Positions** are pixels, relative to an origin on the object that can be stated. A patch whose
  first pixel is s has its position at ``s + (N - 1)/2`` there, half a pixel before ours; an origin
  at a half pixel makes up for it.
- **Bad pixels**: True is good in both.

pty-chi moves only the first probe mode by the sub-pixel remainder. With several modes its model
and ours differ by that; the misfit of the result is the one of our model.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ptychopinn.contracts import SILENT, Canvas, Progress, Solved, Solver, Step
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.data.scan import check_counts
from ptychopinn.errors import InputError, MissingDependencyError, TrainingError
from ptychopinn.machine.interruption import imported_whole
from ptychopinn.ops.options import Execution, TorchExecution
from ptychopinn.ops.selector import BackendName
from ptychopinn.physics.geometry import canvas_for, illumination
from ptychopinn.solvers.configs import PtychiConfig
from ptychopinn.solvers.passes import Passes
from ptychopinn.solvers.physics import fixed_gauge
from ptychopinn.solvers.problem import canvas_of

if TYPE_CHECKING:
    import torch

PACKAGE = "ptychi"
# Options of the PyTorch backend that it obeys.
OBEYED = {"accelerator", "threads"}
# Classes of ptychi.api that hold the settings of an algorithm.
SETTINGS = {"lsqml": "LSQMLOptions", "rpie": "RPIEOptions", "epie": "EPIEOptions"}
# Room around the canvas: pty-chi asks for two pixels more than the patches need.
MARGIN = 2
# Seed of the order of the patterns.
SEED = 0
# Gain of the momentum that pty-chi recommends for compact batches.
MOMENTUM = 0.5
# Largest move of a position in one pass, pixels.
LARGEST_MOVE = 0.1


def require() -> None:
    """Check that pty-chi can be imported.

    Raises MissingDependencyError when it is not installed, or one of its packages does not load."""
    if find_spec(PACKAGE) is None:
        raise MissingDependencyError(
            f"the engine ptychi needs the package {PACKAGE}, received an installation without it; "
            f"run: pip install 'ptychopinn[{PACKAGE}]'."
        )
    try:
        with imported_whole():
            import_module(f"{PACKAGE}.api.task")
    except (ImportError, OSError, RuntimeError) as error:
        # A torchvision that was built for another torch ends in a RuntimeError.
        raise MissingDependencyError(
            f"the engine ptychi needs a {PACKAGE} that can be imported, received: "
            f"{' '.join(str(error).split())}; install torch and torchvision of one build, then "
            f"{PACKAGE}."
        ) from error


def execution_for(
    backend: BackendName | None, execution: Execution | None, uncertainty: bool = False
) -> TorchExecution:
    """How pty-chi is to run: accelerator and threads of the PyTorch backend.

    Raises InputError when another backend, an uncertainty or an option that pty-chi does not know
    is asked for."""
    if uncertainty:
        raise InputError(
            "an uncertainty is calibrated for the engine physics only, received the engine ptychi; "
            "leave out uncertainty=True."
        )
    if backend not in (None, "pytorch") or not isinstance(execution, TorchExecution | None):
        raise InputError(
            "the engine ptychi computes with PyTorch, received another backend; leave it out."
        )
    execution = TorchExecution() if execution is None else execution
    if unknown := execution.model_fields_set - OBEYED:
        raise InputError(
            f"the engine ptychi knows only accelerator and threads of the PyTorch options, "
            f"received {', '.join(sorted(unknown))}; leave it out."
        )
    return execution


def obeyed(execution: Execution | None) -> TorchExecution:
    """Those options of other methods on the same scan that pty-chi can use."""
    if not isinstance(execution, TorchExecution):
        return TorchExecution()
    return TorchExecution(**execution.model_dump(include=OBEYED, exclude_unset=True))


def stage(config: PtychiConfig) -> dict[str, Any]:
    """What the record of a result says of this engine."""
    return {
        "engine": PACKAGE,
        "version": version(PACKAGE),
        "algorithm": config.algorithm,
        "batch_size": config.batch_size,
        "batching": config.batching,
    }


class PtychiSolver(Solver):
    """Iterations of pty-chi; all passes are made.

    All patterns are held in memory, in single precision. ``losses`` of the canvas is the relative
    amplitude misfit during each pass; pty-chi includes bad pixels in it, as if they had counted
    nothing. While its steps are watched, default device and random generators of the process are
    those of pty-chi.
    """

    def __init__(self, config: PtychiConfig, execution: Execution) -> None:
        assert isinstance(execution, TorchExecution)  # see execution_for
        self.config, self.execution = config, execution

    def run(
        self, scan: PreparedScan, start: Canvas | None = None, progress: Progress = SILENT
    ) -> Iterator[Step]:
        """As the contract says.

        Raises InputError when the scan is not one of the far field; TrainingError when the
        iterations diverge."""
        from ptychi.api.task import PtychographyTask

        from ptychopinn.ops.torch import TorchOps

        config, n, positions = self.config, scan.scan.N, scan.scan.positions_px
        if not scan.propagator.measures_momentum:
            raise InputError(
                "the engine ptychi is used for far-field patterns, received those of a near field; "
                "use the engine physics."
            )
        moves = max(0, config.passes - config.positions_from) if config.refine_positions else 0
        shape, corner = canvas_for(positions, n, MARGIN + int(np.ceil(LARGEST_MOVE * moves)))
        # Single precision is finest in the middle of the canvas.
        middle = corner + np.array(shape) // 2
        given = (positions - middle).astype(np.float32)
        canvas = np.ones(shape, np.complex64) if start is None else start.on(shape, corner)
        to_fields = np.float32(1 / (scan.input_scale * n))
        counts = np.asarray(scan.scan.diffraction[:])
        check_counts(counts)
        misfits: list[float] = []

        def result() -> Solved:
            obj = task.get_data_to_cpu("object", as_numpy=True)[0]
            probe = task.get_data_to_cpu("probe", as_numpy=True)[0] / to_fields
            # The difference first: a position that was not moved stays as it is, to the last bit.
            moved = positions + (task.get_data_to_cpu("probe_positions", as_numpy=True) - given)
            light = illumination(moved, probe, shape, corner)
            if config.refine_probe:
                power = float((np.abs(scan.probe) ** 2).sum())
                obj, probe = fixed_gauge(obj, light, probe, power)
            found = canvas_of(obj, light.astype(np.float32), corner, misfits)
            return Solved(found, probe, moved, len(misfits))

        # Weights of variable probe modes are not used; without them pty-chi would set up the
        # logging of the process to say so.
        with (
            TorchOps(self.execution).threaded(),
            process_kept(),
            PtychographyTask(
                task_options(config, TorchOps(self.execution).device, tuple(middle - corner)),
                diffraction_data=counts.astype(np.float32) * scan.scan.good_pixels,
                valid_pixel_mask=scan.scan.good_pixels.copy(),
                object_data=canvas[None],
                probe_data=scan.probe[None] * to_fields,
                probe_position_y_px=given[:, 0].copy(),
                probe_position_x_px=given[:, 1].copy(),
                opr_mode_weights_data=np.ones((scan.scan.M, 1), np.float32),
            ) as task,
        ):
            passes = Passes(progress, scan.scan.M)
            for number in range(config.passes):
                passes.begin(1)
                misfits.append(_pass(task, config, n * n / scan.counts, misfits))
                passes.step(misfits[-1])
                passes.end()
                if number + 1 < config.passes:
                    yield Step(number + 1, misfits[-1], result)
            # While pty-chi still holds its arrays.
            last = result()
        yield Step(config.passes, misfits[-1], lambda: last)


def task_options(config: PtychiConfig, device: torch.device, origin: tuple[int, ...]) -> Any:
    """Settings of pty-chi: its own for the algorithm, and ours for what is refined."""
    from ptychi import api

    options = getattr(api, SETTINGS[config.algorithm])()
    how = options.reconstructor_options
    how.num_epochs = config.passes
    how.batch_size = config.batch_size
    how.batching_mode = getattr(api.BatchingModes, config.batching.upper())
    how.random_seed = SEED
    how.default_device = api.Devices.GPU if device.type == "cuda" else api.Devices.CPU
    if config.algorithm == "lsqml":
        # The first pass would only scale the probe, which has its scale already.
        how.rescale_probe_intensity_in_first_epoch = False
        how.momentum_acceleration_gain = MOMENTUM if config.batching == "compact" else 0.0
    obj = options.object_options
    obj.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    obj.position_origin_coords = [float(index) - 0.5 for index in origin]
    # Scales object and probe against each other; done once, at the end (see `fixed_gauge`).
    obj.remove_object_probe_ambiguity.enabled = False
    probe = options.probe_options
    probe.optimizable = config.refine_probe
    probe.orthogonalize_incoherent_modes.enabled = config.refine_probe
    where = options.probe_position_options
    where.optimizable = config.refine_positions
    where.optimization_plan.start = config.positions_from
    where.correction_options.update_magnitude_limit = LARGEST_MOVE
    return options


def _pass(task: Any, config: PtychiConfig, per_count: float, earlier: Sequence[float]) -> float:
    """Make a pass; its mean squared amplitude error, times ``per_count``."""
    task.run(1)
    misfit = float(task.reconstructor.loss_tracker.table["loss"].iloc[-1]) * per_count
    # Above 1 the model is worse than no light at all; bad pixels may put the first one there.
    if not misfit <= max(1, 10 * (earlier[0] if earlier else misfit)):
        raise TrainingError(
            f"the iterations of {config.algorithm} must lower the misfit, received one of "
            f"{misfit:.3g} after pass {len(earlier) + 1}; lower batch_size, or try another "
            "algorithm."
        )
    return misfit


@contextmanager
def process_kept() -> Iterator[None]:
    """pty-chi sets the default device, the default number type and the random generators of the
    process; this puts them back.

    Inside, one warning about the way it copies numbers, which is of no use to anybody, is not
    shown.
    """
    import torch

    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
            yield
    finally:
        # None is the CPU without the bookkeeping of a default that was chosen.
        torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_default_dtype(dtype)
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
