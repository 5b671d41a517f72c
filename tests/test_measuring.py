"""Recordings measured, kept and summed up by the scripts: evaluate.py and calibrate.py."""

import json
import os
import shutil
import subprocess
import sys
from functools import partialmethod

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script
from recordings import fake_pipe, write_recording
from safetensors import safe_open
from safetensors.torch import load_file

from pulse_plantain import loading
from pulse_plantain.lab import measuring
from pulse_plantain.lab.evaluation import open_rendered_clips
from pulse_plantain.lab.imports import follow_imports
from pulse_plantain.lab.measuring import Instruments
from pulse_plantain.lab.reading_fit import Fit, fit_walk
from pulse_plantain.lab.running import drop_infinities, shorten_word
from pulse_plantain.posterior import MIN_CONFIDENCE


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def cache(tmp_path):
    return ["--cache", tmp_path / "cache"]


def test_imports_are_followed_through_the_rooms_that_are_there():
    rooms = {path.stem for path in follow_imports("pulse_plantain.loading")}
    assert rooms >= {"loading", "pipeline", "bijection", "windows", "video", "heart_rate"}
    assert not rooms & {"cli", "plots", "overlay", "evaluation"}
    assert follow_imports("pulse_plantain.lab.baselines")[-1].stem == "baselines"
    with pytest.raises(ModuleNotFoundError, match="nothing is no room"):
        follow_imports("pulse_plantain.nothing")


@pytest.mark.slow
def test_rows_are_kept_under_another_name_when_something_they_depend_on_changes(
    folder, tmp_path, monkeypatch
):
    networks = tmp_path / "networks"
    networks.mkdir()
    (networks / "deepphys.safetensors").write_bytes(b"weights")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    clips = [recording.path for recording in open_rendered_clips(folder)]
    instruments = Instruments("model", str(adapter), tmp_path / "cache", networks)
    methods = ("pulse", "pos", "deepphys")

    def name_files(paths=clips):
        files = instruments.name_cache_files("test", paths, methods)
        return {method: path.name for method, path in files.items()}

    def changed():
        after = name_files()
        return {method for method in methods if after[method] != first[method]}

    first = name_files()
    assert all(name.startswith(f"test-{method}-") for method, name in first.items())
    assert changed() == set()
    assert not set(name_files(clips[:2]).values()) & set(first.values())
    (networks / "deepphys.safetensors").write_bytes(b"others")
    assert changed() == {"deepphys"}
    (adapter / "adapter_model.safetensors").write_bytes(b"others")
    assert changed() == {"deepphys", "pulse"}

    first = name_files()
    follow = measuring.follow_imports
    other = tmp_path / "reading.py"
    other.write_text("the code of a room, changed")
    for room, methods_that_change in (("reading", {"pulse"}), ("baselines", {"pos"})):
        monkeypatch.setattr(
            measuring,
            "follow_imports",
            lambda *rooms, room=room: [
                other if path.stem == room else path for path in follow(*rooms)
            ],
        )
        assert changed() == methods_that_change


def test_words_of_a_command_name_no_folder_of_the_machine(tmp_path):
    words = ["--data", f"pure:{tmp_path}/PURE", str(tmp_path / "tiny"), "/elsewhere/x", "out/a"]
    shown = ["--data", "pure:PURE", "tiny", "x", "out/a"]
    assert [shorten_word(word, tmp_path / "root") for word in words] == shown
    assert shorten_word(str(tmp_path / "out" / "x"), tmp_path) == "out/x"


def test_what_is_not_finite_is_nothing_in_json():
    value = {"a": (1.0, float("nan")), "b": [float("inf"), {"c": "x"}]}
    assert drop_infinities(value) == {"a": [1.0, None], "b": [None, {"c": "x"}]}


def test_evaluate_writes_rows_figures_and_where_they_come_from(
    folder, out, cache, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(loading, "load_pipeline", lambda *names: fake_pipe)
    null = tmp_path / "null"
    write_recording(null, 0, 0.0)
    command = ["--data", "synthetic:test", "--clips", folder, "--null", null]
    command += ["--methods", "pulse,green,pos", "--out", out, *cache]
    assert run_script("evaluate", *command) == 0
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


@pytest.mark.slow
def test_two_processes_share_the_recordings(folder, out, cache):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--"]
    script = [ROOT / "scripts" / "evaluate.py", "--data", "synthetic:test"]
    options = ["--clips", folder, "--methods", "green", "--out", out, *cache]
    command = list(map(str, [sys.executable, *launch, *script, *options]))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "synthetic-test.json").read_text())["rows"]
    assert [row["recording"] for row in rows] == ["0000", "0001", "0002", "0003"]
    assert done.stdout.count("| green | 4 |") == 1  # one table, and no row measured twice
    (kept,) = cache[1].iterdir()
    assert len(kept.read_text().splitlines()) == 4
    assert done.stderr.count("0/2") >= 1  # each process was given half of them


def test_evaluate_lists_videos_without_ground_truth(folder, out, cache, tmp_path, capsys):
    videos = tmp_path / "film" / "sub"
    videos.mkdir(parents=True)
    (videos / "one.mp4").write_bytes((folder / "0001.mp4").read_bytes())
    command = ["--data", f"folder:{videos.parent}", "--methods", "pos", "--out", out]
    assert run_script("evaluate", *command, *cache) == 0
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
def test_evaluate_refuses_in_one_line(command, said, out, capsys):
    assert run_script("evaluate", *command, "--out", out) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not out.exists()


def test_calibration_fits_the_reading_to_clips_and_writes_it_into_the_adapter(
    miniature, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(loading, "load_pipeline", lambda *names: miniature)
    monkeypatch.setattr(Fit, "run", partialmethod(Fit.run, steps=4))
    clips = tmp_path / "clips"
    for number, bpm in enumerate((70.0, 0.0, 93.0, 0.0)):
        write_recording(clips, number, bpm)
    adapter = tmp_path / "adapter"
    shutil.copytree(ROOT / "tiny" / "adapter", adapter)
    before = load_file(adapter / "adapter_model.safetensors")
    out = tmp_path / "calibration.json"
    command = ["--clips", clips, "--adapter", adapter, "--out", out, "--kept", tmp_path / "kept"]
    heart = tmp_path / "RR.txt"
    heart.write_text("\n".join(["1000"] * 60 + ["900"] * 60))
    assert run_script("calibrate", *command, "--intervals", heart) == 0
    result = json.loads(out.read_text())
    assert result["reading"]["drift"] == round(fit_walk([np.loadtxt(heart) / 1000]), 4) > 0.005
    assert [row["reference"] for row in result["rows"]].count(0) == 2
    assert result["figures"]["all"]["with_pulse"] == 2
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["pulse_config"])
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert header["reading"] == result["reading"] and header["min_confidence"] == MIN_CONFIDENCE
    assert settings["auto_mapping"]["pulse_config"] == header
    after = load_file(adapter / "adapter_model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert run_script("calibrate", *command[2:], "--clips", tmp_path / "none") == 2
    assert "no clips with ground truth" in capsys.readouterr().err
