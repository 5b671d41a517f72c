"""Times that scripts/benchmark.py takes, on tiny random components."""

import json
import os

import numpy as np
import pytest
import torch
from conftest import run_script
from recordings import FPS, SECONDS, SIZE, write_recording
from safetensors.torch import load_file

from pulse_plantain import loading
from pulse_plantain.cli import let_threads_sleep
from pulse_plantain.lab import adapter_training, batches, benchmarking, klein, speed
from pulse_plantain.video import read_frames


@pytest.fixture
def clip(tmp_path):
    write_recording(tmp_path, 0, 72.0)
    return tmp_path / "0000.mp4"


def test_stages_of_a_window_are_timed(clip, tiny_pipe):
    seconds = benchmarking.time_window(tiny_pipe, clip)
    model = seconds["vae_encode"] + seconds["transformer"] + seconds["vae_decode"]
    assert seconds["model"] == pytest.approx(model)
    assert all(0 < value < 30 for value in seconds.values())
    assert set(seconds) >= {"decode", "prompt", "read"}


def make_run(cpu, wall=0.0, peak_gib=1.0):
    return {"cpu": cpu, "wall": wall, "peak_gib": peak_gib}


TAKEN = {
    "start": {
        "importing": [make_run(cpu) for cpu in (5.0, 6.0, 9.0)],
        "command": [make_run(cpu, wall=12.0) for cpu in (12.0, 9.0, 8.0)],
    },
    "call": [make_run(2.0), make_run(4.0), make_run(3.0)],
    "long": {
        "10 s": [make_run(1.0)] * 3,
        "300 s": [
            make_run(90.0, wall, gib) for wall, gib in ((60.0, 1.1), (50.0, 1.0), (70.0, 1.9))
        ],
        "bpm_of_300_s": 70.0,
    },
    "encoding": {
        "phone_4K": {"decoding": [make_run(2.0)], "encoding": [make_run(2.4, peak_gib=1.125)]}
    },
    "watch": {"cpu_a_reading": 0.3, "readings": 20},
}


def test_bounds_are_compared_with_medians_and_their_ratios():
    assert speed.sum_up(TAKEN) == {
        "command_over_import": 1.5,
        "call_cpu_s": 3.0,
        "times_real_time": 5.0,
        "memory_over_10_s": 1.1,
        "watch_cpu_s": 0.3,
        "encoding_over_decoding_phone_4K": 1.2,
        "encoding_more_mb_phone_4K": pytest.approx(134.2, abs=0.1),
    }


def test_what_is_compared_runs_in_turns_and_is_gauged(clip, tmp_path):
    order = []

    def run(name):
        return lambda: (order.append(name), speed.gauge(lambda: sum(range(100_000))))[1]

    taken = speed.take_turns(2, one=run("one"), two=run("two"))
    assert order == ["one", "two", "one", "two"]
    assert all(0 < row["cpu"] < 1 and row["peak_gib"] > 0.01 for row in taken["one"])
    large = speed.stretch_clip(clip, tmp_path / "large.mp4", 12.0, (2 * SIZE, SIZE))
    frames = list(read_frames(large))
    assert len(frames) == 12 * speed.FPS and frames[0][1].shape == (SIZE, 2 * SIZE, 3)
    last = list(read_frames(clip))[-1][0]
    turn = len(np.arange(0, last, 1 / speed.FPS)) - 1  # where the pictures run back
    before, after = (frames[turn + way][1].astype(float) for way in (-3, 3))
    assert abs(before - after).mean() < abs(before - frames[turn - 20][1]).mean()
    phone = speed.stretch_clip(clip, tmp_path / "phone.mp4", 2.0, (2 * SIZE, SIZE), 2_000_000)
    assert phone.stat().st_size * 8 / 2 == pytest.approx(1_500_000, rel=0.5)
    assert large.stat().st_size / 12 < 0.5 * phone.stat().st_size / 2
    shown = next(iter(read_frames(phone)))[1].astype(float)
    assert abs(shown - frames[0][1]).mean() > 1  # grain, but the same picture
    assert abs(shown.mean() - frames[0][1].mean()) < 1
    assert speed.decode_alone(large).cpu > 0
    assert speed.encode_alone(large, (5.0, 8.0)).cpu > 0


