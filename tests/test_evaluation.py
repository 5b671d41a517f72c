"""The protocol of rppg/evaluation.py on small clips with a known pulse, and scripts/evaluate.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from pulse_plantain.lab import evaluation, summary
from pulse_plantain.lab.evaluation import Models
from pulse_plantain.video import ClipError
from scripts import calibrate, evaluate

FPS, SECONDS, SIZE = 20, 8, 64


def write_recording(folder, number, bpm):
    """Clip NNNN.mp4 with truth and mask beside it; bpm 0 = no pulse. A disc of skin on grey."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(number)
    times = np.arange(FPS * SECONDS) / FPS
    bvp = np.cos(2 * np.pi * bpm / 60 * times + rng.uniform(0, 6)) * (bpm > 0)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    disc = (x - 32) ** 2 + (y - 32) ** 2 < 22**2
    path = folder / f"{number:04d}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "8"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for value in bvp:
            skin = np.array([180, 120, 100]) * (1 - 0.012 * np.array([0.33, 0.77, 0.53]) * value)
            picture = np.where(disc[..., None], skin, 90) + rng.normal(0, 2, (SIZE, SIZE, 3))
            frame = av.VideoFrame.from_ndarray(np.clip(picture.round(), 0, 255).astype(np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    Image.fromarray(255 * disc.astype(np.uint8)).save(path.with_suffix(".png"))
    truth = {"subject": number // 2, "bpm": bpm, "strata": {"tone": "III"}}
    truth |= {"times": times.tolist(), "bvp": bvp.tolist()}
    path.with_suffix(".json").write_text(json.dumps(truth))


def fake_pipe(clip):
    """Answers 70 bpm; abstains on every clip whose number is odd, its surest window saying 90."""
    even = int(Path(clip).stem) % 2 == 0
    windows = [
        SimpleNamespace(start=0.0, end=5.0, bpm=50.0, confidence=0.1, crop=(0, 0, 64, 64)),
        SimpleNamespace(start=3.0, end=8.0, bpm=90.0, confidence=0.3, crop=(0, 0, 64, 64)),
    ]
    times = np.arange(96) / 12
    return SimpleNamespace(
        bpm=70.0 if even else np.nan,
        confidence=0.9 if even else 0.2,
        reason=None if even else "no pulse stands out",
        windows=windows,
        bvp=np.cos(2 * np.pi * 70 / 60 * times),
        times=times,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number, bpm in enumerate([70.0, 93.0, 118.5, 61.0]):
        write_recording(folder, number, bpm)
    return folder


def test_skin_trace_is_that_of_the_masked_pixels(folder):
    recording = evaluation.open_rendered_clips(folder)[0]
    rgb, sampling_rate = evaluation.read_skin_trace(recording)
    assert sampling_rate == pytest.approx(FPS, rel=1e-3)
    assert len(rgb) == FPS * SECONDS
    assert rgb.mean(axis=0) == pytest.approx([180, 120, 100], abs=4)
    whole, _ = evaluation.read_skin_trace(evaluation.Recording("all", recording.path, "0"))
    assert whole.mean(axis=0)[0] == pytest.approx(90 + 90 * np.pi * 22**2 / 64**2, abs=3)


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
    assert row["bpm"] == pytest.approx(row["windows"][0]["bpm"], abs=1)


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


def test_fingerprint_changes_with_content_and_words(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    first = evaluation.fingerprint([tmp_path], "x")
    assert evaluation.fingerprint([tmp_path], "x") == first
    assert evaluation.fingerprint([tmp_path], "y") != first
    file.write_text("two")
    assert evaluation.fingerprint([tmp_path], "x") != first


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def cached(tmp_path):
    return ["--cache", str(tmp_path / "cache")]


def test_script_writes_rows_figures_and_provenance(
    folder, out, cached, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(evaluate, "load_pipeline", lambda *names: fake_pipe)
    null = tmp_path / "null"
    write_recording(null, 0, 0.0)
    command = ["--data", "synthetic:test", "--clips", str(folder), "--null", str(null)]
    command += ["--methods", "pulse,green,pos", "--out", str(out), *cached]
    assert evaluate.main(command) == 0
    assert (out / "synthetic-test.png").stat().st_size > 20_000
    result = json.loads((out / "synthetic-test.json").read_text())
    assert len(result["rows"]) == 12
    assert [row["method"] for row in result["null_rows"]] == ["pulse"]  # the others always answer
    assert result["figures"]["pos"]["forced"]["mae"] < 1
    assert result["figures"]["pulse"]["null"] == {"n": 1, "abstained": 0.0}
    assert "null" not in result["figures"]["pos"]
    assert {"command", "seed", "commit", "versions", "settings"} <= set(result)
    assert str(tmp_path) not in json.dumps(result)  # results name no machine's folders
    assert "| pos | 4 |" in capsys.readouterr().out


def test_two_processes_share_the_recordings(folder, out, cached):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--"]
    script = [str(evaluate.ROOT / "scripts" / "evaluate.py"), "--data", "synthetic:test"]
    options = ["--clips", str(folder), "--methods", "green", "--out", str(out), *cached]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, *script, *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "synthetic-test.json").read_text())["rows"]
    assert [row["recording"] for row in rows] == ["0000", "0001", "0002", "0003"]
    assert done.stdout.count("| green | 4 |") == 1  # one table, and no row measured twice
    (cache,) = Path(cached[1]).iterdir()
    assert len(cache.read_text().splitlines()) == 4
    assert done.stderr.count("0/2") >= 1  # each process was given half of them


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


def test_script_lists_videos_without_ground_truth(folder, out, cached, tmp_path, capsys):
    videos = tmp_path / "film" / "sub"
    videos.mkdir(parents=True)
    (videos / "one.mp4").write_bytes((folder / "0001.mp4").read_bytes())
    command = ["--data", f"folder:{videos.parent}", "--methods", "pos", "--out", str(out)]
    command += cached
    assert evaluate.main(command) == 0
    result = json.loads((out / "film.json").read_text())
    assert result["rows"][0]["recording"] == "sub/one"
    assert result["rows"][0]["reference"] is None and result["figures"] is None
    assert "sub/one | pos | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["--methods", "guess"], "unknown method 'guess'"),
        (["--data", "ubfc"], "--data must be"),
        (["--data", "folder:/nowhere"], "no videos in /nowhere"),
    ],
)
def test_script_refuses_in_one_line(command, said, out, capsys):
    assert evaluate.main(command) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not out.exists()


def test_calibration_sets_the_confidence_that_clips_without_a_pulse_stay_below(tmp_path):
    null = tmp_path / "null"
    for number in range(2):
        write_recording(null, number, 0.0)
    adapter = tmp_path / "adapter"
    shutil.copytree(evaluate.ROOT / "tiny" / "adapter", adapter)
    before = load_file(adapter / "adapter_model.safetensors")
    out = tmp_path / "calibration.json"
    command = ["--null", str(null), "--adapter", str(adapter), "--out", str(out), "--share", "0.5"]
    calibrate.main(command)
    result = json.loads(out.read_text())
    low, high = result["confidences"]
    assert low < high and result["min_confidence"] == pytest.approx((low + high) / 2, abs=1e-4)
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["pulse_config"])
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert header["min_confidence"] == result["min_confidence"]
    assert settings["auto_mapping"]["pulse_config"] == header
    after = load_file(adapter / "adapter_model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)
