"""DeepPhys and MTTS-CAN: layers, inputs, training and their place in the evaluation."""

import itertools
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import run_script
from recordings import write_recording
from safetensors.torch import load_file

from pulse_plantain.lab import (
    ablation,
    evaluation,
    network_training,
    networks,
    simulated_networks,
)
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.synthetic import SyntheticFaces, simulate_training_faces, split_seeds
from pulse_plantain.video import ClipError


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_layers_are_those_of_the_papers(name):
    network = networks.NETWORKS[name]()
    convolutions = 2 * sum(9 * a * b + b for a, b in ((3, 32), (32, 32), (32, 64), (64, 64)))
    dense = 64 * 7 * 7 * 128 + 128 + 129
    masks = 32 + 1 + 64 + 1
    assert sum(p.numel() for p in network.parameters()) == convolutions + dense + masks == 532_899


def test_masks_have_mean_one_half():
    mask = networks._Attention(5)(torch.randn(2, 5, 8, 8))
    assert mask.shape == (2, 1, 8, 8) and mask.min() > 0
    assert torch.allclose(mask.mean((2, 3)), torch.tensor(0.5))


def test_shift_moves_thirds_within_a_chunk():
    network = networks.MTTSCAN()
    frames = torch.arange(20.0).reshape(20, 1, 1, 1).expand(20, 3, 2, 2)
    shifted = network.exchange(frames)[:, :, 0, 0]
    assert shifted[:, 0].tolist() == [*range(1, 10), 0, *range(11, 20), 0]
    assert shifted[:, 1].tolist() == [0, *range(9), 0, *range(10, 19)]
    assert shifted[:, 2].tolist() == list(range(20))


@pytest.mark.parametrize(
    ("name", "reach"), [("deepphys", 0), pytest.param("mttscan", 4, marks=pytest.mark.slow)]
)
def test_how_far_a_frame_is_seen(name, reach):
    torch.manual_seed(0)
    network = networks.NETWORKS[name]().eval()
    motion = torch.randn(20, 3, 36, 36)
    appearance = torch.randn(20, 3, 36, 36)
    with torch.no_grad():
        before = network(motion, appearance)
        motion[5] += 1
        changed = torch.nonzero((network(motion, appearance) - before).abs() > 1e-7).flatten()
    assert changed.min() == 5 - reach and changed.max() == 5 + min(reach, 4)


def test_motion_is_the_normalised_difference():
    frames = np.random.default_rng(0).uniform(0.4, 0.6, (30, 36, 36, 3)).astype(np.float32)
    motion, appearance = networks.prepare_input(frames)
    expected = (frames[8, 3, 4, 1] - frames[7, 3, 4, 1]) / (frames[8, 3, 4, 1] + frames[7, 3, 4, 1])
    others = (frames[8] - frames[7]) / (frames[8] + frames[7])
    ratio = motion[7, 1, 3, 4] / motion[7, 0, 3, 4]
    assert ratio == pytest.approx(expected / others[3, 4, 0], rel=1e-4)
    assert motion.std() == pytest.approx(1) and appearance.std() == pytest.approx(1, abs=0.01)
    brighter, _ = networks.prepare_input(frames * 0.5)
    assert torch.allclose(brighter, motion, atol=1e-4)


def test_labels_meet_frames_on_clocks():
    times = np.arange(0, 8, 1 / 30)
    stamps = np.arange(1, 7, 1 / 62)
    target = networks.prepare_target(np.sin(2 * np.pi * 1.2 * stamps), stamps, times)
    known = torch.isfinite(target).numpy()
    assert known.sum() == pytest.approx(6 * 30, abs=2)
    slope = np.cos(2 * np.pi * 1.2 * (times[1:] + times[:-1]) / 2)[known]
    assert np.corrcoef(slope, target[known])[0, 1] > 0.995
    predicted = torch.zeros(len(target), requires_grad=True)
    networks.masked_loss(predicted, target).backward()
    assert torch.isfinite(predicted.grad).all()


def test_faces_are_put_on_an_even_clock():
    times = np.sort(np.random.default_rng(1).uniform(0, 5, 120))
    times[0] = 0.0
    pictures = [np.full((48, 64, 3), 0.2 + 0.1 * t, np.float32) for t in times]
    clip = SimpleNamespace(path="x", frames=lambda: zip(times, pictures, strict=True))
    frames, even = networks.read_face_frames(clip, lambda picture: (10, 10, 40, 40))
    assert frames.shape == (len(even), 36, 36, 3)
    assert np.allclose(frames[:, 5, 5, 1], 0.2 + 0.1 * even, atol=1e-4)
    assert np.allclose(np.diff(even), 1 / 30)


