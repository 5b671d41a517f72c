"""The trainers: an interrupted run ends where an uninterrupted one does; pictures and the codec."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny_components
import torch
import torch.nn.functional as F
from conftest import ROOT
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from pulse_plantain.lab import miniature, training
from pulse_plantain.lab.pictures import (
    KINDS,
    TASK_PROMPTS,
    TASKS,
    draw_examples,
    draw_pictures,
)
from pulse_plantain.pipeline import PulsePipeline
from scripts import ablate, train_adapter, train_base


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def interrupt_at(monkeypatch, module, step):
    """The learning rate of ``step`` raises KeyboardInterrupt, once the earlier ones are saved."""

    def stop(now, *rest):
        if now == step:
            raise KeyboardInterrupt
        return training.learning_rate(now, *rest)

    monkeypatch.setattr(module, "SAVE_EVERY", 1)
    monkeypatch.setattr(module, "learning_rate", stop)


def test_pictures_are_varied_and_repeatable():
    first, again = (draw_pictures(rng(), 20, 64, 128) for _ in range(2))
    assert torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1
    contrast = first.std((1, 2, 3))
    assert contrast.min() < 0.1 < 0.2 < contrast.max()
    for kind in KINDS:
        assert kind(rng(), 3, 32, 64).std() > 0.05


def test_tasks_give_pictures_of_the_same_size_and_do_what_they_say():
    prompts, thumbnail, source, target = draw_examples(rng(), 16, 32, 64, (32, 32))
    assert len(prompts) == 16 and thumbnail.shape == (16, 3, 32, 32)
    assert source.shape == target.shape == (16, 3, 32, 64)
    picture = draw_pictures(rng(1), 1, 32, 64)
    assert torch.equal(TASKS["draw the negative"](picture, picture), 1 - picture)
    assert torch.equal(TASKS["mirror it left to right"](picture, picture)[..., 0], picture[..., -1])
    assert TASKS["blur it"](picture, picture).var() < picture.var()


def test_the_encoder_is_the_patches_principal_components_at_any_contrast():
    vae = miniature.components(list(TASK_PROMPTS), 0)["vae"].eval()
    train_base.start_vae(vae, 0)
    batches = (draw_pictures(train_base.step_rng(0, 0, s), 32, 64, 128) * 2 - 1 for s in range(12))
    basis = miniature.patch_basis(batches).flatten(1)
    faint = 0.01 * (draw_pictures(rng(3), 4, 32, 64) - 0.5)
    with torch.no_grad():
        latents = vae.encode(faint).latent_dist.mode()
    exact = (F.unfold(faint, 8, stride=8).transpose(1, 2) @ basis.T).mT.unflatten(2, (4, 8))
    error = latents - exact
    error = error - error.mean((2, 3), keepdim=True)  # the norms take a constant off each picture
    assert error.std() < 0.01 * exact.std()


def test_the_base_resumes_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(train_base, "SIZES", ((32, 64),))
    monkeypatch.setattr(train_base, "THUMBNAIL", (32, 32))

    def train(folder):
        parts = miniature.components(list(TASK_PROMPTS), 0)
        train_base.start_vae(parts["vae"], 0)
        arguments = type("Arguments", (), {"seed": 0, "steps": 3, "batch": 2})
        log = training.Log(tmp_path / "log.jsonl", 0, {})
        train_base.train_transformer(parts, arguments, log, folder / "transformer.pt")
        return parts["transformer"].state_dict()

    straight = train(tmp_path / "a")
    with monkeypatch.context() as patch:
        interrupt_at(patch, train_base, 2)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b")
    resumed = train(tmp_path / "b")
    for name, weight in straight.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0, msg=name)


ARGUMENTS = ["--steps", "3", "--batch", "2", "--clips", "4", "--rank", "2", "--alpha", "3"]
ARGUMENTS += ["--validate-every", "3", "--validation-batches", "1"]


def adapter(folder, *more):
    arguments = ["--out", f"{folder}/adapter", "--checkpoints", f"{folder}/checkpoints"]
    train_adapter.main([*arguments, "--log", f"{folder}/log.jsonl", *ARGUMENTS, *more])
    return PeftModel.from_pretrained(
        PulsePipeline.from_pretrained("tiny").transformer, folder / "adapter"
    ).state_dict()


def test_the_adapter_resumes_to_the_same_weights_and_loads_in_both_ways(tmp_path, monkeypatch):
    def rows(name):
        return [json.loads(line) for line in (tmp_path / name / "log.jsonl").open()]

    with monkeypatch.context() as patch:
        patch.setattr(train_adapter, "REPORT_EVERY", 1)
        straight = adapter(tmp_path / "a")
    with monkeypatch.context() as patch:
        interrupt_at(patch, train_adapter, 2)
        patch.setattr(train_adapter, "SAVE_EVERY", 1000)
        patch.setattr(train_adapter, "SAVE_AFTER", 0)  # as if every step were a long one
        with pytest.raises(KeyboardInterrupt):
            adapter(tmp_path / "b")
    assert not (tmp_path / "b" / "adapter").exists()
    monkeypatch.setattr(train_adapter, "REPORT_EVERY", 3)
    resumed = adapter(tmp_path / "b")
    last = [next(row for row in rows(name) if row.get("step") == 3) for name in "ab"]
    assert last[0].keys() == last[1].keys() >= {"loss", "phasor"}
    assert all(last[0][part] == last[1][part] for part in ("loss", "latent", "phasor", "trace"))
    lora = [name for name in straight if "lora" in name]
    assert len(lora) == 2 * (12 + 5 * 2)  # A and B of 12 Linears in the double block, 2 in a single
    for name in lora:
        torch.testing.assert_close(resumed[name], straight[name], rtol=0, atol=0, msg=name)
    head, *_, end = rows("a")
    assert head["seed"] == 0 and head["versions"]["torch"]
    assert head["settings"]["windows"] == list(training.WINDOWS)
    assert 0 <= end["validation"]["within_3_bpm"] <= 1
    pipe = PulsePipeline.from_pretrained("tiny")
    pipe.load_lora_weights(tmp_path / "a" / "adapter", weight_name="adapter_model.safetensors")
    assert pipe.geometry == train_adapter.SheetGeometry(4, 96, 4, (768, 32))
    assert pipe.config.noise_scale == 0.25


def test_an_adapter_can_be_the_mean_of_several(tmp_path):
    first = adapter(tmp_path / "a")
    second = adapter(tmp_path / "b", "--start", str(tmp_path / "a/adapter"), "--skip", "4")
    stages = [str(tmp_path / name / "adapter") for name in ("a", "b")]
    mean = adapter(tmp_path / "mean", "--start", *stages, "--steps", "0")
    lora = [name for name in mean if "lora" in name]
    assert any((first[name] - second[name]).abs().max() > 1e-4 for name in lora)
    for name in lora:
        torch.testing.assert_close(mean[name], (first[name] + second[name]) / 2, msg=name)
    rows = [json.loads(line) for line in (tmp_path / "mean/log.jsonl").read_text().splitlines()]
    assert [set(row) for row in rows[1:]] == [{"step", "validation"}]


def test_phasor_losses():
    phase = torch.linspace(0, 40, 96)[None, :, None, None].expand(2, 96, 4, 4)
    truth = torch.polar(torch.full_like(phase, 0.3), phase)
    error, incoherence = train_adapter.phasor_losses(truth, truth)
    assert error == 0 and incoherence < 0.01
    error, incoherence = train_adapter.phasor_losses(truth * 1j, truth)
    assert error == pytest.approx(2 * 0.09, rel=1e-5) and incoherence == pytest.approx(1, abs=1e-3)
    error, incoherence = train_adapter.phasor_losses(0 * truth, 0 * truth)
    assert error == 0 and incoherence == 0


def test_learning_rate_rises_and_falls():
    rates = np.array([training.learning_rate(step, 500, 2.0) for step in range(500)])
    assert rates[0] == pytest.approx(0.04) and rates.argmax() in (49, 50)
    assert rates.max() == 2.0 and rates[-1] == pytest.approx(0.02, rel=1e-2)


WAYS = {"two": 2, "one": 1, "alone": 1, "sharded": 2}  # runs below and their processes


def launched(folder, processes, *more, **environment):
    """The adapter of train_adapter.py in several processes on this machine's CPU."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc_per_node", str(processes), "--", str(ROOT / "scripts" / "train_adapter.py")]
    options = [*ARGUMENTS, "--batch", "1", "--checkpoints", f"{folder}/checkpoints", *more]
    options += ["--log", f"{folder}/log.jsonl", "--out", f"{folder}/adapter"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    run = subprocess.run(
        [*launch, *options], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def notes_its_end(folder):
    """Environment in which an interpreter that is taken down leaves a file in ``folder/ended``."""
    (folder / "ended").mkdir()
    (folder / "sitecustomize.py").write_text(
        "import atexit, os, pathlib\n"
        f"ended = pathlib.Path({str(folder / 'ended')!r})\n"
        "atexit.register(lambda: (ended / os.environ.get('RANK', 'launcher')).touch())\n"
    )
    return {"PYTHONPATH": str(folder)}


def test_two_processes_learn_what_one_that_accumulates_does_sharded_or_not(tmp_path):
    two = launched(tmp_path / "two", 2)
    one = launched(tmp_path / "one", 1, "--accumulate", "2")
    alone = launched(tmp_path / "alone", 1)

    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-6, msg=name)
    # Who sees but half of the clips learns something else.
    assert max((alone[name] - weight).abs().max() for name, weight in one.items()) > 1e-4
    # What a launch file with FSDP sets: the frozen base is spread over both, nothing else changes.
    fsdp = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    sharded = launched(tmp_path / "sharded", 2, **fsdp, **notes_its_end(tmp_path))
    for name, weight in two.items():
        torch.testing.assert_close(sharded[name], weight, rtol=0, atol=1e-6, msg=name)
    rows = {way: (tmp_path / way / "log.jsonl").read_text().splitlines() for way in WAYS}
    settings = {way: json.loads(rows[way][0])["settings"] for way in WAYS}
    assert {way: settings[way]["processes"] for way in WAYS} == WAYS
    assert [way for way in WAYS if settings[way]["sharded"]] == ["sharded"]
    assert settings["two"]["batch"] == 1 and len(rows["two"]) == 2  # one rank writes
    # Threads of a sharded group live on: they abort a rank whose interpreter is taken down.
    assert [file.name for file in (tmp_path / "ended").iterdir()] == ["launcher"]


def test_two_who_make_one_batch_do_not_spoil_it(tmp_path, monkeypatch):
    batch = {name: torch.rand(2, 3) for name in ("motion", "field", "bpm", "seconds")}
    path, save, depth = tmp_path / "cache" / "batch.safetensors", train_adapter.save_file, []

    def slow_save(tensors, file):
        save(tensors, file)
        depth.append(file)
        if len(depth) == 1:  # another process comes in before this one is done
            train_adapter.cached_batch(path, lambda: batch)

    monkeypatch.setattr(train_adapter, "save_file", slow_save)
    found = train_adapter.cached_batch(path, lambda: batch)
    assert len(depth) == 2
    torch.testing.assert_close(found["field"], batch["field"], rtol=0, atol=0)
    torch.testing.assert_close(found["motion"], batch["motion"], rtol=0, atol=1e-3)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_sharding_spreads_the_base_and_leaves_the_adapter_whole():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        config = LoraConfig(r=2, target_modules=train_adapter.TARGETS)
        model = get_peft_model(tiny_components.transformer(), config)
        train_adapter.shard_frozen(model, init_device_mesh("cpu", (1,)))
        for name, parameter in model.named_parameters():
            assert isinstance(parameter, DTensor) != ("lora" in name), name
    finally:
        torch.distributed.destroy_process_group()


def test_ways_to_train_side_by_side(tmp_path, monkeypatch):
    command = ["--ways", "latent", "flow", "full", "--steps", "2", "--batch", "2", "--clips", "4"]
    command += ["--validation-batches", "1", "--folder", str(tmp_path)]
    command += ["--out", str(tmp_path / "ablation.json")]
    used = []
    for name in ("predict_velocity", "predict_clean", "phasor_losses"):
        real = getattr(train_adapter, name)
        monkeypatch.setattr(
            train_adapter, name, lambda *a, name=name, real=real: used.append(name) or real(*a)
        )
    assert ablate.main(command) == 0
    both_steps = [["predict_clean"], ["predict_velocity"], ["predict_clean", "phasor_losses"]]
    assert used == sum((2 * names for names in both_steps), [])  # latent, flow, full
    result = json.loads((tmp_path / "ablation.json").read_text())
    assert list(result["runs"]) == ["latent", "flow", "full"]
    for run in result["runs"].values():
        assert list(run["validation"]) == ["1", "2", "4", "8"]
        assert all(figures["clips"] == 2 for figures in run["validation"].values())
    assert [(tmp_path / way / "adapter").exists() for way in result["runs"]] == [True, True, False]
    monkeypatch.setattr(train_adapter, "main", lambda command: pytest.fail("trained again"))
    assert ablate.main(command) == 0


@pytest.mark.parametrize("kind", ["one-gpu", "several-gpus", "several-nodes"])
def test_launch_files_are_accelerates(kind):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "scripts" / "accelerate" / f"{kind}.yaml"))
    assert config.mixed_precision == "no"
    several = kind != "one-gpu"
    assert (config.num_processes > 1) == several
    assert (config.distributed_type == "FSDP") == several
    assert config.fsdp_config.get("fsdp_version") == (2 if several else None)


def test_checkpointing_and_a_smaller_optimizer(tmp_path, capsys, monkeypatch):
    plain = adapter(tmp_path / "plain")
    recomputed, real = [], torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        torch.utils.checkpoint, "checkpoint", lambda *a, **k: recomputed.append(1) or real(*a, **k)
    )
    saving = adapter(tmp_path / "saving", "--gradient-checkpointing")
    assert len(recomputed) >= 3 * 3  # every block of the miniature in every step
    for name, weight in plain.items():
        torch.testing.assert_close(saving[name], weight, rtol=0, atol=1e-5, msg=name)
    if importlib.util.find_spec("bitsandbytes") is None:
        assert train_adapter.main([*ARGUMENTS, "--optimizer", "adamw8bit"]) == 2
        assert "pip install bitsandbytes" in capsys.readouterr().err
