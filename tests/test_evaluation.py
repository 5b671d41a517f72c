"""The protocol of lab/evaluation.py on small clips with a known pulse, and its figures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recordings import FPS, SECONDS, fake_pipe

from pulse_plantain.lab import evaluation, summary
from pulse_plantain.lab.evaluation import Models
from pulse_plantain.video import ClipError


def test_skin_trace_is_that_of_the_masked_pixels(folder):
    recording = evaluation.open_rendered_clips(folder)[0]
    rgb, sampling_rate = evaluation.read_skin_trace(recording)
    assert sampling_rate == pytest.approx(FPS, rel=1e-3)
    assert len(rgb) == FPS * SECONDS
    assert rgb.mean(axis=0) == pytest.approx([180, 120, 100], abs=4)
    whole, _ = evaluation.read_skin_trace(evaluation.Recording("all", recording.path, "0"))
    assert whole.mean(axis=0)[0] == pytest.approx(90 + 90 * np.pi * 22**2 / 64**2, abs=3)


def test_a_mask_without_skin_is_named_and_its_folder_is_not(folder, tmp_path):
    recording = evaluation.open_rendered_clips(folder)[0]
    mask = tmp_path / "dark.png"
    Image.new("L", (8, 8)).save(mask)
    with pytest.raises(ClipError, match=r"^dark\.png shows no skin$"):
        evaluation.read_skin_trace(replace(recording, mask=mask))


def test_classical_methods_read_the_rendered_rates(folder):
    for recording in evaluation.open_rendered_clips(folder):
        for row in evaluation.measure_with_classics(recording, ["green", "chrom", "pos"]):
            assert row["bpm"] == pytest.approx(recording.bpm, abs=1.0)
            assert row["answered"] and row["snr"] > 3 and row["macc"] > 0.6
            assert row["subject"] == str(int(recording.name) // 2)


def test_rows_tell_the_guess_and_whether_it_was_given(folder, tmp_path):
    recordings = evaluation.open_rendered_clips(folder)
    cache = {"pulse": tmp_path / "pulse.jsonl"}
    rows = evaluation.measure_all(recordings, ["pulse"], Models(lambda: fake_pipe), cache)
    assert [row["bpm"] for row in rows] == [70, 90, 70, 90]
    assert [row["answered"] for row in rows] == [True, False, True, False]
    figures = summary.summarise(rows, null_rows=rows)["pulse"]
    assert figures["forced"]["mae"] == pytest.approx((0 + 3 + 48.5 + 29) / 4)
    assert figures["forced"]["within"] == 0.5
    assert figures["answered"]["mae"] == pytest.approx(48.5 / 2)
    assert figures["answered"]["within"] == 0.25  # an abstention is a miss
    assert figures["answered"]["coverage"] == 0.5
    assert figures["mae_at_coverage"]["0.5"] == pytest.approx(48.5 / 2)
    assert figures["null"] == {"n": 4, "abstained": 0.5}
    low, high = figures["forced"]["interval"]["mae"]
    assert low <= figures["forced"]["mae"] <= high
    assert "| pulse | 4 | 20.12 ± " in summary.format_figures({"pulse": figures})


def test_row_of_the_pipeline_itself_is_plain_numbers(folder, tiny_pipe):
    recording = evaluation.open_rendered_clips(folder)[0]
    row = json.loads(json.dumps(evaluation.measure_with_pipeline(recording, tiny_pipe)))
    assert [(w["start"], w["end"]) for w in row["windows"]] == [(0.0, SECONDS)]
    assert 0 <= row["confidence"] <= 1 and row["reference"] == 70
    assert row["answered"] == (row["reason"] is None)
    guess = tiny_pipe(**recording.source()).guess
    assert 36 < guess < 204 and row["bpm"] == pytest.approx(guess, abs=1e-3)


def test_finished_rows_are_not_measured_again(folder, tmp_path):
    recordings = evaluation.open_rendered_clips(folder)
    cache = {"pulse": tmp_path / "p.jsonl", "green": tmp_path / "g.jsonl"}
    methods = ["pulse", "green"]
    first = evaluation.measure_all(recordings[:2], methods, Models(lambda: fake_pipe), cache)
    with cache["pulse"].open("a") as file:
        file.write('{"recording": "0002", "meth')  # the line at which a run was killed
        file.write("\n")
    asked = []

    def counting(clip):
        asked.append(Path(clip).stem)
        return fake_pipe(clip)

    rows = evaluation.measure_all(recordings, methods, Models(lambda: counting), cache)
    assert asked == ["0002", "0003"]
    assert rows[:4] == first
    assert [(row["recording"], row["method"]) for row in rows] == [
        (f"{n:04d}", method) for n in range(4) for method in methods
    ]


def test_recording_that_cannot_be_read_is_a_row_with_a_reason(folder, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((folder / "0000.mp4").read_bytes()[:2000])
    cache = {m: tmp_path / f"{m}.jsonl" for m in ("pos", "pulse")}
    recordings = evaluation.find_videos(tmp_path)

    def pipe(clip):
        raise ClipError(f"{clip}: broken")

    rows = evaluation.measure_all(recordings, ["pos", "pulse"], Models(lambda: pipe), cache)
    assert [row["answered"] for row in rows] == [False, False]
    assert all(np.isnan(row["bpm"]) and "broken" in row["reason"] for row in rows)
    assert not any(str(tmp_path) in row["reason"] for row in rows)


def test_figures_by_stratum():
    def row(subject, bpm, light, bit_rate):
        its = {"light": light, "bit_rate": bit_rate, "codec": "h264"}
        known = {"reference": 70.0, "answered": bpm < 80, "confidence": 0.5, "strata": its}
        return {"method": "pos", "subject": subject, "bpm": bpm} | known

    rows = [row(str(n), 70.0 + n, "dim" if n > 7 else "bright", 1e5 * n) for n in range(12)]
    strata = summary.summarise_strata(rows)
    assert sorted(strata) == ["bit_rate", "light"]  # one codec only: nothing to tell apart
    bright, dim = (strata["light"][level] for level in ("bright", "dim"))
    assert bright["forced"]["n"] == 8 and bright["forced"]["mae"] == 3.5 and bright["subjects"] == 8
    assert dim["forced"]["within"] == 0 and dim["answered"]["coverage"] == 0.5
    assert dim["answered"]["mae"] == 8.5
    low, high = dim["forced"]["interval"]["mae"]
    assert 8 <= low < 9.5 < high <= 11
    low, high = bright["forced"]["interval"]["within"]
    assert low < 0.5 < high and strata["light"]["dim"]["forced"]["interval"]["within"] == (0, 0)
    assert [level["forced"]["n"] for level in strata["bit_rate"].values()] == [3, 3, 3, 3]
