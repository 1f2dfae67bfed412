"""TensorFlow takes its threads once for a process: what is set, when, and what counts as chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ptychopinn.cli.options import chosen_backend
from ptychopinn.ops.options import TFExecution

pytest.importorskip("tensorflow")

BEGIN = """
import tensorflow as tf
from ptychopinn.errors import InputError
from ptychopinn.machine.threads import available, cores
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.selector import get_ops
from ptychopinn.ops.tensorflow import chosen_threads
intra = tf.config.threading.get_intra_op_parallelism_threads
inter = tf.config.threading.get_inter_op_parallelism_threads
"""


def in_a_new_process(program: str, **variables: str) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables}
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        if name not in variables:
            environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_side_by_side_is_one_thread_for_an_operation_and_all_cores_for_batches() -> None:
    in_a_new_process("""
xp = get_ops("tensorflow", TFExecution(side_by_side=True))
assert (intra(), inter()) == (1, available())
assert chosen_threads() == available() and xp.threads == 1
get_ops("tensorflow", TFExecution(side_by_side=True))
assert (intra(), inter()) == (1, available())
xp = get_ops("tensorflow", TFExecution(threads=3, side_by_side=True))
assert (intra(), inter(), chosen_threads(), xp.threads) == (1, 3, 3, 1)
""")


def test_what_has_begun_keeps_its_threads_but_refuses_a_number() -> None:
    in_a_new_process("""
xp = get_ops("tensorflow", TFExecution())
assert (intra(), inter(), chosen_threads(), xp.threads) == (0, 0, 0, len(cores()))
xp.asarray([1.0])
get_ops("tensorflow", TFExecution(side_by_side=True))
assert (intra(), inter()) == (0, 0)
try:
    get_ops("tensorflow", TFExecution(threads=3, side_by_side=True))
except InputError as error:
    assert "before it computes anything" in str(error)
else:
    raise AssertionError("accepted")
""")


def test_the_variables_of_tensorflow_are_a_decision() -> None:
    in_a_new_process(
        """
get_ops("tensorflow", TFExecution(side_by_side=True))
assert (intra(), inter(), chosen_threads()) == (0, 0, 3)
""",
        TF_NUM_INTRAOP_THREADS="3",
    )


@pytest.mark.parametrize(
    ("training", "flags", "expected"),
    [(False, {}, True), (False, {"tf_side_by_side": False}, False), (True, {}, False)],
)
def test_commands_that_never_train_work_side_by_side(
    training: bool, flags: dict[str, bool], expected: bool
) -> None:
    _, execution = chosen_backend("tensorflow", flags, training=training)
    assert isinstance(execution, TFExecution)
    assert execution.side_by_side is expected
