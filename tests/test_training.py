"""The adapter's training: interrupted, in several processes, in several ways; its losses."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny_components
import torch
from accelerate import Accelerator
from conftest import ROOT, interrupt_at, read_script, run_script
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from pulse_plantain.lab import (
    ablation,
    adapter_model,
    adapter_training,
    ahead,
    batches,
    losses,
    training,
    validation,
)
from pulse_plantain.lab.adapter_settings import TARGETS, AdapterSettings
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.sheet import SheetGeometry

ARGUMENTS = ["--steps", "3", "--batch", "2", "--clips", "4", "--rank", "2", "--alpha", "3"]
ARGUMENTS += ["--validate-every", "3", "--validation-batches", "1"]


def train(folder, *more):
    """The weights of the adapter that train_adapter.py writes into a folder."""
    places = ["--out", folder / "adapter", "--checkpoints", folder / "checkpoints"]
    assert run_script("train_adapter", *places, "--log", folder / "log.jsonl", *more) == 0
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """The batches of two clips that the runs in this file share, simulated once."""
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture(scope="module")
def straight(tmp_path_factory, simulated):
    """(folder, weights) of a run that nothing interrupted; every step is reported."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter_training, "REPORT_EVERY", 1)
        return folder, train(folder, *ARGUMENTS, "--cache", simulated)


def test_the_adapter_resumes_to_the_same_weights(straight, simulated, tmp_path, monkeypatch):
    folder, weights = straight
    with monkeypatch.context() as patch:
        interrupt_at(patch, adapter_training, 2)
        patch.setattr(adapter_training, "SAVE_EVERY", 1000)
        patch.setattr(adapter_training, "SAVE_AFTER", 0)  # as if every step were a long one
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, *ARGUMENTS, "--cache", simulated)
    assert not (tmp_path / "adapter").exists()
    monkeypatch.setattr(adapter_training, "REPORT_EVERY", 3)
    resumed = train(tmp_path, *ARGUMENTS, "--cache", simulated)
    last = [
        next(row for row in read_log(place) if row.get("step") == 3) for place in (folder, tmp_path)
    ]
    assert last[0].keys() == last[1].keys() >= {"loss", "phasor"}
    assert all(last[0][part] == last[1][part] for part in ("loss", "latent", "phasor", "trace"))
    assert len(weights) == 2 * (12 + 5 * 2)  # A and B: 12 Linears in a double block, 2 in a single
    for name, weight in weights.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0, msg=name)


def test_the_log_says_how_and_the_adapter_loads_in_both_ways(straight):
    folder, weights = straight
    head, *_, end = read_log(folder)
    assert head["seed"] == 0 and head["versions"]["torch"]
    assert head["settings"]["windows"] == list(training.WINDOWS)
    assert 0 <= end["validation"]["within_3_bpm"] <= 1
    pipe = PulsePipeline.from_pretrained("tiny")
    found = PeftModel.from_pretrained(pipe.transformer, folder / "adapter").state_dict()
    for name, weight in weights.items():
        place = name.replace(".weight", ".default.weight")
        torch.testing.assert_close(found[place], weight, rtol=0, atol=0, msg=name)
    pipe = PulsePipeline.from_pretrained("tiny")
    pipe.load_lora_weights(folder / "adapter", weight_name="adapter_model.safetensors")
    assert pipe.geometry == SheetGeometry(4, 96, 4, (768, 32))
    assert pipe.config.noise_scale == 0.25


def test_an_adapter_can_be_the_mean_of_several(straight, simulated, tmp_path):
    folder, first = straight
    shutil.copytree(  # the batches of other clips have the same names: only the validation's serve
        simulated, tmp_path / "cache", ignore=shutil.ignore_patterns("train-*")
    )
    own = [*ARGUMENTS, "--cache", tmp_path / "cache"]
    second = train(tmp_path / "b", *own, "--start", folder / "adapter", "--skip", "4")
    stages = [folder / "adapter", tmp_path / "b" / "adapter"]
    mean = train(tmp_path / "mean", *own, "--start", *stages, "--steps", "0")
    assert any((first[name] - second[name]).abs().max() > 1e-4 for name in mean)
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2, msg=name)
    assert [set(row) for row in read_log(tmp_path / "mean")[1:]] == [{"step", "validation"}]


