"""The figures of a measurement: the wheel, the four pictures of a beat, the curve."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
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


def make_output():
    return SimpleNamespace(
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


def list_titles(figure):
    """Figures by their titles, in one line each."""
    return {axes.get_title(loc="left").replace("\n", " "): axes for axes in figure.axes}


def test_a_long_recording_has_a_curve():
    output = make_output()
    axes = list_titles(plots.plot_result(output))
    (curve,) = (one for title, one in axes.items() if title.startswith("heart rate (bpm) with"))
    low, high = curve.get_ylim()
    assert 60 < low < 68 and 72 < high < 80  # what is sure sets the limits
    assert any(title.endswith("dots: beats") for title in axes)
    output.curve = make_curve(12)
    titles = [axes.get_title(loc="left") for axes in plots.plot_result(output).axes]
    assert not any(title.startswith("heart rate (bpm) with") for title in titles)


def test_without_a_pulse_nothing_looks_like_one():
    output = make_output()
    assert "spectrum" in list_titles(plots.plot_result(output))
    output.bpm, output.reason = np.nan, "no pulse found: confidence 0.31 is below 0.80"
    axes = list_titles(plots.plot_result(output))
    assert "spectrum" not in axes and not any("beats" in title for title in axes)
    trace = axes["what was drawn, AC/DC (%)"]
    assert trace.lines[0].get_color() == plots.LIGHT.faint
    assert not any("one beat" in title for title in axes)


def measure_contrast(one, other):
    """Ratio of two colours' luminances as WCAG 2 defines it, from 1 to 21."""

    def weigh(colour):
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    dark, light = sorted((weigh(one), weigh(other)))
    return light / dark


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_the_paper(dark):
    figure = plots.plot_result(make_output(), style=plots.choose_style(dark, narrow=False))
    paper = figure.get_facecolor()
    assert (sum(to_rgb(paper)) < 0.3) == dark
    for axes in figure.axes:
        assert axes.get_facecolor() == paper
        words = [*axes.texts, axes.xaxis.label, axes.title, *axes.get_xticklabels()]
        words += [axes._left_title, *axes.get_yticklabels()]
        for text in filter(Text.get_text, words):
            assert measure_contrast(text.get_color(), paper) > 4.5, text.get_text()


@pytest.mark.parametrize("pulse", [True, False])
def test_figures_fit_the_screen_they_are_for(pulse):
    """Letters of 8 points are 10 px high or more, and nothing lies over anything else."""
    output, pictures = make_output(), [(0.1 * n, np.zeros((48, 64, 3), np.uint8)) for n in range(4)]
    if not pulse:
        output.bpm, output.reason = np.nan, "no pulse found"
    for narrow, shown in ((False, 860), (True, 350)):
        style = plots.choose_style(False, narrow)
        figure = plots.plot_result(output, pictures, style=style)
        width, height = figure.get_size_inches()
        assert 8 / 72 * shown / width > 9
        assert narrow or height / width * shown < 700
        figure.canvas.draw()
        boxes = [axes.get_tightbbox() for axes in figure.axes if axes.axison]
        assert len(boxes) == 4 if pulse else 3
        for number, box in enumerate(boxes):
            assert box.x0 >= 0 and box.x1 <= figure.bbox.width, number
            for other in boxes[:number]:
                assert not box.shrunk(0.999, 0.999).overlaps(other), number
