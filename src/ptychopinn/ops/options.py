"""Options of one backend only; framework-free, so that the command line can list them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from ptychopinn.schema import Section

# More than the cores of any machine; libraries crash where far more are asked for.
MOST_THREADS = 1024
# Options that several backends have.
Accelerator = Annotated[Literal["auto", "cpu", "cuda"], Field(description="device to compute on")]
TorchAccelerator = Annotated[
    Literal["auto", "cpu", "cuda", "mps", "xpu"], Field(description="kind of device to compute on")
]
Readers = Annotated[
    int,
    Field(
        ge=0,
        le=MOST_THREADS,
        description="threads that read patterns in the background, or processes that simulate them",
    ),
]
Logger = Annotated[
    Literal["csv", "tensorboard", "mlflow", "none"],
    Field(description="where the losses of the epochs are recorded"),
]
PictureEvery = Annotated[
    int,
    Field(
        ge=0,
        description="epochs from one picture of the object to the next, for the loggers "
        "tensorboard and mlflow; 0 for none",
    ),
]
Memory = Annotated[
    int, Field(ge=16, description="memory in MiB for patterns held at once during inference")
]


class TorchExecution(Section):
    """How PyTorch runs on this machine. These do not belong to the model and are not in its
    bundle."""

    accelerator: TorchAccelerator = "auto"
    device: str | None = Field(
        None,
        description="one device, like cuda:1, in place of the accelerator",
    )
    precision: Literal["32", "16-mixed", "bf16-mixed"] = Field(
        "32", description="precision of the convolutions on a GPU; the physics stays in 32 bit"
    )
    deterministic: bool = Field(True, description="train with deterministic algorithms only")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads; all cores when not given"
    )
    num_workers: Readers = 0
    logger: Logger = "csv"
    picture_every: PictureEvery = 1
    inference_batch_mib: Memory = 512

    @field_validator("device")
    @classmethod
    def _one_device(cls, device: str | None) -> str | None:
        if device is None or re.fullmatch(r"cpu|mps|(cuda|xpu):\d{1,3}", device):
            return device
        raise PydanticCustomError("device", "Input should be cpu, mps, cuda:N or xpu:N")


class TFExecution(Section):
    """How TensorFlow runs on this machine; 32 bit throughout, deterministic on a CPU."""

    accelerator: Accelerator = "auto"
    threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="CPU threads, of the whole process; all cores when not given",
    )
    side_by_side: bool = Field(
        False,
        description="each CPU thread works on patterns of its own, sharing no operation, in the "
        "whole process: faster beside other jobs, slower to train; commands that never train do so",
    )
    num_workers: Readers = 0
    logger: Logger = "csv"
    picture_every: PictureEvery = 1
    inference_batch_mib: Memory = 512


class NumpyExecution(Section):
    """How NumPy runs on this machine; it only reconstructs and refines."""

    threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="CPU threads of the transforms; all cores when not given",
    )
    inference_batch_mib: Memory = 512


Execution = TorchExecution | TFExecution | NumpyExecution

# Options that only one of the two verbs looks at; all others belong to both.
INFERENCE_ONLY = {"inference_batch_mib", "side_by_side"}
TRAINING_ONLY = {"precision", "deterministic", "num_workers", "logger", "picture_every"}
