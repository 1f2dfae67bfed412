"""Other correctors of the canvas network than its U-Net: the same on every framework, for canvases
of any size, through training, bundle and reconstruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters import SMALL_NETWORKS, need

import ptychopinn as pp
from ptychopinn.config import Config, ModelConfig
from ptychopinn.errors import InputError
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.networks.heads import TrunkConfig
from ptychopinn.networks.unrolled import CANVAS_CHANNELS
from ptychopinn.ops.selector import KINDS, get_ops

need("torch")
need("tensorflow")

TRUNKS = [name for name, kind in ModelConfig.kinds.items() if issubclass(kind, TrunkConfig)]


def with_corrector(name: str, **options: Any) -> ModelConfig:
    """A small canvas network."""
    width = ModelConfig.kinds[name].width_option
    own = {k: v for k, v in SMALL_NETWORKS[name].items() if k != width}
    values = {"iterations": 2, "width": 8, "updates": 2, "corrector_options": own, **options}
    return ModelConfig(**{"architecture": "unrolled", "corrector": name, **values})


def test_every_trunk_is_tried() -> None:
    assert set(TRUNKS) == set(SMALL_NETWORKS) - {"cnn"}


@pytest.mark.parametrize("name", TRUNKS)
def test_a_corrector_is_the_same_on_all_frameworks(name: str) -> None:
    """On a canvas that is no square, with sides that a graph does not know; at first nothing."""
    model = with_corrector(name)
    network = model.describe()
    # One pixel of the canvas may depend on all of it: tiles would be another network.
    assert network.reach() is None
    rng = np.random.default_rng(5)
    multiple = network.multiple_of
    canvas = rng.standard_normal((1, len(CANVAS_CHANNELS), 3 * multiple, 5 * multiple))
    first = initial_weights(network, 1)
    lively = {k: v + rng.normal(0, 0.05, v.shape).astype(np.float32) for k, v in first.items()}
    found = {}
    for backend, kind in KINDS.items():
        xp = get_ops(backend, kind.execution())
        with xp.running():
            given = xp.asarray(canvas.astype(np.float32))
            for which, weights in (("first", first), ("lively", lively)):
                (out,) = BuiltNetwork(xp, network, weights)(canvas=given)
                found[backend, which] = xp.to_numpy(out)
    assert not found["numpy", "first"].any()
    expected = found["numpy", "lively"]
    assert expected.shape == (1, 2, *canvas.shape[2:])
    for backend in ("pytorch", "tensorflow"):
        np.testing.assert_allclose(
            found[backend, "lively"], expected, atol=1e-4 * np.abs(expected).max()
        )


@pytest.mark.parametrize("name", ["ffno"])
def test_a_corrector_trains_alike_and_its_bundle_serves_every_backend(
    name: str, tmp_path: Path
) -> None:
    scan = pp.simulate(N=32, patterns=60, photons=1e5, seed=4)
    config = Config(
        model=with_corrector(name, iterations=1),
        data={"subscan_patterns": 20, "n_groups": 2},
        training={"epochs": 1, "batch_size": 2},
    )
    models = {
        b: pp.train(scan, config, backend=b, no_mend="all") for b in ("pytorch", "tensorflow")
    }
    one, other = (model.history["train_loss"] for model in models.values())
    assert [v for _, v in other] == pytest.approx([v for _, v in one], rel=1e-3)
    models["pytorch"].save(tmp_path / "wts.h5.zip")
    model = pp.load_model(tmp_path / "wts.h5.zip")
    assert model.config.model.corrector == name
    objects = [
        pp.reconstruct(scan, model, backend=b, refine="never", no_mend="all").object
        for b in ("pytorch", "tensorflow", "numpy")
    ]
    for found in objects[1:]:
        np.testing.assert_allclose(found, objects[0], atol=1e-3)


def test_a_wrong_corrector_is_one_sentence(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"corrector": "cnn"}, "the corrector must be unet, .*ffno.* or vit, received 'cnn'"),
        ({"corrector": "vit", "width": 20}, "vit_width must be a multiple of vit_heads"),
        ({"corrector_options": {"fno_modes": 4}}, "leave them out, or choose a corrector"),
        ({"corrector": "fno", "corrector_options": {"fno_mode": 4}}, "did you mean 'fno_modes'"),
    ]
    for options, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            ModelConfig(**{"architecture": "unrolled", **options})
