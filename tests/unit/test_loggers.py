"""Logs for other programs: where they cannot be written, and pictures of the object."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

import ptychopinn as pp
from ptychopinn.data.grey import COLOUR, amplitude_image
from ptychopinn.errors import InputError
from ptychopinn.io.atomic import CannotWrite
from ptychopinn.report.colours import AMPLITUDE
from ptychopinn.training.loggers import lead_to_pictures, log_of
from ptychopinn.training.pictured import Pictured, pictures_of

CONFIG = {"model": {"width": 8}, "training": {"epochs": 3}}
METRICS = {"train_loss": 1.5, "val_loss": 1.25}

# After so many epochs no file may grow any more: a full disk that needs no rights.
WRITES = """
import resource, signal, sys
from pathlib import Path
from ptychopinn.io.atomic import CannotWrite
from ptychopinn.report.colours import AMPLITUDE
from ptychopinn.training.loggers import log_of
kind, folder, epochs, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
log = log_of(kind, folder, {"model": {"width": 8}}, False)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
# Python would keep what it compiles cut short, for all processes to come.
sys.dont_write_bytecode = True
try:
    for epoch in range(1, 2000):
        if epoch > epochs:
            files = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
            size = max([limit, *files])
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            epochs = 2000
        log.write({f"metric_{k}": float(epoch) for k in range(4)}, epoch)
except CannotWrite as error:
    print(epoch, error)
log.close(True)
"""


@pytest.mark.parametrize(
    ("kind", "epochs", "limit"),
    [
        ("tensorboard", 0, 0),
        ("tensorboard", 0, 300),
        ("tensorboard", 3, 0),
        ("mlflow", 0, 0),
        ("mlflow", 0, 60_000),
        ("mlflow", 2, 0),
    ],
)
def test_a_full_disk_is_one_sentence(kind: str, epochs: int, limit: int, tmp_path: Path) -> None:
    pytest.importorskip(kind)
    command = [sys.executable, "-c", WRITES, kind, tmp_path, str(epochs), str(limit)]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    epoch, _, sentence = done.stdout.partition(" ")
    assert int(epoch) > epochs
    assert str(tmp_path) in sentence and sentence.endswith("make room.\n")
    assert any(words in sentence for words in ("File too large", "is full", "disk I/O")), sentence


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_folder_that_cannot_be_written_to(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(kind)
    (tmp_path / "tensorboard").write_text("in the way")
    (tmp_path / "mlflow.db").mkdir()
    log = log_of(kind, tmp_path, CONFIG, False)
    with pytest.raises(CannotWrite, match=str(tmp_path)):
        log.write(METRICS, 1)
    log.close(True)


def test_a_database_that_is_none(tmp_path: Path) -> None:
    """MLflow itself tries it for minutes."""
    pytest.importorskip("mlflow")
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    log = log_of("mlflow", tmp_path, CONFIG, True)
    with pytest.raises(InputError, match="not a database"):
        log.write(METRICS, 1)


@pytest.mark.parametrize("finished", [False, True])
def test_the_reason_of_a_failed_run_is_not_hidden(
    finished: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    log = log_of("tensorboard", tmp_path, CONFIG, False)
    log.write(METRICS, 1)

    def fails() -> None:
        raise OSError(28, "No space left on device")

    stream = log._stream
    log.__dict__["_stream"] = type("Full", (), {"close": staticmethod(fails)})()
    if finished:
        with pytest.raises(CannotWrite, match="No space left"):
            log.close(True)
    else:
        log.close(False)
        assert "No space left" in caplog.text
    stream.close()


# --- pictures -----------------------------------------------------------------------------------


def tensorboard_pictures(folder: Path) -> dict[str, dict[int, bytes]]:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / "tensorboard"), {"images": 0})
    events.Reload()
    names = events.Tags()["images"]
    return {k: {e.step: e.encoded_image_string for e in events.Images(k)} for k in names}


def mlflow_pictures(folder: Path) -> dict[str, dict[int, bytes]]:
    """As MLflow's pages find them: by the path that its database names."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        ((uri,),) = database.execute("select artifact_uri from runs").fetchall()
    found: dict[str, dict[int, bytes]] = {}
    for path in (Path(url2pathname(urlparse(uri).path)) / "images").glob("*.png"):
        name, _, step = path.name.partition("+step+")
        found.setdefault(name.replace("~", "/"), {})[int(step.split("+")[0])] = path.read_bytes()
    return found


PICTURES_OF = {"tensorboard": tensorboard_pictures, "mlflow": mlflow_pictures}
NETWORKS: dict[str, dict[str, object]] = {
    "canvas": {"architecture": "unrolled", "iterations": 2, "width": 4, "levels": 1},
    "patch": {"architecture": "cnn", "n_filters_scale": 0.1, "gridsize": 1},
}


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="leaves", N=32, patterns=64, photons=1e6, seed=1)


