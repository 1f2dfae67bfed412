"""A background too weak for the patterns that choose a model is followed with `auto` as without."""

from __future__ import annotations

import numpy as np

import ptychopinn as pp


def test_auto_follows_a_background_that_its_trials_do_not_see() -> None:
    scan = pp.simulate(
        object="leaves", N=32, patterns=121, step_px=3.5, photons=1e5, seed=2, background=1.6
    )
    plain, auto = (
        pp.refine(scan, model=model, backend="numpy", no_mend="all") for model in (None, "auto")
    )
    assert "background" in plain.effects  # else this shows nothing
    assert np.isclose(auto.effects["background"].mean(), 1.6, rtol=0.2)
    assert plain.fit is not None and auto.fit is not None
    assert auto.fit.residual <= plain.fit.residual * 1.02
    record = auto.provenance["effects_model"]
    assert record["chosen"].split("+")[-1] == "background"
    assert record["tried"] or record["untried"]
