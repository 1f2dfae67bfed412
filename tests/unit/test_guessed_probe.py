"""A probe that was found from the patterns alone is doubted where it leaves much."""

from __future__ import annotations

from dataclasses import replace

import pytest

import ptychopinn as pp
from ptychopinn.data.findings import FROM_NOTHING, Finding, with_findings
from ptychopinn.evaluation.signs import Signs
from ptychopinn.evaluation.verdict import AS_IT_IS, GIVEN_PROBE, GUESSED, PROBE_FREE, judge
from ptychopinn.workflows.alternatives import guessed_probe


def test_what_a_guessed_probe_leaves_is_doubtful() -> None:
    """All that is tried begins with it: that nothing is better tells nothing."""
    signs, tried = Signs(0.003, 0.00088, 0.838), [(AS_IT_IS, 0.003), (PROBE_FREE, 0.003)]
    assert judge(signs, tried).verdict == "good"
    found = judge(signs, [*tried, (GIVEN_PROBE, 0.0), (GUESSED, 0.162)])
    assert (found.verdict, found.likely) == ("doubtful", "probe")
    assert found.cause is not None and "leaves 16% of their structure" in found.cause


@pytest.fixture(scope="module")
def result() -> pp.Reconstruction:
    scan = pp.simulate(object="leaves", N=32, patterns=64, photons=1e5, step_px=4, seed=1)
    return pp.refine(scan, config=pp.RefineConfig(passes=4), no_mend="all")


@pytest.mark.parametrize(
    ("times", "explained", "named"), [(3.0, 0.85, True), (1.5, 0.85, False), (3.0, 0.98, False)]
)
def test_only_what_leaves_much_is_named(
    times: float, explained: float, named: bool, result: pp.Reconstruction
) -> None:
    fit = result.fit
    assert fit is not None
    left = times * fit.expected
    changed = replace(fit, residual=left, excess=left - fit.expected, explained=explained)
    findings = [Finding(FROM_NOTHING, "mended", "it was found from the patterns")]
    guessed = replace(
        result, fit=changed, provenance=with_findings(result.provenance, findings)
    )  # fmt: skip
    tried = [(AS_IT_IS, left), (PROBE_FREE, left)]
    assert bool(guessed_probe(guessed, tried)) == named
    assert not guessed_probe(replace(result, fit=changed), tried)
