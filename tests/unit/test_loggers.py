"""Logs for other programs where they cannot be written: one sentence, and nothing is lost by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ptychopinn.errors import InputError
from ptychopinn.io.atomic import CannotWrite
from ptychopinn.training.loggers import log_of

CONFIG = {"model": {"width": 8}, "training": {"epochs": 3}}
METRICS = {"train_loss": 1.5, "val_loss": 1.25}

# After so many epochs no file may grow any more: a full disk that needs no rights.
WRITES = """
import resource, signal, sys
from pathlib import Path
from ptychopinn.io.atomic import CannotWrite
from ptychopinn.training.loggers import log_of
kind, folder, epochs, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
log = log_of(kind, folder, {"model": {"width": 8}}, False)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
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
