"""The rules for all settings of the earlier program, and of ptychodus, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from ptychopinn.clients.settings.rules import Rule, choice, only

EVERY_PATTERN = "every pattern is used"
EXACT_SCALE = "probe and patterns are brought to one scale exactly, see docs/data-formats.md"
SCHEDULES = choice(
    {
        "default": "plateau",
        "plateau": "plateau",
        "ReduceLROnPlateau": "plateau",
        "CosineAnnealing": "cosine",
        "cosine": "cosine",
        "WarmupCosine": "cosine",
        "constant": "constant",
    },
    "choose Default, ReduceLROnPlateau, CosineAnnealing or constant",
)
LOSSES = choice({"poisson": (1.0, 0.0), "mae": (0.0, 1.0)}, "choose poisson or mae")
OUTPUT_MODES = choice(
    {
        "real_imag": "real_imaginary",
        "amp_phase": "amplitude_phase",
        "amp_phase_logits": "amplitude_phase",
    },
    "choose real_imag, amp_phase or amp_phase_logits",
)
NO_MASK = only(False, None, why="the probe is used as it is given; mask it before")

# Which network, and the options of those with spectral convolutions.
NETWORKS: Mapping[str, Rule] = {
    "architecture": Rule("model.architecture"),
    **{
        name: Rule(f"model.{name}", neutral=neutral)
        for name, neutral in {
            "fno_modes": 12,
            "fno_width": 32,
            "fno_blocks": 4,
            "fno_cnn_blocks": 2,
            "fno_input_transform": "none",
            "resnet_width": None,
        }.items()
    },
    "generator_output_mode": Rule("model.head", OUTPUT_MODES),
    "max_hidden_channels": Rule(
        convert=only(None, why="the channels follow from fno_width; lower that in its place"),
        neutral=None,
    ),
    "learned_input_channels": Rule(
        convert=only(1, why="the amplitudes are what the network sees; use 1"), neutral=1
    ),
}
#: Model, data and training settings of the earlier program.
RULES: Mapping[str, Rule] = {
    "N": Rule("model.N", neutral=0),
    "gridsize": Rule("model.gridsize", neutral=1),
    "n_filters_scale": Rule("model.n_filters_scale", float, neutral=2),
    "model_type": Rule("model.mode", neutral="pinn"),
    "amp_activation": Rule(
        "model.amp_activation",
        choice(
            {
                "sigmoid": "sigmoid",
                "swish": "swish",
                "silu": "swish",
                "softplus": "softplus",
                "relu": "relu",
            }
        ),
        neutral="sigmoid",
    ),
    **NETWORKS,
    "object_big": Rule(
        effect="overlapping patches are always merged into one object", neutral=True
    ),
    "probe_big": Rule("model.probe_big", neutral=True),
    "pad_object": Rule("model.pad_object", neutral=True),
    "probe_mask": Rule(convert=NO_MASK, neutral=False),
    "probe_mask_sigma": Rule(
        convert=only(0, 0.0, 1.0, None, why="the probe is used as it is given; mask it before"),
        neutral=1.0,
    ),
    "probe_mask_diameter": Rule(convert=NO_MASK, neutral=None),
    "probe_scale": Rule(effect=EXACT_SCALE, neutral=4.0),
    "gaussian_smoothing_sigma": Rule(
        convert=only(0, 0.0, why="smoothing hides what the patterns say; use 0"), neutral=0.0
    ),
    "intensity_scale_trainable": Rule(effect=EXACT_SCALE, neutral=True),
    "batch_size": Rule("training.batch_size", neutral=16),
    "nepochs": Rule("training.epochs"),
    "mae_weight": Rule("loss.mae_weight", neutral=0.0),
    "nll_weight": Rule("loss.nll_weight", neutral=1.0),
    "realspace_mae_weight": Rule("loss.realspace_mae_weight", neutral=0.0),
    "realspace_weight": Rule("loss.realspace_weight", neutral=0.0),
    "torch_loss_mode": Rule("loss.nll_weight loss.mae_weight", LOSSES, neutral="poisson"),
    "nphotons": Rule(
        effect="the patterns tell their number of photons",
    ),
    "n_groups": Rule("data.n_groups"),
    "n_images": Rule("data.n_groups"),
    "n_subsample": Rule("data.n_subsample"),
    "subsample_seed": Rule("data.subsample_seed"),
    "neighbor_count": Rule("data.neighbor_count"),
    "neighbor_pool_size": Rule("data.neighbor_count"),
    "enable_oversampling": Rule("data.enable_oversampling", neutral=False),
    "sequential_sampling": Rule("data.sequential_sampling", neutral=False),
    "positions_provided": Rule(
        convert=only(True, why="the method needs the scan positions; provide them"), neutral=True
    ),
    "probe_trainable": Rule("training.probe_trainable", neutral=False),
    "gradient_clip_val": Rule(
        "training.gradient_clip_val", lambda value: 0.0 if value is None else float(value)
    ),
    "gradient_clip_algorithm": Rule(
        convert=only("norm", why="gradients are clipped by their norm; use norm"), neutral="norm"
    ),
    "optimizer": Rule(convert=choice({"adam": None}, "the optimiser is adam"), neutral="adam"),
    "scheduler": Rule("training.scheduler", SCHEDULES, neutral="Default"),
    "plateau_factor": Rule("training.plateau_factor"),
    "plateau_patience": Rule("training.plateau_patience"),
    "plateau_min_lr": Rule(effect="the plateau schedule has no lower bound of the learning rate"),
    "plateau_threshold": Rule(
        effect="an improvement is a fall of the loss by a ten-thousandth of it, for the "
        "architecture unrolled by 1e-4"
    ),
    "learning_rate": Rule("training.learning_rate", float),
}

ACCELERATORS = choice(
    {"auto": "auto", "cpu": "cpu", "cuda": "cuda", "gpu": "cuda"},
    "the accelerators are auto, cpu, cuda and gpu",
)

#: ``--torch-*`` flags, and ``PyTorchExecutionConfig``.
EXECUTION_RULES: Mapping[str, Rule] = {
    "accelerator": Rule("execution.accelerator", ACCELERATORS, neutral="auto"),
    "deterministic": Rule("execution.deterministic"),
    "num_workers": Rule("execution.num_workers"),
    "strategy": Rule(effect="one device is used", neutral="auto"),
    "n_devices": Rule(effect="one device is used", neutral=1),
    "accumulate_grad_batches": Rule(
        convert=only(1, why="gradients are not accumulated; raise the batch size in its place"),
        neutral=1,
    ),
    "learning_rate": RULES["learning_rate"],
    "scheduler": RULES["scheduler"],
    "plateau_factor": RULES["plateau_factor"],
    "plateau_patience": RULES["plateau_patience"],
    "plateau_min_lr": RULES["plateau_min_lr"],
    "plateau_threshold": RULES["plateau_threshold"],
    "gradient_clip_val": RULES["gradient_clip_val"],
    "logger": Rule("execution.logger", lambda value: "none" if value is None else value),
    "enable_progress_bar": Rule(effect="a terminal shows the progress", neutral=False),
    "enable_checkpointing": Rule(
        effect="the best and the last state are always kept in checkpoints/", neutral=True
    ),
    "checkpoint_save_top_k": Rule(effect="the best state and the last one are kept", neutral=1),
    "checkpoint_monitor": Rule(
        effect="the best state is the one with the lowest validation loss", neutral="val_loss"
    ),
    "inference_batch_size": Rule(
        effect="as many patterns are held at once as fit into a fixed amount of memory",
        neutral=None,
    ),
    **{
        f"recon_log_{name}": Rule(
            effect="pictures of the object are made after training, not during it", neutral=None
        )
        for name in ("every_n_epochs", "num_patches", "fixed_indices", "stitch",
                     "max_stitch_samples")
    },
}  # fmt: skip

#: Before the names of execution settings where they stand beside others.
TORCH = "torch_"
#: All settings of a training command.
COMMAND_RULES: Mapping[str, Rule] = {
    **RULES,
    **{TORCH + name: rule for name, rule in EXECUTION_RULES.items()},
}

_ATTENTION = "the networks are those of docs/user-guide.md, without attention blocks"
_GROUPING = "groups are drawn from the nearest neighbours"
_TUNING = "there is one stage of training"

#: Settings of ``ptycho_torch.config_params``, all classes together.
TORCH_RULES: Mapping[str, Rule] = {
    "mode": Rule(
        "model.mode",
        choice({"unsupervised": "pinn", "supervised": "supervised", "pinn": "pinn"}),
        neutral="Unsupervised",
    ),
    **NETWORKS,
    "N": Rule(effect="the patterns tell their size", neutral=128),
    "C": Rule("model.gridsize", lambda value: round(float(value) ** 0.5), neutral=4),
    "grid_size": Rule(effect="the number of channels tells the group", neutral=(2, 2)),
    "K": Rule("data.neighbor_count", neutral=6),
    "n_filters_scale": RULES["n_filters_scale"],
    "amp_activation": Rule("model.amp_activation", RULES["amp_activation"].convert, neutral="silu"),
    "object_big": RULES["object_big"],
    "probe_big": RULES["probe_big"],
    "probe_scale": RULES["probe_scale"],
    "probe_mask": Rule(convert=only(None, False, why="mask the probe before"), neutral=None),
    "probe_normalize": Rule(effect=EXACT_SCALE, neutral=True),
    "probe_ramp_removal": Rule(effect="the probe is used as it is given", neutral=False),
    "normalize": Rule(effect=EXACT_SCALE, neutral="Batch"),
    "data_scaling": Rule(effect=EXACT_SCALE, neutral="Parseval"),
    "phase_subtraction": Rule(effect="labels are compared up to a phase", neutral=True),
    "neighbor_function": Rule(effect=_GROUPING, neutral="Nearest"),
    "scan_pattern": Rule(effect=_GROUPING, neutral="Isotropic"),
    "min_neighbor_distance": Rule(effect=_GROUPING, neutral=0.0),
    "max_neighbor_distance": Rule(effect=_GROUPING, neutral=3.0),
    "K_quadrant": Rule(effect=_GROUPING, neutral=30),
    "n_subsample": Rule(effect=EVERY_PATTERN, neutral=7),
    "x_bounds": Rule(effect=EVERY_PATTERN, neutral=(0.1, 0.9)),
    "y_bounds": Rule(effect=EVERY_PATTERN, neutral=(0.1, 0.9)),
    "loss_function": Rule("loss.nll_weight loss.mae_weight", LOSSES, neutral="Poisson"),
    "nll": Rule(
        "loss.nll_weight loss.mae_weight",
        lambda value: (1.0, 0.0) if value else (0.0, 1.0),
        neutral=True,
    ),
    "amp_loss": Rule(
        convert=only(None, why="the amplitude has no further loss; choose None"), neutral=None
    ),
    "phase_loss": Rule(
        convert=only(None, why="the phase has no further loss; choose None"), neutral=None
    ),
    "amp_loss_coeff": Rule(effect="there is no further loss of the amplitude", neutral=1.0),
    "phase_loss_coeff": Rule(effect="there is no further loss of the phase", neutral=1.0),
    "amplitude_variance_loss": Rule(
        convert=only(False, why="there is no such loss; switch it off"), neutral=False
    ),
    "amplitude_variance_coeff": Rule(effect="there is no such loss", neutral=0.01),
    "probe_reference_coeff": Rule(effect="there is no such loss", neutral=0.0),
    "intensity_scale_trainable": Rule(effect=EXACT_SCALE, neutral=False),
    "intensity_scale": Rule(effect=EXACT_SCALE, neutral=10000.0),
    "max_position_jitter": Rule(effect="positions are used as they are", neutral=10),
    "num_datasets": Rule(effect="the folder tells how many scans there are", neutral=1),
    "C_model": Rule(),
    "C_forward": Rule(),
    "decoder_last_amp_channels": Rule(),
    **{
        name: Rule(effect=_ATTENTION, neutral=neutral)
        for name, neutral in {
            "cbam_encoder": True,
            "cbam_bottleneck": False,
            "cbam_decoder": False,
            "eca_encoder": False,
            "eca_decoder": False,
            "spatial_decoder": False,
            "decoder_spatial_kernel": 7,
            "use_shared_decoder": False,
            "batch_norm": False,
            "edge_pad": 10,
            "decoder_last_c_outer_fraction": 0.125,
            "offset": 6,
        }.items()
    },
    "epochs": Rule("training.epochs"),
    "batch_size": Rule("training.batch_size", neutral=16),
    "learning_rate": Rule("training.learning_rate", float, neutral=1e-3),
    "n_devices": EXECUTION_RULES["n_devices"],
    "num_workers": Rule(effect="the patterns are in memory", neutral=4),
    "accum_steps": Rule(
        convert=only(1, why="gradients are not accumulated; raise the batch size in its place"),
        neutral=1,
    ),
    "gradient_clip_val": Rule("training.gradient_clip_val", float, neutral=None),
    "device": Rule(
        "execution.accelerator",
        # A client asks for "cuda" by default, also where there is none.
        choice({"cuda": "auto", "gpu": "auto", "auto": "auto", "cpu": "cpu"}, "choose cuda or cpu"),
        neutral="cuda",
    ),
    "strategy": Rule(effect="one device is used", neutral="ddp_spawn"),
    "framework": Rule(effect="PyTorch Lightning runs the training", neutral="Lightning"),
    "orchestrator": Rule(effect="PyTorch Lightning runs the training", neutral="Lightning"),
    "scheduler": Rule(
        "training.scheduler",
        choice({"Cosine": "cosine", "Default": "plateau"}, "choose Default or Cosine"),
        neutral="Default",
    ),
    "warmup_epochs": Rule(effect="the learning rate rises over the first 20 steps", neutral=0),
    "min_lr_ratio": Rule(effect="the learning rate falls to a hundredth", neutral=0.1),
    "notes": Rule(effect="not stored", neutral=""),
    "model_name": Rule(effect="not stored", neutral="PtychoPINNv2"),
    "epochs_fine_tune": Rule(effect=_TUNING, neutral=0),
    "fine_tune_gamma": Rule(effect=_TUNING, neutral=0.1),
    "enable_staged_finetuning": Rule(effect=_TUNING, neutral=False),
    **{
        f"finetune_{name}": Rule(effect=_TUNING, neutral=neutral)
        for name, neutral in {
            "stage1_epochs": 7,
            "stage2_epochs": 7,
            "stage3_epochs": 5,
            "stage1_lr_decoder": 0.1,
            "stage2_lr_encoder_top": 0.01,
            "stage2_lr_decoder": 0.05,
            "stage2_lr_phase_head": 0.1,
            "stage3_lr_encoder_bottom": 0.005,
            "stage3_lr_encoder_top": 0.01,
            "stage3_lr_decoder": 0.02,
            "stage3_lr_phase_head": 0.05,
            "skip_stage3": True,
            "early_stop_patience": 3,
            "val_split": 0.05,
        }.items()
    },
}
