"""Long clips in which things happen, and how what is read of them is judged."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import run_script

from pulse_plantain import loading
from pulse_plantain.lab import long_clips
from pulse_plantain.lab.synthetic import Journey, Recipe, draw_scenes, split_seeds, write_clip
from pulse_plantain.output import RateCurve
from pulse_plantain.video import ClipError, read_frames

SECONDS = 40.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A small clip of a journey, and its truth."""
    (seed,) = split_seeds("camera-test", 1, 9_000)
    path = tmp_path_factory.mktemp("long") / "journey.mp4"
    journey = Journey.draw(seed, SECONDS)
    truth = write_clip(path, seed, SECONDS, True, Recipe((64, 48), "h264", 18.0), "camera", journey)
    return path, journey, truth


def test_things_happen_one_after_the_other():
    for seed in split_seeds("camera-test", 50):
        journey = Journey.draw(seed, 60.0)
        (first, until), (then, last) = sorted([journey.gap, journey.away])
        assert 2 <= first < until < 30 < then < last <= 58
        assert 0.6 <= journey.gap[1] - journey.gap[0] <= 2
        assert 8 <= journey.away[1] - journey.away[0] <= 15
    with pytest.raises(ValueError, match="at least 40 s"):
        Journey.draw(0, 30.0)


def test_the_rate_moves_and_the_person_leaves_and_returns():
    for seed in split_seeds("camera-test", 6):
        scenes = draw_scenes([seed], webcam=True, kinds=False, light="camera")
        journey = Journey.draw(seed, 60.0)
        taken = journey.take(scenes)
        rise = float(taken.heart.bpm(57, 60) - taken.heart.bpm(0, 3))
        assert rise == pytest.approx(journey.rise, abs=6)  # breath and jitter go on
        before = float(scenes.heart.rate) * 60
        assert float(taken.heart.bpm(0, 60)) == pytest.approx(before, abs=3)
        times = torch.arange(0, 60, 0.1)[None]
        gone = taken.camera_light.walk.at(times)[0, 0] - scenes.camera_light.walk.sway[0, 0]
        away = (times[0] > journey.away[0] + 1) & (times[0] < journey.away[1] - 1)
        far = float(scenes.view.aspect + 2.5 * scenes.view.half_face)
        assert (gone[away] > far).all()
        rest = (times[0] < journey.away[0] - 1) | (times[0] > journey.away[1] + 1)
        assert gone[rest].abs().max() < 0.2
    plain = draw_scenes([0], webcam=True, kinds=False)
    with pytest.raises(ValueError, match="camera light"):
        Journey.draw(0, 60.0).take(plain)


def test_a_clip_has_its_gap_and_an_empty_room(clip):
    path, journey, truth = clip
    times = np.array([time for time, _ in read_frames(path)])
    widest = np.diff(times).argmax()
    assert times[widest] == pytest.approx(journey.gap[0], abs=0.15)
    assert times[widest + 1] == pytest.approx(journey.gap[1], abs=0.15)
    assert truth["gap"] == list(journey.gap) and truth["away"] == list(journey.away)
    pictures = {round(time, 1): picture.astype(float) for time, picture in read_frames(path)}
    middle = sum(journey.away) / 2
    empty, near = (
        min(pictures, key=lambda time: abs(time - wanted)) for wanted in (middle, middle + 1.0)
    )
    with_face = min(pictures, key=lambda time: abs(time - (journey.away[1] + 3)))
    left, top, right, bottom = (round(side) for side in truth["face_box"])

    def differ(one, other):
        inside = (slice(top, bottom), slice(left, right))
        return np.abs(pictures[one][inside] - pictures[other][inside]).mean()

    assert differ(empty, with_face) > 3 * differ(empty, near)


def stand_in(clip, timestamps=None):
    """A pipeline that says 70 bpm, surely in the first half of a clip."""
    seconds = SECONDS if timestamps is None else timestamps[-1]
    times = np.arange(0.5, seconds, 1.0)
    even = np.full(len(times), 70.0)
    sure = np.where(times < seconds / 2, 0.95, 0.3)
    curve = RateCurve(times=times, bpm=even, low=even, high=even, confidence=sure)
    whole = timestamps is None
    guess, bpm, confidence = (70.0, 70.0, 0.9) if whole else (71.0, np.nan, 0.5)
    return SimpleNamespace(curve=curve, guess=guess, bpm=bpm, found=whole, confidence=confidence)


