"""The forms of a measurement: dict, text, sheet PNG, beats, HRV, estimators, and silence."""

import json
import re
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from stand_ins import GEOMETRY, READING

from pulse_plantain import output, reading, search
from pulse_plantain.bijection import encode_phasor
from pulse_plantain.sheet import field_to_sheet
from pulse_plantain.video import ClipError
from pulse_plantain.windows import ClipWindow

BPM = 72.0


SCHEMA = json.loads((ROOT / "docs" / "schema" / "pulse.json").read_text())
UNITS = SCHEMA["properties"]["units"]["properties"]

WINDOWS = ((0.0, 8.0), (4.0, 12.0))


def assemble(
    amplitude=0.005,
    windows=WINDOWS,
    members=1,
    gap=None,
    shots=(),
    keep=True,
    form=None,
    **more,
):
    """The output of some windows that were drawn, in which everything beats at BPM."""
    clips = [ClipWindow.blank(start, end, GEOMETRY) for start, end in windows]
    if gap is not None:
        clips = [replace(clip, longest_gap=gap) for clip in clips]
    turns = [np.exp(2j * np.pi * BPM / 60 * clip.times) for clip in clips]
    fields = np.stack([amplitude * turn[:, None, None] * np.ones((8, 4)) for turn in turns])
    sheets = field_to_sheet(encode_phasor(fields), GEOMETRY)
    images = torch.from_numpy(sheets).float().movedim(-1, 1) * 2 - 1
    glances = [reading.Glance(clip, search.WHOLE) for clip in clips]
    drawn = reading.read_sheets(glances, [images] * members, GEOMETRY, keep_sheets=keep)
    for number, (start, end) in enumerate(windows):
        cuts = tuple(time for time in shots if start < time < end)
        drawn[number] = replace(drawn[number], upheavals=cuts)
    read = search.read_drawn(drawn, READING, (windows[0][0], windows[-1][1]))
    return output.assemble_output(drawn, read, form or output.Form(0.8), **more)


@pytest.fixture(scope="module")
def found():
    """A minute that beats."""
    return assemble(windows=[(float(start), start + 8.0) for start in range(0, 56, 4)])


def test_a_dict_is_plain_json_and_what_is_no_number_is_null(found):
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["bpm"] == pytest.approx(BPM, abs=0.4) and plain["reason"] is None
    assert len(plain["bvp"]) == len(plain["times"]) == 60 * 12
    jsonschema.validate(plain, SCHEMA)
    assert plain["units"] == {name: own["const"] for name, own in UNITS.items()}
    assert plain["windows"][0]["crop"] == [0, 0, 384, 64]
    assert 0 < plain["windows"][0]["bpm_uncertainty"] < 1.5
    assert plain["hrv"]["rmssd"] < 6 and plain["hrv"]["pnn50"] is None
    assert plain["curve"].keys() == {"times", "bpm", "low", "high", "confidence"}
    assert len(plain["curve"]["bpm"]) == 60 and plain["bpm_uncertainty"] > 0
    silent = json.loads(json.dumps(assemble(amplitude=0.0).to_dict(), allow_nan=False))
    jsonschema.validate(silent, SCHEMA)
    assert silent["beats"] == [] and silent["respiration"]["reason"] == "there is no pulse"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**silent, "bananas": 1}, SCHEMA)
    assert silent["bpm"] is None and silent["bpm_uncertainty"] is None
    assert "no periodic pulse" in silent["reason"]


def test_the_text_is_what_a_person_reads(found):
    lines = found.to_text().splitlines()
    assert lines[0] == f"heart rate  {found.bpm:.1f} bpm ± {found.bpm_uncertainty:.1f}"
    window = found.windows[0]
    expected = ["0.0", "-", "8.0", f"{window.bpm:.1f}", f"{window.confidence:.2f}"]
    assert lines[4].split() == expected and window.bpm == pytest.approx(BPM, abs=0.5)
    faint = assemble(amplitude=1e-5)
    assert faint.to_text().splitlines()[0] == f"no pulse found: {faint.short_reason}"
    assert faint.short_reason.startswith(f"confidence {faint.confidence:.2f} is below 0.80; ")


def test_why_there_is_no_rate():
    assert "interrupted" in assemble(interrupted=True).reason
    assert "no new picture for 0.6 s" in assemble(gap=0.6).reason
    assert assemble(gap=0.4).reason is None
    assert "does not look like a pulse" in assemble(amplitude=1e-5).reason
    unsure = assemble(form=output.Form(1.01)).reason
    assert re.fullmatch(r"no pulse found: .*; it may be anything from 7[12] to 7[23] bpm", unsure)


def test_a_span_of_a_longer_recording_is_read_by_its_own_windows():
    windows = [(float(start), start + 8.0) for start in range(0, 24, 4)]
    part = assemble(windows=windows, span=(12.0, 28.0))
    assert [window.start for window in part.windows] == [12, 16, 20]
    assert part.bpm == pytest.approx(BPM, abs=0.4) and len(part.curve.times) == 28


