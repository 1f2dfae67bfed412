"""Pixels of the detector keep their meaning when patterns are turned, cut, binned and padded."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptychopinn.data.orientation import Orientation
from ptychopinn.errors import InputError
from ptychopinn.sources.conditioning import Conditioned, look_at, no_measurement
from ptychopinn.sources.cutting import cut_for, find_centre
from ptychopinn.sources.frames import ArrayFrames

orientations = st.builds(Orientation, st.booleans(), st.booleans(), st.booleans())


def spot(shape: tuple[int, int], centre: tuple[float, float], width: float = 3.0) -> Any:
    y, x = np.indices(shape)
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))


def conditioned(frames: Any, cut: Any, orientation: Any = None, **more: Any) -> Conditioned:
    m = len(frames)
    bad = more.pop("bad", np.zeros(frames.shape[1:], bool))
    return Conditioned(
        ArrayFrames(frames), np.arange(m), orientation or Orientation(), cut, bad, **more
    )


def all_of(patterns: Conditioned) -> Any:
    return np.concatenate([block for _, block in patterns.blocks()])


@given(orientations, st.data())
def test_a_window_is_the_same_before_and_after_turning(turn: Orientation, data: Any) -> None:
    frame = np.arange(7 * 11).reshape(7, 11)
    height, width = turn.shape((7, 11))
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    stored = turn.stored_window(slice(y0, y1), slice(x0, x1), (7, 11))
    np.testing.assert_array_equal(
        turn.of_frames(frame)[y0:y1, x0:x1], turn.of_frames(frame[stored])
    )
    y, x = turn.point((5, 9), (7, 11))
    assert turn.of_frames(frame)[int(y), int(x)] == frame[5, 9]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"crop": 64, "binning": 1, "pad": None}, (130, 131)),
        ({"crop": 64, "binning": 2, "pad": None}, (130, 131)),
        ({"crop": 96, "binning": 3, "pad": None}, (130, 131)),
        ({"crop": 40, "binning": 1, "pad": 64}, (130, 131)),
        ({"crop": 80, "binning": 2, "pad": 64}, (130, 131)),
        ({"crop": None, "binning": 1, "pad": 150}, (130, 131)),
        ({"crop": None, "binning": 4, "pad": 64}, (130, 131)),
    ],
)
@given(orientations)
def test_the_centre_comes_to_the_middle(
    options: dict[str, Any], shape: tuple[int, int], turn: Orientation
) -> None:
    """Whatever is done, the middle pixel holds the counts around the zero frequency."""
    k = options["binning"]
    # The centre of a block of an even number of pixels lies between two of them.
    centre = (62 + (k - 1) / 2 % 1, 66 + (k - 1) / 2 % 1)
    frame = np.zeros(shape)
    low = [int(c - (k - 1) / 2) for c in centre]
    frame[low[0] : low[0] + k, low[1] : low[1] + k] = 1
    cut = cut_for(turn.shape(shape), turn.point(centre, shape), **options)
    pattern = all_of(conditioned(frame[None], cut, turn))[0]
    n = cut.n
    assert pattern.shape == (n, n) and n == (options["pad"] or options["crop"] // k)
    assert pattern[n // 2, n // 2] == k * k == pattern.sum()


@given(orientations, st.integers(0, 2**32 - 1))
def test_counts_mask_dark_and_flat_turn_together(turn: Orientation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.poisson(9, (2, 40, 44)).astype(np.uint16)
    bad = rng.random((40, 44)) < 0.02
    dark, flat = rng.random((40, 44)), rng.uniform(0.5, 2, (40, 44))
    centre = (19.0, 23.0)
    cut = cut_for(turn.shape((40, 44)), turn.point(centre, (40, 44)), crop=32, binning=1, pad=None)
    patterns = conditioned(frames, cut, turn, bad=bad.copy(), dark=dark, flat=flat, clip=True)
    found = all_of(patterns)
    whole = np.where(bad, 0, np.maximum((frames - dark) / flat, 0))
    turned = turn.of_frames(whole)
    y, x = turn.point(centre, (40, 44))
    box = np.s_[:, int(y) - 16 : int(y) + 16, int(x) - 16 : int(x) + 16]
    np.testing.assert_allclose(found, turned[box], rtol=1e-12)
    np.testing.assert_array_equal(patterns.mask(), ~turn.of_frames(bad)[box[1:]])


def test_one_bad_pixel_makes_the_binned_one_bad_and_padding_is_bad() -> None:
    frames = np.ones((1, 80, 80), np.uint16)
    bad = np.zeros((80, 80), bool)
    bad[41, 40] = True
    cut = cut_for((80, 80), (40.5, 40.5), crop=64, binning=2, pad=40)
    patterns = conditioned(frames, cut, bad=bad)
    (pattern,) = all_of(patterns)
    good = patterns.mask()
    assert good.sum() == 32 * 32 - 1 and not good[20, 20]
    assert not good[:4].any() and not good[:, -4:].any()
    assert (pattern[good] == 4).all() and pattern[~good].sum() == 3


def test_values_that_stand_for_no_pixel_are_masked_also_when_they_come_late() -> None:
    frames = np.full((50, 64, 64), 7, np.uint32)
    frames[:, 10] = 2**32 - 1
    frames[33, 40, 41] = 2**32 - 1
    look = look_at(ArrayFrames(frames), np.array([0, 20]), np.zeros((64, 64), bool))
    assert look.missing.sum() == 64 and look.largest == 7
    cut = cut_for((64, 64), None, crop=None, binning=1, pad=None)
    patterns = conditioned(frames, cut, bad=look.missing)
    assert all_of(patterns).max() == 7
    assert (~patterns.mask()).sum() == 65 and not patterns.mask()[40, 41]
    assert no_measurement(np.array([np.nan, np.inf, 2.0**32 - 1, 5])).tolist() == [True] * 3 + [
        False
    ]


def test_gaps_that_are_negative_in_every_frame_are_masked_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    frames = rng.poisson(3, (6, 64, 64)).astype(np.int32)
    frames[:, :, 30] = -1
    look = look_at(ArrayFrames(frames), np.arange(6), np.zeros((64, 64), bool))
    assert look.missing.sum() == 64 and look.missing[:, 30].all()
    noisy = rng.normal(1, 1, (6, 64, 64))
    look = look_at(ArrayFrames(noisy), np.arange(6), np.zeros((64, 64), bool))
    assert look.missing.sum() < 5 and look.lowest < 0
    cut = cut_for((64, 64), None, crop=None, binning=1, pad=None)
    with pytest.raises(InputError, match="clip_negative=True"):
        all_of(conditioned(noisy, cut))
    assert all_of(conditioned(noisy, cut, clip=True)).min() == 0


@pytest.mark.parametrize(
    ("shape", "centre", "options", "words"),
    [
        ((64, 96), None, {}, "crop=64, or pad=96"),
        ((63, 63), None, {}, "crop=62, or pad=64"),
        ((64, 64), (30.0, 32.0), {}, "crop=60, or pad=68"),
        ((64, 64), None, {"crop": 62, "binning": 4}, "use crop=60 and pad=32"),
        ((256, 256), None, {"crop": 250, "binning": 4}, "use crop=248"),
        ((90, 90), (10.0, 45.0), {"crop": 64}, "use pad=64"),
        ((1024, 1024), None, {}, "use bin=2, or crop=512"),
        ((1024, 1024), None, {"crop": 1024}, "use bin=2, or crop=512, or crop=512 and pad=512"),
        ((64, 64), None, {"crop": 64, "binning": 4}, "use bin=2, or pad=32"),
        ((64, 64), None, {"crop": 63}, "use crop=62, or pad=64"),
        ((64, 64), None, {"crop": 64, "pad": 48}, "pad=48 with 64 pixels"),
        ((64, 64), None, {"pad": 48}, "use pad=64"),
        ((64, 64), (70.0, 3.0), {"crop": 32}, "correct the option centre"),
    ],
)
def test_what_cannot_be_is_refused_with_numbers_that_work(
    shape: tuple[int, int], centre: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        cut_for(shape, centre, **{"crop": None, "binning": 1, "pad": None} | options)
    assert words in str(caught.value)


@given(
    st.integers(20, 200) | st.integers(500, 1100), st.integers(-60, 60),
    st.sampled_from([1, 1, 2, 3, 4, 8]), st.none() | st.integers(1, 1200),
    st.none() | st.integers(1, 600), st.none() | st.tuples(*[st.floats(0.02, 0.9)] * 2),
)  # fmt: skip
def test_every_way_out_that_an_error_names_is_taken(
    height: int, more: int, binning: int, crop: int | None, pad: int | None, at: Any
) -> None:
    shape = (height, height if more < 0 else height + more)
    centre = at and (at[0] * shape[0], at[1] * shape[1])
    options = {"crop": crop, "binning": binning, "pad": pad}
    try:
        cut_for(shape, centre, **options)
        return
    except InputError as error:
        words = str(error).rpartition("; use ")[2]
    ways = re.findall(r"((?:(?:bin|crop|pad)=\d+(?: and )?)+)", words)
    assert ways
    for way in ways:
        taken = {key: int(value) for key, value in re.findall(r"(bin|crop|pad)=(\d+)", way)}
        binned = {"binning": taken.pop("bin")} if "bin" in taken else {}
        cut = cut_for(shape, centre, **options | taken | binned)
        if crop is None and "pad" in taken and "crop" not in taken:
            # No whole block is lost.
            assert cut.rows.start < cut.binning > cut.columns.start


@pytest.mark.parametrize("centre", [(50.0, 61.0), (47.4, 50.6), (64.0, 64.0), (20.0, 90.0)])
def test_the_centre_is_found_to_a_quarter_of_a_pixel(centre: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    mean = rng.poisson(200 * spot((128, 120), centre, 5) + 0.05, (64, 128, 120)).mean(axis=0)
    good = np.ones(mean.shape, bool)
    mean[3, 4], mean[100, 7] = 5000, 1e6  # hot pixels
    good[100, 7] = False
    found = find_centre(mean, good)
    np.testing.assert_allclose(found, centre, atol=0.25)
    with pytest.raises(InputError, match="must hold counts"):
        find_centre(np.zeros((64, 64)), np.ones((64, 64), bool))