def test_curves_are_compared_with_the_truth(clip):
    path, journey, truth = clip
    row = long_clips.measure_journey(stand_in, path)
    there = np.array(row["there"], float)
    inside = (np.array(row["times"]) > journey.away[0]) & (np.array(row["times"]) < journey.away[1])
    assert (there[inside] != 1).all() and 4 <= (there == 0).sum() <= inside.sum()
    assert np.isnan(there).sum() == pytest.approx(4 * long_clips.MARGIN, abs=2)
    assert row["whole"]["bpm"] == 70.0 and row["whole"]["guess"] == 70.0
    known = np.array(truth["rate"])
    assert row["whole"]["reference"] == pytest.approx(known.mean(), abs=8)
    assert [piece["bpm"] for piece in row["pieces"]] == [None] * 4
    assert {piece["guess"] for piece in row["pieces"]} == {71.0}
    with pytest.raises(ClipError, match="journeys"):
        other = path.with_name("other.mp4")
        other.with_suffix(".json").write_text("{}")
        long_clips.measure_journey(stand_in, other)


def make_row(bpm, confidence, whole, pieces=()):
    def one(bpm, guess=70.0):
        return {"reference": 70.0, "bpm": bpm, "guess": guess, "confidence": 0.5}

    return {
        "name": "x",
        "times": [0.5, 1.5, 2.5, 3.5],
        "rates": [70.0, 72.0, 74.0, 76.0],
        "there": [1, 1, None, 0],
        "bpm": bpm,
        "confidence": confidence,
        "whole": one(whole),
        "pieces": [one(piece) for piece in pieces],
    }


def test_figures_are_those_of_the_rows():
    rows = [
        make_row([71.0, 72.0, 99.0, 99.0], [0.9, 0.9, 0.9, 0.9], 90.0, (70.0, None)),
        make_row([70.0, 92.0, 99.0, 99.0], [0.9, 0.1, 0.9, 0.1], 71.0, (90.0,)),
    ]
    figures = long_clips.sum_up(rows, 0.8)
    assert figures["seconds_with_face"] == 4 and figures["answered"] == 0.75
    assert figures["mae_bpm_of_answers"] == pytest.approx(1 / 3)
    assert figures["right_of_answers"] == 1.0 and figures["within_3_bpm_of_all"] == 0.75
    assert figures["mae_bpm_of_all"] == pytest.approx(21 / 4)
    assert figures["seconds_without_face"] == 2 and figures["silent_without_face"] == 0.5
    assert figures["whole"] == {"count": 2, "answered": 2, "right": 1, "guessed_right": 2}
    assert figures["pieces"] == {"count": 3, "answered": 2, "right": 1, "guessed_right": 3}
    assert figures["worse_than_its_pieces"] == 1
    assert figures["astray"] == 0 and figures["mae_bpm_of_the_others"] == pytest.approx(1 / 3)
    false = make_row([90.0, 91.0, 99.0, 99.0], [0.9, 0.9, 0.1, 0.1], 90.0, ())
    more = long_clips.sum_up([*rows, false], 0.8)
    assert more["astray"] == 1 and more["spread_of_astray_bpm"] == 0.5
    assert more["mae_bpm_of_the_others"] == pytest.approx(1 / 3)


def test_the_script_writes_figures_and_curves_and_goes_on(clip, tmp_path, monkeypatch, capsys):
    calls = []

    def measure(pipe, path):
        calls.append(path)
        return make_row([71.0, 72.0, 99.0, 99.0], [0.9] * 4, 70.0, (70.0,))

    config = SimpleNamespace(min_confidence=0.8, reading={"scale": 1.0})
    scripted = SimpleNamespace(config=config)
    monkeypatch.setattr(loading, "load_pipeline", lambda model, adapter: scripted)
    monkeypatch.setattr(long_clips, "measure_journey", measure)
    out = tmp_path / "long.json"
    words = (clip[0].parent, "--kept", tmp_path / "kept", "--out", out)
    (clip[0].parent / "other.json").unlink(missing_ok=True)
    for _ in range(2):
        assert run_script("measure_long", *words) == 0
    assert len(calls) == 1
    config.reading = {"scale": 1.1}  # a reading that was fitted anew reads other rates
    assert run_script("measure_long", *words) == 0
    assert len(calls) == 2
    for kept in (tmp_path / "kept").glob("*/*.json"):
        os.utime(kept, (100, 100))  # older than the clip
    assert run_script("measure_long", *words) == 0
    assert len(calls) == 3
    assert json.loads(out.read_text())["figures"]["clips"] == 1
    assert out.with_suffix(".png").stat().st_size > 5_000
    assert run_script("measure_long", tmp_path / "nothing") == 2
    assert "no clips with ground truth" in capsys.readouterr().err
