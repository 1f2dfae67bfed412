"""Checkpoints without pickle: exact round trips, exact resumption, refusal of anything else."""

from __future__ import annotations

import json
import logging
import math
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from lightning.pytorch import LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint  # noqa: E402
from ptychopinn.backends.pytorch.checkpoint import SafetensorsCheckpointIO  # noqa: E402
from torch.utils.data import DataLoader, Sampler, TensorDataset  # noqa: E402

from ptychopinn.errors import InputError  # noqa: E402

IO = SafetensorsCheckpointIO()


def same(a: Any, b: Any) -> bool:
    """Equal in type, order, dtype and every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        x, y = (t.clone(memory_format=torch.contiguous_format).flatten() for t in (a, b))
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and x.view(torch.uint8).equal(y.view(torch.uint8))
        )
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(
            type(k) is type(q) and same(a[k], b[k]) for k, q in zip(a, b, strict=True)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    return bool(a == b)


def round_trip(state: Any, folder: Path) -> Any:
    path = folder / "state.ckpt"
    IO.save_checkpoint({"state": state}, path)
    return IO.load_checkpoint(path)["state"]


GRID = torch.arange(6.0).reshape(2, 3)
VALUES = {
    "tensor": GRID,
    "transposed": GRID.T,
    "column": GRID[:, 1],
    "expanded": torch.ones(1).expand(4, 3),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(3),
    "non-finite": torch.tensor([math.nan, math.inf, -0.0]),
    "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "uint8": torch.tensor([1, 255], dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "complex": torch.randn(3, dtype=torch.complex128),
    "complex scalar": torch.tensor(1 + 2j),
    "array": np.arange(6, dtype=np.uint16).reshape(2, 3)[:, ::-1],
    "numpy float": np.float64(0.1),
    "numpy bool": np.bool_(True),
    "numpy complex": np.complex64(1 - 2j),
    "size": GRID.shape,
    "dtype": torch.float16,
    "device": torch.device("cuda:1"),
    "int keys": {0: {"step": 1}, 1: (2, [3, ()])},
    "mixed keys": {0: "a", "0": "b", "$tensor": "c"},
    "text": "ä \u2028 \ud800 \x00",
    "large": 2**80,
    "floats": [0.1, -0.0, 1e22, 5e-324, math.inf, -math.inf, math.nan],
}


@pytest.mark.parametrize("name", VALUES)
def test_round_trip(name: str, tmp_path: Path) -> None:
    assert same(round_trip(VALUES[name], tmp_path), VALUES[name])


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([VALUES["transposed"], VALUES["array"], VALUES["numpy float"]])
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(state=TREES)
def test_any_tree_comes_back(state: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert same(round_trip(state, tmp_path_factory.mktemp("tree")), state)


def test_documented_conversions(tmp_path: Path) -> None:
    shared = torch.ones(3)
    state = {
        "ordered": OrderedDict(b=1, a=2),
        "path": Path("folder") / "file",
        "parameter": torch.nn.Parameter(shared),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "first": shared,
        "second": shared,
    }
    back = round_trip(state, tmp_path)
    assert same(back["ordered"], {"b": 1, "a": 2})
    assert back["path"] == str(Path("folder") / "file")
    assert same(back["parameter"], torch.ones(3))
    assert same(back["conjugate"], torch.tensor([1 - 2j]))
    back["first"] += 1
    assert same(back["second"], torch.ones(3)), "tensors come back independent"


class Opaque:
    pass


@pytest.mark.parametrize(
    "state, where",
    [
        ({"a": {3: [0, Opaque()]}}, r"Opaque at checkpoint\['state'\]\['a'\]\[3\]\[1\]"),
        ({"a": len}, r"builtin_function_or_method at checkpoint\['state'\]\['a'\]"),
        ({(1, 2): 3}, r"key \(1, 2\) at checkpoint\['state'\]"),
        ({True: 3}, r"key True"),
        ({"s": {1}}, r"builtins.set at"),
        ({"b": b"x"}, r"builtins.bytes at"),
        ({"t": torch.ones(2).to_sparse()}, r"plain and dense at checkpoint\['state'\]\['t'\]"),
        ({"n": np.array(["a"])}, r"dtype <U1 at"),
        ({"n": np.array([Opaque()])}, r"dtype object at"),
        ({"n": np.arange(3, dtype=">i4")}, r"dtype >i4 at"),
    ],
)
def test_what_cannot_be_held_is_named(state: Any, where: str, tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    IO.save_checkpoint({"old": 1}, path)
    with pytest.raises(TypeError, match=where):
        IO.save_checkpoint({"state": state}, path)
    assert IO.load_checkpoint(path) == {"old": 1}, "a failed write leaves the old file"
    assert [p.name for p in tmp_path.iterdir()] == ["state.ckpt"]


def test_cycles_end(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="contains itself"):
        IO.save_checkpoint({"state": loop}, tmp_path / "state.ckpt")


def write_raw(path: Path, state: Any, tensors: bytes | None = None) -> Path:
    from safetensors.torch import save

    text = state if isinstance(state, bytes) else json.dumps(state).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.json", text)
        archive.writestr("tensors.safetensors", save({}) if tensors is None else tensors)
    return path


def versioned(state: Any) -> dict[str, Any]:
    header = {"format": "ptychopinn-checkpoint", "format_version": 1, "backend": "pytorch"}
    return {**header, "state": state}


@pytest.mark.parametrize(
    "state",
    [
        b"not json",
        b"[" * 100_000,
        [],
        {"state": {}},
        {**versioned({}), "format_version": 2},
        {**versioned({}), "backend": None},
        {**versioned({}), "backend": "tensorflow"},
        versioned([]),
        versioned({"a": {"$tensor": "missing"}}),
        versioned({"a": {"$call": "os.system"}}),
        versioned({"a": {"$dtype": "_dynamo"}}),
        versioned({"a": {"$dtype": "load"}}),
        versioned({"a": {"$device": "nowhere"}}),
        versioned({"a": {"$float": "1"}}),
        versioned({"a": {"$tuple": 1}}),
        versioned({"a": {"$tuple": [], "b": 1}}),
        versioned({"a": {"$dict": [[1, 2], [1, 3]]}}),
        versioned({"a": {"$dict": [[[], 2]]}}),
        versioned({"a": {"$size": ["x"]}}),
    ],
)
def test_foreign_states_are_refused(state: Any, tmp_path: Path) -> None:
    path = write_raw(tmp_path / "state.ckpt", state)
    with pytest.raises(InputError, match="training checkpoint"):
        IO.load_checkpoint(path)


def test_foreign_tensors_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save

    one = save({"x": torch.ones(2)})
    unused = write_raw(tmp_path / "unused.ckpt", versioned({}), one)
    with pytest.raises(InputError, match="unused tensor 'x'"):
        IO.load_checkpoint(unused)
    twice = write_raw(tmp_path / "twice.ckpt", versioned([{"$tensor": "x"}, {"$tensor": "x"}]), one)
    with pytest.raises(InputError, match="no tensor 'x'"):
        IO.load_checkpoint(twice)
    for blob in (b"", one[:-1], one.replace(b"F32", b"Z32"), one + b"0"):
        path = write_raw(tmp_path / "broken.ckpt", versioned({"a": {"$tensor": "x"}}), blob)
        with pytest.raises(InputError, match="training checkpoint"):
            IO.load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    with pytest.raises(InputError, match="which is none"):
        IO.load_checkpoint(path)
    path.write_bytes(pickle.dumps({"state": 1}))
    with pytest.raises(InputError, match="not a zip"):
        IO.load_checkpoint(path)
    torch.save({"state": torch.ones(2)}, path)
    with pytest.raises(InputError, match="a foreign zip"):
        IO.load_checkpoint(path)
    IO.save_checkpoint({"state": GRID}, path)
    whole = path.read_bytes()
    for size in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            IO.load_checkpoint(path)


def test_remove_and_storage_options(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    with pytest.raises(TypeError, match="storage_options"):
        IO.save_checkpoint({}, path, storage_options={})
    IO.save_checkpoint({"a": torch.ones(1)}, path)
    assert IO.load_checkpoint(path, map_location="cpu", weights_only=True)["a"].item() == 1
    IO.remove_checkpoint(path)
    IO.remove_checkpoint(path)
    assert not path.exists()


class EpochOrder(Sampler[int]):
    """A new order in each epoch, a function of (seed, epoch) only; Lightning calls set_epoch."""

    def __init__(self, size: int) -> None:
        self.size, self.epoch = size, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([7, self.epoch]).permutation(self.size).tolist())

    def __len__(self) -> int:
        return self.size


class Tiny(LightningModule):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(3)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, width), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 1)
        )
        for parameter in self.net.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        # Grows with the epoch, so that the plateau schedule acts in every epoch.
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("val_loss", loss * 0 + 1.0 + self.current_epoch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"},
        }

    # Lightning steps a plateau schedule after the checkpoint of the epoch is written, and does
    # not repeat that step on resumption. Stepping here, before the checkpoint, keeps it exact.
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        pass

    def on_train_epoch_end(self) -> None:
        self.lr_schedulers().step(self.trainer.callback_metrics["val_loss"])


def train(folder: Path, epochs: int, resume: Path | None = None) -> tuple[Tiny, Trainer, Path]:
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(
        torch.randn(32, 4, generator=generator), torch.randn(32, 1, generator=generator)
    )
    # With a monitor, save_last follows the best checkpoints only; without one, every epoch.
    best = ModelCheckpoint(folder, "best", monitor="val_loss", save_on_train_epoch_end=True)
    last = ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=True)
    stop = EarlyStopping("val_loss", patience=10)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[best, last, stop],
        plugins=[SafetensorsCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    model = Tiny()
    trainer.fit(
        model,
        DataLoader(data, batch_size=8, sampler=EpochOrder(len(data))),
        DataLoader(data, batch_size=32),
        ckpt_path=resume,
    )
    return model, trainer, folder / "last.ckpt"


def test_resumed_training_is_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a checkpoint went through torch.save or torch.load")

    monkeypatch.setattr(torch, "save", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, whole_trainer, whole_file = train(tmp_path / "whole", 4)
        _, _, half = train(tmp_path / "half", 2)
        resumed, resumed_trainer, resumed_file = train(tmp_path / "rest", 4, resume=half)

    assert resumed_trainer.global_step == whole_trainer.global_step == 16
    assert same(dict(resumed.state_dict()), dict(whole.state_dict()))
    assert same(
        resumed_trainer.optimizers[0].state_dict(), whole_trainer.optimizers[0].state_dict()
    )
    a, b = IO.load_checkpoint(whole_file), IO.load_checkpoint(resumed_file)
    assert same(b["lr_schedulers"], a["lr_schedulers"])
    assert a["lr_schedulers"][0]["_last_lr"] == [0.1 * 0.5**3]
    for key in ("epoch", "global_step", "hyper_parameters"):
        assert same(b[key], a[key])
    (stop,) = (v for k, v in a["callbacks"].items() if k.startswith("EarlyStopping"))
    (resumed_stop,) = (v for k, v in b["callbacks"].items() if k.startswith("EarlyStopping"))
    assert same(resumed_stop, stop)
    assert stop["wait_count"] == 3
