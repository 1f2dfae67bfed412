"""The options of an architecture, and of an engine, are one class in one file; all else follows."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from pydantic import Field
from safetensors.numpy import load

import ptychopinn
from ptychopinn.config import SECTIONS, Config, ModelConfig, RefineConfig, merged, validated
from ptychopinn.errors import InputError
from ptychopinn.io.models import Bundle, Manifest, save_bundle
from ptychopinn.networks.architecture import CanvasConfig, PatchConfig, architecture
from ptychopinn.networks.build import initial_weights
from ptychopinn.networks.spec import Builder, Network
from ptychopinn.schema import options_of
from ptychopinn.workflows.model import load_model

# The section `model` as it was stored before each architecture had its own options.
FLAT = {
    "architecture": "unrolled", "mode": "pinn", "N": None, "gridsize": 1, "n_filters_scale": 2.0,
    "amp_activation": "sigmoid", "pad_object": True, "probe_big": True, "iterations": 3,
    "updates": 4, "width": 32, "levels": 4, "momentum": 0.7,
}  # fmt: skip
FLAT_ENGINE = {
    "engine": "physics", "algorithm": "lsqml", "batch_size": 100, "batching": "random",
    "passes": 7, "subsets": 4, "refine_probe": False, "refine_positions": False,
    "positions_from": 4, "stagnation": 2e-4,
}  # fmt: skip


@pytest.fixture
def wavelet() -> Iterator[type[ModelConfig]]:
    """An architecture that is nowhere else, as one file would register it."""

    @architecture
    class WaveletConfig(PatchConfig):
        about: ClassVar[str] = "a network of this test"
        recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {"training": {"epochs": 7}}
        unused: ClassVar[frozenset[str]] = PatchConfig.unused | {"data.n_subsample"}

        architecture: Literal["wavelet"] = "wavelet"
        bands: int = Field(3, ge=1, description="number of bands")
        smooth: bool = Field(False, description="smooth the result")

        def describe(self) -> Network:
            b = Builder()
            x = b.conv("bands", "patterns", self.bands, "gelu")
            x = b.conv("head", x, 2 * self.patterns_per_group)
            half = self.patterns_per_group
            outputs = b.channels("modulus", x, 0, half), b.channels("phase", x, half, 2 * half)
            return Network({"patterns": half}, tuple(b.layers), outputs)

    yield WaveletConfig
    del ModelConfig.kinds["wavelet"]


# --- building -------------------------------------------------------------------------------------


def test_the_base_builds_what_the_values_name() -> None:
    cnn = ModelConfig(architecture="cnn", N=64)
    assert isinstance(cnn, ModelConfig) and type(cnn) is ModelConfig.kinds["cnn"]
    assert type(ModelConfig()) is ModelConfig.kinds["unrolled"]
    assert ModelConfig.model_validate({"architecture": "cnn", "N": 64}) == cnn
    assert Config(model=cnn).model is cnn
    assert cnn.model_copy(update={"N": 32}).N == 32
    ptychi = RefineConfig(engine="ptychi", batch_size=5)
    assert (ptychi.engine, ptychi.batch_size, ptychi.passes) == ("ptychi", 5, 40)
    assert RefineConfig(passes=10).subsets == 4


@pytest.mark.parametrize("name", ModelConfig.kinds)
def test_a_dump_holds_the_options_of_its_architecture_alone(name: str) -> None:
    config = Config(model={"architecture": name})
    stored = json.loads(json.dumps(config.model_dump(mode="json")))
    assert set(stored["model"]) == set(ModelConfig.kinds[name].model_fields)
    assert Config(**stored) == config
    assert Config(**yaml.safe_load(yaml.safe_dump(stored))) == config


@pytest.mark.parametrize("name", ["cnn", "unrolled"])
def test_a_configuration_of_an_earlier_version_is_read(name: str) -> None:
    """It holds the options of all architectures."""
    config = Config(model={**FLAT, "architecture": name})
    assert config.model == ModelConfig(architecture=name)
    own = {"cnn": {"N": 64, "gridsize": 2}, "unrolled": {"width": 8}}[name]
    assert Config(model={**FLAT, "architecture": name, **own}).model == ModelConfig(
        architecture=name, **own
    )
    assert RefineConfig.model_validate(FLAT_ENGINE) == RefineConfig(passes=7)


def test_the_bundle_that_comes_with_the_program_is_read() -> None:
    with zipfile.ZipFile(Path(ptychopinn.__file__).parent / "pretrained/wts.h5.zip") as bundle:
        stored = json.loads(bundle.read("manifest.json"))["config"]
        weights = load(bundle.read("weights.safetensors"))
    model = validated(Config, stored).model
    assert {name: w.shape for name, w in weights.items()} == model.describe().parameter_shapes()


def test_a_model_that_does_not_name_an_option_is_older_than_it(tmp_path: Path) -> None:
    """A stored `cnn` without a stem is the published network, a new configuration is not."""
    small = {"architecture": "cnn", "N": 32, "n_filters_scale": 0.1}
    older = ModelConfig(**small, stem="convolution")
    stored = Config(model=older).model_dump(mode="json")
    del stored["model"]["stem"]
    weights = initial_weights(older.describe(), 0)
    manifest = Manifest(backend="pytorch", config=stored, versions={}, seed=0)
    save_bundle(Bundle(manifest, weights, np.ones((1, 32, 32), np.complex64)), tmp_path / "w.zip")
    assert load_model(tmp_path / "w.zip").config.model == older
    assert ModelConfig(**small).describe() != older.describe()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"n_filters_scale": 1.0},
            "n_filters_scale has no meaning for the architecture unrolled, received 1.0; leave it "
            "out, or choose the architecture cnn (the architecture unrolled knows the options "
            "mode, iterations, updates, width, levels, corrector, corrector_options, momentum).",
        ),
        ({"architecture": "cnn", "width": 8}, "width has no meaning for the architecture cnn"),
        ({"widht": 8}, "did you mean 'width'"),
        ({"gridsiz": 2}, "did you mean 'gridsize' of cnn, ffno"),
        ({"architecture": "cmm"}, "'unrolled' or 'vit', received 'cmm'"),
        ({"architecture": "unroled"}, "(did you mean 'unrolled'), received 'unroled'"),
        ({"architecture": ["cnn"]}, "'unrolled' or 'vit', received ['cnn']"),
        ({"architecture": "hybrid"}, "nearest is 'hybrid_resnet', received 'hybrid'"),
        (
            {"architecture": "hybrid_resnet_convnext_bottleneck"},
            "of the earlier program is not built, nearest is 'hybrid_resnet'",
        ),
        (
            {"architecture": "vit", "fno_modes": 8},
            "choose the architecture ffno, fno, fno_vanilla, hybrid_resnet or neuralop_uno",
        ),
        ({"architecture": "vit", "vit_heads": 7}, "multiple of vit_heads, received 256 and 7"),
        ({"architecture": "vit", "vit_patch": 7}, "vit_patch must be even"),
        (
            {"architecture": "cnn", "head": "real_imaginary", "amp_activation": "relu"},
            "amp_activation is for an amplitude, received relu with head=real_imaginary",
        ),
        ({"architecture": None}, "received None"),
        ({"width": 3}, "option model.width must be at least 4, received 3"),
        ({3: 4}, "not an option"),
        ([], "a mapping of options"),
        ("cnn", "a mapping of options"),
        (None, "a mapping of options"),
    ],
)
def test_a_wrong_model_is_one_sentence(values: Any, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        Config(model=values)
    text = str(error.value)
    assert sentence in text
    assert text.endswith(".") and "\n" not in text
    if isinstance(values, dict) and all(isinstance(key, str) for key in values):
        with pytest.raises(InputError):
            ModelConfig(**values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"algorithm": "lsqml"}, "algorithm has no meaning for the engine physics"),
        ({"engine": "ptychi", "subsets": 4}, "subsets has no meaning for the engine ptychi"),
        ({"engine": "ptych"}, "'physics' or 'ptychi' (did you mean 'ptychi'), received 'ptych'"),
        ({"pases": 4}, "did you mean 'passes'"),
    ],
)
def test_a_wrong_refinement_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    """What was written down by hand is refused at its default as well: it shows a mistake."""
    with pytest.raises(InputError) as error:
        RefineConfig(**values)
    assert sentence in str(error.value)


def test_the_json_schema_offers_all_kinds() -> None:
    offered = Config.model_json_schema()["properties"]["model"]["oneOf"]
    names = [each["properties"]["architecture"]["const"] for each in offered]
    assert names == list(ModelConfig.kinds)


def test_two_kinds_cannot_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="name of its own"):

        @architecture
        class Again(CanvasConfig):
            architecture: Literal["cnn"] = "cnn"

    with pytest.raises(ValueError, match="width of other must have the type"):

        @architecture
        class Other(CanvasConfig):
            architecture: Literal["other"] = "other"
            width: float = 1.0

    assert "other" not in ModelConfig.kinds


@pytest.mark.parametrize("name", ModelConfig.kinds)
def test_recipes_and_unused_options_exist(name: str) -> None:
    kind = ModelConfig.kinds[name]
    targets = {tuple(target.split(".")) for target in kind.unused}
    targets |= {(section, key) for section, values in kind.recipe.items() for key in values}
    assert targets
    for section, option in targets:
        assert option in options_of(SECTIONS[section])


# --- an architecture in one file ------------------------------------------------------------------


def test_a_registered_architecture_is_configured(wavelet: type[ModelConfig]) -> None:
    config = Config(model={"architecture": "wavelet", "gridsize": 2, "bands": 5})
    assert type(config.model) is wavelet
    assert (config.training.epochs, config.training.batch_size) == (7, 1)
    assert config.model.family == "patch" and config.model.patterns_per_group == 4
    assert config.model.for_patterns(48).N == 48
    flat = merged({"architecture": "wavelet", "bands": 5}, {"gridsize": 2})
    assert validated(Config, flat) == config
    assert Config(**config.model_dump(mode="json")) == config
    assert set(initial_weights(config.model.describe(), 0)) >= {"bands.weight", "head.bias"}
    for model, rest in (
        ({"bands": 5}, {}),
        ({"architecture": "cnn", "bands": 5}, {}),
        ({"architecture": "wavelet", "width": 5}, {}),
        ({"architecture": "wavelet"}, {"data": {"n_subsample": 9}}),
    ):
        with pytest.raises(InputError, match="has no meaning for the architecture"):
            Config(model=model, **rest)


def test_a_registered_architecture_has_flags(wavelet: type[ModelConfig]) -> None:
    from ptychopinn.cli.options import config_options, given

    schema = {name: SECTIONS[name] for name in ("model", "data", "training")}

    @click.command()
    @config_options(*schema.values())
    def command(**flags: Any) -> None:
        values = {name: given(flags, kind) for name, kind in schema.items()}
        click.echo(json.dumps(Config(**values).model_dump(mode="json")))

    help_text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert f"[{'|'.join(ModelConfig.kinds)}]" in help_text and "|wavelet]" in help_text
    assert "wavelet: number of bands [default: 3]" in help_text
    assert "vit, wavelet: gridsize^2 neighbours form one group" in help_text
    assert "unrolled: number of neighbouring patterns of a sub-scan" in help_text
    assert "[default: 10, cnn: 50, " in help_text and ", wavelet: 7]" in help_text
    flags = ["--architecture", "wavelet", "--bands", "4", "--smooth"]
    done = CliRunner().invoke(command, flags)
    assert json.loads(done.output)["model"]["bands"] == 4
    refused = CliRunner().invoke(command, ["--bands", "4"])
    assert "bands has no meaning for the architecture unrolled" in str(refused.exception)


def test_a_registered_architecture_is_bundled(wavelet: type[ModelConfig], tmp_path: Path) -> None:
    from ptychopinn.io import models as bundles

    config = Config(model={"architecture": "wavelet", "bands": 5})
    manifest = bundles.Manifest(
        backend="pytorch", config=config.model_dump(mode="json"), versions={}, seed=0
    )
    weights = initial_weights(config.model.describe(), 0)
    probe = np.ones((1, 32, 32), np.complex64)
    path = tmp_path / "wts.h5.zip"
    bundles.save_bundle(bundles.Bundle(manifest, weights, probe), path)
    found = validated(Config, bundles.load_bundle(path).manifest.config)
    assert found == config
    del ModelConfig.kinds["wavelet"]
    try:
        with pytest.raises(InputError, match="received 'wavelet'"):
            validated(Config, manifest.config)
    finally:
        ModelConfig.kinds["wavelet"] = wavelet
