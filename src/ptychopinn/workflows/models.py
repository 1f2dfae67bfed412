"""A trained model: where it comes from, what it consists of, and what was installed then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from ptychopinn.config import Config, validated
from ptychopinn.io.models import BUNDLE_NAME, Bundle, check_weights, load_bundle, save_bundle
from ptychopinn.networks.registry import describe

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
class TrainedModel:
    """A trained model and how it came about.

    Attributes
    ----------
    bundle : Bundle
    history : metric name -> (epoch, value) pairs
    seconds : wall time of the training
    stopped_by : number of the signal that ended training early, or None
    """

    bundle: Bundle
    history: Mapping[str, Sequence[tuple[int, float]]]
    seconds: float
    stopped_by: int | None = None

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the bundle ``wts.h5.zip`` (see :func:`ptychopinn.io.models.save_bundle`)."""
        save_bundle(self.bundle, path, force=force)


def open_model(model: TrainedModel | Bundle | str | Path) -> Bundle:
    """The bundle of a model; ``"pretrained"`` is the one that comes with the package.

    Raises
    ------
    InputError
        When the file is not a valid bundle.
    """
    if isinstance(model, TrainedModel):
        return model.bundle
    if isinstance(model, Bundle):
        return model
    if str(model) == PRETRAINED:
        with as_file(files("ptychopinn") / "pretrained" / BUNDLE_NAME) as path:
            return load_bundle(path)
    return load_bundle(model)


def config_of(bundle: Bundle) -> Config:
    """The configuration a bundle was trained with; its weights are checked against it."""
    config = validated(Config, bundle.manifest.config)
    shapes = describe(config.model).parameter_shapes()
    check_weights(bundle.weights, {name: (shape, np.float32) for name, shape in shapes.items()})
    return config
