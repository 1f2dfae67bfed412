"""A trained model: where it comes from, what it consists of, and what was installed then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config, ModelConfig, validated
from ptychopinn.errors import InputError, brief, shown
from ptychopinn.io.models import (
    BUNDLE_NAME,
    Bundle,
    Manifest,
    check_weights,
    load_bundle,
    save_bundle,
)
from ptychopinn.networks.build import Weights
from ptychopinn.report.plots import model_overview

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Name of the model that comes with the package.
PRETRAINED = "pretrained"

# Package -> names under which it may be installed.
RECORDED: Mapping[str, tuple[str, ...]] = {
    "ptychopinn": ("ptychopinn",),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "lightning": ("lightning",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "keras": ("keras",),
    "ptychi": ("ptychi",),
}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that shape a result."""
    found = {}
    for name, distributions in RECORDED.items():
        for distribution in distributions:
            try:
                found[name] = version(distribution)
            except PackageNotFoundError:
                continue
    return found


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model: what :func:`train` gives and :func:`load_model` reads.

    Attributes
    ----------
    bundle : what is written to a file: manifest, weights and probe.
    history : metric name -> (epoch, value) pairs, empty for a model from a file.
    seconds : wall time of the training, NaN for a model from a file.
    stopped_by : number of the signal that ended training early, or None.
    source : where it was read from, ``"pretrained"`` for the one that comes with the package.
    config : the configuration it was trained with.

    Raises
    ------
    InputError
        When the bundle holds no valid configuration, or weights that are not those of its network.
    """

    bundle: Bundle
    history: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    seconds: float = math.nan
    stopped_by: int | None = None
    source: str | None = None
    config: Config = field(init=False)

    def __post_init__(self) -> None:
        section = self.manifest.config.get("model")
        name = section.get("architecture") if isinstance(section, dict) else None
        if isinstance(name, str) and name not in ModelConfig.kinds:
            raise InputError(
                f"the network of a model must be known, received the architecture {shown(name)} "
                f"where {', '.join(ModelConfig.kinds)} are; import the module that registers it, "
                "or upgrade ptychopinn."
            )
        kind = ModelConfig.kinds[name] if isinstance(name, str) else ModelConfig
        values = dict(self.manifest.config)
        if isinstance(section, dict):
            values["model"] = {**kind.unnamed, **section}
        config = validated(Config, values)
        shapes = config.model.describe().parameter_shapes()
        expected = {name: (shape, np.float32) for name, shape in shapes.items()}
        check_weights(self.weights, expected)
        object.__setattr__(self, "config", config)

    def __repr__(self) -> str:
        statistics = self.manifest.statistics
        count = sum(value.size for value in self.weights.values())
        where = statistics.get("scans") or f"{statistics.get('simulated_scans')} simulated scans"
        return (
            f"Model({self.config.model.architecture}, {count} parameters, trained with "
            f"{self.manifest.backend} on {brief(where, 60)})"
        )

    def _repr_html_(self) -> str:
        from ptychopinn.report.notebook import model_card

        return model_card(self)

    @property
    def manifest(self) -> Manifest:
        """What the model says of itself: versions, seed, training data, metrics."""
        return self.bundle.manifest

    @property
    def weights(self) -> Weights:
        """Parameter name -> float32 array, read-only."""
        return self.bundle.weights

    @property
    def probe(self) -> NDArray[np.complex64]:
        """(P, N, N) complex64, the probe modes of the training in sqrt(counts)."""
        return self.bundle.probe

    def plot(self) -> Figure:
        """The losses of the training where they are known, else the probe, as a figure of
        matplotlib that no window belongs to."""
        return model_overview(self.history, self.probe, self.config.model.architecture)

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the bundle ``wts.h5.zip`` and return its path (see
        :func:`ptychopinn.io.models.save_bundle`)."""
        save_bundle(self.bundle, path, force=force)
        return Path(path)


# What stands for a model wherever one is asked for: "pretrained" comes with the package.
AnyModel = Model | Bundle | str | Path


def load_model(path: str | Path = PRETRAINED) -> Model:
    """The model in a bundle ``wts.h5.zip``, or in the folder that holds it; ``"pretrained"`` is the
    one that comes with the package.

    Raises
    ------
    InputError
        When the file is not a valid bundle, or its weights are not those of its network.
    """
    if str(path) != PRETRAINED:
        return Model(load_bundle(path), source=str(path))
    with as_file(files("ptychopinn") / "pretrained" / BUNDLE_NAME) as shipped:
        return Model(load_bundle(shipped), source=PRETRAINED)


def open_model(model: AnyModel) -> Model:
    """A model as such, whatever stands for it.

    Raises
    ------
    InputError
        When it is no model.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, Bundle):
        return Model(model)
    if isinstance(model, str | Path):
        return load_model(model)
    raise InputError(
        f"a model or the path of one was expected, received {type(model).__name__}; give what "
        "train or load_model returns, a path, or 'pretrained'."
    )
