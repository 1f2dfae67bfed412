"""The threads of TensorFlow, which belong to the process."""

from __future__ import annotations

import os

from ptychopinn.errors import InputError
from ptychopinn.machine.threads import available
from ptychopinn.ops.tensorflow_import import undisturbed

with undisturbed():
    import tensorflow as tf


def use_threads(threads: int | None, side_by_side: bool = False) -> None:
    """Set the CPU threads of TensorFlow, which it allows until its first computation only.

    side_by_side : each of them works alone. A process that has computed keeps what it has: only
        the speed depends on it."""
    if threads is None and (not side_by_side or chosen_threads()):
        return
    number = available() if threads is None else threads
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1 if side_by_side else number)
        tf.config.threading.set_inter_op_parallelism_threads(number if side_by_side else 1)
    except RuntimeError as error:
        if threads is None:
            return
        raise InputError(
            f"TensorFlow takes its number of threads before it computes anything, received "
            f"{threads} in a process where it runs with {chosen_threads() or 'all cores'}; give "
            "the number in the first call, or start a new process."
        ) from error


def chosen_threads() -> int:
    """The number of threads, where one was chosen; else 0. They share one operation, or work side
    by side where an operation has one only."""
    shared = shared_threads()
    return max(shared, _alone()) if shared == 1 else shared


def shared_threads() -> int:
    """The number of threads that share one operation, as set; else 0."""
    set_to = tf.config.threading.get_intra_op_parallelism_threads()
    return int(set_to or os.environ.get("TF_NUM_INTRAOP_THREADS") or 0)


def _alone() -> int:
    """The number of operations at a time, as set; else 0."""
    set_to = tf.config.threading.get_inter_op_parallelism_threads()
    return int(set_to or os.environ.get("TF_NUM_INTEROP_THREADS") or 0)
