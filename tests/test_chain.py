"""The newcomer's chain of docs/training.md, small: render, prepare, train, evaluate, card."""

import json
from dataclasses import replace

import pytest
from conftest import run_script

from pulse_plantain.lab.card import tabulate_data_sets
from pulse_plantain.lab.datasets import Recording, open_dataset
from pulse_plantain.lab.datasets.recording import RENDERED, mark_rendered
from pulse_plantain.lab.evaluation_run import Data, name_results
from pulse_plantain.lab.synthetic import frames
from pulse_plantain.video import ClipError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("chain")


def test_from_rendered_ubfc_to_figures_of_held_out_subjects(place, monkeypatch, capsys):
    """What is rendered is marked all along, and never stands under the data set's name."""
    monkeypatch.setattr(frames, "SIZES", ((160, 120),))
    data, shards, adapter = place / "ubfc", place / "shards", place / "adapter"
    command = ["--layout", "ubfc2", "--count", "3", "--seconds", "8", "--out", str(data)]
    assert run_script("synthesize", *command, "--split", "train", "--start", "5") == 0
    assert sorted(p.name for p in data.iterdir()) == ["subject5", "subject6", "subject7"]
    labels = (data / "subject5" / "ground_truth.txt").read_text().split("\n")
    assert len(labels) == 4 and len({len(line.split()) for line in labels[:3]}) == 1
    recordings, damaged = open_dataset("ubfc2", data)
    assert [recording.rendered for recording in recordings] == [True] * 3 and not damaged
    # The header has the camera's rate; the second camera drops one picture in twenty.
    assert [len(recording.problems) for recording in recordings] == [0, 1, 0]

    command = ["--dataset", "ubfc2", "--root", str(data), "--out", str(shards), "--folds", "3"]
    assert run_script("prepare", *command) == 0
    assert "3 of them are rendered: no recordings of ubfc2" in capsys.readouterr().out
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["rendered"] == 3 == sum(r["rendered"] for r in manifest["recordings"].values())
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
    assert "1 recordings are rendered: the figures say nothing of real" in capsys.readouterr().out
    assert not (place / "ubfc2.json").exists()
    result = json.loads((place / "ubfc2-rendered.json").read_text())
    tested = {subject for subject, name in splits.items() if name == "test"}
    assert {row["subject"] for row in result["rows"]} == tested
    assert len(result["rows"]) == 8 and not any(str(place) in str(v) for v in result.values())
    assert result["rendered"] == 1 and all(row["rendered"] for row in result["rows"])

    (place / "ubfc2-rendered.json").rename(place / "ubfc2.json")  # as nobody should
    with pytest.raises(ValueError, match=r"ubfc2\.json has rendered recordings under a data set's"):
        tabulate_data_sets([place / "ubfc2.json"])


def test_rendered_recordings_are_kept_apart(tmp_path):
    real = Recording("subject1", tmp_path / "subject1" / "vid.avi", "1")
    data = Data(f"ubfc2:{tmp_path}", tmp_path)
    assert name_results(data, [real]) == "ubfc2"
    assert name_results(data, [replace(real, rendered=True)]) == "ubfc2-rendered"
    with pytest.raises(ClipError, match="1 of 2 recordings are rendered; keep them apart from"):
        name_results(data, [real, replace(real, rendered=True)])
    (tmp_path / "subject1").mkdir()
    assert not mark_rendered(real, tmp_path).rendered
    (tmp_path / "subject1" / RENDERED).write_text("{}")
    assert mark_rendered(real, tmp_path).rendered


def test_a_real_result_stands_in_the_table(tmp_path):
    row = {"method": "pos", "subject": "1", "rendered": False}
    forced = {"mae": 1.25, "mae_se": 0.5, "rmse": 2.0, "pearson": 0.9}
    figures = {"pos": {"forced": forced, "answered": {"coverage": 1.0, "mae": 1.25}}}
    result = {"rendered": 0, "rows": [row], "figures": figures, "commit": "0", "command": "x"}
    (tmp_path / "ubfc2.json").write_text(json.dumps(result))
    table = tabulate_data_sets([tmp_path / "ubfc2.json"])
    assert "| UBFC-rPPG (2) | pos | 1 | 1 | 1.25 ± 0.50 |" in table
    del result["rendered"]  # of before the mark: nothing says that it is real
    (tmp_path / "ubfc2.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match="has rendered recordings under a data set's name"):
        tabulate_data_sets([tmp_path / "ubfc2.json"])