def test_a_short_clip_is_refused():
    pictures = [(t, np.zeros((40, 40, 3), np.uint8)) for t in (0.0, 0.2, 0.4)]
    clip = SimpleNamespace(path="x", frames=lambda: iter(pictures))
    with pytest.raises(ClipError, match="too short"):
        networks.read_face_frames(clip, lambda picture: (0, 0, 40, 40))


def options(folder, place, name, steps):
    command = ["--network", name, "--data", f"synthetic:{folder}", "--steps", steps, "--batch", 2]
    command += ["--cache", place / "cache", "--out", place / f"{name}.safetensors"]
    return [*command, "--log", place / "log"]


@pytest.fixture(scope="module")
def two(folder, tmp_path_factory):
    """Folder of the first two of the clips."""
    two = tmp_path_factory.mktemp("two")
    for number, suffix in itertools.product(range(2), (".mp4", ".png", ".json")):
        shutil.copy(folder / f"{number:04d}{suffix}", two)
    return two


@pytest.mark.parametrize("name", ["deepphys", pytest.param("mttscan", marks=pytest.mark.slow)])
def test_training_learns_the_pulse_and_evaluation_reads_it(
    folder, two, tmp_path, name, monkeypatch
):
    monkeypatch.setattr(network_training, "REPORT_EVERY", 15)
    command = [*options(folder, tmp_path, name, 30), "--validate", f"synthetic:{two}"]
    assert run_script("train_network", *command) == 0
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert rows[2]["loss"] < 0.8 * rows[1]["loss"]
    assert rows[-1]["validation"]["mae_bpm"] < 1
    command = ["--data", "synthetic:test", "--clips", two, "--methods", f"{name},pos"]
    command += ["--networks", tmp_path, "--out", tmp_path, "--cache", tmp_path / "rows"]
    assert run_script("evaluate", *command) == 0
    result = json.loads((tmp_path / "synthetic-test.json").read_text())
    assert result["figures"][name]["forced"]["mae"] == pytest.approx(
        rows[-1]["validation"]["mae_bpm"]
    )
    assert result["figures"][name]["snr"] > 0


