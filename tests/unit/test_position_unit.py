"""A unit of the positions is believed when it is still better once a wrong probe has come to rest.

What a probe leaves that is far off (the intensity in place of the amplitude) after few and after
many passes is written down here from such trials, which take longer than a test may.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import position_unit
from ptychopinn.data.findings import FLAT_PROBE, Finding, with_findings
from ptychopinn.ops.options import NumpyExecution
from ptychopinn.ops.selector import get_ops


@pytest.mark.parametrize(
    ("late", "flat", "believed"),
    [({1.0: 0.02, 0.5: 0.008}, False, True), ({1.0: 0.005, 0.5: 0.01}, False, False),
     ({1.0: 0.02, 0.5: 0.008}, True, False)],
    ids=["unit", "probe", "without-phase"],
)  # fmt: skip
def test_a_probe_that_is_far_off_is_no_unit(
    monkeypatch: pytest.MonkeyPatch, late: dict[float, float], flat: bool, believed: bool
) -> None:
    scan = pp.simulate(object="leaves", N=32, patterns=36, step_px=3.2, photons=1e5, seed=4301)
    if flat:
        stated = [Finding(FLAT_PROBE, "doubt", "no phase")]
        scan = replace(scan, provenance=with_findings(scan.provenance, stated))
    extent = np.ptp(scan.positions_px)
    ends = np.subtract(*scan.positions_px[[-1, 0]])

    def residual_of(xp: Any, part: Any, passes: int) -> float:
        factor = round(float(np.ptp(part.positions_px) / extent), 3)
        if not np.allclose(np.subtract(*part.positions_px[[-1, 0]]), factor * ends):
            return 0.05  # at the positions of other patterns
        if passes > position_unit.LONG:
            return late[factor]
        return {1.0: 0.03, 0.5: 0.014}.get(factor, 0.03)

    def residuals_of(xp: Any, parts: Any, passes: int) -> list[float]:
        return [residual_of(xp, part, passes) for part in parts]

    monkeypatch.setattr(position_unit, "residuals_of", residuals_of)
    found = position_unit.unit(get_ops("numpy", NumpyExecution()), scan)
    assert (found is not None) == believed
    assert found is None or found.details["scale"] == 0.5
