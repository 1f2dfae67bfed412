"""The widget that shows the object in a notebook while it is being found."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ptychopinn as pp
from ptychopinn.data.normalization import prepare
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.report import live_canvas as module
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

REASON = "the widget needs anywidget: the extra notebook"


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(N=32, patterns=60, photons=1e6, seed=2)


@pytest.fixture
def canvas() -> Any:
    pytest.importorskip("anywidget", reason=REASON)
    return pp.live_canvas()


def passes_of(scan: pp.Scan) -> list[pp.Step]:
    """The passes of a solver, of which the last one has its result."""
    solver = PhysicsSolver(NumpyOps(), PhysicsConfig(passes=3), limit_bytes=1 << 28)
    return list(solver.run(prepare(scan)))


def seen_by(canvas: Any, trait: str) -> list[Any]:
    """Every value that the trait will take, as the browser gets them."""
    values: list[Any] = []
    canvas.observe(lambda change: values.append(change["new"]), trait)
    return values


def test_it_fills_in_while_a_verb_runs(canvas: Any, scan: pp.Scan) -> None:
    pictures, captions = seen_by(canvas, "picture"), seen_by(canvas, "caption")
    config = pp.RefineConfig(passes=8)
    result = pp.refine(scan, None, config, no_mend="all", backend="numpy", progress=canvas)
    assert result.fit is not None
    assert len(pictures) >= 2
    for data in (pictures[0], pictures[-1]):
        image = Image.open(io.BytesIO(data))
        assert image.format == "PNG"
        image.load()
    assert np.asarray(Image.open(io.BytesIO(pictures[-1])).convert("L")).std() > 10
    passes = [
        int(m[1]) for text in captions if (m := re.match(r"pass (\d+) of 8, misfit 0\.", text))
    ]
    assert passes[:2] == [1, 2] and passes[-1] == max(passes)
    assert len(canvas.misfits) >= 1
    assert all(np.isfinite(canvas.misfits))


def test_the_last_pass_is_shown(canvas: Any, scan: pp.Scan) -> None:
    """Also where the picture before came too shortly before it."""
    last = passes_of(scan)[-1]
    with canvas(3) as stage:
        for number in range(3):
            stage.epoch_done(number, {"misfit": 0.5 / (number + 1)})
            stage.found(last)
    assert canvas.caption == "pass 3 of 3, misfit 0.1667"
    assert canvas.misfits == [0.5, 0.25, 0.5 / 3]
    assert canvas.picture


def test_loops_of_your_own(canvas: Any, scan: pp.Scan) -> None:
    pictures = seen_by(canvas, "picture")
    for step in pp.iterate(scan, pp.RefineConfig(passes=3), progress=canvas):
        assert canvas.caption.startswith(f"pass {step.number} of 3, misfit ")
    assert pictures
    canvas.show(passes_of(scan)[-1])
    assert canvas.caption.startswith("pass 3, misfit ")


def test_a_training_tells_its_losses(canvas: Any) -> None:
    with canvas(2) as stage:
        stage.epoch(0, 1)
        stage.step(-3.0, 100.0)
        stage.epoch_done(0, {"train_loss": -3.5, "val_loss": -3.0})
    assert canvas.caption == "epoch 1 of 2, loss -3.5"
    assert canvas.picture == b""


def test_its_script_loads_nothing(canvas: Any) -> None:
    script = str(canvas._esm)
    assert "export default { render }" in script
    assert not re.search(r"\bimport\b|https?://(?!www\.w3\.org/2000/svg)", script)


def test_without_the_package_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation in which the package is not found."""
    monkeypatch.setattr(module, "installed", lambda name: name != "anywidget")
    with pytest.raises(pp.InputError, match=re.escape("pip install 'ptychopinn[notebook]'.")):
        pp.live_canvas()
