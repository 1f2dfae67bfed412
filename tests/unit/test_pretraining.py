"""Pretraining: its loss, and that it resumes, stops early and logs as every training does."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptychopinn.config import Config
from ptychopinn.contracts import Silent
from ptychopinn.errors import InputError
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.networks.unrolled import UnrolledConfig, with_further_passes
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.options import TFExecution, TorchExecution
from ptychopinn.ops.selector import get_ops
from ptychopinn.training import pretraining
from ptychopinn.training.checkpoint import read_checkpoint
from ptychopinn.training.pretraining import (
    DrawnPatchesTask,
    DrawnTask,
    drawn_scan,
    pretrain,
    relative_error,
)
from ptychopinn.training.run import METRICS, Start, built_network
from ptychopinn.workflows.model import load_model
from ptychopinn.workflows.train import _like

BACKENDS = ("pytorch", "tensorflow")
TINY = {"iterations": 1, "updates": 1, "width": 4, "levels": 1}


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "REPORT", 3)


def operations(backend: str) -> Any:
    pytest.importorskip({"pytorch": "lightning", "tensorflow": "tensorflow"}[backend])
    options: Any = TorchExecution(threads=1) if backend == "pytorch" else TFExecution()
    return get_ops(backend, options)  # type: ignore[arg-type]


def config(**training: Any) -> Config:
    chosen = {"batch_size": 2, "warmup_steps": 1, "scheduler": "constant", "seed": 3, **training}
    return Config(model=TINY, training=chosen)


class Recorder(Silent):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.epochs: list[tuple[int, int]] = []

    def epoch(self, number: int, steps: int) -> None:
        self.epochs.append((number, steps))

    def step(self, loss: float, patterns_per_s: float) -> None:
        self.losses.append(loss)


def test_relative_error_is_the_smallest_over_all_scales() -> None:
    xp, rng = NumpyOps(), np.random.default_rng(0)
    truth, noise = (rng.normal(size=(2, 9, 7)) @ np.eye(7) for _ in range(2))
    obj, found = (a[0] + 1j * a[1] for a in (truth, truth + 0.1 * noise))
    weight = rng.random((9, 7))
    error = relative_error(xp, (2 - 3j) * found, obj, weight)
    overlap = (weight * found.conj() * obj).sum()
    powers = (weight * abs(found) ** 2).sum() * (weight * abs(obj) ** 2).sum()
    assert error == pytest.approx(1 - abs(overlap) ** 2 / powers)
    assert relative_error(xp, 5j * obj, obj, weight) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_run_repeats_every_bit(backend: str, tmp_path: Path) -> None:
    """Epochs of 3 scans; the last one is shorter. The average and all moments go on."""
    xp, settings = operations(backend), config()
    whole = pretrain(xp, settings, 7, tmp_path / "whole")
    assert whole.scans == 7 and len(whole.history["train_loss"]) == 3
    pretrain(xp, settings, 3, tmp_path / "half")
    heard = Recorder()
    resumed = pretrain(xp, settings, 7, tmp_path / "half", resume=True, progress=heard)
    assert heard.epochs == [(1, 3), (2, 1)]
    assert resumed.scans == 7 and resumed.history == whole.history
    assert all(np.array_equal(whole.weights[k], resumed.weights[k]) for k in whole.weights)
    one, other = (
        read_checkpoint(tmp_path / f / "checkpoints" / "last.ckpt") for f in ("whole", "half")
    )
    assert set(one.arrays) == set(other.arrays)
    assert all(np.array_equal(one.arrays[k], other.arrays[k]) for k in one.arrays)
    assert any(k.startswith("average.") for k in one.arrays)
    assert (tmp_path / "half" / METRICS).read_text() == (tmp_path / "whole" / METRICS).read_text()


def test_frameworks_agree() -> None:
    heard = {backend: Recorder() for backend in BACKENDS}
    found = [pretrain(operations(b), config(), 5, progress=heard[b]) for b in BACKENDS]
    assert heard["pytorch"].losses == pytest.approx(heard["tensorflow"].losses, rel=1e-4)
    for name, weight in found[0].weights.items():
        np.testing.assert_allclose(found[1].weights[name], weight, atol=1e-4)


def test_every_scan_is_seen_once_also_after_a_short_epoch(tmp_path: Path) -> None:
    """A run that ended in the middle of an epoch and goes on to more scans leaves none out."""
    xp, whole, parts = operations("pytorch"), Recorder(), Recorder()
    pretrain(xp, config(batch_size=1), 8, progress=whole)
    for scans, resume in ((4, False), (8, True)):
        pretrain(xp, config(batch_size=1), scans, tmp_path, resume=resume, progress=parts)
    assert len(parts.losses) == 8
    assert parts.losses == pytest.approx(whole.losses, rel=1e-6)
    with pytest.raises(InputError, match="has seen 8; give at least 8"):
        pretrain(xp, config(batch_size=1), 5, tmp_path, resume=True)


def test_a_signal_ends_it_and_what_was_seen_is_counted(tmp_path: Path) -> None:
    class Stopping(Recorder):
        def step(self, loss: float, patterns_per_s: float) -> None:
            super().step(loss, patterns_per_s)
            if len(self.losses) == 4:
                signal.raise_signal(signal.SIGINT)

    stop = StopFlag()
    xp = operations("pytorch")
    found = pretrain(xp, config(), 50, tmp_path, progress=Stopping(), stop=stop)
    assert (found.scans, found.stopped_by) == (5, signal.SIGINT)
    heard = Recorder()
    pretrain(xp, config(), 6, tmp_path, resume=True, progress=heard)
    assert heard.epochs == [(1, 3)]


def test_it_stops_early_and_lowers_the_rate_on_a_plateau(tmp_path: Path) -> None:
    """Both look at the mean loss of an epoch. The rate is too large on purpose."""
    settings = config(scheduler="plateau", plateau_patience=0, early_stopping=2, learning_rate=0.03)
    found = pretrain(operations("pytorch"), settings, 60, tmp_path)
    losses = [loss for _, loss in found.history["train_loss"]]
    rates = [rate for _, rate in found.history["learning_rate"]]
    assert found.scans == 3 * len(losses) < 60
    assert min(losses) == losses[-3]
    assert rates[-1] < rates[0]


def test_the_parent_is_remembered_and_cannot_be_changed(tmp_path: Path) -> None:
    xp = operations("pytorch")
    weights = built_network(NumpyOps(), config(seed=9)).export_weights()
    start = Start(weights, {"seed": 9})
    assert pretrain(xp, config(), 1, tmp_path, start=start).parent == {"seed": 9}
    assert pretrain(xp, config(), 2, tmp_path, resume=True).parent == {"seed": 9}
    other = Start(weights, {"seed": 10})
    with pytest.raises(InputError, match="another model to start from"):
        pretrain(xp, config(), 3, tmp_path, resume=True, start=other)
    with pytest.raises(InputError, match="average"):
        pretrain(xp, config(), 3, tmp_path, resume=True, average=0.9)
    with pytest.raises(InputError, match="folder of the run"):
        pretrain(xp, config(), 3, resume=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"N": 32}, "give probe_input=channels"), ({"probe_input": "channels"}, "the option N")],
)
def test_a_patch_network_must_see_the_probe_and_know_n(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    cnn = Config(model={"architecture": "cnn", **options})
    with pytest.raises(InputError, match=sentence):
        pretrain(NumpyOps(), cnn, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def patches(gridsize: int = 1, mode: str = "pinn") -> Config:
    """A patch network that sees the probe."""
    model = {"architecture": "cnn", "N": 32, "n_filters_scale": 0.05, "gridsize": gridsize}
    training = config().training.model_dump()
    return Config(model={**model, "mode": mode, "probe_input": "channels"}, training=training)


@pytest.mark.parametrize(("gridsize", "mode"), [(1, "pinn"), (2, "supervised")])
def test_frameworks_agree_on_a_patch_network(gridsize: int, mode: str) -> None:
    heard = {backend: Recorder() for backend in BACKENDS}
    settings = patches(gridsize, mode)
    found = [pretrain(operations(b), settings, 4, progress=heard[b]) for b in BACKENDS]
    assert heard["pytorch"].losses == pytest.approx(heard["tensorflow"].losses, rel=1e-4)
    for name, weight in found[0].weights.items():
        np.testing.assert_allclose(found[1].weights[name], weight, atol=1e-4)


def test_a_patch_network_meets_another_probe_of_its_size_in_every_scan(tmp_path: Path) -> None:
    xp, settings = operations("pytorch"), patches(2)
    task = DrawnPatchesTask(settings, built_network(xp, settings), 9, 0.1, 0.9)
    batches = [task.read(k) for k in (0, 1, 0)]
    seen = [task.inputs(batch).images for batch in batches]
    assert all(image.shape == (1, 4, 32, 32) for image in seen)
    assert np.array_equal(seen[0], seen[2]) and np.abs(seen[0] - seen[1]).max() > 0.1
    assert [task.patterns(batch) for batch in batches] == [32, 32, 32]
    assert np.array_equal(batches[0].groups, batches[2].groups)
    # A resumed run repeats an uninterrupted one.
    whole = pretrain(xp, settings, 5, tmp_path / "whole")
    pretrain(xp, settings, 3, tmp_path / "half")
    resumed = pretrain(xp, settings, 5, tmp_path / "half", resume=True)
    assert all(np.array_equal(whole.weights[k], resumed.weights[k]) for k in whole.weights)


def test_nothing_is_written_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretrain(operations("pytorch"), config(), 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tile", [16, 512])
def test_large_canvases_are_differentiated_whole(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inference corrects large canvases tile by tile, through which no derivative passes."""
    xp, settings = operations("pytorch"), config()
    monkeypatch.setattr(xp, "tile", tile)
    network = built_network(xp, settings)
    task = DrawnTask(settings, network, 1, 0.1, 0.9)
    engine = xp.engine(task.variables)
    with engine.running():
        engine.accumulate(task.loss, task.inputs(drawn_scan(3, None, 0)), 1.0)
        found = engine.gradient()
    assert np.abs(found["network.out.weight"]).max() > 0


