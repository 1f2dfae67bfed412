"""On which device TensorFlow computes, and with how many threads."""

from __future__ import annotations

import os

from ptychopinn.errors import InputError
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.tensorflow_import import undisturbed

with undisturbed():
    import tensorflow as tf


def device_of(execution: TFExecution) -> str:
    """The device to use; ``auto`` is a GPU when there is one.

    Raises
    ------
    InputError
        When a GPU is asked for and not available.
    """
    available = bool(tf.config.list_physical_devices("GPU"))
    if execution.accelerator == "cuda" and not available:
        raise InputError(
            "accelerator 'cuda' needs a CUDA device and a CUDA build of tensorflow, received none; "
            "use the accelerator cpu or auto."
        )
    return "/GPU:0" if available and execution.accelerator != "cpu" else "/CPU:0"


def use_threads(threads: int | None) -> None:
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


def chosen_threads() -> int:
    """The number of threads that share one operation, where the user chose one; else 0."""
    set_to = tf.config.threading.get_intra_op_parallelism_threads()
    return int(set_to or os.environ.get("TF_NUM_INTRAOP_THREADS") or 0)
