"""The figures of a measurement: the wheel, the four pictures of a beat, the curve."""

from types import SimpleNamespace

import numpy as np
from stand_ins import BPM, pulse_field

from pulse_plantain import plots
from pulse_plantain.output import RateCurve


def test_the_wheel_is_a_clock_from_the_systolic_peak():
    wheel = plots.colour_wheel(301)
    rim, centre = 140, 150
    expected = {(0, -1): (1, 0, 0), (1, 0): (0.5, 1, 0), (0, 1): (0, 1, 1), (-1, 0): (0.5, 0, 1)}
    for (x, y), colour in expected.items():
        rgba = wheel[centre + y * rim, centre + x * rim]
        np.testing.assert_allclose(rgba[:3], np.array(colour) * rim / 150.5, atol=0.01)
    assert wheel[0, 0, 3] == 0 and wheel[centre, centre, 3] == 1
    assert np.abs(wheel[centre, centre, :3]).max() < 1e-9


def test_the_four_pictures_are_one_beat_from_its_peak():
    window = SimpleNamespace(start=4.0, end=12.0, bpm=BPM, confidence=0.9)
    output = SimpleNamespace(windows=[window], field=[pulse_field(4.0)], sampling_rate=12.0)
    moments = plots.list_beat_moments(output)
    turns = BPM / 60 * moments
    np.testing.assert_allclose(turns - np.round(turns[0]), [0, 0.25, 0.5, 0.75], atol=1e-6)
    assert abs(moments[0] - 8) < 60 / BPM


def make_curve(seconds):
    times = np.arange(seconds) + 0.5
    bpm = 70 + 3 * np.sin(times / 4)
    return RateCurve(times, bpm, bpm - 1, bpm + 1, np.linspace(0.3, 0.95, seconds))


def test_a_long_recording_has_a_curve():
    output = SimpleNamespace(
        bpm=72.0, bpm_uncertainty=0.2, confidence=0.8, reason=None, sampling_rate=12.0,
        bvp=np.cos(2 * np.pi * 1.2 * np.arange(240) / 12), times=np.arange(240) / 12,
        field=np.stack([pulse_field(s) for s in (0, 4, 8, 12)]),
        sheet=np.zeros((4, 64, 384, 3)), curve=make_curve(20),
        windows=[
            SimpleNamespace(start=s, end=s + 8, bpm=70.0 + s, confidence=0.2 * s / 4 + 0.2,
                            crop=(0, 0, 64, 48))
            for s in (0, 4, 8, 12)
        ],
    )  # fmt: skip
    axes = {one.get_title(loc="left"): one for one in plots.plot_result(output).axes}
    (curve,) = (one for title, one in axes.items() if title.startswith("heart rate (bpm) with"))
    low, high = curve.get_ylim()
    assert 60 < low < 68 and 72 < high < 80  # what is sure sets the limits
    assert any(title.endswith("dots: beats") for title in axes)
    output.curve = make_curve(12)
    titles = [axes.get_title(loc="left") for axes in plots.plot_result(output).axes]
    assert not any(title.startswith("heart rate (bpm) with") for title in titles)