def test_phasor_losses():
    phase = torch.linspace(0, 40, 96)[None, :, None, None].expand(2, 96, 4, 4)
    truth = torch.polar(torch.full_like(phase, 0.3), phase)
    error, incoherence = losses.phasor_losses(truth, truth)
    assert error == 0 and incoherence < 0.01
    error, incoherence = losses.phasor_losses(truth * 1j, truth)
    assert error == pytest.approx(2 * 0.09, rel=1e-5) and incoherence == pytest.approx(1, abs=1e-3)
    error, incoherence = losses.phasor_losses(0 * truth, 0 * truth)
    assert error == 0 and incoherence == 0


def test_learning_rate_rises_and_falls():
    rates = np.array([training.learning_rate(step, 500, 2.0) for step in range(500)])
    assert rates[0] == pytest.approx(0.04) and rates.argmax() in (49, 50)
    assert rates.max() == 2.0 and rates[-1] == pytest.approx(0.02, rel=1e-2)


ONE_CLIP = [*ARGUMENTS, "--batch", "1"]


def launch(folder, processes, cache, **environment):
    """The weights of train_adapter.py's adapter in several processes on this machine's CPU."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc_per_node", str(processes), "--", ROOT / "scripts" / "train_adapter.py"]
    options = [*ONE_CLIP, "--checkpoints", folder / "checkpoints", "--cache", cache]
    options += ["--log", folder / "log.jsonl", "--out", folder / "adapter"]
    run = subprocess.run(
        list(map(str, [*launcher, *options])),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def watch_the_end(folder):
    """Environment in which an interpreter that is taken down leaves a file in ``folder/ended``."""
    (folder / "ended").mkdir()
    (folder / "sitecustomize.py").write_text(
        "import atexit, os, pathlib\n"
        f"ended = pathlib.Path({str(folder / 'ended')!r})\n"
        "atexit.register(lambda: (ended / os.environ.get('RANK', 'launcher')).touch())\n"
    )
    return {"PYTHONPATH": str(folder)}


WAYS = {"two": 2, "one": 1, "alone": 1, "sharded": 2}  # runs below and their processes


@pytest.mark.slow
def test_two_processes_learn_what_one_that_accumulates_does_sharded_or_not(tmp_path):
    cache = tmp_path / "cache"
    two = launch(tmp_path / "two", 2, cache)
    one = train(tmp_path / "one", *ONE_CLIP, "--cache", cache, "--accumulate", "2")
    alone = train(tmp_path / "alone", *ONE_CLIP, "--cache", cache)

    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-6, msg=name)
    # Who sees but half of the clips learns something else.
    assert max((alone[name] - weight).abs().max() for name, weight in one.items()) > 1e-4
    # What a launch file with FSDP sets: the frozen base is spread over both, nothing else changes.
    fsdp = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    sharded = launch(tmp_path / "sharded", 2, cache, **fsdp, **watch_the_end(tmp_path))
    for name, weight in two.items():
        torch.testing.assert_close(sharded[name], weight, rtol=0, atol=1e-6, msg=name)
    rows = {way: read_log(tmp_path / way) for way in WAYS}
    settings = {way: rows[way][0]["settings"] for way in WAYS}
    assert {way: settings[way]["processes"] for way in WAYS} == WAYS
    assert [way for way in WAYS if settings[way]["sharded"]] == ["sharded"]
    assert settings["two"]["batch"] == 1 and len(rows["two"]) == 2  # one rank writes
    # Threads of a sharded group live on: they abort a rank whose interpreter is taken down.
    assert [file.name for file in (tmp_path / "ended").iterdir()] == ["launcher"]


def test_two_who_make_one_batch_do_not_spoil_it(tmp_path, monkeypatch):
    batch = {name: torch.rand(2, 3) for name in ("motion", "field", "bpm", "seconds")}
    path, save, depth = tmp_path / "cache" / "batch.safetensors", batches.save_file, []

    def slow_save(tensors, file):
        save(tensors, file)
        depth.append(file)
        if len(depth) == 1:  # another process comes in before this one is done
            batches.keep_batch(path, lambda: batch)

    monkeypatch.setattr(batches, "save_file", slow_save)
    found = batches.keep_batch(path, lambda: batch)
    assert len(depth) == 2
    torch.testing.assert_close(found["field"], batch["field"], rtol=0, atol=0)
    torch.testing.assert_close(found["motion"], batch["motion"], rtol=0, atol=1e-3)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Settings of a training that sees no clip twice, and its batches of 8, 5 and 10 s."""
    place = str(tmp_path_factory.mktemp("none"))
    settings = AdapterSettings(
        steps=3, batch=2, clips=6, light="camera", skip=40, checkpoints=place
    )
    simulated = ahead.Simulated(settings, 0, 0, 1, "cpu")
    return settings, [simulated[place] for place in range(3)]


