"""The one configuration schema: command-line flags, YAML files, documentation and bundle come from
it.

Precedence is flag > file > default. Defaults that differ between architectures are listed once, in
``RECIPES``; they are filled in when the configuration is built, so a stored one is always complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from ptychopinn.errors import InputError
from ptychopinn.schema import Section, shown, validated

__all__ = [
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "RefineConfig",
    "TrainingConfig",
    "merged",
    "nested",
    "read_config_file",
    "validated",
]

Architecture = Literal["unrolled", "cnn"]


class ModelConfig(Section):
    """What the network is."""

    architecture: Architecture = Field(
        "unrolled",
        description="unrolled: physics steps and a learned correction on the object canvas; "
        "cnn: the published network from patterns to object patches",
    )
    mode: Literal["pinn", "supervised"] = Field(
        "pinn", description="pinn: learn from the patterns alone; supervised: from known objects"
    )
    N: int | None = Field(
        None, ge=32, le=512, description="cnn: pattern size; taken from the training scan"
    )
    gridsize: int = Field(1, ge=1, le=3, description="cnn: gridsize^2 neighbours form one group")
    n_filters_scale: float = Field(2.0, gt=0, le=8, description="cnn: multiplies all filter counts")
    amp_activation: Literal["sigmoid", "swish", "softplus", "relu"] = Field(
        "sigmoid", description="cnn: activation of the amplitude head"
    )
    pad_object: bool = Field(True, description="cnn: the object lives in the central N/2 pixels")
    probe_big: bool = Field(
        True, description="cnn: add a low-resolution border around the central N/2 pixels"
    )
    iterations: int = Field(3, ge=1, le=64, description="unrolled: passes over the patterns")
    updates: int = Field(4, ge=1, le=16, description="unrolled: updates of the object in a pass")
    width: int = Field(32, ge=4, le=256, description="unrolled: channels of the correction")
    levels: int = Field(4, ge=1, le=6, description="unrolled: resolutions of the correction")
    momentum: float = Field(0.7, ge=0, lt=1, description="unrolled: initial momentum")


class DataConfig(Section):
    """Which patterns are used, and how they are grouped."""

    n_groups: int | None = Field(
        None,
        ge=1,
        description="groups per epoch, all scans together: groups of gridsize^2 patterns for cnn "
        "(default: one per pattern), sub-scans for unrolled (default: 50)",
    )
    subscan_patterns: int | None = Field(
        None,
        ge=4,
        description="unrolled: number of neighbouring patterns of a sub-scan (default: 100 up to "
        "N = 64, then fewer, 6400 / N but at least 16, to bound the memory of training)",
    )
    n_subsample: int | None = Field(
        None, ge=1, description="use only this many patterns of each scan, chosen at random"
    )
    subsample_seed: int | None = Field(
        None, ge=0, description="seed of that choice; the training seed when not given"
    )
    neighbor_count: int | None = Field(
        None,
        ge=1,
        description="cnn: partners are drawn from at most this many nearest neighbours (default: "
        "the gridsize^2 - 1 nearest themselves)",
    )
    enable_oversampling: bool = Field(
        False,
        description="allow more groups than patterns, each anchor then serves repeatedly "
        "(cnn: with other partners each time if neighbor_count leaves a choice)",
    )
    sequential_sampling: bool = Field(
        False,
        description="take the first n_groups anchors in scan order instead of a random choice",
    )
    validation_fraction: float = Field(
        0.1, ge=0, lt=0.9, description="share of the positions held out in one compact region"
    )


class LossConfig(Section):
    """Weights of the terms of the loss."""

    nll_weight: float = Field(1.0, ge=0, description="weight of the Poisson deviance of the counts")
    mae_weight: float = Field(0.0, ge=0, description="weight of the mean absolute amplitude error")
    realspace_weight: float = Field(
        0.0, ge=0, description="weight of the total variation of the object"
    )
    realspace_mae_weight: float = Field(
        0.0, ge=0, description="weight of the mean absolute error against a known object"
    )
    iterate_decay: float = Field(
        0.5, ge=0, le=1, description="unrolled: weight of each earlier iterate relative to the next"
    )

    @model_validator(mode="after")
    def _some_term(self) -> LossConfig:
        if not (self.nll_weight or self.mae_weight or self.realspace_mae_weight):
            raise ValueError(
                "at least one of nll_weight, mae_weight, realspace_mae_weight must be positive, "
                "received 0 for each; raise one"
            )
        return self


class TrainingConfig(Section):
    """How the network is optimised."""

    epochs: int = Field(10, ge=1, description="passes over the groups (cnn: 50)")
    batch_size: int = Field(1, ge=1, description="groups (cnn: 4) or sub-scans per step")
    learning_rate: float = Field(2e-3, gt=0, description="of the Adam optimiser (cnn: 0.0003)")
    scheduler: Literal["constant", "plateau", "cosine"] = Field(
        "cosine", description="course of the learning rate after the warm-up"
    )
    warmup_steps: int = Field(20, ge=0, description="steps over which the learning rate rises")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="plateau: reduction of the rate")
    plateau_patience: int = Field(2, ge=0, description="plateau: epochs without improvement")
    early_stopping: int | None = Field(
        None, ge=1, description="stop after this many epochs without improvement"
    )
    gradient_clip_val: float = Field(
        1.0, ge=0, description="largest norm of the gradient; 0 switches clipping off"
    )
    probe_trainable: bool = Field(
        False,
        description="refine the probe together with the network; the bundle keeps that of the "
        "first scan",
    )
    probe_learning_rate: float = Field(
        2e-2, gt=0, description="learning rate of the probe, relative to its root mean square"
    )
    collapse_patience: int = Field(
        5, ge=1, description="epochs a flat or diverged object is tolerated before training stops"
    )
    seed: int = Field(0, ge=0, description="seed of every random choice")


class RefineConfig(Section):
    """Iterations on the patterns after, or in place of, a network."""

    engine: Literal["physics", "ptychi"] = Field(
        "physics",
        description="physics: the steps of this program; ptychi: those of the package pty-chi",
    )
    algorithm: Literal["lsqml", "rpie", "epie"] = Field(
        "lsqml", description="ptychi: the algorithm, with the settings that pty-chi gives it"
    )
    batch_size: int = Field(100, ge=1, description="ptychi: patterns that are treated at once")
    batching: Literal["random", "compact"] = Field(
        "random",
        description="ptychi: random patterns form a batch and an update; compact: neighbours form "
        "a batch, lsqml then updates the object once per pass, with momentum",
    )
    passes: int = Field(
        40, ge=1, description="passes over the patterns, at most (physics) or exactly (ptychi)"
    )
    subsets: int = Field(
        4, ge=1, le=16, description="physics: updates of the object in a pass, at first"
    )
    refine_probe: bool = Field(False, description="refine the probe modes as well")
    refine_positions: bool = Field(False, description="refine the scan positions as well")
    positions_from: int = Field(4, ge=0, description="passes before positions are first moved")
    stagnation: float = Field(
        2e-4,
        ge=0,
        lt=1,
        description="physics: end when a pass lowers the misfit by less, relatively",
    )

    @model_validator(mode="after")
    def _known_to_engine(self) -> RefineConfig:
        for name in ENGINE_FOREIGN[self.engine]:
            if name in self.model_fields_set:
                raise ValueError(
                    f"the engine {self.engine} was expected without {name}, which it does not "
                    f"know, received {shown(getattr(self, name))}; leave it out"
                )
        return self

    def record(self) -> dict[str, Any]:
        """The options that the engine knows, as plain JSON data."""
        return self.model_dump(mode="json", exclude=set(ENGINE_FOREIGN[self.engine]))


# Options of a refinement that an engine does not know; setting one is an error.
ENGINE_FOREIGN: Mapping[str, tuple[str, ...]] = {
    "physics": ("algorithm", "batch_size", "batching"),
    "ptychi": ("subsets", "stagnation"),
}


# Defaults of a section that differ from the schema's own (those of `unrolled`).
RECIPES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "unrolled": {"data": {"n_groups": 50}},
    # Larger steps and larger batches drive the patch network towards one patch for all patterns.
    "cnn": {"training": {"epochs": 50, "batch_size": 4, "learning_rate": 3e-4}},
}


# Options that an architecture does not know; setting one is an error.
FOREIGN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "unrolled": {
        "model": (
            "N", "gridsize", "n_filters_scale", "amp_activation", "pad_object", "probe_big",
        ),
        "data": ("neighbor_count",),
    },
    "cnn": {
        "model": ("iterations", "updates", "width", "levels", "momentum"),
        "data": ("subscan_patterns",),
        "loss": ("iterate_decay",),
    },
}  # fmt: skip


class Config(Section):
    """Everything that determines a training run, apart from the machine it runs on."""

    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    data: DataConfig = Field(default_factory=lambda: DataConfig())
    loss: LossConfig = Field(default_factory=lambda: LossConfig())
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig())

    @model_validator(mode="before")
    @classmethod
    def _fill_recipe(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        model = values.get("model", {})
        name = model.architecture if isinstance(model, ModelConfig) else None
        if isinstance(model, Mapping):
            name = model.get("architecture", ModelConfig.model_fields["architecture"].default)
        filled = {
            key: value.model_dump(exclude_unset=True) if isinstance(value, Section) else value
            for key, value in values.items()
        }
        model = filled.get("model", {})
        for section, defaults in RECIPES.get(str(name), {}).items():
            chosen = filled.get(section, {})
            if isinstance(chosen, Mapping):
                filled[section] = {**defaults, **chosen}
        if isinstance(model, Mapping) and model.get("mode") == "supervised":
            loss = filled.get("loss", {})
            if isinstance(loss, Mapping):
                filled["loss"] = {"nll_weight": 0.0, "realspace_mae_weight": 1.0, **loss}
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.model.mode == "supervised" and not self.loss.realspace_mae_weight:
            raise ValueError(
                "mode supervised needs a positive realspace_mae_weight, received 0; raise it, or "
                "leave out mode supervised"
            )
        for section, fields in FOREIGN[self.model.architecture].items():
            values: Section = getattr(self, section)
            for name in fields:
                if getattr(values, name) != type(values).model_fields[name].default:
                    raise ValueError(
                        f"the option {name} has no meaning for the architecture "
                        f"{self.model.architecture}, received {shown(getattr(values, name))}; "
                        "leave it out, or choose another architecture"
                    )
        return self


SECTIONS: Mapping[str, type[Section]] = {
    "model": ModelConfig,
    "data": DataConfig,
    "loss": LossConfig,
    "training": TrainingConfig,
}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Sort flat ``field: value`` pairs into sections; keys that are sections already are kept.

    Unknown keys stay at the top, where :class:`Config` rejects them.
    """
    result: dict[str, Any] = {}
    for key, value in flat.items():
        if key in SECTIONS:
            result[key] = dict(value) if isinstance(value, Mapping) else value
    for key, value in flat.items():
        if key in SECTIONS:
            continue
        section = next((s for s, schema in SECTIONS.items() if key in schema.model_fields), None)
        if section is None:
            result[key] = value
            continue
        chosen = result.setdefault(section, {})
        if not isinstance(chosen, dict) or key in chosen:
            raise InputError(
                f"the option '{key}' must be given once, received it beside the section "
                f"'{section}' "
                f"that holds {shown(chosen)}; put it there."
            )
        chosen[key] = value
    return result


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Options, flat or in sections, as sections; later layers take precedence."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in nested(layer).items():
            earlier = result.get(key, {})
            if isinstance(value, dict) and isinstance(earlier, dict):
                value = {**earlier, **value}
            # What should be a section and is none stays, for the validation to see.
            result[key] = value if isinstance(earlier, dict) else earlier
    return result


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON mapping.

    Raises
    ------
    InputError
        When the file is missing, malformed or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(
            f"the configuration file must be readable, received '{path}': {error.strerror}."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the configuration file must be YAML or JSON, received '{path}': {reason}."
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(
            f"the configuration file must hold a mapping of options, received "
            f"{type(content).__name__} in '{path}'; write 'name: value' lines."
        )
    for name in content:
        if not isinstance(name, str):
            raise InputError(
                f"the names of options must be words, received {shown(name)} in '{path}'; correct "
                "it."
            )
    return content
