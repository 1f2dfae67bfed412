"""What is shown of the work as it goes on: within passes, of networks, of trainings."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.config import Config
from ptychopinn.contracts import Follows, Glance, Glimpses, Looked, Silent, Step
from ptychopinn.data.normalization import prepare
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.options import TorchExecution
from ptychopinn.ops.selector import get_ops
from ptychopinn.report.live_picture import Followed, LivePicture, Pause, WorstPatterns
from ptychopinn.serving.live_tiles import LiveTiles
from ptychopinn.solvers import patches
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.patches import PatchNetwork, PatchNetworkSolver
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.training import pretraining

SMALL = {"architecture": "cnn", "N": 32, "n_filters_scale": 0.1}


class Watcher(Silent):
    """Takes whatever is shown."""

    def __init__(self) -> None:
        self.within: list[tuple[int, Glance]] = []
        self.passes: list[int] = []
        self.glances: list[Glance] = []

    def found(self, step: Step) -> None:
        self.passes.append(step.number)
        self.glances.append(step.look())

    def meanwhile(self, number: int, share: float, glance: Callable[[], Glance]) -> None:
        assert 0 < share <= 1
        self.within.append((number, glance()))


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(N=32, patterns=60, photons=1e6, seed=3)


def test_a_watcher_follows_and_glimpses() -> None:
    assert isinstance(Watcher(), Follows) and isinstance(Watcher(), Glimpses)
    assert not isinstance(Silent(), Glimpses)


def test_iterations_fill_in_within_a_pass(scan: pp.Scan) -> None:
    watcher = Watcher()
    solver = PhysicsSolver(NumpyOps(), PhysicsConfig(passes=2), limit_bytes=1 << 19)
    for step in solver.run(prepare(scan), None, watcher):
        watcher.found(step)
    first = [glance for number, glance in watcher.within if number == 1]
    assert len(first) > 2
    # Batch by batch, until it is as at the end of the pass.
    assert [n for n, _ in watcher.within] == sorted(n for n, _ in watcher.within)
    found = [np.abs(glance.object - 1) > 1e-4 for glance in first]
    counts = [int(known.sum()) for known in found]
    assert 0 < counts[0] < 0.9 * counts[-1] and counts == sorted(counts)
    looked = first[0].look(np.array([5]))
    assert looked.measured.shape == (1, 32, 32) and np.isfinite(looked.misfit).all()


def test_looking_changes_nothing(scan: pp.Scan) -> None:
    solved = []
    for progress in (Silent(), Watcher()):
        config = PhysicsConfig(passes=3, refine_probe=True)
        solver = PhysicsSolver(NumpyOps(), config, limit_bytes=1 << 28)
        solved.append(solver.solve(prepare(scan), None, progress).canvas.object)
    np.testing.assert_array_equal(*solved)


def test_the_passes_of_the_network_are_shown(scan: pp.Scan) -> None:
    watcher = Watcher()
    pp.reconstruct(scan, refine="never", backend="numpy", progress=watcher)
    assert watcher.passes == [1, 2, 3, 4, 5, 6]
    assert {number for number, _ in watcher.within} == set(watcher.passes)
    assert watcher.glances[-1].patterns == 60


def test_a_patch_network_fills_the_object_in(
    scan: pp.Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "MOST_GROUPS", 20)
    config = Config(model={**SMALL, "gridsize": 1})
    description = config.model.describe()
    network = BuiltNetwork(NumpyOps(), description, initial_weights(description, 0))
    watcher = Watcher()
    solver = PatchNetworkSolver(PatchNetwork(network, 32), 1, 1 << 28)
    whole = solver.solve(prepare(scan), None, watcher).canvas.weight > 0
    seen = [int(glance.seen.sum()) for _, glance in watcher.within]
    assert len(seen) == 2 and 0 < seen[0] < seen[1] <= whole.sum()


@pytest.mark.parametrize("kind", ["canvas", "patches"])
def test_a_pretraining_shows_the_first_scan_of_an_epoch(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning")
    monkeypatch.setattr(pretraining, "REPORT", 1)
    model: dict[str, Any] = {"iterations": 1, "updates": 1, "width": 4, "levels": 1}
    if kind == "patches":
        model = {**SMALL, "probe_input": "channels"}
    config = Config(model=model, training={"batch_size": 2, "seed": 3})
    watcher = Watcher()
    xp = get_ops("pytorch", TorchExecution(threads=1))
    pretraining.pretrain(xp, config, 2, progress=watcher)
    assert watcher.passes == [1, 2]
    for number, glance in zip((0, 1), watcher.glances, strict=True):
        drawn = pretraining.drawn_scan(3, None, number, 32 if kind == "patches" else None)
        np.testing.assert_array_equal(glance.probe, drawn.probe)
        assert glance.seen.any() and np.isfinite(glance.object).all()


def test_a_training_is_shown_epoch_by_epoch(scan: pp.Scan, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    config = pp.Config(model={**SMALL, "gridsize": 1}, training={"epochs": 2})
    made = tmp_path / "now.live"
    show = Followed(Silent(), LivePicture(made), 2, "epoch")
    pp.train(scan, config, backend="pytorch", probe_check=False, progress=show)
    head = json.loads(made.read_bytes().partition(b"\n")[0])
    kinds = {part["kind"]: part for part in head["parts"]}
    assert set(kinds) == {"canvas", "probe", "within"} and kinds["probe"]["shape"][0] == 1
    assert kinds["within"]["unit"] == "epoch" and kinds["within"]["count"] == 2


def test_how_far_a_pass_is_comes_beside_the_pictures(tmp_path: Path) -> None:
    made, tiles = tmp_path / "now.live", LiveTiles()
    show = LivePicture(made)
    follow = Followed(Silent(), show, 7)
    follow.epoch(2, 4)

    def within() -> dict[str, Any]:
        message = tiles.of(1, made)["within"][1]
        end = 8 + int.from_bytes(message[4:8], "big")
        assert zlib.decompress(message[end:]) == b""
        return dict(json.loads(message[8:end]))

    assert within() == {
        "kind": "within", "shape": [0], "unit": "pass", "number": 3, "count": 7, "share": 0.0
    }  # fmt: skip
    canvas = np.exp(1j * np.indices((40, 30))[0] / 20).astype(np.complex64)
    glance = Glance(canvas, np.ones((40, 30), bool), canvas[None, :30, :30], 0, lambda numbers: 1)  # type: ignore[arg-type, return-value]
    follow.meanwhile(3, 0.1, lambda: glance)
    show._told = 0.0
    follow.step(0.1, 10.0)
    assert within()["share"] == 0.25
    assert set(tiles.of(1, made)) == {"tile 0 0", "probe", "within"}
    # As a picture there is nothing to say.
    picture = LivePicture(tmp_path / "now.png")
    Followed(Silent(), picture, 7).step(0.1, 10.0)
    assert not picture.path.exists()


def test_the_worst_patterns_are_kept_within_a_stage() -> None:
    def look(numbers: np.ndarray[Any, Any]) -> Looked:
        blank = np.ones((len(numbers), 64, 64), np.float32)
        return Looked(blank, blank, np.ones(len(numbers)))

    ones = np.ones((1, 64, 64), np.complex64)
    glance = Glance(ones[0], np.ones((64, 64), bool), ones, 1000, look)
    worst = WorstPatterns()

    def known(number: int, done: bool) -> int:
        worst._pause = Pause()
        worst.look(number, glance, done)
        return int(worst.about["known"])

    counts = [known(1, False), known(1, False), known(1, True), known(2, False), known(2, True)]
    assert counts == sorted(counts) and counts[-1] > 4 * counts[0] / 2
    # Another solver begins with its first pass.
    assert known(1, False) == counts[0]