def test_clips_that_are_seen_once_are_not_kept(fresh):
    settings, found = fresh
    assert not settings.cache_folder.exists()
    assert [batch["seconds"].tolist() for batch in found] == [[8, 8], [5, 5], [10, 10]]
    kept = replace(settings, clips=2, steps=1)  # and a second time
    later = ahead.Simulated(replace(kept, steps=2), 0, 0, 1, "cpu")
    for name, tensor in later[0].items():
        torch.testing.assert_close(tensor, found[0][name], rtol=0, atol=2e-3, msg=name)
    assert len(list(settings.cache_folder.iterdir())) == 1
    shutil.rmtree(settings.cache_folder)


def test_a_process_simulates_its_own_batches_from_where_the_training_is(fresh):
    settings, found = fresh
    second = ahead.Simulated(settings, 1, 0, 1, "cpu")
    assert len(second) == 2
    for name, tensor in second[1].items():
        assert torch.equal(tensor, found[2][name]), name
    wide = replace(settings, steps=1, accumulate=2, clips=8)  # two processes, two batches each
    numbers = [
        ahead.choose_batch(wide, 0, rank + 2 * turn, 4) for rank in (0, 1) for turn in (0, 1)
    ]
    assert numbers == [0, 2, 1, 3]
    last = ahead.Simulated(wide, 0, 1, 2, "cpu")
    assert last[0]["bpm"].tolist() == found[1]["bpm"].tolist()


@pytest.mark.slow
def test_processes_ahead_of_a_training_change_nothing_of_it(tmp_path):
    more = [*ARGUMENTS[:4], "--clips", "6", *ARGUMENTS[6:]]
    alone, helped = (train(tmp_path / name, *more, "--workers", name) for name in ("0", "2"))
    for name, weight in alone.items():
        torch.testing.assert_close(helped[name], weight, rtol=0, atol=0, msg=name)


def test_sharding_spreads_the_base_and_leaves_the_adapter_whole():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        config = LoraConfig(r=2, target_modules=TARGETS)
        model = get_peft_model(tiny_components.transformer(), config)
        adapter_model.shard_frozen(model, init_device_mesh("cpu", (1,)))
        for name, parameter in model.named_parameters():
            assert isinstance(parameter, DTensor) != ("lora" in name), name
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("blind", [False, True])
def test_a_blind_model_does_not_see_the_appearance_image(blind):
    settings = AdapterSettings(base=str(ROOT / "tiny"), rank=2, blind=blind)
    model = adapter_model.AdapterModel(settings, Accelerator(cpu=True))
    rng = torch.Generator().manual_seed(0)
    channels = model.pipe.transformer.config.in_channels
    motion, bright, dark = (torch.randn(1, n, channels, generator=rng) for n in (96, 16, 16))
    seconds = torch.tensor([8.0])
    batches = [{"motion": motion, "appearance": a, "seconds": seconds} for a in (bright, dark)]
    with torch.no_grad():
        one, other = (model.predict_clean(motion, batch) for batch in batches)
        first, second = (model.read(batch, 1)[0] for batch in batches)
    assert torch.equal(one, other) == blind
    assert (first == second) == blind


