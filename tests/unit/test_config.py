"""The configuration is complete, consistent and honest about what an architecture knows."""

from __future__ import annotations

from typing import Any

import pytest

from ptychopinn.config import (
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainingConfig,
    validated,
)
from ptychopinn.errors import InputError
from ptychopinn.ops.options import Execution, NumpyExecution, TFExecution, TorchExecution


@pytest.mark.parametrize("as_objects", [False, True])
def test_recipes_fill_what_was_not_given(as_objects: bool) -> None:
    model: Any = {"architecture": "cnn"}
    training: Any = {"epochs": 3}
    if as_objects:
        model, training = ModelConfig(**model), TrainingConfig(**training)
    config = Config(model=model, training=training)
    assert (config.training.epochs, config.training.batch_size) == (3, 4)
    assert config.training.learning_rate == 3e-4


def test_an_architecture_is_kept_that_was_not_named() -> None:
    """The class alone says which it is."""
    config = Config(model=ModelConfig.kinds["cnn"]())
    assert (config.model.architecture, config.training.epochs) == ("cnn", 50)


def test_the_default_recipe_fills_section_objects() -> None:
    assert Config(data=DataConfig(validation_fraction=0.2)).data.n_groups == 50
    assert Config().data.n_groups == 50


def test_supervised_learns_from_labels() -> None:
    config = Config(model=ModelConfig(mode="supervised"))
    assert (config.loss.nll_weight, config.loss.realspace_mae_weight) == (0.0, 1.0)
    with pytest.raises(InputError, match="supervised needs a positive"):
        Config(
            model=ModelConfig(mode="supervised"),
            loss=LossConfig(nll_weight=1.0, realspace_mae_weight=0.0),
        )


@pytest.mark.parametrize(
    ("architecture", "section", "option"),
    [
        ("unrolled", "model", {"gridsize": 2}),
        ("unrolled", "model", {"n_filters_scale": 1.0}),
        ("unrolled", "data", {"neighbor_count": 5}),
        ("cnn", "model", {"iterations": 4}),
        ("cnn", "data", {"subscan_patterns": 50}),
        ("cnn", "loss", {"iterate_decay": 0.1}),
    ],
)
def test_options_of_another_architecture_are_refused(
    architecture: str, section: str, option: dict[str, Any]
) -> None:
    values: dict[str, dict[str, Any]] = {"model": {"architecture": architecture}}
    values[section] = {**values.get(section, {}), **option}
    with pytest.raises(InputError, match="has no meaning for the architecture"):
        Config(**values)


def test_a_stored_configuration_is_read_back_unchanged() -> None:
    for architecture in ("unrolled", "cnn"):
        config = Config.model_validate({"model": {"architecture": architecture}})
        assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("kind", [TorchExecution, TFExecution, NumpyExecution])
def test_more_threads_than_any_machine_has(kind: type[Execution]) -> None:
    """Libraries crash where 100000 are asked for."""
    with pytest.raises(InputError, match="threads"):
        validated(kind, {"threads": 100_000})
