"""A trained network for other programs: ONNX, which runtimes of many languages and devices read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptychopinn.errors import InputError, MissingDependencyError
from ptychopinn.io.atomic import atomic_path, refuse_source
from ptychopinn.networks.architecture import PatchConfig
from ptychopinn.networks.build import BuiltNetwork
from ptychopinn.networks.heads import PROBE
from ptychopinn.ops.selector import installed
from ptychopinn.physics.probe_images import PROBE_IMAGES
from ptychopinn.solvers.patches import PatchNetwork
from ptychopinn.workflows.model import PRETRAINED, AnyModel, Model, open_model, package_versions

if TYPE_CHECKING:
    from ptychopinn.ops.onnx_graph import Graph, Symbol

ENDING = ".onnx"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    file : its path.
    content : what of the model it holds, in words.
    inputs, outputs : name -> shape; a word stands for a length that is open.
    opset : version of the ONNX operators that a runtime must know.
    """

    file: Path
    content: str
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    opset: int


def export_onnx(model: AnyModel, path: str | Path, *, force: bool = False) -> Exported:
    """Write the network of a model as an ONNX file with real inputs and outputs, float32.

    A patch network becomes a graph from ``amplitudes`` (batch, C, N, N) to ``object_real`` and
    ``object_imag`` of the same shape, with the patterns of a group as its C channels: amplitudes
    are a sqrt(counts) with a = (N / 2) / sqrt(mean counts per pattern), 0 on bad pixels, and the
    object is in network units (see :mod:`ptychopinn.data.normalization`). One that sees the probe
    (``probe_input``) has its images ``probe`` (1, 4, N, N) as a second input
    (:func:`ptychopinn.physics.probe_images.probe_images`). Of a canvas network,
    whose physics is no network, the learned corrector is written, with the input and output that
    its architecture describes and open height and width.

    Parameters
    ----------
    model : what :func:`train` or :func:`load_model` gives, a path, or ``"pretrained"``.
    path : file to write, NAME.onnx.
    force : overwrite it.

    Raises
    ------
    MissingDependencyError
        When the package onnx is not installed.
    InputError
        When the file exists, its name does not end in .onnx, or the model is none.
    """
    path = Path(path)
    if path.suffix.lower() != ENDING:
        raise InputError(
            f"the name of an ONNX file must end in {ENDING}, received '{path.name}'; give "
            f"'{path.stem or 'model'}{ENDING}'."
        )
    if not installed("onnx"):
        raise MissingDependencyError(
            "the export needs the package onnx, received an installation without it; run: pip "
            "install 'ptychopinn[onnx]'."
        )
    opened = open_model(model)
    if opened.source not in (None, PRETRAINED):
        refuse_source(path, [Path(opened.source)])
    from ptychopinn.ops.onnx_graph import OPSET, Graph

    graph = Graph()
    patches = isinstance(opened.config.model, PatchConfig)
    inputs, outputs = (_patches if patches else _corrector)(graph, opened)
    content = "the patch network" if patches else "the learned corrector of the object canvas"
    with atomic_path(path, force) as temporary:
        temporary.write_bytes(graph.model(inputs, outputs, _facts(opened, content)))
    return Exported(
        path,
        content,
        {x.name: _shown(x) for x in inputs},
        {name: _shown(x) for name, x in outputs.items()},
        OPSET,
    )


def _patches(graph: Graph, model: Model) -> tuple[list[Symbol], dict[str, Symbol]]:
    from ptychopinn.ops.onnx import OnnxOps

    xp, config = OnnxOps(), model.config.model
    assert isinstance(config, PatchConfig) and config.N is not None
    network = PatchNetwork(BuiltNetwork(xp, config.describe(), model.weights), config.N)
    shape = ("batch", config.patterns_per_group, config.N, config.N)
    amplitudes = graph.input("amplitudes", shape)
    inputs = [amplitudes]
    if network.sees_probe:
        inputs.append(graph.input(PROBE, (1, len(PROBE_IMAGES), config.N, config.N)))
    probe: Any = inputs[1] if len(inputs) > 1 else ()
    found = network.objects(xp, amplitudes, list(network.network.parameters.values()), probe)
    return inputs, {"object_real": found.real, "object_imag": found.imag}


def _corrector(graph: Graph, model: Model) -> tuple[list[Symbol], dict[str, Symbol]]:
    from ptychopinn.ops.onnx import OnnxOps

    description = model.config.model.describe()
    if description.reach() is None:
        raise InputError(
            "a corrector whose layers see the whole canvas cannot be written for canvases of any "
            "size, received such a model; export one with corrector=unet."
        )
    network = BuiltNetwork(OnnxOps(), description, model.weights)
    inputs = {
        name: graph.input(name, ("batch", channels, "height", "width"))
        for name, channels in description.inputs.items()
    }
    return list(inputs.values()), dict(zip(description.outputs, network(**inputs), strict=True))


def _facts(model: Model, content: str) -> dict[str, str]:
    """What travels in the file."""
    config = model.config.model
    facts = {
        "content": content,
        "architecture": config.architecture,
        "model": json.dumps(config.model_dump(mode="json"), sort_keys=True),
        "ptychopinn": package_versions().get("ptychopinn", "unknown"),
        "trained": model.manifest.created,
        "multiple_of": str(config.describe().multiple_of),
    }
    if isinstance(config, PatchConfig):
        facts["amplitudes"] = (
            "(N / 2) / sqrt(mean counts per pattern) * sqrt(counts), 0 on bad pixels"
        )
        if PROBE in config.describe().inputs:
            facts[PROBE] = "amplitude on the detector without a sample, " + ", ".join(
                f"{what} in the plane of the sample" for what in PROBE_IMAGES[1:]
            )
    return facts


def _shown(x: Symbol) -> tuple[int | str, ...]:
    return tuple(n if isinstance(n, int) else n.shown for n in x.shape)
