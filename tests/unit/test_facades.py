"""The packages that ptychodus imports, called as it calls them, without ptychodus itself.

tests/clients does the same with the program.
"""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptycho.loader
import ptycho.model_manager
import ptycho.params
import ptycho.probe
import ptycho.tf_helper
from oracle.forward import intensities
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
    update_legacy_dict,
)
from ptycho.raw_data import RawData
from ptycho.workflows.components import load_inference_bundle, run_cdi_example, save_outputs
from ptycho_torch.api.base_api import (
    ConfigManager,
    DataloaderFormats,
    InferenceEngine,
    PtychoDataLoader,
    PtychoModel,
    Trainer,
)
from ptycho_torch.config_params import DataConfig
from ptycho_torch.config_params import TrainingConfig as TorchTrainingConfig
from ptycho_torch.lightning_utils import find_best_checkpoint
from ptycho_torch.model import PtychoPINN_Lightning
from ptychopinn.clients.ptychodus import centred_shape, on_canvas, scan_from_arrays
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.io import save_scan
from ptychopinn.io.convert import convert
from ptychopinn.simulation import SimulationConfig, simulate

torch = pytest.importorskip("torch", reason="the facades train with PyTorch")
pytest.importorskip("lightning", reason="the facades train with Lightning")


@pytest.fixture(scope="module")
def scan() -> Scan:
    """60 patterns of 32 x 32 and a known object."""
    return simulate(SimulationConfig(N=32, patterns=60, photons=1e6, seed=1))


