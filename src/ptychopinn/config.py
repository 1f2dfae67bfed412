"""The one configuration schema: command-line flags, YAML files, documentation and bundle come from
it.

Precedence is flag > file > default. The section ``model`` is that of the chosen architecture, which
also says which defaults of the other sections it needs (its ``recipe``); they are filled in when
the configuration is built, so a stored one is always complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ptychopinn.errors import InputError, brief, shown
from ptychopinn.networks.architecture import ModelConfig
from ptychopinn.schema import Section, either, options_of, validated
from ptychopinn.solvers.configs import RefineConfig

__all__ = [
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "RefineConfig",
    "TrainingConfig",
    "merged",
    "nested",
    "recipes",
    "used_by",
    "validated",
]


class DataConfig(Section):
    """Which patterns are used, and how they are grouped."""

    n_groups: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="groups per epoch, all scans together: of gridsize^2 patterns for patch "
        "networks (default: one per pattern), sub-scans for canvas networks",
    )
    subscan_patterns: int | None = Field(
        None,
        ge=4,
        le=1_000_000,
        description="number of neighbouring patterns of a sub-scan (default: 100 up to "
        "N = 64, then fewer, 6400 / N but at least 16, to bound the memory of training)",
    )
    n_subsample: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="use only this many patterns of each scan, chosen at random",
    )
    subsample_seed: int | None = Field(
        None, ge=0, lt=2**63, description="seed of that choice; the training seed when not given"
    )
    neighbor_count: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="partners are drawn from at most this many nearest neighbours (default: "
        "the gridsize^2 - 1 nearest themselves)",
    )
    enable_oversampling: bool = Field(
        False,
        description="allow more groups than patterns, each anchor then serves repeatedly "
        "(with other partners each time if neighbor_count leaves a choice)",
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

    nll_weight: float = Field(
        1.0, ge=0, le=1e6, description="weight of the Poisson deviance of the counts"
    )
    mae_weight: float = Field(
        0.0, ge=0, le=1e6, description="weight of the mean absolute amplitude error"
    )
    realspace_weight: float = Field(
        0.0, ge=0, le=1e6, description="weight of the total variation of the object"
    )
    realspace_mae_weight: float = Field(
        0.0, ge=0, le=1e6, description="weight of the mean absolute error against a known object"
    )
    iterate_decay: float = Field(
        0.5, ge=0, le=1, description="weight of each earlier iterate relative to the next"
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

    epochs: int = Field(10, ge=1, le=1_000_000, description="passes over the groups")
    batch_size: int = Field(1, ge=1, le=1_000_000, description="groups or sub-scans per step")
    learning_rate: float = Field(2e-3, gt=0, le=1e6, description="of the Adam optimiser")
    scheduler: Literal["constant", "plateau", "cosine"] = Field(
        "cosine", description="schedule of the learning rate after the warm-up"
    )
    warmup_steps: int = Field(
        20, ge=0, le=1_000_000_000, description="steps over which the learning rate rises"
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="plateau: reduction of the rate")
    plateau_patience: int = Field(
        2, ge=0, le=1_000_000, description="plateau: epochs without improvement"
    )
    early_stopping: int | None = Field(
        None, ge=1, le=1_000_000, description="stop after this many epochs without improvement"
    )
    gradient_clip_val: float = Field(
        1.0, ge=0, le=1e12, description="largest norm of the gradient; 0 switches clipping off"
    )
    probe_trainable: bool = Field(
        False,
        description="refine the probe together with the network; the bundle keeps that of the "
        "first scan",
    )
    probe_learning_rate: float = Field(
        2e-2,
        gt=0,
        le=1e6,
        description="learning rate of the probe, relative to its root mean square",
    )
    collapse_patience: int = Field(
        5,
        ge=1,
        le=1_000_000,
        description="epochs a flat or diverged object is tolerated before training stops",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every random choice")


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
        if isinstance(model, Mapping):
            try:
                kind, mode = ModelConfig.kind_of(model), model.get("mode")
            except ValidationError:
                # Refused with its place when the section itself is built.
                return values
        elif isinstance(model, ModelConfig):
            kind, mode = type(model), model.mode
        else:
            return values
        filled = {
            key: value.model_dump(exclude_unset=True)
            if isinstance(value, Section) and key != "model"
            else value
            for key, value in values.items()
        }
        recipe = dict(kind.recipe)
        if mode == "supervised":
            recipe["loss"] = {"nll_weight": 0.0, "realspace_mae_weight": 1.0}
        for section, defaults in recipe.items():
            chosen = filled.get(section, {})
            if isinstance(chosen, Mapping):
                filled[section] = {**defaults, **chosen}
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.model.mode == "supervised" and not self.loss.realspace_mae_weight:
            raise ValueError(
                "mode supervised needs a positive realspace_mae_weight, received 0; raise it, or "
                "leave out mode supervised"
            )
        if self.training.probe_trainable and getattr(self.model, "probe_input", "none") != "none":
            raise ValueError(
                "probe_trainable is for a network that is bound to the probe it refines, received "
                "it with probe_input=channels, which looks at the probe of each scan; refine the "
                "probe first with refine and train with that, or leave one of them out"
            )
        for target in sorted(self.model.unused):
            section, name = target.split(".")
            values: Section = getattr(self, section)
            value = getattr(values, name)
            if value != type(values).model_fields[name].default:
                others = either(used_by(section, name))
                raise ValueError(
                    f"option {name} has no meaning for the architecture {self.model.architecture}, "
                    f"received {shown(value)}; leave it out, or choose the architecture {others}"
                )
        return self


SECTIONS: Mapping[str, type[Section]] = {
    "model": ModelConfig,
    "data": DataConfig,
    "loss": LossConfig,
    "training": TrainingConfig,
}


def used_by(section: str, option: str) -> tuple[str, ...]:
    """Names of the architectures that an option has a meaning for."""
    if section == "model":
        return ModelConfig.owners(option)
    return tuple(
        name for name, kind in ModelConfig.kinds.items() if f"{section}.{option}" not in kind.unused
    )


def recipes(section: str, option: str) -> dict[str, Any]:
    """The defaults of an option that are not the schema's own, by architecture."""
    return {
        name: kind.recipe[section][option]
        for name, kind in ModelConfig.kinds.items()
        if option in kind.recipe.get(section, {})
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
        section = next((s for s, schema in SECTIONS.items() if key in options_of(schema)), None)
        if section is None:
            result[key] = value
            continue
        chosen = result.setdefault(section, {})
        if not isinstance(chosen, dict) or key in chosen:
            raise InputError(
                f"the option '{brief(key, 80)}' must be given once, received it beside the section "
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
