"""The table from the names of the earlier program and of ptychodus to the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptycho.config.config import ModelConfig, TrainingConfig, settings
from ptycho_torch.api.base_api import ConfigManager
from ptycho_torch.config_params import ModelConfig as TorchModelConfig
from ptychopinn.clients.commands import earlier, ptycho_inference, ptycho_train
from ptychopinn.clients.settings import (
    ARCHITECTURE_VARIABLE,
    COMMAND_RULES,
    CONFIG_VARIABLE,
    EXECUTION_RULES,
    NEVER,
    RULES,
    START_VARIABLE,
    TORCH_RULES,
    environment,
    starting_model,
    translate,
)
from ptychopinn.config import SECTIONS
from ptychopinn.config import ModelConfig as Model
from ptychopinn.errors import InputError
from ptychopinn.schema import options_of

TRAIN_FLAGS = [
    "train_data_file",
    "test_data_file",
    "output_dir",
    "backend",
    "do_stitching",
    "quiet",
    "verbose",
    "console_level",
    "N",
    "gridsize",
    "n_filters_scale",
    "model_type",
    "architecture",
    "amp_activation",
    "fno_modes",
    "fno_width",
    "fno_blocks",
    "fno_cnn_blocks",
    "fno_input_transform",
    "generator_output_mode",
    "resnet_width",
    "object_big",
    "probe_big",
    "probe_mask",
    "probe_mask_sigma",
    "probe_mask_diameter",
    "pad_object",
    "probe_scale",
    "gaussian_smoothing_sigma",
    "batch_size",
    "nepochs",
    "mae_weight",
    "nll_weight",
    "realspace_mae_weight",
    "realspace_weight",
    "nphotons",
    "n_groups",
    "n_images",
    "n_subsample",
    "subsample_seed",
    "neighbor_count",
    "enable_oversampling",
    "neighbor_pool_size",
    "positions_provided",
    "probe_trainable",
    "intensity_scale_trainable",
    "sequential_sampling",
    "torch_loss_mode",
    "gradient_clip_val",
    "optimizer",
    "scheduler",
    "torch_accelerator",
    "torch_deterministic",
    "torch_num_workers",
    "torch_accumulate_grad_batches",
    "torch_learning_rate",
    "torch_scheduler",
    "torch_plateau_factor",
    "torch_plateau_patience",
    "torch_plateau_min_lr",
    "torch_plateau_threshold",
    "torch_logger",
    "torch_recon_log_every_n_epochs",
    "torch_enable_checkpointing",
    "torch_checkpoint_save_top_k",
]
INFERENCE_FLAGS = [
    "model_path",
    "test_data",
    "output_dir",
    "backend",
    "debug",
    "comparison_plot",
    "n_images",
    "n_subsample",
    "subsample_seed",
    "phase_vmin",
    "phase_vmax",
    "debug_dump",
    "torch_accelerator",
    "torch_num_workers",
    "torch_inference_batch_size",
]


def test_every_flag_of_old_is_known() -> None:
    assert set(TRAIN_FLAGS) <= set(ptycho_train.KNOWN)
    assert set(INFERENCE_FLAGS) <= set(ptycho_inference.KNOWN)


@pytest.mark.parametrize("rules", [RULES, EXECUTION_RULES, TORCH_RULES])
def test_every_rule_leads_somewhere_or_says_why_not(rules: Any) -> None:
    for name, rule in rules.items():
        for target in rule.to.split():
            section, field = target.split(".")
            if section != "execution":
                assert field in options_of(SECTIONS[section]), name
        # A setting that changes nothing has a reason, or is refused at other values.
        assert rule.to or rule.effect or rule.convert or rule.neutral is NEVER, name


def test_the_defaults_of_ptychodus_say_nothing() -> None:
    # N is set by ptychodus from the patterns.
    values = settings(TrainingConfig(model=ModelConfig(N=0)))
    done = translate(values, RULES, architecture="unrolled")
    assert done.notes == ()
    assert done.config.training.epochs == 50
    torch = translate(ConfigManager().settings(), TORCH_RULES, architecture="unrolled")
    assert torch.notes == ()
    assert torch.config.model.architecture == "unrolled"
    assert torch.execution.accelerator == "auto"


def test_values_arrive() -> None:
    config = TrainingConfig(
        model=ModelConfig(N=64, gridsize=2, amp_activation="swish", model_type="supervised"),
        batch_size=8,
        nepochs=3,
        mae_weight=0.5,
        realspace_mae_weight=2.0,
        n_groups=100,
        neighbor_count=5,
        probe_trainable=True,
    )
    found = translate(settings(config), RULES, architecture="cnn").config
    assert (found.model.N, found.model.gridsize, found.model.amp_activation) == (64, 2, "swish")
    assert found.model.mode == "supervised"
    assert (found.training.batch_size, found.training.epochs) == (8, 3)
    assert (found.loss.mae_weight, found.loss.realspace_mae_weight) == (0.5, 2.0)
    assert (found.data.n_groups, found.data.neighbor_count) == (100, 5)
    assert found.training.probe_trainable


def test_what_only_the_patch_network_knows_is_said() -> None:
    done = translate({"gridsize": 2, "batch_size": 8}, RULES, architecture="unrolled")
    assert len(done.notes) == 2
    assert all("for the architecture cnn, " in note for note in done.notes)


@pytest.mark.parametrize("name", Model.kinds)
def test_every_architecture_can_be_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a setting, and by the environment."""
    done = translate({"architecture": name}, COMMAND_RULES, architecture="cnn")
    assert (done.config.model.architecture, done.notes) == (name, ())
    monkeypatch.setenv(ARCHITECTURE_VARIABLE, name)
    assert environment("unrolled")[0] == name


