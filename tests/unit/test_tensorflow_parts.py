"""Parts of the TensorFlow backend: optimiser, checkpoints, a quiet import, what ends a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ptychopinn.backends.tensorflow")

import tensorflow as tf
from ptychopinn.backends.base import Silent
from ptychopinn.backends.tensorflow import checkpoint, training
from ptychopinn.backends.tensorflow.optimizer import Adam, clipped

from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.errors import InputError, TrainingError
from ptychopinn.ops.importing import undisturbed
from ptychopinn.ops.options import TFExecution
from ptychopinn.simulation import SimulationConfig, simulate
from ptychopinn.training.checkpoint import write_checkpoint
from ptychopinn.training.schedule import BETAS


@pytest.fixture(scope="module")
def prepared() -> PreparedScan:
    return prepare(simulate(SimulationConfig(N=32, patterns=60, photons=1e5, seed=3)))


def config(**sections: Any) -> Config:
    model = {"architecture": "unrolled", "iterations": 1, "width": 4, "levels": 1}
    data = {"n_groups": 2, "subscan_patterns": 20}
    return Config(**{"model": model, "data": data, "training": {"epochs": 1}, **sections})


def test_adam_and_clipping_are_those_of_pytorch() -> None:
    """To the rounding of single precision, over gradients that span decades."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (5,))]
    ours = {str(k): tf.Variable(v) for k, v in enumerate(start)}
    theirs = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in start]
    adam, reference = Adam(ours), torch.optim.Adam(theirs, betas=BETAS)
    for step in range(30):
        gradients = [
            (10.0 ** rng.uniform(-9, 1) * rng.normal(size=v.shape)).astype(np.float32)
            for v in start
        ]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        limited = clipped([tf.constant(g) for g in gradients], 1.0)
        for mine, parameter in zip(limited, theirs, strict=True):
            np.testing.assert_allclose(mine.numpy(), parameter.grad.numpy(), rtol=1e-5)
        rate = 0.01 / (step + 1)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        adam.apply(limited, rate)
    for variable, parameter in zip(ours.values(), theirs, strict=True):
        np.testing.assert_allclose(variable.numpy(), parameter.detach().numpy(), rtol=1e-5)


def test_no_clipping() -> None:
    gradients = [tf.constant([3.0, 4.0])]
    assert clipped(gradients, 0.0)[0] is gradients[0]
    np.testing.assert_allclose(clipped(gradients, 1.0)[0], [0.6, 0.8], rtol=1e-6)


def test_checkpoints_come_back_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.ckpt"
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    checkpoint.save(path, {"epoch": 3, "best": None}, arrays)
    state, back = checkpoint.load(path)
    assert state == {"epoch": 3, "best": None}
    assert np.array_equal(back["a"], arrays["a"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(InputError, match="training checkpoint"):
        checkpoint.load(path)
    for backend, content, blob in (
        ("pytorch", {}, checkpoint.arrays_bytes({})),
        ("tensorflow", [], checkpoint.arrays_bytes({})),
        ("tensorflow", {}, b"12345678"),
    ):
        write_checkpoint(path, backend, content, blob)
        with pytest.raises(InputError, match="training checkpoint"):
            checkpoint.load(path)


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


def test_a_gpu_that_is_not_there_is_refused(prepared: PreparedScan, tmp_path: Path) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is such a device")
    execution = TFExecution(accelerator="cuda")
    with pytest.raises(InputError, match="--tf-accelerator cpu"):
        training.train([prepared], config(), execution, tmp_path, progress=Silent())
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_one_sentence(
    prepared: PreparedScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nand more")

    monkeypatch.setattr(training.PhysicsTraining, "run", exhausted)
    with pytest.raises(TrainingError, match=r"received: OOM when allocating.*; lower --batch-size"):
        training.train([prepared], config(), TFExecution(), tmp_path, progress=Silent())


def test_gradients_of_several_batches_are_averaged(prepared: PreparedScan, tmp_path: Path) -> None:
    """The shown loss is that of a batch, however many of them make a step."""

    class Recorder(Silent):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def step(self, loss: float, patterns_per_s: float) -> None:
            self.losses.append(loss)

    shown = []
    for size in (1, 3):
        recorder = Recorder()
        chosen = config(training={"epochs": 1, "batch_size": size}, data={"n_groups": 4})
        training.train([prepared], chosen, TFExecution(), tmp_path / str(size), progress=recorder)
        shown.append(recorder.losses)
    assert shown[0][0] == pytest.approx(shown[1][0], rel=1e-6)
    assert shown[0][1] != shown[1][1]
