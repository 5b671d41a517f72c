"""The newcomer's chain of docs/training.md, small: render, prepare, train, evaluate, card."""

import json

import pytest
from conftest import run_script

from pulse_plantain.lab.card import tabulate_data_sets
from pulse_plantain.lab.synthetic import frames


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("chain")


def test_from_rendered_ubfc_to_a_table_of_held_out_subjects(place, monkeypatch):
    monkeypatch.setattr(frames, "SIZES", ((160, 120),))
    data, shards, adapter = place / "ubfc", place / "shards", place / "adapter"
    command = ["--layout", "ubfc2", "--count", "3", "--seconds", "8", "--out", str(data)]
    assert run_script("synthesize", *command, "--split", "train", "--start", "5") == 0
    assert sorted(p.name for p in data.iterdir()) == ["subject5", "subject6", "subject7"]
    labels = (data / "subject5" / "ground_truth.txt").read_text().split("\n")
    assert len(labels) == 4 and len({len(line.split()) for line in labels[:3]}) == 1

    command = ["--dataset", "ubfc2", "--root", str(data), "--out", str(shards), "--folds", "3"]
    assert run_script("prepare", *command) == 0
    splits = json.loads((shards / "splits.json").read_text())["subjects"]
    assert sorted(splits.values()) == ["test", "train", "validation"]

    log = place / "train.jsonl"
    command = ["--data", str(shards), "--start", "tiny/adapter", "--steps", "2", "--batch", "2"]
    command += ["--lr", "1e-5", "--validation-batches", "1", "--log", str(log)]
    command += ["--checkpoints", str(place / "checkpoints"), "--out", str(adapter)]
    assert run_script("train_adapter", *command) == 0
    assert (adapter / "adapter_model.safetensors").is_file()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[-1]["validation"]["clips"] == 2

    command = ["--data", f"ubfc2:{data}", "--splits", str(shards / "splits.json")]
    out = ["--out", str(place), "--cache", str(place / "cache")]
    command += ["--methods", "pulse,green,ica,chrom,pos,pbv,lgi,omit"]
    assert run_script("evaluate", *command, "--adapter", str(adapter), *out) == 0
    result = json.loads((place / "ubfc2.json").read_text())
    tested = {subject for subject, name in splits.items() if name == "test"}
    assert {row["subject"] for row in result["rows"]} == tested
    assert len(result["rows"]) == 8 and not any(str(place) in str(v) for v in result.values())

    table = tabulate_data_sets([place / "ubfc2.json"])
    assert "| UBFC-rPPG (2) | pulse | 1 |" in table and "| POS |" not in table.split("Source")[0]