def test_the_torch_classes_choose_a_network() -> None:
    manager = ConfigManager(model_config=TorchModelConfig(architecture="ffno", fno_modes=6))
    found = translate(manager.settings(), TORCH_RULES, architecture="unrolled").config.model
    assert (found.architecture, found.fno_modes) == ("ffno", 6)


def test_what_the_operators_know_arrives() -> None:
    given = ModelConfig(
        N=64, architecture="hybrid_resnet", fno_modes=8, fno_width=16, resnet_width=40,
        fno_input_transform="sqrt", generator_output_mode="real_imag",
    )  # fmt: skip
    done = translate(settings(TrainingConfig(model=given)), RULES, architecture="cnn")
    found = done.config.model
    assert (found.fno_modes, found.fno_width, found.resnet_width) == (8, 16, 40)
    assert (found.fno_input_transform, found.head) == ("sqrt", "real_imaginary")
    assert done.notes == ()
    note = translate({"fno_modes": 8}, RULES, architecture="vit").notes
    assert len(note) == 1 and "hybrid_resnet" in note[0]


def test_the_backend_decides_what_execution_means() -> None:
    values = {"torch_deterministic": False, "torch_accelerator": "cpu"}
    done = translate(values, COMMAND_RULES, architecture="cnn", backend="pytorch")
    assert (done.execution.accelerator, done.notes) == ("cpu", ())
    pytest.importorskip("tensorflow", reason="asks for the TensorFlow backend")
    done = translate(values, COMMAND_RULES, architecture="cnn", backend="tensorflow")
    assert done.execution.accelerator == "cpu"
    assert "tensorflow" in done.notes[0]


def test_loss_modes() -> None:
    done = translate({"torch_loss_mode": "mae"}, RULES, architecture="cnn").config.loss
    assert (done.nll_weight, done.mae_weight) == (0.0, 1.0)
    done = translate({"nll": False}, TORCH_RULES, architecture="unrolled").config.loss
    assert (done.nll_weight, done.mae_weight) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"probe_mask": True}, "mask it before"),
        ({"gaussian_smoothing_sigma": 1.5}, "smoothing"),
        ({"positions_provided": False}, "positions"),
        ({"optimizer": "sgd"}, "adam"),
        ({"torch_loss_mode": "huber"}, "poisson"),
        ({"amp_activation": "tanh"}, "sigmoid"),
        ({"gridsize": 5}, "gridsize"),
        ({"architecture": "stable_hybrid"}, "nearest is 'hybrid_resnet'"),
        ({"max_hidden_channels": 64}, "fno_width"),
        ({"generator_output_mode": "complex"}, "real_imag"),
        ({"nepochs": 0}, "epochs"),
        ({"no_such": 1}, "no_such"),
        ({"torch_loss_mode": "mae", "mae_weight": 0.5}, "contradict"),
    ],
)
def test_what_cannot_be_honoured_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        translate(values, RULES, architecture="cnn")


