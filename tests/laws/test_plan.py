"""Which patterns are seen when: a plan is a function of the seed, and never mixes the two parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few, laws, seeds

from ptychopinn.config import Config
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.training.plan import HELD_OUT_SUBSCANS, GroupPlan, Work

ARCHITECTURES = ("cnn", "unrolled")


def scan_at(seed: int, m: int) -> Scan:
    """A scan of m patterns at random places; a plan looks at nothing else."""
    rng = np.random.default_rng(seed)
    return Scan(
        diffraction=np.ones((m, 32, 32), np.uint16),
        positions_px=rng.uniform(0, 10 * np.sqrt(m), (m, 2)),
        probe=np.ones((1, 32, 32), np.complex64),
    )


def config(architecture: str, **options: Any) -> Config:
    own: dict[str, Any] = {"N": 32, "gridsize": 2}
    data = {"n_groups": 6, **options.pop("data", {})}
    if architecture == "unrolled":
        own, data = {}, {"subscan_patterns": 9, **data}
    training = {"batch_size": 4, **options.pop("training", {})}
    model = {"architecture": architecture, **own, **options}
    return Config.model_validate({"model": model, "data": data, "training": training})


def groups_of(works: list[Work], scan: int = 0) -> np.ndarray[Any, Any]:
    return np.concatenate([work.groups for work in works if work.scan == scan])


def same(one: list[Work], two: list[Work]) -> bool:
    return len(one) == len(two) and all(
        a.scan == b.scan and np.array_equal(a.groups, b.groups)
        for a, b in zip(one, two, strict=True)
    )


def nearest(scan: Scan, part: Any, anchor: int, size: int) -> list[int]:
    """The ``size`` patterns of the part that are nearest to the anchor, itself included, sorted."""
    distance = ((scan.positions_px[part] - scan.positions_px[anchor]) ** 2).sum(axis=1)
    return sorted(part[np.argsort(distance)[:size]].tolist())


plans = st.tuples(
    st.sampled_from(ARCHITECTURES), seeds, st.integers(50, 90), st.sampled_from([0.15, 0.3, 0.5])
)


@laws
@given(plans)
def test_held_out_patterns_are_in_no_training_group(case: tuple[str, int, int, float]) -> None:
    architecture, seed, m, fraction = case
    plan = GroupPlan(
        [scan_at(seed, m)],
        config(architecture, data={"validation_fraction": fraction}, training={"seed": seed}),
    )
    training, held_out = set(plan.training[0]), set(plan.held_out[0])
    assert training | held_out == set(range(m))
    assert not training & held_out
    assert len(held_out) == round(fraction * m)
    assert plan.validates
    for epoch in range(3):
        assert set(groups_of(plan.epoch(epoch)).ravel()) <= training
    assert set(groups_of(plan.validation()).ravel()) <= held_out


@laws
@given(plans)
def test_a_plan_is_a_function_of_seed_and_epoch(case: tuple[str, int, int, float]) -> None:
    architecture, seed, m, fraction = case
    scans = [scan_at(seed, m), scan_at(seed + 1, m)]
    chosen = config(architecture, data={"validation_fraction": fraction}, training={"seed": seed})
    one, two = GroupPlan(scans, chosen), GroupPlan(scans, chosen)
    # A resumed run asks for a later epoch first.
    later = two.epoch(4)
    assert same(one.epoch(0), two.epoch(0))
    assert same(one.epoch(4), later)
    assert not same(one.epoch(0), later)
    assert same(one.validation(), two.validation())
    other = GroupPlan(
        scans,
        config(architecture, data={"validation_fraction": fraction}, training={"seed": seed + 1}),
    )
    assert not same(other.epoch(0), one.epoch(0))


@laws
@given(plans)
def test_groups_are_neighbours(case: tuple[str, int, int, float]) -> None:
    architecture, seed, m, _ = case
    scan = scan_at(seed, m)
    data = {"neighbor_count": 6} if architecture == "cnn" else {}
    plan = GroupPlan([scan], config(architecture, data=data, training={"seed": seed}))
    part = plan.training[0]
    size, reach = (4, 6) if architecture == "cnn" else (9, 8)
    for work in plan.epoch(0) + plan.validation():
        inside = part if work.groups[0, 0] in part else plan.held_out[0]
        reach_here = min(reach, len(inside) - 1)
        assert work.groups.shape[1] == (size if inside is part else min(size, len(inside)))
        assert len(work.groups) <= (4 if architecture == "cnn" else 1)
        for group in work.groups:
            assert len(set(group)) == len(group)
            # Around one of them, the anchor, which comes first on a canvas.
            anchors = group if architecture == "cnn" else group[:1]
            assert any(
                set(group) <= set(nearest(scan, inside, anchor, reach_here + 1))
                for anchor in anchors
            )


@few
@given(seeds)
def test_without_n_groups_every_pattern_is_an_anchor_once(seed: int) -> None:
    scan = scan_at(seed, 50)
    for architecture, size in (("cnn", 4), ("unrolled", 9)):
        plan = GroupPlan(
            [scan], config(architecture, data={"n_groups": None}, training={"seed": seed})
        )
        groups = [(plan.training[0], plan.epoch(epoch)) for epoch in range(2)]
        if architecture == "cnn":
            groups.append((plan.held_out[0], plan.validation()))
        for part, works in groups:
            expected = [nearest(scan, part, anchor, size) for anchor in part]
            assert sorted(np.sort(groups_of(works), axis=1).tolist()) == sorted(expected)


@few
@given(seeds)
def test_members_of_a_group_are_in_reading_order(seed: int) -> None:
    """For a network with one channel per member, in training and validation."""
    scan = scan_at(seed, 50)
    plan = GroupPlan([scan], config("cnn", training={"seed": seed}))
    y, x = np.moveaxis(scan.positions_px[groups_of(plan.epoch(0) + plan.validation())], -1, 0)
    assert (y[:, :2].max(axis=1) <= y[:, 2:].min(axis=1)).all()
    assert (x[:, 0::2] <= x[:, 1::2]).all()


@few
@given(seeds, st.integers(1, 30))
def test_n_groups_anchors_are_drawn_anew_or_taken_in_scan_order(seed: int, wanted: int) -> None:
    for architecture in ARCHITECTURES:
        data = {"n_groups": wanted, "validation_fraction": 0}
        drawn = GroupPlan([scan_at(seed, 50)], config(architecture, data=data))
        first = GroupPlan(
            [scan_at(seed, 50)], config(architecture, data={**data, "sequential_sampling": True})
        )
        if architecture == "unrolled":
            anchors = groups_of(drawn.epoch(0))[:, 0]
            assert len(anchors) == len(set(anchors)) == wanted
        assert len(groups_of(drawn.epoch(0))) == wanted
        size = 4 if architecture == "cnn" else 9
        scan, everything = scan_at(seed, 50), np.arange(50)
        expected = [nearest(scan, everything, anchor, size) for anchor in range(wanted)]
        assert sorted(np.sort(groups_of(first.epoch(3)), axis=1).tolist()) == sorted(expected)
        assert not drawn.validates
        assert drawn.validation() == []


def test_oversampling_uses_every_pattern_almost_equally_often() -> None:
    data = {"n_groups": 125, "validation_fraction": 0}
    with pytest.raises(InputError, match="enable oversampling"):
        GroupPlan([scan_at(0, 50)], config("cnn", data=data)).epoch(0)
    data["enable_oversampling"] = True
    scan, everything = scan_at(0, 50), np.arange(50)
    for architecture, size in (("cnn", 4), ("unrolled", 9)):
        plan = GroupPlan([scan], config(architecture, data=data))
        groups = np.sort(groups_of(plan.epoch(0)), axis=1).tolist()
        assert len(groups) == 125
        around = [nearest(scan, everything, anchor, size) for anchor in range(50)]
        for group in groups:
            shared = around.count(group)
            assert 2 * shared <= groups.count(group) <= 3 * shared
    # With a choice of partners the groups of one anchor differ.
    plan = GroupPlan([scan], config("cnn", data={**data, "neighbor_count": 8}))
    assert len({tuple(group) for group in groups_of(plan.epoch(0)).tolist()}) > 100


def test_a_canvas_network_may_use_anchors_again_unasked() -> None:
    plan = GroupPlan([scan_at(0, 60)], config("unrolled", data={"n_groups": 70}))
    assert len(plan.epoch(0)) == 70


@laws
@given(seeds, st.integers(20, 60))
def test_n_subsample_bounds_what_is_ever_seen(seed: int, wanted: int) -> None:
    for architecture in ARCHITECTURES:
        options = {"n_subsample": wanted, "validation_fraction": 0.25, "subsample_seed": seed}
        plans = [
            GroupPlan(
                [scan_at(seed, 80)],
                config(architecture, data=options, training={"seed": training_seed}),
            )
            for training_seed in (1, 2)
        ]
        kept = [np.sort(np.concatenate([p.training[0], p.held_out[0]])) for p in plans]
        assert len(kept[0]) == len(set(kept[0])) == wanted
        # The choice has its own seed and is the same in every epoch.
        assert np.array_equal(*kept)
        for epoch in (0, 1):
            assert set(groups_of(plans[0].epoch(epoch)).ravel()) <= set(plans[0].training[0])


def test_several_scans_are_interleaved_and_never_mixed() -> None:
    scans = [scan_at(k, m) for k, m in enumerate((30, 60, 45))]
    for architecture in ARCHITECTURES:
        plan = GroupPlan(
            scans, config(architecture, data={"n_groups": 24, "validation_fraction": 0.2})
        )
        works = plan.epoch(0)
        order = [work.scan for work in works]
        assert set(order) == {0, 1, 2}
        assert order != sorted(order)
        for work in works:
            assert set(work.groups.ravel()) <= set(plan.training[work.scan])
    # A sub-scan is one step, so their number is that of all scans together.
    assert len(works) == 24


def test_validation_of_a_canvas_network_is_a_few_fixed_subscans() -> None:
    plan = GroupPlan([scan_at(0, 80)], config("unrolled", data={"validation_fraction": 0.5}))
    works = plan.validation()
    assert len(works) == HELD_OUT_SUBSCANS
    assert all(work.groups.shape == (1, 9) for work in works)
    small = GroupPlan([scan_at(0, 20)], config("unrolled", data={"validation_fraction": 0.25}))
    assert [work.groups.shape for work in small.validation()] == [(1, 5)] * 4


@pytest.mark.parametrize(
    ("architecture", "m", "data", "message"),
    [
        ("cnn", 3, {"validation_fraction": 0}, "at least 4 training patterns"),
        ("cnn", 12, {"validation_fraction": 0.1}, "hold out at least 4"),
        ("unrolled", 4, {"validation_fraction": 0}, "at least 5 training patterns"),
        ("unrolled", 40, {"validation_fraction": 0.1}, "hold out at least 5"),
        ("cnn", 20, {"n_subsample": 21}, "n_subsample must be between 1 and"),
        ("cnn", 1, {"validation_fraction": 0.1}, "at least 2"),
    ],
)
def test_a_scan_that_is_too_small_is_refused(
    architecture: str, m: int, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        GroupPlan([scan_at(0, m)], config(architecture, data=data))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_groups_of_an_epoch_are_shared_by_all_scans(architecture: str) -> None:
    """Seven groups over two scans are four and three: the remainder is not lost."""
    chosen = config(architecture, data={"n_groups": 7}, training={"batch_size": 1})
    works = GroupPlan([scan_at(0, 60), scan_at(1, 60)], chosen).epoch(0)
    assert sorted(sum(w.scan == k for w in works) for k in (0, 1)) == [3, 4]
