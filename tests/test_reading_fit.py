"""Numbers of the reading that are fitted: to clips, to hearts, and how they are judged."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_script
from stand_ins import NONE, READING

from pulse_plantain import posterior
from pulse_plantain.lab import calibration, photographs, reading_fit, reliability, signs
from pulse_plantain.lab.painted import FaceTrace, paint, read_face_traces, sum_up
from pulse_plantain.posterior import Witness
from pulse_plantain.video import ClipError


def make_evidence(number, bpm, noise):
    """8 s of six sources that show a rate (None: nothing) in noise."""
    dice = np.random.default_rng(number)
    times = np.arange(96) / 12
    witnesses = []
    for source in range(6):
        trace = noise * (dice.standard_normal((2, 96)) * [[1], [1j]]).sum(0)
        level = -9.0 if bpm is None else -6.0
        if bpm:
            trace = trace + np.exp(2j * np.pi * bpm / 60 * times)
        lines = posterior.find_lines(trace, 12.0)
        signs = np.array([posterior.to_log_odds(lines.max()), level + dice.normal(), *NONE])
        witnesses.append(Witness(0.0, 8.0, str(source), lines, signs))
    rates = np.full(8, np.nan if bpm is None else bpm)
    return reading_fit.Evidence(f"clip-{number}", witnesses, 8.0, rates)


@pytest.fixture(scope="module")
def evidence():
    dice = np.random.default_rng(0)
    some = [make_evidence(n, dice.uniform(50, 150), dice.uniform(0.4, 1.3)) for n in range(24)]
    return some + [make_evidence(100 + n, None, 1.0) for n in range(16)]


def test_a_sign_that_is_known_of_no_clip_does_no_harm(evidence):
    def forget(witness):
        return replace(witness, signs=np.append(witness.signs[:-1], np.nan))

    faceless = [replace(one, witnesses=[*map(forget, one.witnesses)]) for one in evidence[::8]]
    fitted = reading_fit.Fit(faceless, READING).run(2)
    assert (fitted.mean[-1], fitted.spread[-1]) == (0.0, 1.0)
    assert all(np.isfinite(value).all() for value in fitted.to_dict().values())


def test_the_fit_learns_what_tells_a_pulse_from_none(evidence):
    none = (0.0,) * len(READING.trust)
    flat = replace(READING, trust=none, silence=none)
    fit = reading_fit.Fit(evidence[::2], flat)
    before = sum(part.item() for part in fit.losses())
    fitted = fit.run(40, 0.1)
    assert sum(part.item() for part in fit.losses()) < before - 0.3
    assert fitted.trust[1] > 0.1 and fitted.silence[2] < -0.3  # the line; the amplitude
    assert all(value <= 0 for value in fitted.trust[6:-1]) and fitted.trust[-1] >= 0
    assert fitted.doubt > 0
    rows = reading_fit.judge(evidence[1::2], fitted)
    beating = [row for row in rows if row["reference"]]
    silent = [row for row in rows if not row["reference"]]
    assert np.mean([abs(row["bpm"] - row["reference"]) <= 3 for row in beating]) > 0.8
    assert max(row["confidence"] for row in silent) < np.median([r["confidence"] for r in beating])


def test_a_fit_in_parts_is_the_fit_at_once(evidence, monkeypatch):
    """Neither the loss nor its slopes depend on how many clips are held at once."""
    sums, slopes = [], []
    for held in (7, 10_000):
        monkeypatch.setattr(reading_fit, "_AT_ONCE", held)
        fit = reading_fit.Fit(evidence, READING)
        parts = list(fit.losses())
        values = list(fit.values.values())
        assert len(parts) == 1 + int(np.ceil(len(fit.cases) / held))
        sums.append(sum(part.item() for part in parts))
        slope = torch.autograd.grad(torch.stack(parts).sum(), values)
        slopes.append(torch.cat([one.ravel() for one in slope]))
    assert abs(sums[0] - sums[1]) < 1e-4 * sums[1]
    assert torch.allclose(*slopes, rtol=1e-3, atol=1e-5) and slopes[0].abs().max() > 0.01


def make_long(number, bpm, beside):
    """A minute of six drawings that show a line, which is a pulse's (bpm) or a light's (None).

    Each has the sign of the background at about ``beside``.
    """
    dice = np.random.default_rng(number)
    times = np.arange(96) / 9.6
    witnesses = []
    for window in range(6):
        trace = 0.6 * (dice.standard_normal((2, 96)) * [[1], [1j]]).sum(0)
        trace = trace + np.exp(2j * np.pi * (bpm or 55 + number) / 60 * times)
        lines = posterior.find_lines(trace, 9.6)
        signs = np.zeros(len(posterior.SIGNS))
        signs[:2] = posterior.to_log_odds(lines.max()), -6.5
        signs[posterior.SIGNS.index("background")] = beside + 0.5 * dice.normal()
        witnesses.append(Witness(10.0 * window, 10.0 * (window + 1), "face", lines, signs))
    rates = np.full(60, np.nan if bpm is None else bpm)
    return reading_fit.Evidence(f"long-{number}", witnesses, 60.0, rates)


def test_the_fit_learns_to_tell_a_pulse_from_a_light_that_stays_as_long():
    pulses = [make_long(n, 60.0 + 3 * n, -1.0) for n in range(20)]
    lights = [make_long(40 + n, None, 1.0) for n in range(20)]
    weights = reading_fit.Fit(pulses[::2] + lights[::2], READING).run(80, 0.1)
    rows = calibration.judge_seconds(pulses[1::2] + lights[1::2], weights, 0.8)
    figures = calibration.summarise_seconds(rows, 0.8)
    assert figures["with_pulse"] == figures["without_pulse"] == 10
    assert figures["answered_seconds"] > 0.7 and figures["right_of_answers"] == 1
    assert figures["answered_seconds_without_pulse"] < 0.1
    assert figures["right"] == figures["answered"] >= 8 and figures["mae_bpm_of_answers"] < 1
    assert figures["answered_without_pulse"] <= 1
    assert sum(row["with_pulse"] + row["without"] for row in rows) == 20 * 60


def test_long_clips_are_fitted_to_and_judged_by_the_half_that_did_not_see_them(
    evidence, tmp_path, monkeypatch
):
    fitted = []

    class SeenFit:
        def __init__(self, clips, start):
            fitted.append({clip.name for clip in clips})

        def run(self):
            return READING

    minutes = [make_long(n, 60.0, -1.0) for n in (1, 2, 4, 6)]
    folders = {"short": evidence[:6], "long": minutes}
    monkeypatch.setattr(calibration, "Fit", SeenFit)
    monkeypatch.setattr(calibration, "name_evidence", lambda kept, adapter: kept)
    monkeypatch.setattr(calibration, "collect_folder", lambda pipe, folder, _: folders[folder.name])
    found = calibration.calibrate(
        None, tmp_path, [Path("short")], tmp_path, long=[Path("long")], min_confidence=0.8
    )
    assert len(found.rows) == 6 and len(found.long) == 4
    assert fitted[0] | fitted[1] == fitted[2] and not fitted[0] & fitted[1]
    assert [row["name"] for row in found.long] == ["long-1", "long-2", "long-4", "long-6"]
    assert {"long-1"} == {name for name in fitted[1] if "long" in name}  # judged by the first fit
    numbers = [{int(name.rsplit("-", 1)[1]) % 2 for name in half} for half in fitted[:2]]
    assert numbers == [{0}, {1}]  # clips of one heart are in one half
    assert fitted[2] == {clip.name for clip in [*evidence[:6], *minutes]}


@pytest.mark.parametrize(
    ("folder", "clip", "half"),
    [
        ("camera-2", "camera-validation-10000001", 1),
        ("long", "journey-camera-validation-10004006", 0),
        ("photographs", "photograph-0003-img_2", 1),
        ("mine", "face", 0),
    ],
)
def test_a_clip_s_half_is_that_of_its_number(folder, clip, half):
    one = reading_fit.Evidence(f"{folder}-{clip}", [], 10.0, np.full(10, np.nan))
    assert calibration.find_half(one, folder) == half


def test_evidence_is_kept_whole(evidence, tmp_path):
    one = replace(
        evidence[0],
        witnesses=[replace(w, source=((0.0, 0.0, 1.0, 1.0), 8.0)) for w in evidence[0].witnesses],
        upheavals=[2.5, 3.0],
    )
    one.save(tmp_path / "clip-0.npz")
    again = reading_fit.Evidence.load(tmp_path / "clip-0.npz")
    assert again.name == "clip-0" and again.seconds == 8
    np.testing.assert_allclose(again.witnesses[3].lines, one.witnesses[3].lines, atol=1e-6)
    np.testing.assert_array_equal(again.rates, one.rates)
    assert again.upheavals == [2.5, 3.0]


def test_where_all_may_begin_anew_the_fit_and_its_judges_know(evidence):
    minute = make_long(3, 70.0, -1.0)
    halves = [replace(w, lines=np.roll(w.lines, 40 * (w.start >= 30))) for w in minute.witnesses]
    seconds, step = np.arange(60), posterior.RATES[40] / posterior.RATES[0]
    jump = replace(minute, witnesses=halves, rates=np.where(seconds < 30, 70.0, 70.0 * step))
    cut = replace(jump, upheavals=[30.0])
    losses = [
        sum(part.item() for part in reading_fit.Fit([one], READING).losses()) for one in (jump, cut)
    ]
    assert losses[1] < losses[0] - 0.01
    for judge in (reading_fit.judge, lambda some, _: calibration.judge_seconds(some, READING, 0.5)):
        rows = [judge([one], READING)[0] for one in (jump, cut)]
        assert rows[0]["confidence"] != rows[1]["confidence"]


def test_a_clip_that_was_made_anew_is_drawn_anew(evidence, tmp_path, monkeypatch):
    folder, drawn = tmp_path / "clips", []
    folder.mkdir()
    (folder / "one.json").write_text('{"bpm": 0}')
    (folder / "one.mp4").touch()
    witnesses = [replace(evidence[0].witnesses[0], source=((0.0, 0.0, 1.0, 1.0), 8.0))]
    monkeypatch.setattr(
        reading_fit,
        "collect",
        lambda pipe, clip: drawn.append(clip.name) or (witnesses, 8.0, [3.5]),
    )
    for _ in range(2):
        (found,) = reading_fit.collect_folder(None, folder, tmp_path / "kept")
        assert found.name == "clips-one" and drawn == ["one.mp4"] and found.upheavals == [3.5]
    kept = (tmp_path / "kept" / "clips-one.npz").stat().st_mtime
    os.utime(folder / "one.mp4", (kept + 10, kept + 10))
    list(reading_fit.collect_folder(None, folder, tmp_path / "kept"))
    assert drawn == ["one.mp4"] * 2


def test_where_there_is_no_pulse_every_rate_is_true_that_no_heart_has(evidence):
    cases = reading_fit.Fit([evidence[0], evidence[-1]], READING).cases
    beating, still = cases[0].target[0], cases[3].target[0]
    hearts = np.isin(np.arange(still.shape[1]), posterior.HEARTS)
    np.testing.assert_array_equal(still, np.tile(~hearts, (8, 1)))
    assert int(beating.argmax(1)[0]) in posterior.HEARTS and not beating[:, -1].any()


def test_there_is_no_rate_where_there_is_no_pulse_and_where_nobody_is():
    truth = {"bpm": 72.0, "times": np.arange(0, 20.1, 0.25).tolist(), "rate": [72.0] * 80}
    np.testing.assert_allclose(reading_fit.read_rates(truth, 20), 72.0)
    gone = reading_fit.read_rates(truth | {"away": [6.0, 11.0]}, 20)
    assert np.flatnonzero(np.isnan(gone)).tolist() == [6, 7, 8, 9, 10]
    assert np.isnan(reading_fit.read_rates(truth | {"bpm": 0.0}, 20)).all()


def test_what_is_seen_of_drawings_is_said_in_plain_units(evidence):
    clear, faint = make_evidence(1, 80.0, 0.1), make_evidence(2, None, 1.0)
    seen = signs.see_clip(clear.witnesses, (77, 83), READING)
    assert (seen["drawings"], seen["between the rates"]) == (6, 6)
    figures = seen["figures"]
    assert figures["line"] > 0.9 and 1e-3 < figures["amplitude"] < 6e-3  # exp(-6) = 0.0025
    assert figures["agreement"] == 0.5 and figures["background"] == 1 and figures["red"] == 0
    assert signs.see_clip(clear.witnesses, (100, 200), READING)["figures"] == {}
    little = signs.see_clip(faint.witnesses, (36, 204), READING)["figures"]
    assert little["line"] < 0.5 and little["amplitude"] < 1e-3
    assert little["trust"] < 0.5 < figures["trust"] and figures["against"] < 0.1
    assert figures["lit"] == pytest.approx(np.exp(-6))  # READING has no sign of it

    unseen = replace(clear, witnesses=[])
    groups = signs.see_fitted([*evidence, unseen], READING)
    beating, none = groups["with a pulse"], groups["without"]
    assert (beating["clips"], none["clips"]) == (24, 16)
    for name, low in (("line", none), ("amplitude", none), ("against", beating)):
        high = none if low is beating else beating
        assert low["figures"][name][1] < high["figures"][name][1]
    first, middle, last = beating["figures"]["line"]
    assert first < middle < last


def test_signs_need_what_was_drawn_for_the_fit(tmp_path, capsys):
    assert run_script("measure_signs", "a.mp4", "--rates", 50, 60, "--kept", tmp_path) == 2
    assert "run calibrate.py first" in capsys.readouterr().err


def test_thinned_clips_have_all_some_and_one_of_the_sources(evidence):
    kept = [(len(chosen), weight) for _, chosen, weight in reading_fit.thin(evidence[:1])]
    assert kept == [(6, 1.0), (6, 0.5), (1, 0.25)]


def test_the_walk_of_a_heart_is_that_of_its_logarithm():
    dice = np.random.default_rng(0)
    step = 0.01
    intervals = []
    for _ in range(20):
        logs = np.cumsum(step * dice.standard_normal(400))
        intervals.append(np.exp(-logs))  # one beat a second: the walk's own clock, nearly
    assert reading_fit.fit_walk(intervals) == pytest.approx(step, rel=0.25)
    assert reading_fit.fit_walk([np.ones(100)]) == pytest.approx(0, abs=1e-9)


def test_confidence_is_compared_with_the_share_that_is_right():
    rows = [{"bpm": 70.0, "reference": 71.0, "confidence": 0.95}] * 9
    rows += [{"bpm": 70.0, "reference": 90.0, "confidence": 0.95}]
    rows += [{"bpm": 70.0, "reference": 0.0, "confidence": 0.25}] * 10
    found = reliability.compare_confidences(rows)
    assert found["bins"] == [
        {"clips": 10, "confidence": pytest.approx(0.25), "right": 0.0},
        {"clips": 10, "confidence": pytest.approx(0.95), "right": pytest.approx(0.9)},
    ]
    assert found["calibration_error"] == pytest.approx(0.15)
    figures = calibration.summarise(rows, 0.8)
    assert figures["answered"] == 1 and figures["answered_without_pulse"] == 0
    assert figures["mae_bpm"] == pytest.approx(2.9)


def test_photographs_are_held_under_each_kind_of_light():
    dice = np.random.default_rng(0)
    picture = dice.integers(40, 200, (316, 421, 3), dtype=np.uint8)

    def measure(seed):
        frames = [frame for _, frame in photographs.hold_photograph(picture, seed, 8.0)]
        mean = np.array([frame.mean() for frame in frames])
        spectrum = np.abs(np.fft.rfft(mean / mean.mean() - 1)) ** 2
        return mean.std() / mean.mean(), spectrum[6:25].max() / spectrum[1:].sum(), frames

    steady, fluttering, beating = (measure(seed) for seed in (0, 1, 2))
    assert steady[0] < 2e-4 < min(fluttering[0], beating[0])
    assert beating[1] > 0.5 > fluttering[1]
    still = np.abs(np.diff(np.array(steady[2][:2], float), axis=0)).mean()
    shaken = np.abs(np.diff(np.array(measure(3)[2][:2], float), axis=0)).mean()
    assert shaken > 1.2 * still
    assert steady[2][0].shape == (240, 320, 3) and len(steady[2]) == 240


def test_clips_of_photographs_are_written_once_with_their_truth(tmp_path):
    from PIL import Image

    source = tmp_path / "pictures"
    source.mkdir()
    Image.new("RGB", (50, 80), (120, 90, 70)).save(source / "wall.png")
    (source / "notes.txt").write_text("no picture")
    paths = photographs.find_photographs(source)
    photographs.render_photographs(tmp_path / "out", paths, 1, 1.0)
    (clip,) = (tmp_path / "out").glob("*.mp4")
    truth = json.loads(clip.with_suffix(".json").read_text())
    assert clip.name == "photograph-0000-wall.mp4" and truth["bpm"] == 0
    stamp = clip.stat().st_mtime_ns
    photographs.render_photographs(tmp_path / "out", paths, 1, 1.0)
    assert clip.stat().st_mtime_ns == stamp
    with pytest.raises(ClipError, match="no photographs"):
        photographs.find_photographs(tmp_path)


def test_a_painted_trace_has_its_colours_and_its_reference(tmp_path):
    time = np.arange(0, 20, 1 / 60)
    rgb = np.array([150.0, 100, 90]) + np.cos(2 * np.pi * 1.25 * time)[:, None] * [0.1, 0.4, 0.2]
    arrays = {"time": time, "rgb": rgb, "ppg_time": time, "ppg": np.cos(2 * np.pi * 1.25 * time)}
    np.savez(tmp_path / "person-x.npz", **arrays)
    (trace,) = read_face_traces(tmp_path)
    assert isinstance(trace, FaceTrace) and trace.name == "person-x"
    assert trace.read_reference(4.0, 8.0) == pytest.approx(75, abs=0.3)
    pictures = np.stack(list(paint(trace.cut(4.0, 2.0))))
    assert pictures.shape == (60, 192, 192, 3)
    np.testing.assert_allclose(
        pictures[:, 80:100, 86:106].mean((0, 1, 2)), [150, 100, 90], atol=0.2
    )
    np.testing.assert_allclose(pictures[:, :9, :9].mean((0, 1, 2)), [90, 100, 110], atol=0.2)
    rows = [{"bpm": 75.0, "reference": 74.0, "pos": 90.0, "answered": True}]
    assert sum_up(rows)["within_3_bpm"] == 1 and sum_up(rows)["pos_within_3_bpm"] == 0
    with pytest.raises(ClipError, match="no traces"):
        read_face_traces(tmp_path / "none")
