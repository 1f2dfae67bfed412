"""Several processes train one model, or share the patterns of a scan: the result is that of one
process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from training_commands import UNROLLED, UNTRIED

import warm_processes
from ptychopinn import load_model, load_reconstruction, save_scan, simulate
from ptychopinn.cli import run
from ptychopinn.errors import InputError
from ptychopinn.machine.ranks import LAUNCHED, Ranks, started

pytest.importorskip("lightning")

DRAWN = [
    "--iterations", "1", "--updates", "2", "--width", "4", "--levels", "2", "--batch-size", "3",
    "--scheduler", "plateau",
]  # fmt: skip


def together(processes: int, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """A command in so many processes, each on one thread."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with TemporaryDirectory() as folder:
        command = warm_processes.executable("ptychopinn", Path(folder))
        return warm_processes.run(
            [*launch, "--nproc-per-node", processes, "--no-python", command, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )


def alone(*arguments: Any) -> int:
    """A command in this process, on one thread; the exit code."""
    return run([*map(str, arguments), "--torch-threads", "1"])


def check_same(one: Path, other: Path) -> None:
    """Weights and losses agree within the rounding of sums in another order."""
    losses = [json.loads((f / "run.json").read_text())["metrics"] for f in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    weights = [load_model(folder).weights for folder in (one, other)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=2e-3, atol=2e-5, err_msg=name)


def test_scans_that_are_drawn_are_shared(tmp_path: Path) -> None:
    """Seven scans in batches of three by two processes, with processes that simulate."""
    assert alone("pretrain", "-o", tmp_path / "one", "--scans", 7, *DRAWN) == 0
    options = [*DRAWN, "--torch-threads", 1, "--torch-num-workers", 1]
    found = together(2, "pretrain", "-o", tmp_path / "two", "--scans", 7, *options)
    assert found.returncode == 0, found.stderr
    # Only one of them speaks and writes.
    assert found.stdout.count("model:") == 1
    names = [{p.name for p in (tmp_path / folder).iterdir()} for folder in ("one", "two")]
    assert names[0] == names[1]
    check_same(tmp_path / "one", tmp_path / "two")


def test_a_measured_scan_is_shared_and_resumed(scans: Path, tmp_path: Path) -> None:
    """The validation decides on the best epoch. The second run goes on with the
    epochs of the first."""
    options = [*UNROLLED, *UNTRIED, "--batch-size", 4, "--scheduler", "constant"]
    assert alone("train", scans / "a.h5", "-o", tmp_path / "one", "--epochs", 2, *options) == 0
    folder = tmp_path / "two"
    for epochs, more in ((1, options), (2, ["--resume", *UNTRIED])):
        arguments = ["train", scans / "a.h5", "-o", folder, "--epochs", epochs, *more]
        found = together(2, *arguments, "--torch-threads", 1)
        assert found.returncode == 0, found.stderr
    check_same(tmp_path / "one", folder)


def test_a_refused_command_ends_all(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "wts.h5.zip").write_text("earlier")
    found = together(2, "train", scans / "a.h5", "-o", tmp_path / "run", *UNROLLED)
    assert found.returncode != 0
    assert "must not hold earlier results" in found.stderr
    assert (tmp_path / "run" / "wts.h5.zip").read_text() == "earlier"


def test_who_this_process_is() -> None:
    names = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert started(names) == Ranks()  # of a cluster, but not of torchrun
    assert started({**names, LAUNCHED: "run"}) == Ranks(5, 8, 1, 4)
    assert not started({**names, LAUNCHED: "run"}).first
    with pytest.raises(InputError, match="torchrun"):
        started({LAUNCHED: "run"})


def test_gpus_exchange_directly_where_every_process_has_one_of_its_own() -> None:
    from torch import stack, zeros_like

    from ptychopinn.ops.torch_together import identity, one_each

    one, other = identity("5a3f" * 8), identity("0123" * 8)
    assert one_each(stack([one, other]))
    assert not one_each(stack([one, one]))  # NCCL refuses processes that share a GPU
    assert not one_each(stack([one, zeros_like(one)]))  # one of them computes on its cores


def check_same_object(one: Path, other: Path) -> None:
    """Objects agree within the rounding of sums in another order, which passes amplify little."""
    a, b = (load_reconstruction(folder) for folder in (one, other))
    lit = a.weight > 0.1 * a.weight.max()
    np.testing.assert_allclose(b.object[lit], a.object[lit], atol=2e-5)
    np.testing.assert_allclose(b.probe, a.probe, atol=2e-5 * np.abs(a.probe).max())
    np.testing.assert_allclose(b.positions_px, a.positions_px, atol=1e-4)
    np.testing.assert_array_equal(a.weight > 0, b.weight > 0)


EVERYTHING = [
    "--passes", 14, "--refine-probe", "--refine-positions", "--background", "--backend", "pytorch",
]  # fmt: skip


@pytest.mark.parametrize("processes", [2, 3])
def test_the_patterns_of_a_scan_are_shared(processes: int, tmp_path: Path) -> None:
    """Object, probe, positions, scan axes, beam current and background; one process speaks."""
    scan = tmp_path / "scan.h5"
    save_scan(simulate(N=32, patterns=100, photons=1e5, seed=6), scan)
    assert alone("refine", scan, "-o", tmp_path / "one", *EVERYTHING) == 0
    shared = ["-o", tmp_path / "several", *EVERYTHING, "--torch-threads", 1]
    found = together(processes, "refine", scan, *shared)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("reconstruction:") == 1
    assert found.stderr.count("pass 1/14") == 1
    check_same_object(tmp_path / "one", tmp_path / "several")
    one, several = (load_reconstruction(tmp_path / name) for name in ("one", "several"))
    assert one.effects.keys() == several.effects.keys()
    for name, value in one.effects.items():
        np.testing.assert_allclose(several.effects[name], value, rtol=1e-3, atol=1e-5)


def test_networks_share_a_scan(tmp_path: Path) -> None:
    scan = tmp_path / "scan.h5"
    save_scan(simulate(N=32, patterns=60, photons=1e5, seed=6), scan)
    options = ["--backend", "pytorch"]
    # Nothing else is tried, for the network of one epoch explains nothing.
    untried = [*options, "--no-mend", "all"]
    small = ["--architecture", "cnn", "--n-filters-scale", 0.1, "--epochs", 1]
    assert alone("train", scan, "-o", tmp_path / "model", *small, *options) == 0
    for name, model in (("patches", tmp_path / "model"), ("canvas", "pretrained")):
        one, two = (tmp_path / f"{name}{processes}" for processes in (1, 2))
        assert alone("infer", model, scan, "-o", one, *untried) in (0, 3)
        found = together(2, "infer", model, scan, "-o", two, *untried, "--torch-threads", 1)
        assert (two / "run.json").exists(), found.stderr
        check_same_object(one, two)


def test_only_pytorch_shares_a_scan(scans: Path, tmp_path: Path) -> None:
    found = together(2, "refine", scans / "a.h5", "-o", tmp_path / "r", "--backend", "numpy")
    assert found.returncode != 0
    assert "share the patterns of a scan with the backend pytorch" in found.stderr
    assert not list((tmp_path / "r").glob("*")), "nothing was written"