def arrays(scan: Scan) -> dict[str, Any]:
    """What ptychodus hands over: it counts half a pixel less than this package."""
    y, x = scan.positions_px.T - 0.5
    return {
        "xcoords": x,
        "ycoords": y,
        "diff3d": np.asarray(scan.diffraction).astype(np.int32),
        "probeGuess": np.asarray(scan.probe),
        "objectGuess": np.asarray(scan.object),
        "scan_index": np.zeros(scan.M, int),
    }


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every session of ptychodus has a process of its own."""
    monkeypatch.setattr(ptycho.params, "cfg", {})


def test_the_parent_process_imports_no_framework() -> None:
    code = (
        "import sys, ptycho.config.config, ptycho_torch.config_params; "
        "print(sorted({'torch', 'tensorflow', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_never_imports_the_facades() -> None:
    core = Path(__file__).parents[2] / "src" / "ptychopinn"
    for module in core.rglob("*.py"):
        text = module.read_text()
        for package in ("ptycho", "ptycho_torch"):
            assert f"import {package}\n" not in text, module
            assert f"from {package}." not in text and f"from {package} " not in text, module


def test_configurations_travel_and_are_completed_later() -> None:
    config = TrainingConfig(model=ModelConfig(N=0, probe_mask=False), output_dir=Path())
    again = pickle.loads(pickle.dumps(config))
    again.model.N = 64
    cfg: dict[str, Any] = {}
    update_legacy_dict(cfg, again)
    assert (cfg["N"], cfg["nepochs"]) == (64, 50)
    assert pickle.loads(pickle.dumps(DataConfig(grid_size=(2, 2)))).grid_size == (2, 2)


def test_counts_positions_and_modes_arrive(scan: Scan) -> None:
    given_arrays = arrays(scan)
    given_arrays["probeGuess"] = np.stack([scan.probe[0], 0.1 * scan.probe[0]])
    raw = RawData.from_coords_without_pc(**given_arrays)
    np.testing.assert_array_equal(np.asarray(raw.diff3d), scan.diffraction)
    np.testing.assert_allclose(raw.scan.positions_px, scan.positions_px, atol=1e-9)
    assert raw.scan.probe.shape == (2, 32, 32)
    assert RawData.from_coords_without_pc(
        **{**given_arrays, "probeGuess": scan.probe[0]}
    ).scan.probe.shape == (1, 32, 32)


@pytest.mark.parametrize("factor", [1e-4, 3.0, 1e5])
def test_the_scale_of_the_probe_says_nothing(scan: Scan, factor: float) -> None:
    given_arrays = arrays(scan)
    first = RawData.from_coords_without_pc(**given_arrays).scan
    given_arrays["probeGuess"] = given_arrays["probeGuess"] * factor
    second = RawData.from_coords_without_pc(**given_arrays).scan
    np.testing.assert_allclose(second.probe, first.probe, rtol=1e-5, atol=1e-7)
    total = float((np.abs(second.probe) ** 2).sum())
    assert total == pytest.approx(np.asarray(scan.diffraction).sum() / scan.M, rel=1e-4)


def test_read_only_and_strided_arrays_are_taken(scan: Scan) -> None:
    given_arrays = arrays(scan)
    wide = np.zeros((scan.M, 32, 64), np.uint8)
    wide[:, :, ::2] = np.minimum(given_arrays["diff3d"], 255)
    given_arrays["diff3d"] = wide[:, :, ::2]
    for value in given_arrays.values():
        value.flags.writeable = False
    assert RawData.from_coords_without_pc(**given_arrays).scan.diffraction.dtype == np.uint16


@given(
    st.integers(20, 60),
    st.integers(20, 60),
    st.integers(0, 5),
    st.floats(0, 1, exclude_max=True),
)
def test_the_shape_of_a_centred_object_is_found(
    rows: int, columns: int, padding: int, fraction: float
) -> None:
    """As ptychodus sizes an object: the rounded-up extent of the scan, centred on it."""
    n = 32
    shape = (rows + n + 2 * padding, columns + n + 2 * padding)
    extent = np.array([rows - fraction, columns - fraction])
    middle = (np.array(shape) - 1) / 2
    y, x = (np.array([m - e / 2, m + e / 2]) for m, e in zip(middle, extent, strict=True))
    found, first = centred_shape(x, y, n)
    assert found == shape
    assert first.tolist() == [0, 0]


def test_the_canvas_is_that_of_the_object(scan: Scan) -> None:
    assert scan.object is not None
    part = scan.object[10:50, 20:70]
    result = Reconstruction(
        object=part,
        origin_px=np.array([10, 20]),
        weight=np.ones(part.shape),
        probe=scan.probe,
        positions_px=scan.positions_px,
    )
    canvas = on_canvas(result, scan.object.shape)
    assert canvas.shape == scan.object.shape
    np.testing.assert_array_equal(canvas[10:50, 20:70], part)
    assert canvas[0, 0] == 1


def session(scan: Scan, folder: Path, **settings: Any) -> np.ndarray:
    """Train, save, and load again as ptychodus does; the object it would show."""
    convert_to_npz(scan, folder)
    config = TrainingConfig(model=ModelConfig(N=0), nepochs=1, output_dir=Path(), **settings)
    test = RawData.from_file(folder / "test_data.npz")
    train = RawData.from_file(folder / "train_data.npz")
    config.model.N = train.diff3d.shape[-1]
    update_legacy_dict(ptycho.params.cfg, config)
    amplitude, phase, results = run_cdi_example(train, test, config)
    ptycho.model_manager.save(folder)
    save_outputs(amplitude, phase, results, str(folder))
    assert (folder / "wts.h5.zip").is_file()
    with zipfile.ZipFile(folder / "wts.h5.zip") as archive:
        archive.extractall(folder / "unpacked")
    ptycho.params.cfg.clear()
    return infer(scan, folder / "unpacked")


def convert_to_npz(scan: Scan, folder: Path) -> None:
    save_scan(scan, folder / "scan.h5", force=True)
    for part in ("train", "test"):
        convert(folder / "scan.h5", folder / f"{part}_data.npz", force=True)


def infer(scan: Scan, bundle: Path) -> np.ndarray:
    config = InferenceConfig(model=ModelConfig(N=32), model_path=Path(), output_dir=Path())
    update_legacy_dict(ptycho.params.cfg, config)
    model, _ = load_inference_bundle(bundle)
    raw = RawData.from_coords_without_pc(**arrays(scan))
    ptycho.probe.set_probe_guess(None, raw.probeGuess)
    dataset = raw.generate_grouped_data(32, K=7, nsamples=1, gridsize=1)
    data = ptycho.loader.load(lambda: dataset, raw.probeGuess, which=None, create_split=False)
    scale = ptycho.params.get("intensity_scale")
    amplitudes = (data.X * scale)[..., 0]
    np.testing.assert_allclose(amplitudes**2, scan.diffraction, rtol=1e-4, atol=1e-3)
    tensor = model.predict([data.X * scale, data.local_offsets])
    return np.squeeze(ptycho.tf_helper.reassemble_position(tensor, data.global_offsets, M=20))


def explained(canvas: np.ndarray, scan: Scan) -> float:
    """Correlation of the patterns that the canvas predicts in place with the measured ones.

    ptychodus' position counts from the middle of the patch, hence the canvas is indexed by
    ``positions_px`` as they are.
    """
    modelled = intensities(canvas, scan.probe, scan.positions_px)
    return float(np.corrcoef(modelled.ravel(), np.asarray(scan.diffraction).ravel())[0, 1])


@pytest.mark.parametrize("layout", ["unpacked", "."])
def test_a_model_is_trained_saved_and_used(
    scan: Scan, tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str
) -> None:
    canvas = session(scan, tmp_path)
    if layout == ".":
        ptycho.params.cfg.clear()
        canvas = infer(scan, tmp_path)
    assert scan.object is not None
    assert canvas.shape == scan.object.shape
    assert canvas.dtype == np.complex64
    assert explained(canvas, scan) > 0.99
    lines = [r.getMessage() for r in caplog.records if r.name == "ptychopinn"]
    assert any("epoch 1/1: train_loss" in line for line in lines)
    assert any("number of samples = 1" in line for line in lines)


class Losses:
    """A callback as ptychodus appends one; only what it uses of Lightning."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, float]] = []

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.seen.append(
            ("train", trainer.current_epoch, float(trainer.callback_metrics["train_loss"]))
        )

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        assert not trainer.sanity_checking
        self.seen.append(
            ("val", trainer.current_epoch, float(trainer.callback_metrics["val_loss"]))
        )