def test_the_environment_names_the_model_to_start_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(START_VARIABLE, raising=False)
    assert starting_model() is None
    monkeypatch.setenv(START_VARIABLE, "pretrained")
    assert starting_model() == "pretrained"


def test_the_environment_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ARCHITECTURE_VARIABLE, raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    assert environment("unrolled") == ("unrolled", {})
    monkeypatch.setenv(ARCHITECTURE_VARIABLE, "cnn")
    (tmp_path / "more.yaml").write_text("epochs: 7\nmodel:\n  gridsize: 3\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "more.yaml"))
    architecture, further = environment("unrolled")
    found = translate(
        settings(TrainingConfig()), RULES, architecture=architecture, further=further
    ).config
    assert (found.model.architecture, found.model.gridsize) == ("cnn", 3)
    assert found.training.epochs == 7
    monkeypatch.setenv(ARCHITECTURE_VARIABLE, "hybrid")
    with pytest.raises(InputError, match=f"{ARCHITECTURE_VARIABLE} must be .*'hybrid_resnet'"):
        environment("unrolled")


@pytest.mark.parametrize("text", ["epochs: many", "epoch: 7", "epochs: -1"])
def test_a_wrong_option_names_the_file_that_holds_it(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ARCHITECTURE_VARIABLE, raising=False)
    file = tmp_path / "more.yaml"
    file.write_text(text + "\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    architecture, further = environment("unrolled")
    given = settings(TrainingConfig())
    with pytest.raises(InputError, match=f"in '{file}', .*epoch"):
        translate(given, RULES, architecture=architecture, further=further)


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        (["--torch-learning-rate", "1e-3"], ["--torch_learning_rate", "1e-3"]),
        (["--probe-mask=False"], ["--probe_mask=False"]),
        (["--no-torch-deterministic"], ["--torch_deterministic", "false"]),
        (["--N", "64", "file-name.npz"], ["--N", "64", "file-name.npz"]),
    ],
)
def test_both_spellings_are_one(typed: list[str], known: list[str]) -> None:
    assert earlier.spelled(typed, ptycho_train.SWITCHES) == known


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("True", True),
        ("false", False),
        ("1e9", 1e9),
        ("12", 12),
        ("none", None),
        ("a.npz", "a.npz"),
    ],
)
def test_words_of_the_command_line(word: str, value: Any) -> None:
    assert earlier.parsed(word) == value
    assert type(earlier.parsed(word)) is type(value)


def test_files_flat_or_nested_and_flags_win(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("train_data_file: a.npz\nmodel:\n  gridsize: 2\n  N: 64\nnepochs: 9\n")
    flags = {"nepochs": "3", "n_images": "50", "N": None}
    found = earlier.settings(file, flags, ptycho_train.KNOWN)
    assert found == {
        "train_data_file": "a.npz",
        "gridsize": 2,
        "N": 64,
        "nepochs": 3,
        "n_groups": 50,
    }
    assert capsys.readouterr().err.strip() == "--n_images is deprecated, use --n_groups."
    file.write_text("gridsize: 2\nmodel:\n  gridsize: 1\n")
    with pytest.raises(InputError, match="twice"):
        earlier.settings(file, {}, ptycho_train.KNOWN)
    file.write_text("gridsise: 2\n")
    with pytest.raises(InputError, match="gridsise"):
        earlier.settings(file, {}, ptycho_train.KNOWN)
