"""Times that scripts/benchmark.py takes, on tiny random components."""

import json

import pytest
import torch
from test_evaluation import FPS, SECONDS, SIZE, write_recording

from scripts import benchmark


@pytest.fixture
def clip(tmp_path):
    write_recording(tmp_path, 0, 72.0)
    return tmp_path / "0000.mp4"


def test_stages_of_a_window_are_timed(clip, tiny_pipe):
    with torch.no_grad():
        seconds = benchmark.window_seconds(tiny_pipe, clip)
    model = seconds["vae_encode"] + seconds["transformer"] + seconds["vae_decode"]
    assert seconds["model"] == pytest.approx(model)
    assert all(0 < value < 30 for value in seconds.values())
    assert set(seconds) >= {"decode", "prompt", "read"}


def test_figures_are_written(clip, tiny_pipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "process_seconds", lambda clip, args: 12.0)
    monkeypatch.setattr(benchmark, "load_pipeline", lambda model, adapter: tiny_pipe)
    out = tmp_path / "results"
    command = ["--clip", str(clip), "--repeat", "2", "--out", str(out)]
    assert benchmark.main(command) == 0
    result = json.loads((out / "benchmark.json").read_text())
    assert result["clip"]["size"] == [SIZE, SIZE]
    assert result["clip"]["frames"] == FPS * SECONDS
    assert result["process_seconds"] == [12.0, 12.0] and len(result["window_seconds"]) == 2
    assert str(tmp_path) not in json.dumps(result)
    assert "start to exit: 12.0 s" in capsys.readouterr().out


def test_missing_clip_is_one_line(tmp_path, capsys):
    assert benchmark.main(["--clip", str(tmp_path / "no.mp4"), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "no such file" in error and error.count("\n") == 1


def test_klein_runs_narrow_and_wants_a_gpu_at_full_width(tmp_path, capsys):
    assert benchmark.main(["klein", "--narrow", "--repeat", "1", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "benchmark-klein-narrow.json").read_text())
    one, two = (figures["windows"][n] for n in ("1", "2"))
    assert two["transformer_flops_a_step"] == 2 * one["transformer_flops_a_step"] > 1e7
    assert min(one["transformer_4_steps"], one["transformer_1_step"]) > 0
    assert figures["training"][0]["samples_per_s"] > 0
    if not torch.cuda.is_available():
        assert benchmark.main(["klein", "--out", str(tmp_path)]) == 2
        assert "klein needs a GPU" in capsys.readouterr().err