def test_a_command_runs_with_compiled_modules_and_threads_that_sleep(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"  # what the user says holds
    assert os.environ["OPENBLAS_NUM_THREADS"] == "2"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    let_threads_sleep()
    seen = tmp_path / "seen"
    words = "import os, sys; said = [os.environ[n] for n in "
    words += "('OMP_WAIT_POLICY', 'OPENBLAS_NUM_THREADS')]; p = *said, sys.dont_write_bytecode; "
    taken = speed.run_command(["-c", words + f"open({str(seen)!r}, 'w').write(str(p))"])
    assert seen.read_text() == "('PASSIVE', '1', False)" and 0 < taken.cpu < taken.wall + 1


def test_figures_are_written(clip, tiny_pipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "measure_speed", lambda script, clip, folder, repeat: TAKEN)
    monkeypatch.setattr(loading, "load_pipeline", lambda model, adapter: tiny_pipe)
    out = tmp_path / "results"
    command = ["--clip", str(clip), "--repeat", "2", "--out", str(out)]
    assert run_script("benchmark", *command) == 0
    result = json.loads((out / "benchmark.json").read_text())
    assert result["clip"]["size"] == [SIZE, SIZE]
    assert result["clip"]["frames"] == FPS * SECONDS
    assert result["figures"]["times_real_time"] == 5.0 and result["speed"] == TAKEN
    assert len(result["window_seconds"]) == 2
    assert str(tmp_path) not in json.dumps(result)
    assert "command_over_import: 1.50" in capsys.readouterr().out


def test_missing_clip_is_one_line(tmp_path, capsys):
    assert run_script("benchmark", "--clip", tmp_path / "no.mp4", "--out", tmp_path) == 2
    error = capsys.readouterr().err
    assert "no such file" in error and error.count("\n") == 1


def test_klein_runs_narrow(tmp_path, monkeypatch):
    recomputed, real = [], torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        torch.utils.checkpoint, "checkpoint", lambda *a, **k: recomputed.append(1) or real(*a, **k)
    )
    assert run_script("benchmark", "klein", "--narrow", "--repeat", "1", "--out", tmp_path) == 0
    figures = json.loads((tmp_path / "benchmark-klein-narrow.json").read_text())
    one, two = (figures["windows"][n] for n in ("1", "2"))
    assert two["transformer_flops_a_step"] == 2 * one["transformer_flops_a_step"] > 1e7
    assert min(one["transformer_4_steps"], one["transformer_1_step"]) > 0
    step = figures["training"][0]
    assert step["samples_per_s"] > 0
    assert step["flops_a_step"] > 3 * one["transformer_flops_a_step"]  # forward twice, and back
    assert len(recomputed) % (5 + 20) == 0 < len(recomputed)  # every block in every step
    assert 0 < one["peak_gib"] < 24 and 0 < step["peak_gib"] < 24


def test_a_random_base_is_trained_as_the_real_one_would_be(tmp_path, monkeypatch):
    base = tmp_path / "base"
    assert run_script("benchmark", "klein", "--narrow", "--base", base) == 0
    config = json.loads((base / "transformer" / "config.json").read_text())
    wanted = klein.TRANSFORMER | klein.NARROW
    found = {name: config[name] for name in wanted}
    assert found == wanted | {k: list(v) for k, v in wanted.items() if isinstance(v, tuple)}
    stored = load_file(base / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}

    monkeypatch.setattr(adapter_training, "REPORT_EVERY", 1)
    encoders, encode = set(), batches.encode_pictures
    monkeypatch.setattr(
        batches, "encode_pictures", lambda vae, *more: encoders.add(vae.dtype) or encode(vae, *more)
    )
    types, write = {}, adapter_training.write_adapter

    def write_and_look(folder, model, *more, **named):
        types.update({name: p.dtype for name, p in model.named_parameters()})
        write(folder, model, *more, **named)

    monkeypatch.setattr(adapter_training, "write_adapter", write_and_look)
    command = ["--base", str(base), "--dtype", "bfloat16", "--steps", "2", "--batch", "2"]
    command += ["--clips", "4", "--validation-batches", "1", "--log", str(tmp_path / "log.jsonl")]
    command += ["--checkpoints", str(tmp_path / "checkpoints"), "--out", str(tmp_path / "adapter")]
    assert run_script("train_adapter", *command) == 0
    assert encoders == {torch.float32}
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [0 < row["peak_gib"] < 24 for row in rows if "loss" in row] == [True, True]
    for name, dtype in types.items():
        assert dtype == (torch.float32 if "lora" in name else torch.bfloat16), name
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(adapter) == 2 * 100 and all(weight.isfinite().all() for weight in adapter.values())
    trained = [weight.abs().max() for name, weight in adapter.items() if "lora_B" in name]
    assert sum(most > 0 for most in trained) >= 98
