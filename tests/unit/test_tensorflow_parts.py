"""What only TensorFlow has: a quiet import, and the choice of its device."""

from __future__ import annotations

import os

import pytest

from ptychopinn.errors import InputError
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.selector import get_ops
from ptychopinn.ops.tensorflow_import import undisturbed


def test_notes_at_the_import_are_left_out_and_errors_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = dict(os.environ)
    with undisturbed():
        os.write(2, b"I0000 00:00:1795597597.066732    4931 port.cc:153] oneDNN operations\n")
        os.write(2, b"E0000 00:00:1795597597.066732    4931 cuda.cc:1] no driver\n")
        assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert capfd.readouterr().err == "E0000 00:00:1795597597.066732    4931 cuda.cc:1] no driver\n"
    assert dict(os.environ) == before
    with pytest.raises(ImportError), undisturbed():
        raise ImportError
    assert dict(os.environ) == before


def test_a_gpu_that_is_not_there_is_refused() -> None:
    tf = pytest.importorskip("tensorflow")
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is such a device")
    with pytest.raises(InputError, match="use the accelerator cpu"):
        get_ops("tensorflow", TFExecution(accelerator="cuda"))
