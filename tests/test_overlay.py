"""Pictures of a field over a face: where the colours are, and when."""

import numpy as np
from clips import STAMPS, small_clip

from pulse_plantain.output import PulseWindow
from pulse_plantain.overlay import phasors_at, pulse_overlay, write_overlay_video
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
