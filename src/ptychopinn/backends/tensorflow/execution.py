"""How the TensorFlow backend runs on a machine; nothing here changes what is computed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import partial

import tensorflow as tf

from ptychopinn.errors import InputError
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.workers import Workers

__all__ = ["TFExecution", "computing", "working"]


def computing(execution: TFExecution) -> AbstractContextManager[None]:
    """Compute on the device of ``execution`` inside the block; ``auto`` is a GPU if there is one.

    Raises
    ------
    InputError
        When a GPU is asked for and not available, or TensorFlow already runs with other threads.
    """
    _use_threads(execution.threads)
    device: AbstractContextManager[None] = tf.device(_device(execution))
    return device


def working(execution: TFExecution) -> Workers:
    """Workers for batches outside of graphs, inside of :func:`computing`: one for each thread of a
    CPU, whose cores hardly share an operation; a GPU works on one batch at a time."""
    device = _device(execution)
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    return Workers(threads if "CPU" in device else 1, partial(tf.device, device))


def _device(execution: TFExecution) -> str:
    available = bool(tf.config.list_physical_devices("GPU"))
    if execution.accelerator == "cuda" and not available:
        raise InputError(
            "accelerator 'cuda' needs a CUDA device and a CUDA build of tensorflow, received none; "
            "use --tf-accelerator cpu or auto."
        )
    return "/GPU:0" if available and execution.accelerator != "cpu" else "/CPU:0"


def _use_threads(threads: int | None) -> None:
    """Set the CPU threads of TensorFlow, which it allows until its first computation only."""
    if threads is None:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise InputError(
            f"TensorFlow takes its number of threads before it computes anything, received "
            f"{threads} in a process where it runs with "
            f"{tf.config.threading.get_intra_op_parallelism_threads() or 'all cores'}; give the "
            "number in the first call, or start a new process."
        ) from error
