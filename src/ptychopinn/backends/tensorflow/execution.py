"""How the TensorFlow backend runs on a machine; nothing here changes what is computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import tensorflow as tf

from ptychopinn.errors import InputError
from ptychopinn.machine.processes import FirstUse
from ptychopinn.machine.threads import available, cores
from ptychopinn.machine.workers import Workers
from ptychopinn.ops.options import TFExecution
from ptychopinn.training.run import threads_of_run

__all__ = ["TFExecution", "as_before", "computing", "threads_in_use", "working"]

_first_use = FirstUse()


def computing(execution: TFExecution) -> AbstractContextManager[None]:
    """Compute on the device of ``execution`` inside the block; ``auto`` is a GPU if there is one.

    Raises
    ------
    InputError
        When a GPU is asked for and not available, TensorFlow already runs with other threads, or
        in a process that cannot compute (see :mod:`ptychopinn.machine.processes`).
    """
    _first_use.check()
    _use_threads(execution.threads)
    device: AbstractContextManager[None] = tf.device(_device(execution))
    return device


def working(execution: TFExecution) -> Workers:
    """Workers for batches outside of graphs, inside of :func:`computing`: one for each thread of a
    CPU, whose cores hardly share an operation; a GPU works on one batch at a time."""
    device = _device(execution)
    threads = _chosen_threads() or available()
    return Workers(threads if "CPU" in device else 1, partial(tf.device, device))


def threads_in_use() -> int:
    """The number of threads that share one operation."""
    return _chosen_threads() or len(cores())


def as_before(execution: TFExecution, record: Mapping[str, Any]) -> TFExecution:
    """The options with the number of threads of the run with this record, where TensorFlow can
    still be told; otherwise it is logged that the last digits will differ."""
    now = threads_in_use()
    threads = threads_of_run(record, now, execution.threads)
    if threads in (now, execution.threads):
        return execution
    changed = execution.model_copy(update={"threads": threads})
    try:
        _use_threads(threads)
    except InputError:
        threads_of_run(record, now, now)
        return execution
    return changed


def _chosen_threads() -> int:
    """That number, where the user chose one; else 0."""
    set_to = tf.config.threading.get_intra_op_parallelism_threads()
    return int(set_to or os.environ.get("TF_NUM_INTRAOP_THREADS") or 0)


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
