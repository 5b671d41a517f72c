"""Pictures become windows: means over area and time, the clock, and memory."""

import tracemalloc
from itertools import count

import numpy as np
import pytest
import torch
from clips import AMPLITUDE, GEOMETRY, LAYOUT, RATE, box_means, noisy_frames, refuse, small_clip

from pulse_plantain.cells import AreaMean
from pulse_plantain.search import divide_finely
from pulse_plantain.sheet import Layout
from pulse_plantain.video import ClipError, Clock
from pulse_plantain.windows import Beside, encode_windows


def sinusoid(window, rate=RATE):
    """(amplitude in grey levels, phase) of the mean motion of all cells, by least squares."""
    cells = 255 * window.appearance.reshape(8, 8, 4, 16, 3).mean((1, 3))
    signal = (window.motion * cells).mean((1, 2, 3))
    angle = 2 * np.pi * rate * window.times
    basis = np.stack([np.cos(angle), np.sin(angle), np.ones_like(angle)], 1)
    cosine, sine, _ = np.linalg.lstsq(basis, signal, rcond=None)[0]
    return abs(cosine - 1j * sine), np.angle(cosine - 1j * sine)


def test_area_means_weigh_the_pixels_on_an_edge():
    rng = np.random.default_rng(1)
    picture = rng.uniform(0, 1, (24, 36, 3))
    crop = (3.5, 2.25, 27.5, 22.25)
    means = AreaMean((36, 24), crop, (4, 5))(picture)
    # The same on a picture four times finer, where every edge falls between pixels.
    fine = picture.repeat(4, 0).repeat(4, 1)[9:89, 14:110]
    exact = fine.reshape(5, 16, 4, 24, 3).mean((1, 3))
    np.testing.assert_allclose(means, exact, atol=2e-7)


def test_box_means_of_straight_lines_are_exact():
    rng = np.random.default_rng(2)
    stamps = np.sort(rng.uniform(0, 1, 20))
    values = rng.normal(size=(20, 2))
    edges = np.linspace(-0.2, 1.3, 12)
    fine = np.linspace(-0.2, 1.3, 11 * 20000 + 1)
    for channel in range(2):
        signal = np.interp(fine, stamps, values[:, channel])
        middle = (signal[1:] + signal[:-1]) / 2
        reference = middle.reshape(11, -1).mean(1)
        np.testing.assert_allclose(
            box_means(stamps, values, edges)[:, channel], reference, atol=1e-6
        )


def test_stamps_that_are_as_good_as_an_edge_weigh_what_they_should():
    edges = np.linspace(0.1, 0.9, 9)
    for off in (-1, 0, 1):
        stamps = np.nextafter(edges, edges + off)
        means = box_means(stamps, np.arange(9.0), edges)
        np.testing.assert_allclose(means, np.arange(8) + 0.5, atol=1e-12)


@pytest.mark.parametrize("rate", [0.7, 1.1, 1.6])
def test_a_fifth_of_a_grey_level_is_recovered(rate):
    stamps = np.arange(240) / 30
    (window,) = encode_windows(noisy_frames(stamps, rate), LAYOUT, clock=Clock(30))
    amplitude, phase = sinusoid(window, rate)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.05)
    assert abs(phase) < 0.05
    assert window.frames == 240 and window.longest_gap == pytest.approx(1 / 30)
    assert window.motion.dtype == np.float32 and window.motion.shape == (96, 8, 4, 3)
    assert window.appearance.shape == (64, 64, 3)
    np.testing.assert_allclose(window.times, (np.arange(96) + 0.5) / 12)


def test_dropped_frames_and_jitter_give_the_same_sheet():
    rng = np.random.default_rng(3)
    even = np.arange(240) / 30
    (whole,) = encode_windows(noisy_frames(even, seed=1), LAYOUT, clock=Clock(30))
    jittered = even + rng.uniform(-0.012, 0.012, 240) * (even > 0)
    kept = np.sort(rng.choice(np.arange(1, 239), 158, replace=False))
    stamps = jittered[np.concatenate([[0], kept, [239]])]
    (dropped,) = encode_windows(
        noisy_frames(stamps, seed=1), LAYOUT, clock=Clock(timestamps=stamps)
    )
    assert dropped.frames == 160 and 0.1 < dropped.longest_gap < 0.3
    amplitude, phase = sinusoid(dropped)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.05) and abs(phase) < 0.05
    # Noise of one cell and sample alone: no larger than two pictures' worth of 2 grey levels
    # on 15 x 40 pixels; the beat itself is the same in both and must not show in the difference.
    difference = (dropped.motion - whole.motion) * 125
    assert difference.std() < 2 * 2 / np.sqrt(15 * 40) * 1.1
    common = difference.mean((1, 2, 3))
    angle = 2 * np.pi * RATE * whole.times
    beat = abs(2 * np.mean(common * np.exp(-1j * angle)))
    assert beat < 0.05 * AMPLITUDE


