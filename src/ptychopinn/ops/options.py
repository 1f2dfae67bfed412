"""Options of one backend only; framework-free, so that the command line can list them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ptychopinn.schema import Section


class TorchExecution(Section):
    """How PyTorch runs on this machine. These do not belong to the model and are not in its
    bundle."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="device to compute on")
    precision: Literal["32", "16-mixed", "bf16-mixed"] = Field(
        "32", description="precision of the convolutions on a GPU; the physics stays in 32 bit"
    )
    deterministic: bool = Field(True, description="train with deterministic algorithms only")
    threads: int | None = Field(None, ge=1, description="CPU threads; all cores when not given")
    num_workers: int = Field(0, ge=0, description="threads that read patterns in the background")
    logger: Literal["csv", "tensorboard", "mlflow", "none"] = Field(
        "csv", description="where the course of the training is recorded"
    )
    inference_batch_mib: int = Field(
        512, ge=16, description="memory in MiB for patterns held at once during inference"
    )


class TFExecution(Section):
    """How TensorFlow runs on this machine; 32 bit throughout, deterministic on a CPU."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="device to compute on")
    threads: int | None = Field(
        None, ge=1, description="CPU threads, of the whole process; all cores when not given"
    )
    num_workers: int = Field(0, ge=0, description="threads that read patterns in the background")
    logger: Literal["csv", "tensorboard", "mlflow", "none"] = Field(
        "csv", description="where the course of the training is recorded"
    )
    inference_batch_mib: int = Field(
        512, ge=16, description="memory in MiB for patterns held at once during inference"
    )


class NumpyExecution(Section):
    """How NumPy runs on this machine; it only reconstructs and refines."""

    threads: int | None = Field(
        None, ge=1, description="CPU threads of the transforms; all cores when not given"
    )
    inference_batch_mib: int = Field(
        512, ge=16, description="memory in MiB for patterns held at once during inference"
    )


Execution = TorchExecution | TFExecution | NumpyExecution

# Options that only one of the two verbs looks at; all others belong to both.
INFERENCE_ONLY = {"inference_batch_mib"}
TRAINING_ONLY = {"precision", "deterministic", "num_workers", "logger"}