def test_a_stopped_training_ends_at_the_same_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(network_training, "SAVE_EVERY", 2)
    places = [tmp_path / "whole", tmp_path / "stopped"]
    assert run_script("train_network", *options(folder, places[0], "mttscan", 4)) == 0
    real = network_training.draw_batch
    seen = []

    def killed(*of):
        seen.append(of)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(*of)

    monkeypatch.setattr(network_training, "draw_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        run_script("train_network", *options(folder, places[1], "mttscan", 4))
    assert run_script("train_network", *options(folder, places[1], "mttscan", 4)) == 0
    assert len(seen) == 4 + 2
    whole, stopped = (load_file(place / "mttscan.safetensors") for place in places)
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_run_on_other_data_begins_anew(folder, tmp_path):
    assert run_script("train_network", *options(folder, tmp_path, "deepphys", 2)) == 0
    first = load_file(tmp_path / "deepphys.safetensors")
    other = tmp_path / "other"
    for number in range(2):
        write_recording(other, number, 80.0)
    assert run_script("train_network", *options(other, tmp_path, "deepphys", 2)) == 0
    second = load_file(tmp_path / "deepphys.safetensors")
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_chunks_without_a_label_teach_nothing():
    predicted = torch.ones(4, requires_grad=True)
    nothing = torch.full((4,), torch.nan)
    assert networks.masked_loss(predicted, nothing) == 0
    half = torch.tensor([3.0, torch.nan, 1.0, torch.nan])
    loss = networks.masked_loss(predicted, half)
    loss.backward()
    assert loss == 2 and predicted.grad.tolist() == [-2, 0, 0, 0]


def test_networks_that_are_not_there_are_refused_in_one_line(folder, tmp_path, capsys):
    command = ["--data", "synthetic:test", "--clips", str(folder), "--methods", "deepphys"]
    assert run_script("evaluate", *command, "--networks", tmp_path, "--out", tmp_path) == 2
    assert "not a file of scripts/train_network.py" in capsys.readouterr().err
    assert run_script("train_network", "--network", "deepphys", "--data", "nothing") == 2
    assert "NAME:DIR" in capsys.readouterr().err


def test_box_is_the_mask_or_the_face_or_everything(folder):
    recording = evaluation.open_rendered_clips(folder)[0]
    _, picture = next(iter(recording.frames()))
    assert evaluation.make_box_finder(recording)(picture) == pytest.approx((10, 10, 54, 54), abs=2)
    bare = evaluation.Recording("bare", recording.path, "0")
    assert evaluation.make_box_finder(bare)(picture) == (0, 0, 64, 64)


def test_examples_of_simulated_faces_are_whole_chunks():
    rng = torch.Generator().manual_seed(0)
    frames = 0.5 + 0.01 * torch.randn(2, 35, 36, 36, 3, generator=rng)
    bvp = torch.stack([torch.sin(torch.arange(35.0)), torch.zeros(35)])
    motion, appearance, target = simulated_networks.prepare_examples(frames, bvp)
    assert motion.shape == appearance.shape == (60, 3, 36, 36) and target.shape == (60,)
    assert target[:30].std() == pytest.approx(1, abs=0.1) and not target[30:].any()
    alone, _ = networks.prepare_input(frames[1])
    assert torch.equal(motion[30:], alone[:30])
    sine = torch.sin(torch.arange(35.0)).diff()[:30]
    assert np.corrcoef(target[:30], sine)[0, 1] > 0.999


class Greens(torch.nn.Module):
    """Stands in for a network: what it predicts is how green gets darker."""

    def forward(self, motion, appearance):
        return -motion[:, 1].mean((1, 2))


def test_the_surest_length_of_a_face_is_read():
    times = torch.arange(300) / 30
    pulse = 0.02 * torch.cos(2 * np.pi * 1.5 * times)
    pulse[150:] = 0.02 * torch.randn(150, generator=torch.Generator().manual_seed(1))
    frames = (0.5 * (1 - pulse))[None, :, None, None, None].expand(1, 300, 36, 36, 3)
    faces = SyntheticFaces(frames, pulse[None], torch.tensor([90.0]))
    (look,) = simulated_networks.read_network(Greens(), faces)
    assert look.bpm == pytest.approx(90, abs=1.5) and look.confidence > 0.8


def simulate_little(monkeypatch):
    """Pictures of 2 s in place of 5 to 10."""
    monkeypatch.setattr(simulated_networks, "choose_window", lambda number: 2.0)
    monkeypatch.setattr(simulated_networks, "WINDOWS", (2.0,))


def test_a_network_sees_the_clips_of_an_adapter_s_step(monkeypatch):
    simulate_little(monkeypatch)
    settings = AdapterSettings(steps=2, batch=2, clips=4, skip=8, seed=3)
    faces = simulated_networks.TrainingFaces(settings, 0, "cpu")
    later = simulated_networks.TrainingFaces(settings, 1, "cpu")
    assert (len(faces), len(later)) == (2, 1)
    assert torch.equal(faces[1][0], later[0][0]) and faces[0][0].shape == (2, 60, 36, 36, 3)
    wanted = simulate_training_faces(split_seeds("train", 2, 8 + 2), 36, 30.0, 2.0, 1.5)
    assert torch.equal(faces[1][0], wanted.frames) and torch.equal(faces[1][1], wanted.bvp)


@pytest.mark.slow
def test_a_network_is_one_of_the_ways(tmp_path, monkeypatch):
    simulate_little(monkeypatch)
    ways = ablation.Ablation(base="tiny", folder=tmp_path, steps=2, batch=1, clips=2)
    ways = replace(ways, validation_batches=1)
    outcome = ablation.run_way(ways, "deepphys", 1)
    assert outcome["1"]["clips"] == 1 and 0 <= outcome["1"]["auc_pulse_against_none"] <= 1
    monkeypatch.setattr(simulated_networks, "TrainingFaces", lambda *_: pytest.fail("again"))
    assert ablation.run_way(ways, "deepphys", 1) == outcome


@pytest.mark.slow
def test_a_network_s_training_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    simulate_little(monkeypatch)
    monkeypatch.setattr(simulated_networks, "validate_network", lambda *_: {})
    monkeypatch.setattr(simulated_networks, "SAVE_EVERY", 1)
    settings = AdapterSettings(steps=2, batch=2, clips=4)
    weights, simulate = [], simulated_networks._simulate

    def simulate_one(*given):
        return itertools.islice(simulate(*given), 1)

    for name in ("whole", "stopped"):
        place = tmp_path / name
        its = replace(settings, checkpoints=str(place), log=str(place / "log.jsonl"))
        if name == "stopped":
            with monkeypatch.context() as patch:
                patch.setattr(simulated_networks, "_simulate", simulate_one)
                with pytest.raises(StopIteration):
                    simulated_networks.train_simulated_network("mttscan", its)
        simulated_networks.train_simulated_network("mttscan", its)
        state = torch.load(place / "mttscan.pt", weights_only=True)
        assert state["step"] == 2
        weights.append(state["parts"]["network"])
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor)