def test_a_saved_sheet_is_read_back_with_its_times(found, tmp_path):
    path = tmp_path / "sheet.png"
    found.save_sheet(path)
    image, spans = output.read_sheet(path)
    assert image.size == (384, 64 * 14)
    assert spans == [(window.start, window.end) for window in found.windows]
    np.testing.assert_array_equal(np.asarray(image), np.asarray(found.sheet_image()))
    Image.new("RGB", (384, 64)).save(path)
    assert output.read_sheet(path)[1] is None
    path.write_text("no picture")
    with pytest.raises(ClipError, match="no picture that can be read"):
        output.read_sheet(path)
    for times in ("[[0", "7", "[[0, 1, 2]]", '[["a", 1]]', "[" * 100_000):
        text = PngInfo()
        text.add_text(output.SHEET_KEY, times)
        Image.new("RGB", (384, 64)).save(path, format="PNG", pnginfo=text)
        with pytest.raises(ClipError, match="the times of its sheets cannot be read"):
            output.read_sheet(path)
    bare = assemble(keep=False)
    with pytest.raises(ValueError, match="output_sheet=True"):
        bare.save_sheet(path)


def test_sheets_of_another_tool_are_half_a_window_apart():
    assert output.space_evenly(3, 8.0, None) == [(0, 8), (4, 12), (8, 16)]
    assert output.space_evenly(2, 5.0, 1.0) == [(0, 5), (1, 6)]


@pytest.mark.parametrize("method", ["cycles", "fft", "peaks", "phase"])
def test_every_estimator_reads_the_trace(found, method):
    assert found.rate(method) == pytest.approx(BPM, abs=0.3)


def test_an_unknown_estimator_is_named(found):
    with pytest.raises(ValueError, match=r"one of cycles, fft, peaks, phase, got 'guess'"):
        found.rate("guess")


def test_beats_the_curve_and_hrv(found):
    assert len(found.beats) == pytest.approx(72, abs=2)
    np.testing.assert_allclose(np.diff(found.beats), 60 / BPM, atol=0.01)
    # A beat is where the phase is 0: at multiples of the period.
    np.testing.assert_allclose(found.beats * BPM / 60, np.round(found.beats * BPM / 60), atol=0.02)
    curve = found.curve
    assert len(curve.times) == 60 and np.abs(curve.bpm - BPM).max() < 0.5
    assert (curve.confidence[4:-4] > 0.8).all() and (curve.low < curve.high).all()
    figures = found.hrv()
    assert figures.sdnn < 6 and figures.rmssd < 6  # ms: peaks are found on a grid of 4.9 ms
    short = assemble().hrv()
    assert np.isnan(short.sdnn) and "SDNN needs 30 s" in short.reason


def test_without_a_pulse_there_are_no_beats():
    silent = assemble(amplitude=1e-5)
    assert not silent.found and len(silent.beats) == 0
    assert (silent.curve.confidence < 0.5).all()
    assert "only 0 inter-beat intervals" in silent.hrv().reason


def test_an_ensemble_gives_its_spread():
    form = output.Form(0.8, tensors=True, uncertainty=True)
    pulse = assemble(members=3, form=form)
    assert isinstance(pulse.field_uncertainty, torch.Tensor)
    assert pulse.field_uncertainty.shape == (2, 96, 8, 4) and pulse.field_uncertainty.max() < 1e-6


def test_the_windows_are_a_table(found):
    rows = found.windows_table()
    assert len(rows) == 14 and list(rows[0]) == [
        "start", "end", "bpm", "bpm_uncertainty", "confidence", "left", "top", "right", "bottom",
    ]  # fmt: skip
    last = rows[-1]
    assert (last["start"], last["end"]) == (52, 60) and last["bpm"] == pytest.approx(BPM, abs=0.5)
    assert [last[side] for side in ("left", "top", "right", "bottom")] == [0, 0, 384, 64]
    assert {type(value) for value in last.values()} == {float}


def test_a_measurement_is_two_lines_where_it_is_shown(found):
    assert repr(found).splitlines() == [
        f"PulseOutput: {found.bpm:.1f} ± {found.bpm_uncertainty:.1f} bpm, confidence "
        f"{found.confidence:.2f}",
        "  14 windows of 0.0 to 60.0 s, 720 samples at 12 Hz, field (14, 96, 8, 4)",
    ]
    silent = assemble(amplitude=0.0, windows=WINDOWS[:1], form=output.Form(0.8, tensors=True))
    assert str(silent).splitlines() == [
        "PulseOutput: no pulse found, no periodic pulse between 36 and 204 bpm",
        "  1 window of 0.0 to 8.0 s, 96 samples at 12 Hz, field (1, 96, 8, 4)",
    ]
    assert silent.baseline is None


def test_a_clip_of_short_shots_says_where_it_is_cut():
    spans = [(float(start), start + 8.0) for start in range(0, 40, 4)]
    found = assemble(windows=spans, shots=[4.1, 9.0, 12.9, 18.2, 23.0, 27.0, 31.0, 35.0, 39.0])
    assert np.isnan(found.bpm) and found.reason == (
        "no window shows one thing all along: the picture changes altogether at "
        "4, 9, 13, 18, 23 s and later"
    )
    cut = assemble(windows=spans[:2], shots=[6.0])
    assert cut.reason.endswith("altogether at 6 s")
    torn = assemble(windows=spans[:2], shots=[2.0], gap=0.6)  # one of two shows two things
    assert "no new picture for 0.6 s" in torn.reason
    assert assemble(windows=spans, shots=[2.0]).bpm == pytest.approx(BPM, abs=0.4)
