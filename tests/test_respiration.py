"""The breath in a pulse: known ones are read; silence where modulations disagree or are short."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import run_script
from stand_ins import GEOMETRY, READING

from pulse_plantain import output, reading, respiration, search
from pulse_plantain.bijection import encode_phasor
from pulse_plantain.lab import breathing
from pulse_plantain.sheet import field_to_sheet
from pulse_plantain.windows import ClipWindow

FS = 12.0
BREATH, BPM = 15.0, 72.0


def breathe(times, breath=BREATH):
    """The breath's sine."""
    return np.sin(2 * np.pi * breath / 60 * times)


def make_pulse(amplitude=BREATH, baseline=BREATH, interval=BREATH, seconds=64.0):
    """A pulse whose three modulations breathe at rates of their own."""
    times = np.arange(int(seconds * FS)) / FS
    sway = 0.06 / (2 * np.pi * interval / 60) * np.cos(2 * np.pi * interval / 60 * times)
    phase = 2 * np.pi * BPM / 60 * (times - sway)
    return (1 + 0.2 * breathe(times, amplitude)) * np.cos(phase) + 0.3 * breathe(times, baseline)


def test_a_breath_that_three_modulations_agree_on():
    found = respiration.respiratory_rate(make_pulse(), FS)
    assert found.rate == pytest.approx(BREATH, abs=0.1) and found.reason is None
    assert found.agreement == 1
    for own in (found.amplitude, found.baseline, found.interval):
        assert own == pytest.approx(BREATH, abs=0.3)


def test_each_modulation_is_read_by_itself_and_three_rates_are_none():
    found = respiration.respiratory_rate(make_pulse(11, 17, 24), FS)
    assert found.amplitude == pytest.approx(11, abs=0.5)
    assert found.baseline == pytest.approx(17, abs=0.5)
    assert found.interval == pytest.approx(24, abs=0.5)
    assert np.isnan(found.rate) and found.agreement == 0
    assert found.reason == (
        "the pulse's amplitude, baseline and intervals agree on a breath 0 % of the time; 67 % are "
        "needed"
    )


def test_what_is_too_short_or_still_is_refused():
    short = respiration.respiratory_rate(make_pulse(seconds=59), FS)
    assert np.isnan(short.rate) and short.reason == "59.0 s: a respiratory rate needs 60 s"
    still = respiration.respiratory_rate(np.zeros(720), FS)
    assert np.isnan(still.rate) and still.reason == "only 0 beats in 60 s"


def test_levels_of_windows_are_joined_without_their_offsets():
    times = (np.arange(40 * 12) + 0.5) / FS
    level = 0.02 * breathe(times) + 0.001 * times
    starts = [0.0, 4.0, 8.0, 14.0, 20.0, 26.5, 32.0]
    inside = [(times > start) & (times < start + 8) for start in starts]
    parts = [level[own] - level[own].mean() for own in inside]
    joined = respiration.stitch_levels(parts, starts, FS)
    np.testing.assert_allclose(joined - joined.mean(), level - level.mean(), atol=1e-12)
    gap = respiration.stitch_levels([parts[0], parts[-1]], [0.0, 32.0], FS)
    assert len(gap) == len(level) and np.ptp(np.diff(gap[97:383])) < 1e-9  # a straight line


def draw(breath):
    """Output of a minute of windows in which a heart breathes, and so does the skin."""
    drawn, starts = [], [float(start) for start in range(0, 60, 4)]
    for start in starts:
        window = ClipWindow.blank(start, start + 8, GEOMETRY)
        sway = 0.06 / (2 * np.pi * breath / 60) * np.cos(2 * np.pi * breath / 60 * window.times)
        turn = np.exp(2j * np.pi * BPM / 60 * (window.times - sway))
        pulse = 0.004 * (1 + 0.2 * breathe(window.times, breath)) * turn
        light = pulse.real + 0.002 * breathe(window.times, breath)
        motion = np.broadcast_to((light - light.mean())[:, None, None, None], (96, 8, 4, 3))
        window = replace(window, motion=motion.astype(np.float32))
        sheet = field_to_sheet(encode_phasor(pulse[:, None, None] * np.ones((8, 4))), GEOMETRY)
        image = torch.from_numpy(sheet).float().movedim(-1, 0)[None] * 2 - 1
        glance = reading.Glance(window, search.WHOLE)
        drawn += reading.read_sheets([glance], [image], GEOMETRY)
    read = search.read_drawn(drawn, READING, (0.0, starts[-1] + 8))
    return output.assemble_output(drawn, read, output.Form(0.5))


def test_an_output_has_the_breath_that_was_drawn():
    pulse = draw(BREATH)
    assert pulse.found and len(pulse.baseline) == len(pulse.times) == 64 * 12
    assert pulse.respiratory_rate == pytest.approx(BREATH, abs=0.5)
    assert pulse.respiration().interval == pytest.approx(BREATH, abs=1)
    plain = pulse.to_dict()["respiration"]
    assert plain["rate"] == pulse.respiratory_rate and plain["reason"] is None
    bare = replace(pulse, baseline=None)
    assert np.isnan(bare.respiratory_rate)
    assert bare.respiration().reason == "a sheet without its clip has no baseline"


def test_rendered_hearts_are_read_right_or_not_at_all():
    clean = breathing.sum_up(breathing.measure_hearts(16, 0.0))
    assert clean["answered"] >= 10 and clean["within"] == 1 and clean["mae"] < 0.3
    noisy = breathing.sum_up(breathing.measure_hearts(16, 1.0))
    assert noisy["answered"] <= 3 and noisy["alone"]["amplitude"]["within"] < 0.6


def write_finger(folder, breath):
    """A recording in the layout of the Welltory PPG data set, of a heart that breathes."""
    folder.mkdir(parents=True)
    times = np.arange(80 * 30) / 30
    sway = 0.06 / (2 * np.pi * breath / 60) * np.cos(2 * np.pi * breath / 60 * times)
    phase = 2 * np.pi * BPM / 60 * (times - sway)
    pulse = (1 + 0.2 * breathe(times, breath)) * np.cos(phase) + 0.3 * breathe(times, breath)
    beats = np.interp(np.arange(0, phase[-1], 2 * np.pi), phase, times)
    rows = [f"{1000 * t:.0f},{200 - value:.4f},0,0" for t, value in zip(times, pulse, strict=True)]
    (folder / "PPG.csv").write_text("\n".join(["time,R,G,B", *rows]) + "\n")
    words = [f"{1000 * interval:.0f}" for interval in np.diff(beats)]
    (folder / "RR.txt").write_text(" ".join(words))


def test_finger_recordings_are_compared_with_the_strap(tmp_path, capsys):
    write_finger(tmp_path / "data" / "subject_01", 14.0)
    (row,) = breathing.measure_fingers(tmp_path / "data")
    assert row.reference == pytest.approx(14, abs=0.3)
    assert row.found.rate == pytest.approx(14, abs=0.3)
    argv = ["--fingers", tmp_path / "none", "--count", 2, "--out", tmp_path / "a.json"]
    assert run_script("measure_breath", *argv) == 2
    assert "no folders with PPG.csv and RR.txt" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()
