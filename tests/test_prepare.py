"""scripts/prepare.py and what training reads of it."""

import json

import numpy as np
import pytest
import torch
from conftest import run_script

from pulse_plantain.lab.datasets.shards import Shards
from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import ClipError

GEOMETRY = SheetGeometry(4, 96, 4, (768, 32))
LAYOUT = Layout(GEOMETRY, (16, 16))
BPM = {1: 60.0, 2: 72.0, 3: 84.0, 4: 96.0, 5: 108.0}


def pulsating(bpm, times):
    """Pictures [T, 48, 64, 3]: the left half is skin that beats by 1 % of green, the rest grey."""
    rng = np.random.default_rng(int(bpm))
    beat = np.cos(2 * np.pi * bpm / 60 * times)[:, None, None, None]
    clip = np.full((len(times), 48, 64, 3), 90.0)
    clip[:, :, :32] = (180, 120, 100) * (1 - 0.01 * np.array([0.43, 1.0, 0.69]) * beat)
    return (clip + rng.normal(0, 1.5, clip.shape)).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    import av

    root = tmp_path_factory.mktemp("ubfc2")
    times = np.arange(30 * 13) / 30
    for number, bpm in BPM.items():
        folder = root / f"subject{number}"
        folder.mkdir()
        with av.open(str(folder / "vid.avi"), "w") as container:
            stream = container.add_stream("ffv1", rate=30, pix_fmt="bgr0")
            stream.width, stream.height = 64, 48
            for picture in pulsating(bpm, times):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        rows = (np.cos(2 * np.pi * bpm / 60 * times), np.full(len(times), bpm), times)
        np.savetxt(folder / "ground_truth.txt", np.stack(rows), fmt="%.7e", delimiter="   ")
    (root / "subject9").mkdir()
    (root / "subject9" / "ground_truth.txt").write_text("damaged")
    return root


@pytest.fixture(scope="module")
def prepared(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    command = ["--dataset", "ubfc2", "--root", str(root), "--out", str(out), "--workers", "2"]
    assert run_script("prepare", *command) == 0
    return out


def test_manifest_counts_and_names_what_was_left_out(prepared):
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert manifest["windows"] == 40 and len(manifest["recordings"]) == 5
    # 0-8, 4-12, 5-13 s; 0-5, 4-9, 8-13 s; 0-10, 3-13 s
    assert list(manifest["damaged"]) == ["subject9"]
    entry = manifest["recordings"]["subject4"]
    assert entry["bpm"] == pytest.approx(96, abs=0.2) and entry["windows"] == 8
    splits = json.loads((prepared / "splits.json").read_text())["subjects"]
    assert sorted(splits.values()) == ["test", "train", "train", "train", "validation"]


def test_an_interrupted_run_goes_on(root, prepared, capsys):
    stamps = {path.name: path.stat().st_mtime_ns for path in prepared.glob("*.safetensors")}
    (prepared / "subject2.safetensors").unlink()
    command = ["--dataset", "ubfc2", "--root", str(root), "--out", str(prepared)]
    assert run_script("prepare", *command) == 0
    again = {path.name: path.stat().st_mtime_ns for path in prepared.glob("*.safetensors")}
    assert {name for name in stamps if stamps[name] != again[name]} == {"subject2.safetensors"}
    assert run_script("prepare", *command, "--stride", "2") == 2
    assert "has other settings: choose another --out" in capsys.readouterr().err


def test_bad_input_is_one_line(tmp_path, capsys):
    command = ["--dataset", "pure", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert run_script("prepare", *command) == 2
    assert "nothing in it is laid out as pure is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_batches_hold_the_pulse_where_it_is(prepared):
    shards = Shards.open([prepared], "train")
    assert len(shards) == 24
    batch = shards.read_batch(0, 24, Layout(GEOMETRY, (64, 64)), augment=False)
    assert sorted(set(batch["seconds"].tolist())) == [5, 8, 10]
    assert batch["motion"].shape == (24, 96, 4, 4, 3)
    assert batch["appearance"].shape == (24, 64, 64, 3)
    strength = batch["field"].abs().mean(1)
    assert strength[:, :, :2].mean().item() == pytest.approx(0.01, rel=0.1)
    assert strength[:, :, 2:].abs().max() < 5e-4
    # The phasors are the pulse of the pictures: in phase with the darkening of green.
    wanted = batch["field"][:, :, :, :2].real.mean((2, 3))
    seen = -batch["motion"][:, :, :, :2, 1].mean((2, 3))
    matches = torch.nn.functional.cosine_similarity(wanted, seen)
    # The first beat of a label is read least well, and is most of a short window.
    assert matches.min() > 0.93 and matches.median() > 0.99
    splits = json.loads((prepared / "splits.json").read_text())["subjects"]
    trained = {BPM[int(s)] for s, name in splits.items() if name == "train"}
    assert set(batch["bpm"].round().tolist()) == trained


def test_no_sample_comes_twice_in_an_epoch_and_orders_differ(prepared):
    shards = Shards.open([prepared], "train")
    epochs = []
    for epoch in range(2):
        batches = [shards.read_batch(8 * epoch + n, 3, LAYOUT, seed=1) for n in range(8)]
        keys = torch.cat([b["bpm"] + b["field"][:, 0, 0, 0].angle() for b in batches])
        epochs.append(keys)
        rates = torch.cat([b["bpm"] for b in batches]).round().tolist()
        assert sorted(rates) == sorted(bpm for bpm in set(rates) for _ in range(8))
        lengths = torch.cat([b["seconds"] for b in batches]).tolist()
        assert [lengths.count(length) for length in (8, 5, 10)] == [9, 9, 6]
    again = shards.read_batch(9, 3, LAYOUT, seed=1)
    first = shards.read_batch(9, 3, LAYOUT, seed=1)
    assert all(torch.equal(again[name], first[name]) for name in again)
    assert not torch.equal(epochs[0], epochs[1])


def test_folders_that_were_not_prepared_are_refused(prepared, tmp_path):
    with pytest.raises(ClipError, match=r"not a folder of scripts/prepare\.py"):
        Shards.open([tmp_path], "train")
    with pytest.raises(ClipError, match="no windows for nobody"):
        Shards.open([prepared], "nobody")
