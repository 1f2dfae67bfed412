"""The real ptychodus, unmodified, trains and reconstructs with this package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from conftest import Session
from ptychopinn.data.scan import Scan
from ptychopinn.io import load_scan
from ptychopinn.io.ptychodus_product import read_record

KEYS = (
    "ptychopinn_pinn",
    "ptychopinn_supervised",
    "ptychopinn-torch_unsupervised",
    "ptychopinn-torch_supervised",
)
EPOCHS = {
    "ptychopinn": {"PtychoPINNTraining": {"NumEpochs": 4}},
    "ptychopinn-torch": {"PtychoPINNTorchTraining": {"epochs": 4}},
}


def library(key: str) -> str:
    return key.split("_")[0]


def extension(key: str) -> str:
    return ".ckpt" if library(key) == "ptychopinn-torch" else ".zip"


def phases(obj: NDArray[np.complex64], reference: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Phases of ``obj`` after the linear ramp and the constant that ptychography cannot know."""
    product = obj * reference.conj()
    spectrum = np.abs(np.fft.fft2(product, s=(512, 512)))
    ky, kx = (
        ((k + 256) % 512 - 256) / 512 for k in np.unravel_index(spectrum.argmax(), (512, 512))
    )
    y, x = np.indices(obj.shape)
    flat = obj * np.exp(-2j * np.pi * (ky * y + kx * x))
    flat = flat * np.exp(-1j * np.angle((flat * reference.conj()).sum()))
    return np.asarray(np.angle(flat * np.exp(-1j * np.angle(reference.mean()))))


def judge(product: Path, truth: Scan) -> tuple[float, float]:
    """Correlation of the phases inside the scanned box, and the displacement in pixels."""
    record = read_record(product).product
    assert record.object is not None and truth.object is not None
    obj = record.object[0]
    assert obj.shape == truth.object.shape
    assert record.center_m == pytest.approx(tuple(np.array(obj.shape) / 2 * 1e-8))
    low, high = (f(truth.positions_px, axis=0).astype(int) for f in (np.min, np.max))
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    found, wanted = obj[box], truth.object[box]
    phase = phases(found, wanted)
    reference = np.angle(wanted * np.exp(-1j * np.angle(wanted.mean())))
    shift = phase_cross_correlation(reference, phase, upsample_factor=20)[0]
    correlation = np.corrcoef(phase.ravel(), reference.ravel())[0, 1]
    return float(correlation), float(np.abs(shift).max())