@pytest.mark.parametrize("exported", [True, False])
def test_the_torch_edition_trains_and_reconstructs(
    scan: Scan, tmp_path: Path, caplog: pytest.LogCaptureFixture, exported: bool
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    if exported:
        convert_to_npz(scan, folder)
        (folder / "test_data.npz").unlink()
    else:
        save_scan(scan, tmp_path / "scan.h5")
        convert(tmp_path / "scan.h5", folder, to="ptychodus")
    manager = ConfigManager(training_config=TorchTrainingConfig(epochs=1))
    loader = PtychoDataLoader(
        data_dir=folder,
        config_manager=manager,
        data_format=DataloaderFormats("lightning_only_module"),
        output_dir=folder,
    )
    model = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=manager)
    assert (model.model.loss_name, model.model.val_loss_name) == ("train_loss", "val_loss")
    trainer = Trainer._from_lightning(
        model=model, dataloader=loader, orchestration="lightning", config_manager=manager
    )
    losses = Losses()
    trainer._trainer.callbacks.append(losses)
    trainer.train(orchestration="lightning", experiment_name="")
    assert [(kind, epoch) for kind, epoch, _ in losses.seen] == [("val", 0), ("train", 0)]
    path = find_best_checkpoint(loader.output_dir)
    assert path is not None
    assert Path(loader.output_dir).parent == folder
    assert not list(Path(loader.output_dir).rglob("*.npz"))

    copy = tmp_path / "model.ckpt"
    copy.write_bytes(path.read_bytes())
    configs = PtychoModel._extract_configs_from_checkpoint(str(copy))
    assert None not in configs
    data_config, model_config, training_config, inference_config = configs
    loaded = PtychoModel(
        model_config=model_config,
        data_config=data_config,
        training_config=training_config,
        inference_config=inference_config,
    )
    loaded.model = PtychoPINN_Lightning.load_from_checkpoint(copy, model_config=model_config)
    manager = ConfigManager.from_loaded_model(loaded)
    manager.validate_arch_compatibility(loaded)
    assert manager.model_config.mode == "Unsupervised"
    engine = InferenceEngine(config_manager=manager, ptycho_model=loaded)
    given_arrays = arrays(scan)
    places = np.column_stack([given_arrays["ycoords"], given_arrays["xcoords"]])
    loader = PtychoDataLoader.from_np(
        diff_patterns=given_arrays["diff3d"],
        probe=given_arrays["probeGuess"],
        positions=places,
        config_manager=manager,
    )
    canvas = np.asarray(engine.predict_and_stitch(loader))
    # The middle of the canvas is the middle of the positions, to a quarter of a pixel.
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    first = middle - (np.array(canvas.shape) - 1) / 2
    assert np.abs(first - np.rint(first)).max() <= 0.25 + 1e-9
    shifted = Scan(
        diffraction=scan.diffraction,
        positions_px=scan.positions_px - np.rint(first),
        probe=scan.probe,
    )
    assert explained(canvas, shifted) > 0.99
    assert any("epoch 1/1" in r.getMessage() for r in caplog.records
               if r.name == "ptychopinn-torch")  # fmt: skip


def test_errors_are_built_in_ones_and_said(
    tmp_path: Path, scan: Scan, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r"diffraction\.h5") as caught:
        RawData.from_file(tmp_path / "train_data.npz")
    assert type(caught.value) is ValueError
    assert any(r.name == "ptychopinn" and r.levelno == logging.ERROR for r in caplog.records)
    with pytest.raises(ValueError, match=r"wts\.h5\.zip"):
        load_inference_bundle(tmp_path / "nothing")
    with pytest.raises(ValueError, match="train first"):
        ptycho.model_manager.save(tmp_path)
    with pytest.raises(KeyError):
        ptycho.params.get("intensity_scale")
    with pytest.raises(ValueError, match="one position per pattern"):
        RawData.from_coords_without_pc(**{**arrays(scan), "xcoords": np.ones(3)})
    with pytest.raises(ValueError, match="64 x 64"):
        RawData.from_coords_without_pc(**arrays(scan)).generate_grouped_data(64)


def test_a_flat_object_is_no_label(scan: Scan, tmp_path: Path) -> None:
    assert scan.object is not None
    flat = np.ones(scan.object.shape, complex)
    made = scan_from_arrays(
        scan.diffraction, *(scan.positions_px.T - 0.5)[::-1], scan.probe, object_guess=flat
    )
    assert made.object is None
    raw = RawData(made, xcoords=[], ycoords=[], probeGuess=made.probe)
    config = TrainingConfig(model=ModelConfig(model_type="supervised"), nepochs=1)
    with pytest.raises(ValueError, match="object"):
        run_cdi_example(raw, None, config)