@pytest.mark.slow
def test_ways_to_train_side_by_side(simulated, straight, tmp_path, monkeypatch):
    shutil.copytree(simulated, tmp_path / "cache-0")  # of the same clips: straight has made them
    command = ["--ways", "latent", "flow", "full", "--steps", "2", "--batch", "2", "--clips", "4"]
    command += ["--validation-batches", "1", "--folder", tmp_path, "--seeds", "0"]
    command += ["--out", tmp_path / "ablation.json"]
    monkeypatch.setattr(validation, "WINDOWS", training.WINDOWS[:1])
    used = []
    for room, name in (
        (adapter_model, "predict_velocity"),
        (adapter_model, "predict_clean"),
        (losses, "phasor_losses"),
    ):
        real = getattr(room, name)
        monkeypatch.setattr(
            room, name, lambda *a, name=name, real=real: used.append(name) or real(*a)
        )
    assert run_script("ablate", *command) == 0
    one_step = {
        "latent": ["predict_clean"],
        "flow": ["predict_velocity"],
        "full": ["predict_clean", "phasor_losses"],
    }
    assert used == [name for names in one_step.values() for name in 2 * names]
    result = json.loads((tmp_path / "ablation.json").read_text())
    assert list(result["runs"]) == ["latent", "flow", "full"]
    for way, run in result["runs"].items():
        steps = ["1"] if way == "full" else ["1", "2", "4", "8"]
        assert list(run["seeds"]) == ["0"] and list(run["seeds"]["0"]) == steps
        assert all(figures["clips"] == 2 for figures in run["seeds"]["0"].values())
    assert all(run["steps"] == 2 and run["cpu_s"]["0"] > 0 for run in result["runs"].values())
    written = [(tmp_path / f"{way}-0" / "adapter").exists() for way in result["runs"]]
    assert written == [True, True, False]
    monkeypatch.setattr(ablation, "train_adapter", lambda settings: pytest.fail("trained again"))
    assert run_script("ablate", *command) == 0


def test_seeds_learn_from_clips_of_their_own_which_all_ways_share(tmp_path):
    ways = ablation.Ablation(base="tiny", folder=tmp_path, steps=10, batch=2, clips=20)
    settings = [ways.choose_settings(way, seed) for seed in (0, 2) for way in ("phasor", "flow")]
    assert [own.skip for own in settings] == [0, 0, 40, 40]
    assert [own.seed for own in settings] == [0, 0, 2, 2]
    assert len({own.checkpoints for own in settings}) == 4
    assert settings[0].cache == settings[1].cache != settings[2].cache
    assert all(batches.open_batches(own, None, torch.device("cpu")).keep for own in settings)


def test_networks_may_take_fewer_steps_than_the_adapter(tmp_path):
    ways = ablation.Ablation(base="tiny", folder=tmp_path, steps=10, network_steps=3, clips=160)
    settings = {way: ways.choose_settings(way, 0) for way in ("phasor", "deepphys")}
    assert [its.steps for its in settings.values()] == [10, 3]
    orders = [
        [ahead.choose_batch(its, step, 0, 1) for step in range(3)] for its in settings.values()
    ]
    assert orders[0] == orders[1]  # what both see they see in the same order


@pytest.mark.parametrize(("ranks", "keep"), [(1, False), (2, True)])
def test_clips_are_kept_where_they_are_seen_again(ranks, keep):
    settings = AdapterSettings(steps=10, batch=2, accumulate=2, clips=40)
    assert batches.open_batches(settings, None, torch.device("cpu"), ranks).keep == keep


@pytest.mark.parametrize("way", ablation.WAYS)
def test_a_way_changes_what_its_options_say(way):
    settings = read_script("train_adapter")["parse"](list(ablation.WAYS[way].options))
    assert settings == AdapterSettings(**ablation.WAYS[way].changes)


@pytest.mark.parametrize("kind", ["one-gpu", "several-gpus", "several-nodes"])
def test_launch_files_are_accelerates(kind):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "scripts" / "accelerate" / f"{kind}.yaml"))
    assert config.mixed_precision == "no"
    several = kind != "one-gpu"
    assert (config.num_processes > 1) == several
    assert (config.distributed_type == "FSDP") == several
    assert config.fsdp_config.get("fsdp_version") == (2 if several else None)


def test_checkpointing_and_a_smaller_optimizer(straight, simulated, tmp_path, capsys, monkeypatch):
    recomputed, real = [], torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        torch.utils.checkpoint, "checkpoint", lambda *a, **k: recomputed.append(1) or real(*a, **k)
    )
    saving = train(tmp_path, *ARGUMENTS, "--cache", simulated, "--gradient-checkpointing")
    assert len(recomputed) >= 3 * 3  # every block of the miniature in every step
    for name, weight in straight[1].items():
        torch.testing.assert_close(saving[name], weight, rtol=0, atol=1e-5, msg=name)
    if importlib.util.find_spec("bitsandbytes") is None:
        assert run_script("train_adapter", *ARGUMENTS, "--optimizer", "adamw8bit") == 2
        assert "pip install bitsandbytes" in capsys.readouterr().err
