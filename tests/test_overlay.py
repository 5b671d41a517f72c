"""Pictures of a field over a face: where the colours are, and when."""

import numpy as np
import pytest
from clips import STAMPS, small_clip

from pulse_plantain.output import PulseWindow
from pulse_plantain.overlay import (
    Film,
    film_overlays,
    phasors_at,
    pulse_overlay,
    write_overlay_video,
)
from pulse_plantain.video import Clock, read_frames


def test_overlay_shows_the_phase_inside_the_crop_only():
    picture = np.full((48, 64, 3), 100, np.uint8)
    phasors = np.full((8, 4), 0.01 * np.exp(2j * np.pi / 3))  # green
    colours, overlay = pulse_overlay(picture, phasors, (16, 8, 48, 40))
    assert np.all(colours[8:40, 16:48, 1] > 0.5) and np.all(colours[..., [0, 2]] < 1e-4)
    outside = np.ones((48, 64), bool)
    outside[8:40, 16:48] = False
    assert np.all(colours[outside] == 0)
    np.testing.assert_allclose(overlay[outside], 100 / 255, atol=1e-6)
    assert np.all(overlay[8:40, 16:48, 1] > overlay[8:40, 16:48, 0] + 0.3)


def test_phasors_keep_their_length_between_samples():
    times = (np.arange(96) + 0.5) / 12
    field = (0.01 * np.exp(2j * np.pi * 3.2 * times))[:, None, None] * np.ones((8, 4))
    for time in np.linspace(0.1, 7.9, 37):
        exact = 0.01 * np.exp(2j * np.pi * 3.2 * time)
        assert abs(phasors_at(field, 0, 8, time) - exact).max() < 1e-12
    assert np.array_equal(phasors_at(field, 0, 8, 9.0), phasors_at(field, 0, 8, times[-1]))


def test_overlay_video_keeps_the_times(tmp_path):
    pictures = small_clip()
    field = np.full((1, 96, 8, 4), 0.01 * np.exp(2j * np.pi / 3))
    windows = [PulseWindow(0.0, 5.9, 72.0, 1.0, (0, 0, 64, 48))]
    path = tmp_path / "over.mp4"
    write_overlay_video(path, pictures, windows, field, Clock(timestamps=STAMPS))
    times, read = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(times, STAMPS - STAMPS[0], atol=1e-4)
    mean = np.stack(read).mean((0, 1, 2))
    assert mean[1] > mean[0] + 60 and mean[1] > mean[2] + 60


def make_field():
    """A field [1, 96, 8, 4] of 8 s whose amplitude and phase change from cell to cell."""
    times = (np.arange(96) + 0.5) / 12
    rows, bands = np.arange(8)[:, None], np.arange(4)
    cells = (0.003 + 0.001 * rows) * np.exp(0.4j * bands + 0.2j * rows)
    return (np.exp(2j * np.pi * 1.2 * times)[:, None, None] * cells)[None]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_film_shows_what_a_picture_shows(dtype):
    x, y = np.meshgrid(np.linspace(0, 1, 150), np.linspace(0, 1, 120))
    picture = np.stack([x, y, 0.5 + 0 * x], -1)
    picture = (picture * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    field, crop = make_field(), (20.4, 10.7, 130.2, 111.9)
    window = PulseWindow(0.0, 8.0, 72.0, 1.0, crop)
    worst = 0.0
    for time, frame in film_overlays([picture] * 80, [window], field, clock=Clock(fps=10)):
        if round(10 * time) % 13:
            continue
        exact = 255 * pulse_overlay(picture, phasors_at(field[0], 0, 8, time), crop)[1]
        apart = np.abs(frame.to_ndarray(format="rgb24") - exact)
        inside = apart[14:-12, 24:-24]  # at the crop's edge chroma is one for 2 x 2 pixels
        assert np.percentile(inside, 99) < 12, time
        worst = max(worst, apart.mean())
    assert 0 < worst < 2  # levels of 255


def test_a_film_is_as_large_and_as_fast_as_it_may_be_and_keeps_its_times(tmp_path):
    picture = np.full((50, 121, 3), 90, np.uint8)
    window = PulseWindow(0.0, 1.0, 72.0, 1.0, (60.5, 0, 121, 50))  # the right half
    path = tmp_path / "film.mp4"
    film = Film(side=61, rate=20)
    write_overlay_video(path, [picture] * 60, [window], make_field(), Clock(fps=60), film)
    times, read = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(times, np.arange(20) / 20, atol=1e-4)
    assert read[0].shape == (24, 60, 3)  # 25.2 x 61, even
    chroma = np.ptp(np.stack(read).astype(int), axis=-1).mean((0, 1))
    assert chroma[:28].max() < 12 and chroma[34:].min() > 60
    write_overlay_video(path, [picture] * 60, [window], make_field(), Clock(fps=60))
    times, read = zip(*read_frames(path), strict=True)
    assert len(times) == 30 and read[0].shape == (50, 120, 3)
