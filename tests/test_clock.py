"""Clocks that callers give, and the account of what a clip lost."""

import warnings
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count, islice
from time import perf_counter

import numpy as np
import pytest
import torch
from clips import small_clip

from pulse_plantain.clock import ClipError, Clock, GapCounter, Lost, list_numbers, read_number
from pulse_plantain.containers import _read_duration
from pulse_plantain.video import read_frames

NOON = datetime(2026, 3, 29, 0, 59, 59)


@pytest.mark.parametrize(
    "fps",
    ["20", " 20.0 ", "40/2", Fraction(20), Decimal("20"), np.float32(20), torch.tensor(20)],
)
def test_a_rate_is_any_number(fps):
    times = [time for time, _ in read_frames(small_clip(4), Clock(fps))]
    assert times == [0, 0.05, 0.1, 0.15]


@pytest.mark.parametrize(
    "stamps",
    [
        [NOON + timedelta(seconds=k / 20) for k in range(4)],
        [timedelta(seconds=9 + k / 20) for k in range(4)],
        np.datetime64("2026-03-29T00:59:59.000") + np.arange(4) * np.timedelta64(50, "ms"),
        np.arange(4) * np.timedelta64(50, "ms"),
        torch.arange(4) / 20 + 3,
        [Fraction(k, 20) for k in range(4)],
        ["1.5", "1.55", "1.6", "1.65"],
        (k / 20 for k in count()),
    ],
)
def test_stamps_are_numbers_or_moments(stamps):
    pictures = small_clip(4)
    clock = Clock(timestamps=stamps if not hasattr(stamps, "send") else islice(stamps, 4))
    times = [time for time, _ in read_frames(pictures, clock)]
    np.testing.assert_allclose(times, [0, 0.05, 0.1, 0.15], atol=1e-6)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"fps": "fast"}, "fps must be a number, got 'fast'"),
        ({"fps": [30]}, r"fps must be a number, got \[30\]"),
        ({"fps": 0}, "above 0 and at most 100000, got 0"),
        ({"fps": np.nan}, "above 0 and at most 100000, got nan"),
        ({"fps": 1e6}, "above 0 and at most 100000, got 1000000.0"),
        ({"fps": "1/0"}, "fps must be a number, got '1/0'"),
        ({"fps": "nan"}, "fps must be a number, got 'nan'"),
        ({"fps": "1e999999999"}, "fps must be a number, got '1e999999999'"),
        ({"fps": "1e-999999999"}, "above 0 and at most 100000, got 1e-999999999"),
        (
            {"fps": 10**5000},
            "fps must be a number, got an int of too many digits",
        ),
        ({"timestamps": [0, "1e999999999"]}, "picture 1 must be a number, got '1e999999999'"),
        ({"timestamps": 3.0}, "timestamps must be one time a picture, got 3.0"),
        ({"timestamps": np.zeros((4, 2))}, r"one time a picture, got an array of shape \(4, 2\)"),
        ({"timestamps": torch.tensor(1.0)}, "one time a picture, got tensor"),
        ({"timestamps": "0 1 2 3"}, "one time a picture, got '0 1 2 3'"),
        ({"timestamps": [(0, 1), (1, 2)]}, r"time stamp of picture 0 must be a number, got \(0, 1"),
        ({"timestamps": [0, None]}, "time stamp of picture 1 must be a number, got None"),
        ({"timestamps": [date(2026, 1, 1)] * 4}, "must be a time, got the day 2026-01-01"),
        ({"timestamps": [NOON, timedelta(0)]}, "no common clock"),
    ],
)
def test_what_is_no_clock_is_refused_in_one_line(values, message):
    with warnings.catch_warnings(), pytest.raises(ClipError, match=message) as caught:
        warnings.simplefilter("error")
        list(read_frames(small_clip(4), Clock(**values)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 130


def test_a_power_of_ten_is_no_arithmetic_of_minutes():
    begun = perf_counter()
    for text in ("1e999999999", "-1e999999999"):
        with pytest.raises(ValueError, match="no finite number"):
            read_number(text)
        assert _read_duration(f"00:00:{text}") is None  # a Matroska file's own words
    assert read_number("1e-999999999") == 0 and read_number("29.97") == 29.97
    assert read_number("30000/1001") == 30000 / 1001
    assert perf_counter() - begun < 1


def test_numbers_are_counted_before_they_are_used():
    assert list_numbers(8, "window", 2) == (8.0,)
    assert list_numbers(["6", 8], "window", 2) == (6.0, 8.0)
    assert list_numbers(np.float32(8), "window", 2) == (8.0,)
    with pytest.raises(ClipError, match="window must be at most 16 numbers, got more"):
        list_numbers(count(5), "window", 16)


def count_gaps(times):
    lost = Lost()
    gaps = GapCounter(lost)
    for interval in np.diff(times):
        gaps.add(interval)
    gaps.close()
    return lost


def test_a_missing_picture_is_a_gap_and_a_slower_camera_is_none():
    even = np.arange(60) / 30
    assert not count_gaps(even)
    for missing in (1, 2, 30, 57, 58):
        lost = count_gaps(np.delete(even, missing))
        assert lost.gaps == 1 and lost.gap_seconds == pytest.approx(1 / 30), missing
    lost = count_gaps(np.delete(even, [20, 21, 22, 40]))
    assert lost.gaps == 2 and lost.gap_seconds == pytest.approx(4 / 30)
    dark = np.concatenate([even, even[-1] + np.arange(1, 40) / 15, even[-1] + 8 / 3 + even])
    assert not count_gaps(dark)  # 30, 15 and again 30 pictures a second
    pulldown = np.cumsum(np.tile([2, 3], 40)) / 60
    assert not count_gaps(pulldown)


def test_what_was_lost_in_words():
    assert Lost().describe() == "nothing" and not Lost()
    lost = Lost(pictures=1, disordered=2, gaps=1, gap_seconds=0.25, end_seconds=1.5)
    assert lost.describe() == (
        "1 damaged picture, 2 pictures out of order, 0.25 s in 1 gap, 1.50 s at the ends"
    )
    assert lost


def test_disordered_pictures_are_counted():
    lost = Lost()
    stamps = [7, 7.1, 7.1, 7.3, 7.2, 7.4]
    assert len(list(read_frames(small_clip(6), Clock(timestamps=stamps), lost))) == 4
    assert lost.disordered == 2 and lost.pictures == 0
