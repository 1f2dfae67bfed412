"""Mistakes that programs of this kind have made, each of which must stay impossible here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from training_commands import BACKENDS, CNN, check_sentence, infer, read_json, train

import ptychopinn as pp
from ptychopinn.config import Config
from ptychopinn.data.normalization import prepare
from ptychopinn.training.data import read_batch
from ptychopinn.training.health import FLAT
from ptychopinn.training.plan import GroupPlan

pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("tensorflow")


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def model(backend: str, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patch network of groups of four; no option but what makes it small, no learning rate."""
    folder = tmp_path_factory.mktemp("model") / "m"
    options = [*CNN, "--gridsize", 2, "--epochs", 1]
    assert train(scans / "a.h5", folder, *options, backend=backend) == 0
    return folder


def test_groups_are_not_mixed_from_64_patches_on(
    model: Path, backend: str, scans: Path, tmp_path: Path
) -> None:
    """The same model, with as many groups at once as fit and with few: the same object."""
    infer(model, scans / "b.h5", tmp_path / "many", backend=backend)
    prefix = {"pytorch": "torch", "tensorflow": "tf"}[backend]
    flag = f"--{prefix}-inference-batch-mib"
    infer(model, scans / "b.h5", tmp_path / "few", flag, 16, backend=backend)
    one, other = (pp.load_reconstruction(tmp_path / name) for name in ("many", "few"))
    seen = one.weight > 0.1 * one.weight.max()
    assert np.abs(one.object - other.object)[seen].max() < 1e-4


def test_every_group_holds_its_anchor_and_distinct_patterns(scans: Path) -> None:
    scan = pp.load_scan(scans / "a.h5")
    config = Config(
        model={"architecture": "cnn", "N": 32, "gridsize": 2},
        data={"n_groups": 40, "sequential_sampling": True, "validation_fraction": 0},
    )
    works = GroupPlan([scan], config).epoch(0)
    groups = np.concatenate([work.groups for work in works])
    around = [
        np.argsort(((scan.positions_px - scan.positions_px[anchor]) ** 2).sum(axis=1))[:4]
        for anchor in range(40)
    ]
    assert all(anchor == group[0] for anchor, group in enumerate(around))
    assert sorted(sorted(group) for group in groups.tolist()) == sorted(
        sorted(group.tolist()) for group in around
    )
    batch = read_batch([prepare(scan)], works[0], config)
    for amplitudes, positions, group in zip(
        batch.amplitudes, batch.positions_px, works[0].groups, strict=True
    ):
        assert np.array_equal(positions, scan.positions_px[group])
        for pattern, number in zip(amplitudes, group, strict=True):
            assert np.allclose(pattern, prepare(scan).amplitudes(number))


def test_inference_uses_all_patterns_and_writes_arrays(
    model: Path, backend: str, scans: Path, tmp_path: Path
) -> None:
    infer(model, scans / "b.h5", tmp_path / "r", backend=backend)
    assert read_json(tmp_path / "r/run.json")["patterns"] == 120
    with h5py.File(tmp_path / "r/reconstruction.h5") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    assert any("object" in name for name in names)
    result = pp.load_reconstruction(tmp_path / "r")
    assert np.iscomplexobj(result.object) and len(result.positions_px) == 120


def test_every_member_of_a_group_counts(backend: str, model: Path, scans: Path) -> None:
    """Not one pattern repeated: exchange what the neighbours measured, and the anchor's patch
    changes."""
    scan = pp.load_scan(scans / "b.h5")
    counts = np.array(scan.diffraction)
    far = int(np.argmax(((scan.positions_px - scan.positions_px[0]) ** 2).sum(axis=1)))
    nearest = np.argsort(((scan.positions_px - scan.positions_px[0]) ** 2).sum(axis=1))[1:4]
    counts[nearest] = counts[far]
    one, other = (
        pp.reconstruct(s, model, refine="never", no_mend="all", backend=backend)  # type: ignore[arg-type]
        for s in (scan, replace(scan, diffraction=counts))
    )
    y, x = np.round(scan.positions_px[0]).astype(int) - one.origin_px
    assert abs(one.object[y, x] - other.object[y, x]) > 1e-5


def test_large_patterns_do_not_collapse(backend: str) -> None:
    """N = 128: the object of a small network shows structure after a few steps.

    They are larger than those of the recipe, which is made for many.
    """
    scan = pp.simulate(N=128, patterns=25, photons=1e6, seed=1)
    config = pp.Config(
        model={"architecture": "cnn", "n_filters_scale": 0.1},
        training={
            "epochs": 3,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "collapse_patience": 3,
        },
    )
    done = pp.train(scan, config, backend=backend)  # type: ignore[arg-type]
    assert done.history["object_std"][-1][1] > 10 * FLAT
    losses = [loss for _, loss in done.history["train_loss"]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("text", ["False", "no", "0"])
def test_booleans_are_booleans(
    text: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The word False is not a true value: a flag takes none, a file means what it says."""
    assert train(scans / "a.h5", tmp_path / "m", *CNN, f"--probe-big={text}") == 2
    assert "does not take a value" in capsys.readouterr().err
    (tmp_path / "c.yaml").write_text(f"probe_big: {text}\nprobe_trainable: maybe\n")
    assert train(scans / "a.h5", tmp_path / "m", *CNN, "--config", tmp_path / "c.yaml") == 2
    check_sentence(capsys.readouterr().err, "--probe-trainable", "'maybe'")
    (tmp_path / "d.yaml").write_text(f"probe_big: {text}\n")
    options = ["--config", tmp_path / "d.yaml", "--epochs", 1, "--n-groups", 4]
    assert train(scans / "a.h5", tmp_path / "m", *CNN, *options) == 0
    assert read_json(tmp_path / "m/config.json")["model"]["probe_big"] is False