def test_repeated_pictures_do_not_delay_the_pulse():
    true = np.arange(120) / 15
    doubled = [picture for picture in noisy_frames(true) for _ in range(2)]
    (window,) = encode_windows(doubled, LAYOUT, clock=Clock(30))
    assert window.frames == 120
    assert abs(sinusoid(window)[1]) < 0.05


def test_a_black_cell_and_a_still_picture_do_not_move():
    pictures = np.zeros((150, 32, 32, 3), np.uint8)
    pictures[:, 16:] = 100
    (window,) = encode_windows(pictures, LAYOUT, clock=Clock(25))
    assert np.array_equal(window.motion, np.zeros((96, 8, 4, 3)))
    assert window.frames == 1 and window.longest_gap == pytest.approx(6)


def spans(seconds, **options):
    pictures = (np.full((16, 16, 3), index % 250, np.uint8) for index in range(round(seconds * 10)))
    windows = encode_windows(pictures, LAYOUT, clock=Clock(10), **options)
    return [(round(window.start, 6), round(window.end, 6)) for window in windows]


def test_windows_overlap_and_the_last_one_ends_with_the_clip():
    assert spans(8) == [(0, 8)]
    assert spans(16) == [(0, 8), (4, 12), (8, 16)]
    assert spans(17.5) == [(0, 8), (4, 12), (8, 16), (9.5, 17.5)]
    assert spans(10.3, window=5, stride=5) == [(0, 5), (5, 10), (5.3, 10.3)]
    assert spans(5) == [(0, 5)]
    assert spans(6.2) == [(0, 6.2)]


def test_several_lengths_in_one_pass_are_what_each_gives_alone():
    pictures = np.random.default_rng(0).integers(0, 255, (131, 24, 32, 3), np.uint8)  # 13.1 s

    def windows(length, count=131):
        return list(encode_windows(pictures[:count], LAYOUT, clock=Clock(10), window=length))

    together = windows((8, 6, 10))
    for length in (8, 6, 10):
        same = [w for w in together if round(w.end - w.start, 6) == length]
        alone = windows(length)
        assert len(same) == len(alone) > 1
        for one, other in zip(same, alone, strict=True):
            assert (one.start, one.end) == pytest.approx((other.start, other.end))
            np.testing.assert_array_equal(one.motion, other.motion)
            np.testing.assert_allclose(one.appearance, other.appearance, atol=0.02)
    # Each is given as soon as its last picture is there, the tails when the clip ends.
    assert [w.end for w in together[:6]] == pytest.approx([6, 8, 9, 10, 12, 12])
    # Lengths beyond the clip become the clip's own, once, and only where that is something new.
    lengths = [[round(w.end - w.start, 6) for w in windows((8, 6, 10), n)] for n in (55, 90, 82)]
    assert lengths == [[5.5], [6, 8, 8, 6, 9.0], [6, 8, 8, 6]]


def test_a_pause_is_left_out_and_reported():
    stamps = np.concatenate([np.arange(100) / 10, 40 + np.arange(100) / 10])
    pictures = (np.full((16, 16, 3), index, np.uint8) for index in range(200))
    windows = list(encode_windows(pictures, LAYOUT, clock=Clock(timestamps=stamps)))
    assert [window.start for window in windows] == [0, 4, 8, 36, 40, 42]
    gaps = [window.longest_gap for window in windows]
    np.testing.assert_allclose(gaps, [0.1, 30.1, 30.1, 30.1, 0.1, 0.1], atol=1e-6)


@pytest.mark.parametrize("more", [{}, {"crop": (16, 8, 48, 40), "beside": Beside(LAYOUT, True)}])
def test_memory_does_not_grow_with_the_clip(more):
    def peak(frames):
        rng = np.random.default_rng(0)
        clip = (rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(frames))
        tracemalloc.start()
        windows = sum(1 for _ in encode_windows(clip, LAYOUT, clock=Clock(20), **more))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return windows, peak

    (few, short), (many, long) = peak(240), peak(2400)
    assert (few, many) == (2, 29)
    assert long < 1.1 * short and short < 8e6