def test_the_four_reconstructors_are_listed(session: Session) -> None:
    assert session("list")["keys"] == list(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_model_is_trained_and_used_in_a_second_session(
    session: Session, scans: Path, tmp_path: Path, key: str
) -> None:
    model = tmp_path / f"model{extension(key)}"
    trained = session(
        "train",
        key=key,
        scan=scans / "a",
        work=tmp_path / "work",
        model=model,
        settings=EPOCHS[library(key)],
    )
    assert "error" not in trained, trained["error"]
    assert model.is_file()
    losses = [line for line in trained["log"] if line.startswith(f"{library(key)}: epoch ")]
    assert len(losses) == 4
    assert "train_loss" in losses[0]
    assert {p.name for p in (tmp_path / "work").rglob("*.npz")} == {
        "train_data.npz",
        "test_data.npz",
    }

    result = tmp_path / "result.h5"
    used = session("reconstruct", key=key, scan=scans / "b", model=model, result=result)
    assert "error" not in used, used["error"]
    correlation, shift = judge(result, load_scan(scans / "b"))
    assert correlation >= 0.8
    assert shift <= 0.5
    # Better than an object of the same kind that is not this one.
    assert correlation > judge(result, load_scan(scans / "a"))[0] + 0.3


def batch(
    python: Path, variables: dict[str, str], action: str, source: Path, target: Path
) -> subprocess.CompletedProcess[str]:
    """The command line of ptychodus."""
    return subprocess.run(
        [python, "-m", "ptychodus", "-b", action, "-i", source, "-o", target],
        env=variables,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("key", ["ptychopinn_pinn", "ptychopinn-torch_unsupervised"])
def test_the_command_line_trains_from_the_scan_and_reconstructs(
    ptychodus_python: Path, environment: dict[str, str], scans: Path, tmp_path: Path, key: str
) -> None:
    """Without exported NPZ files, as where ptychodus trains remotely."""
    names = {"ptychopinn": ("PtychoPINNTraining", "NumEpochs")}
    section, name = names.get(library(key), ("PtychoPINNTorchTraining", "epochs"))
    ini = f"[Processing]\nAlgorithm = {key}\n\n[{section}]\n{name} = 4\n"
    for part in "ab":
        shutil.copytree(scans / part, tmp_path / part)
        (tmp_path / part / "settings.ini").write_text(ini)
    done = batch(ptychodus_python, environment, "train", tmp_path / "a", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = [*tmp_path.glob("out/wts.h5.zip"), *tmp_path.glob("out/run_*/best.ckpt")]
    assert len(found) == 1, done.stderr
    shutil.copy(found[0], tmp_path / "b" / f"model{extension(key)}")
    done = batch(ptychodus_python, environment, "reconstruct", tmp_path / "b", tmp_path / "res")
    assert done.returncode == 0, done.stderr
    products = list((tmp_path / "res").glob("product.*.h5"))
    assert len(products) == 1, done.stderr
    correlation, shift = judge(products[0], load_scan(scans / "b"))
    assert correlation >= 0.8
    assert shift <= 0.5


def test_a_missing_model_is_one_clear_sentence(
    session: Session, scans: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "model.ckpt"
    wrong.write_bytes(b"not a model")
    seen = session("reconstruct", key=KEYS[2], scan=scans / "a", model=wrong, result=tmp_path / "r")
    assert "error" in seen
    assert any("must hold exactly manifest.json" in line for line in seen["log"])
    assert not (tmp_path / "r").exists()


def test_files_of_either_program_open_in_the_other(
    ptychodus_python: Path, environment: dict[str, str], scans: Path, tmp_path: Path
) -> None:
    from ptychopinn.io.convert import convert

    source = scans / "b"
    for name, to in (
        ("ours.cxi", None),
        ("ours.npz", "product"),
        ("ours_training.h5", "ptychodus-training"),
        ("ours_dp.hdf5", None),
    ):
        convert(source, tmp_path / name, to=to)  # type: ignore[arg-type]
    script = Path(__file__).with_name("files.py")
    done = subprocess.run(
        [ptychodus_python, script, source, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    original = load_scan(source)
    for name in ("theirs", "theirs.cxi", "theirs_training.h5", "theirs.npz"):
        again = load_scan(tmp_path / name)
        np.testing.assert_array_equal(again.diffraction[:], original.diffraction[:])
        # In the training NPZ the position is that of the middle of the patch.
        half = 0.5 if name == "theirs.npz" else 0.0
        np.testing.assert_allclose(again.positions_px + half, original.positions_px, atol=1e-6)
        assert again.object is not None
        np.testing.assert_allclose(np.angle(again.object), np.angle(original.object), atol=1e-4)


def test_an_installation_with_one_framework(
    ptychodus_python: Path, environment: dict[str, str], scans: Path, tmp_path: Path
) -> None:
    """This environment has no TensorFlow: the other backend is the default, and is enough."""

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ptychodus_python, "-m", "ptychopinn", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
        )

    scan, result = scans / "b", tmp_path / "result"
    refused = command("reconstruct", scan, "-o", result, "--backend", "tensorflow")
    assert refused.returncode == 2
    assert "pip install 'ptychopinn[tensorflow]'" in refused.stderr
    assert "Traceback" not in refused.stderr and not result.exists()
    assert command("reconstruct", scan, "-o", result).returncode in (0, 3)
    assert (result / "reconstruction.h5").is_file()
