"""Command lines of the earlier program, as scripts contain them; one per group of flags."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import warm_processes
from ptychopinn.clients.commands import ptycho_inference, ptycho_train
from ptychopinn.io.convert import convert

pytest.importorskip("torch", reason="the commands train with PyTorch")
pytest.importorskip("lightning", reason="the commands train with Lightning")

SMALL = "--nepochs 1 --n_groups 8 --batch_size 4 --n_filters_scale 1"


def call(command: str, line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run an old command line in ``folder`` as its own process."""
    code = f"import sys, ptychopinn.entry as e; sys.argv[0] = '{command}'; e.{command}()"
    return warm_processes.run(
        [sys.executable, "-c", code, *line.split()],
        cwd=folder,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def place(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.npz and test.npz in the dialect of old."""
    folder = tmp_path_factory.mktemp("old")
    convert(scans / "a.h5", folder / "train.npz")
    convert(scans / "b.h5", folder / "test.npz")
    return folder


@pytest.fixture(scope="module")
def model(place: Path) -> Path:
    """A folder with a trained model and its pictures."""
    done = call(
        "ptycho_train",
        "--train_data_file train.npz --test_data_file test.npz --output_dir model "
        f"--backend pytorch --do_stitching {SMALL} --N 32 --gridsize 2 --model_type pinn "
        "--no-mend all",
        place,
    )
    assert done.returncode == 0, done.stderr
    return place / "model"


def config_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


def test_training_with_stitching(model: Path) -> None:
    for name in ("wts.h5.zip", "reconstructed_amplitude.png", "reconstructed_phase.png"):
        assert (model / name).is_file()
    config = config_of(model)
    assert config["model"]["architecture"] == "cnn"
    assert (config["model"]["N"], config["model"]["gridsize"]) == (32, 2)


TRAINING: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "model": (
        "--amp_activation swish --object_big True --probe_big False --probe_mask False "
        "--pad_object true --probe_scale 2 --gaussian_smoothing_sigma 0.0",
        {"model.amp_activation": "swish", "model.probe_big": False},
        ["--probe_scale = 2"],
    ),
    "training": (
        "--mae_weight 0.5 --nll_weight 1 --realspace_weight 0.01 --nphotons 1e6 "
        "--probe_trainable --intensity_scale_trainable False --torch_loss_mode poisson "
        "--gradient_clip_val 2 --optimizer adam --scheduler CosineAnnealing",
        {
            "loss.mae_weight": 0.5,
            "loss.realspace_weight": 0.01,
            "training.probe_trainable": True,
            "training.scheduler": "cosine",
            "training.gradient_clip_val": 2.0,
        },
        ["--intensity_scale_trainable = False"],
    ),
    "data": (
        "--n_subsample 60 --subsample_seed 3 --neighbor_count 5 --sequential_sampling "
        "--enable_oversampling --positions_provided True",
        {
            "data.n_subsample": 60,
            "data.subsample_seed": 3,
            "data.neighbor_count": 5,
            "data.sequential_sampling": True,
        },
        [],
    ),
    "execution": (
        "--torch-accelerator cpu --torch-deterministic --torch-num-workers 0 "
        "--torch-accumulate-grad-batches 1 --torch-learning-rate 1e-3 "
        "--torch-scheduler ReduceLROnPlateau --torch-plateau-factor 0.4 --torch-plateau-patience 3 "
        "--torch-plateau-min-lr 1e-6 --torch-plateau-threshold 1e-4 --torch-logger csv "
        "--torch-recon-log-every-n-epochs 5 --torch-enable-checkpointing "
        "--torch-checkpoint-save-top-k 1 --quiet",
        {"training.learning_rate": 1e-3, "training.plateau_factor": 0.4},
        [],
    ),
    "fno": (
        "--architecture fno --fno_modes 4 --fno-width 8 --fno_blocks 2 --fno_cnn_blocks 1 "
        "--fno_input_transform sqrt --generator_output_mode real_imag",
        {
            "model.architecture": "fno",
            "model.fno_modes": 4,
            "model.fno_width": 8,
            "model.fno_input_transform": "sqrt",
            "model.head": "real_imaginary",
        },
        ["--n_filters_scale = 1", "cnn only"],
    ),
    "unrolled": (
        "--architecture unrolled --gridsize 2",
        {"model.architecture": "unrolled"},
        ["--gridsize = 2", "for the architecture cnn, "],
    ),
}


@pytest.mark.parametrize("group", TRAINING)
def test_flags_of_training(
    place: Path, group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line, expected, told = TRAINING[group]
    small = SMALL.replace("8", "1") if group == "unrolled" else SMALL
    output = f"out_{group}"
    line = f"--train-data-file train.npz --output-dir {output} {small} {line}"
    monkeypatch.chdir(place)
    assert ptycho_train.run(line.split()) == 0
    assert (place / output / "wts.h5.zip").is_file()
    config = config_of(place / output)
    for name, value in expected.items():
        section, field = name.split(".")
        assert config[section][field] == value, name
    said = capsys.readouterr().err
    for words in told:
        assert words in said


def test_a_configuration_file_and_a_deprecated_name(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "c.yaml").write_text(
        "train_data_file: train.npz\noutput_dir: from_file\nn_images: 8\nbatch_size: 4\n"
        "nepochs: 5\nmodel:\n  gridsize: 1\n  n_filters_scale: 1\n"
    )
    assert ptycho_train.run(["--config", "c.yaml", "--nepochs", "1"]) == 0
    assert capsys.readouterr().err.count("--n_images is deprecated, use --n_groups") == 1
    config = config_of(place / "from_file")
    assert (config["training"]["epochs"], config["data"]["n_groups"]) == (1, 8)


def test_inference(place: Path, model: Path) -> None:
    done = call(
        "ptycho_inference",
        f"--model_path {model} --test_data test.npz --output_dir result --comparison_plot "
        "--n_images 20 --n_subsample 50 --subsample_seed 1 --phase_vmin -1 --phase_vmax 1.5 "
        "--debug_dump dump --torch-accelerator cpu --torch-num-workers 0 "
        "--torch-inference-batch-size 8 --backend pytorch --no-mend all",
        place,
    )
    assert done.returncode == 0, done.stderr
    for name in ("reconstructed_amplitude.png", "reconstructed_phase.png", "comparison_plot.png",
                 "reconstruction.h5"):  # fmt: skip
        assert (place / "result" / name).is_file()
    for words in ("--n_images is deprecated", "--n_subsample = 50", "--debug_dump = dump"):
        assert words in done.stderr


def test_the_other_backend(place: Path) -> None:
    pytest.importorskip("tensorflow", reason="asks for the TensorFlow backend")
    done = call(
        "ptycho_train",
        f"--train_data_file train.npz --test_data_file test.npz --output_dir tf {SMALL} "
        "--do_stitching --backend tensorflow --no-mend all",
        place,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "tf" / "run.json").read_text())["backend"] == "tensorflow"
    done = call(
        "ptycho_inference",
        "--model_path tf --test_data test.npz --output_dir tf_result --backend tensorflow "
        "--torch-accelerator cpu --no-mend all",
        place,
    )
    assert done.returncode == 0, done.stderr
    assert (place / "tf_result" / "reconstructed_phase.png").is_file()


@pytest.mark.parametrize(
    ("command", "line", "words"),
    [
        (ptycho_train, "", "--train_data_file"),
        (ptycho_train, "--train_data_file train.npz --probe_mask True", "mask it before"),
        (ptycho_train, "--train_data_file train.npz --N 64", "64"),
        (ptycho_train, "--train_data_file none.npz", "none.npz"),
        (ptycho_train, "--train_data_file train.npz --architecture hybrid", "'hybrid_resnet'"),
        (ptycho_train, "--train_data_file train.npz --torch-accelerator tpu", "accelerators"),
        (ptycho_train, "--train_data_file train.npz --backend jax", "jax"),
        (ptycho_train, "--train_data_file train.npz --output_dir o --optimizer sgd", "adam"),
        (ptycho_train, "--train_data_file train.npz --nepochs 0", "--nepochs must be at least 1, "),
        (
            ptycho_train,
            "--train_data_file train.npz --n_subsample 5 --gridsize 2",
            "--validation-fraction (of ptychopinn train)",
        ),
        (ptycho_inference, "--model_path none --test_data train.npz", "none"),
    ],
)
def test_bad_input_is_one_sentence(
    place: Path,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
    command: Any,
    line: str,
    words: str,
) -> None:
    line = line.replace("train.npz", str(place / "train.npz"))
    assert command.run(line.split()) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("ptycho_")
    assert words in message


@pytest.fixture
def fractional(place: Path, tmp_path: Path) -> Path:
    """A scan whose patterns may be counts or amplitudes, with a first one that has no position."""
    arrays = dict(np.load(place / "train.npz"))
    counts = np.concatenate([arrays["diff3d"][:1], arrays["diff3d"]]) ** 2
    # Divided by a flat field, so that no factor makes all of them whole.
    arrays["diff3d"] = counts * np.linspace(1.2, 1.5, counts.shape[-1])
    np.savez(tmp_path / "fractional.npz", **arrays)
    return tmp_path / "fractional.npz"


def test_what_errors_ask_for_can_be_given(
    model: Path, fractional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--model_path", str(model), "--test_data", str(fractional)]
    line += ["--output_dir", str(tmp_path / "r"), "--no-mend", "all"]
    for flag, value in (("--frames", "1:"), ("--units", "counts")):
        assert ptycho_inference.run(line) == 2
        assert flag in capsys.readouterr().err.strip().splitlines()[-1]
        line += [flag, value]
    line[line.index("--no-mend")] = "--no_mend"
    assert ptycho_inference.run([*line, "--comparison_plot"]) == 0
    assert (tmp_path / "r" / "comparison_plot.png").is_file()


def test_words_about_scans_in_a_configuration_file(
    model: Path, fractional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    line = ["--config", str(config), "--model_path", str(model), "--test_data", str(fractional)]
    line += ["--output_dir", str(tmp_path / "r")]
    config.write_text("units: parsec\nframes: '1:'\n")
    assert ptycho_inference.run(line) == 2
    assert "'parsec'" in capsys.readouterr().err
    config.write_text("units: counts\nframes: '1:'\nno_mend: [foo]\n")
    assert ptycho_inference.run(line) == 2
    assert "received 'foo'" in capsys.readouterr().err