def test_processes_that_simulate_change_nothing(tmp_path: Path) -> None:
    """Scans come in their order from wherever they are drawn, with the photographs of a folder."""
    for name in "ab":
        grains = np.random.default_rng(ord(name)).integers(0, 256, (300, 280), dtype=np.uint8)
        Image.fromarray(grains).save(tmp_path / f"{name}.png")
    alone, helped = Recorder(), Recorder()
    execution = TorchExecution(threads=1, num_workers=2)
    pytest.importorskip("lightning")
    pretrain(operations("pytorch"), config(), 4, photographs=tmp_path, progress=alone)
    helpers = get_ops("pytorch", execution)
    pretrain(helpers, config(), 4, photographs=tmp_path, progress=helped)
    assert alone.losses == helped.losses
    without = Recorder()
    pretrain(operations("pytorch"), config(), 4, progress=without)
    assert without.losses != alone.losses


def test_a_network_with_more_passes_begins_as_the_last_one() -> None:
    parent = UnrolledConfig(iterations=2, updates=3, width=4, levels=1)
    rng = np.random.default_rng(0)
    shapes = parent.describe().parameter_shapes()
    weights = {name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()}
    longer = parent.model_copy(update={"iterations": 4})
    found = with_further_passes(weights, parent, longer)
    assert found is not None
    expected = longer.describe().parameter_shapes()
    assert {name: value.shape for name, value in found.items()} == expected
    step = weights["step"]
    assert found["step"].tolist() == [*step, *step[3:], *step[3:]]
    assert np.array_equal(found["out.weight"], weights["out.weight"])
    for other in ({"iterations": 1}, {"iterations": 4, "width": 8}, {"updates": 2}):
        assert with_further_passes(weights, parent, parent.model_copy(update=other)) is None


def test_a_model_to_start_from_brings_its_own_options() -> None:
    """Those that are set stay; other architectures are refused later."""
    parent = load_model()
    own = parent.config.model
    assert _like(parent, Config()).model == own
    longer = Config(model={"architecture": "unrolled", "iterations": 9, "mode": "supervised"})
    expected = own.model_copy(update={"iterations": 9, "mode": "supervised"})
    assert _like(parent, longer).model == expected
    other = Config(model={"architecture": "cnn", "N": 32})
    assert _like(parent, other) == other
    assert _like(None, longer) == longer
