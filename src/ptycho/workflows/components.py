"""Training, saving and loading a model, as clients call them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho import params
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    settings,
)
from ptycho.raw_data import LOGGER, GroupedData, RawData
from ptychopinn.clients import running
from ptychopinn.clients.ptychodus import one_pass
from ptychopinn.clients.running import told
from ptychopinn.clients.settings import (
    COMMAND_RULES,
    TORCH,
    backend_name,
    environment,
    translate,
)
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.io.models import Bundle, load_bundle
from ptychopinn.io.reconstructions import RESULT_FILE

Outcome = tuple[NDArray[Any] | None, NDArray[Any] | None, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class DiffractionToObject:
    """A trained model."""

    bundle: Bundle

    def predict(self, inputs: Sequence[Any]) -> Reconstruction:
        """Reconstruct from [amplitudes (n, N, N, 1), the offsets of their container].

        Amplitudes are sqrt(counts): ``X`` of the container times ``intensity_scale``.
        """
        amplitudes, data = np.asarray(inputs[0], np.float32)[..., 0], inputs[1]
        assert isinstance(data, GroupedData)
        with told(LOGGER) as logger:
            scan = replace(data.scan, diffraction=amplitudes * amplitudes)
            return running.reconstruct(self.bundle, scan, logger, backend_name())


def train_cdi_model(
    train_data: RawData,
    test_data: RawData | None,
    config: TrainingConfig,
    torch_execution_config: PyTorchExecutionConfig | None = None,
) -> dict[str, Any]:
    """Train on a scan; the model is kept for ``ptycho.model_manager.save``."""
    with told(LOGGER) as logger:
        architecture, further = environment("unrolled")
        # N and the number of photons are what the patterns say.
        values = {k: v for k, v in settings(config).items() if k not in ("N", "nphotons")}
        if torch_execution_config is not None:
            values |= {
                TORCH + name: value
                for name, value in vars(torch_execution_config).items()
                if value is not None
            }
        translation = translate(
            values,
            COMMAND_RULES,
            architecture=architecture,
            backend=backend_name(config.backend),
            further=further,
        )
        scans = [train_data.scan]
        if "n_groups" not in further.get("data", {}) and config.n_groups is None:
            translation = replace(translation, config=one_pass(translation.config, scans))
        model = running.train(scans, translation, logger)
        params.set(params.TRAINED, model.bundle)
        return {"model": DiffractionToObject(model.bundle), "history": dict(model.history)}


def run_cdi_example(
    train_data: RawData,
    test_data: RawData | None,
    config: TrainingConfig,
    *,
    do_stitching: bool = True,
    torch_execution_config: PyTorchExecutionConfig | None = None,
) -> Outcome:
    """Train, then reconstruct the test scan: (amplitude, phase, results).

    ``results`` holds ``model``, ``history`` and, with a test scan, ``reconstruction``.
    """
    results = train_cdi_model(train_data, test_data, config, torch_execution_config)
    if test_data is None or not do_stitching:
        return None, None, results
    with told(LOGGER) as logger:
        result = running.reconstruct(
            params.get(params.TRAINED), test_data.scan, logger, backend_name(config.backend)
        )
    results["reconstruction"] = result
    return np.abs(result.object), np.angle(result.object), results


def save_outputs(
    amplitude: NDArray[Any] | None,
    phase: NDArray[Any] | None,
    results: dict[str, Any],
    output_prefix: str | Path,
) -> None:
    """Write ``reconstructed_amplitude.png``, ``reconstructed_phase.png``, the result in HDF5 and
    the loss curve into a folder; pictures of a training without test scan are left out."""
    from ptychopinn.report.curves import save_loss_curve
    from ptychopinn.report.pictures import save_amplitude, save_phase

    folder = Path(output_prefix)
    with told(LOGGER):
        result = results.get("reconstruction")
        if result is not None:
            result.save(folder / RESULT_FILE, force=True)
            save_amplitude(result, folder / "reconstructed_amplitude.png")
            save_phase(result, folder / "reconstructed_phase.png")
        curves = {k: v for k, v in results.get("history", {}).items() if k.endswith("_loss")}
        if any(curves.values()):
            save_loss_curve(curves, folder / "loss.png")


def load_inference_bundle(model_dir: str | Path) -> tuple[DiffractionToObject, InferenceConfig]:
    """The model in a folder with ``wts.h5.zip``, or in one with its unpacked content.

    ``intensity_scale`` of its training is put into the global dictionary.
    """
    with told(LOGGER):
        bundle = load_bundle(model_dir)
    stored: dict[str, Any] = bundle.manifest.config["model"]  # type: ignore[assignment]
    wanted = params.cfg.get("model_type")
    if wanted is not None and wanted != stored["mode"]:
        logging.getLogger(LOGGER).warning(
            "the model was trained in the mode %s and is used under the name %s",
            stored["mode"],
            wanted,
        )
    size = bundle.manifest.statistics.get("N", bundle.probe.shape[-1])
    params.set("intensity_scale", 1.0 / float(bundle.manifest.statistics["input_scale"]))  # type: ignore[arg-type]
    model = ModelConfig(
        N=int(size),  # type: ignore[arg-type]
        gridsize=stored.get("gridsize", 1),
        model_type=stored["mode"],
        architecture=stored["architecture"],
    )
    return DiffractionToObject(bundle), InferenceConfig(model=model, model_path=Path(model_dir))