def test_a_crop_is_that_part_of_the_picture():
    pictures = small_clip()
    (inside,) = encode_windows(pictures[:, 8:40, 16:48], LAYOUT, clock=Clock(10))
    (crop,) = encode_windows(pictures, LAYOUT, clock=Clock(10), crop=(16, 8, 48, 40))
    assert np.array_equal(inside.motion, crop.motion)
    assert crop.crop == (16, 8, 48, 40) and crop.picture_size == (64, 48)
    for wrong in [(-1, 0, 20, 20), (0, 0, 65, 20), (30, 0, 20, 20), (0, 0, 7, 20)]:
        with pytest.raises(ClipError, match="crop must be"):
            list(encode_windows(pictures, LAYOUT, clock=Clock(10), crop=wrong))


def test_a_crop_brings_the_picture_around_it_where_that_is_asked_for():
    pictures, around = small_clip(), divide_finely(LAYOUT.geometry.samples)
    inside = {"crop": (16, 8, 48, 40), "window": (5.0, 8.0)}
    plain = list(encode_windows(pictures, LAYOUT, clock=Clock(10), **inside))
    both = list(encode_windows(pictures, LAYOUT, clock=Clock(10), beside=Beside(around), **inside))
    wholes = list(encode_windows(pictures, around, clock=Clock(10), window=(5.0, 8.0)))
    assert len(both) == len(wholes) > 1
    for crop, alone, whole in zip(both, plain, wholes, strict=True):
        assert alone.whole is None and np.array_equal(crop.motion, alone.motion)
        assert crop.whole is not None and whole.whole is None
        assert (crop.whole.start, crop.whole.end) == (whole.start, whole.end)
        assert crop.whole.crop == (0.0, 0.0, 64.0, 48.0)
        assert np.array_equal(crop.whole.motion, whole.motion)
        assert np.array_equal(crop.whole.appearance, whole.appearance)


def test_clips_that_cannot_be_measured():
    pictures = small_clip()
    refuse(pictures[:49], "4.9 s long; at least 5 s", fps=10)
    refuse(pictures[:1], "one picture", fps=10)
    refuse(pictures[:0], "holds no pictures", fps=10)
    refuse(pictures, "5 pictures a second; at least 7", fps=5)
    refuse(pictures, "give fps or timestamps")
    refuse(pictures, "not both", fps=10, timestamps=np.arange(60))
    refuse(pictures, "fps must be", fps=-3)
    refuse(pictures[0], "must be", fps=10)
    refuse(torch.from_numpy(pictures)[..., :2], r"\[T, 3, H, W\] or \[T, H, W, 3\]", fps=10)
    refuse(pictures.astype(float), r"\[0, 1\]", fps=10)
    refuse(pictures / 255 * np.nan, r"\[0, 1\]", fps=10)
    refuse(pictures.astype(int), "got int64", fps=10)
    refuse([*pictures[:50], pictures[50][:-2]], "picture 50 is 64 x 46", fps=10)
    refuse(pictures, "window must be 5 to 10", fps=10, window=3)
    refuse(pictures, "stride must be", fps=10, stride=0)
    refuse(pictures, "at least 0.1 and at most the window's 8 s, got 0.0001", fps=10, stride=1e-4)
    refuse(pictures, "stride must be a number, got 'a'", fps=10, stride="a")
    refuse(pictures, "window must be at most 16 numbers, got more", fps=10, window=count(5))
    refuse(pictures, "window must be 5 to 10 seconds, got 0", fps=10, window=0)
    refuse(pictures, "window must be 5 to 10 seconds, got none", fps=10, window=())
    refuse(pictures, "window must be a number, got None", fps=10, window=None)
    refuse(pictures, r"crop must be \(left, top, right, bottom\)", fps=10, crop=3)
    refuse(pictures, "crop must be .* got 'abcd'", fps=10, crop="abcd")
    refuse(pictures, "crop must be", fps=10, crop=(0, 0, np.nan, 20))
    refuse(small_clip(124), "the clip is 4.96 s long; at least 5 s", fps=25)
    with pytest.raises(ValueError, match="multiples of 4 bands"):
        Layout(GEOMETRY, (66, 64))
    refuse(7, "got int", fps=10)