def train_with(
    kind: str, scan: pp.Scan, folder: Path, family: str, epochs: int, **options: object
) -> dict[str, dict[int, bytes]]:
    pytest.importorskip("lightning", reason="training needs PyTorch and Lightning")
    config = pp.Config(
        model=NETWORKS[family], data={"n_groups": 4}, training={"epochs": epochs, "batch_size": 4}
    )
    execution = pp.TorchExecution(logger=kind, threads=1, **options)  # type: ignore[arg-type]
    pp.train(scan, config, backend="pytorch", directory=folder, execution=execution, no_mend="all")
    return PICTURES_OF[kind](folder)


@pytest.mark.parametrize(("kind", "family"), [("tensorboard", "canvas"), ("mlflow", "patch")])
def test_a_training_shows_its_object(kind: str, family: str, scan: pp.Scan, tmp_path: Path) -> None:
    pytest.importorskip(kind)
    found = train_with(kind, scan, tmp_path, family, 2)
    assert set(found) == {"object/amplitude", "object/phase"}
    for pictures in found.values():
        assert set(pictures) == {1, 2}
        for data in pictures.values():
            image = Image.open(io.BytesIO(data))
            assert image.format == "PNG"
            # Of the part of the object that validation saw, nothing that is empty.
            assert min(image.size) > 16
            assert np.asarray(image.convert("L")).std() > 5


def test_what_had_no_light_is_blue_and_the_amplitude_has_its_colours() -> None:
    rng, light = np.random.default_rng(0), np.ones((40, 30), np.float32)
    light[:, :10] = 1e-4
    obj = (rng.uniform(0.5, 1, (40, 30)) * np.exp(1j * rng.uniform(-1, 1, (40, 30)))).astype("c8")
    pictured = Pictured()
    pictured.add(0, np.zeros((1, 2)), obj, light)
    found = pictured.take(np.ones((1, 8, 8), np.complex64))
    assert found is not None
    assert ((found.canvas.weight > 0) == (light == 1)).all()
    # The gap is seen, where it lies within what was seen.
    found.canvas.weight[5:15, 15:20] = 0
    shown = {
        name: np.asarray(one.convert("RGB")) for name, one in pictures_of(found.canvas).items()
    }
    for picture in shown.values():
        assert picture.shape == (40, 20, 3)
        assert (picture[5:15, 5:10] == COLOUR).all()
    phase, amplitude = (shown[f"object/{name}"] for name in ("phase", "amplitude"))
    assert (phase[20:] == phase[20:, :, :1]).all()
    bright = np.unravel_index(np.abs(obj[:, 10:]).argmax(), (40, 20))
    assert amplitude[bright].tolist() == [253, 231, 36]
    ramp = np.asarray(amplitude_image(np.arange(1, 256, dtype=np.uint8)[None]).convert("RGB"))[0]
    wanted = colormaps[AMPLITUDE](np.linspace(0, 1, 255), bytes=True)[:, :3]
    assert np.abs(ramp.astype(int) - wanted).max() <= 5


def test_pictures_may_be_rarer(scan: pp.Scan, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    found = train_with("tensorboard", scan, tmp_path, "canvas", 2, picture_every=2)
    assert [list(pictures) for pictures in found.values()] == [[2], [2]]


def test_pictures_are_found_where_the_folder_was_moved_to(tmp_path: Path) -> None:
    """A folder that is resumed, or that replaces an earlier one, may lie elsewhere than before."""
    pytest.importorskip("mlflow")
    here, there = tmp_path / "here", tmp_path / "there and on"
    picture = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30))
    log = log_of("mlflow", here, CONFIG, False)
    log.write(METRICS, 1)
    log.show({"object/phase": picture}, 1)
    log.close(True)
    before = mlflow_pictures(here)
    assert list(before["object/phase"]) == [1]
    here.rename(there)
    lead_to_pictures(there / "mlflow.db")
    assert mlflow_pictures(there) == before


def test_patches_make_one_picture(scan: pp.Scan) -> None:
    """The patches of a patch network are shown as the object that they belong to."""
    assert scan.object is not None
    n, places = scan.N, np.round(scan.positions_px).astype(int)
    corner = places - n // 2
    patches = np.stack([scan.object[y : y + n, x : x + n] for y, x in corner])[:, None]
    weight = np.outer(np.hanning(n), np.hanning(n))
    pictured, where = Pictured(), places[:, None].astype(float)
    pictured.add(3, where[:60], patches[:60], weight)
    pictured.add(3, where[60:], patches[60:], weight)
    # Another scan is another object.
    pictured.add(4, where[:60] + 9, patches[:60], weight)
    assert pictured.scan == 3
    found = pictured.take(scan.probe)
    assert found is not None and pictured.take(scan.probe) is None
    canvas = found.canvas
    np.testing.assert_array_equal(found.probe, scan.probe)
    (y, x), (height, width) = canvas.origin_px, canvas.object.shape
    top, left = max(y, 0), max(x, 0)
    known = scan.object[top : y + height, left : x + width]
    shown = canvas.object[top - y :, left - x :][: known.shape[0], : known.shape[1]]
    seen = (canvas.weight[top - y :, left - x :] > 0.1)[: known.shape[0], : known.shape[1]]
    assert np.abs(shown - known)[seen].max() < 0.05
