"""The card: its front matter, and no figure that differs from the file it comes from."""

import math
import re

import pytest
from huggingface_hub import ModelCard

from scripts import model_card


def test_every_figure_on_the_card_is_the_one_under_results():
    assert model_card.main(["--check"]) == 0


def test_a_changed_figure_is_found(monkeypatch):
    monkeypatch.setitem(model_card.BLOCKS, "speed", lambda: "42 s")
    assert model_card.main(["--check"]) == 1


def test_a_lost_block_is_named():
    with pytest.raises(ValueError, match="README.md has no block <!-- contact-sheet -->"):
        model_card.filled("# no blocks")


def test_front_matter():
    data = ModelCard.load(model_card.ROOT / "README.md").data
    assert data.license == "apache-2.0"
    assert data.base_model == "black-forest-labs/FLUX.2-klein-base-4B"
    assert data.library_name == "diffusers" and data.pipeline_tag == "image-to-image"
    wanted = {"rppg", "remote-photoplethysmography", "cardiac-signal", "lora", "flux2"}
    assert wanted | {"vision-banana", "arxiv:2604.20329"} == set(data.tags)
    results = {result.metric_type: result for result in data.eval_results}
    figures = model_card.load("synthetic-test.json")["figures"]["pulse"]
    assert results["mae"].metric_value == round(figures["forced"]["mae"], 4)
    assert results["mae"].dataset_name == "Rendered test clips"


def test_the_windows_of_the_4b_training_are_those_of_its_command():
    card = (model_card.ROOT / "README.md").read_text()
    command = re.search(r"--steps (\d+) --batch (\d+) --accumulate (\d+)", card)
    assert math.prod(map(int, command.groups())) == model_card.KLEIN_WINDOWS


def test_a_resumed_run_counts_once():
    resumed = [{"settings": {}}, {"step": 25, "clips": 50}, {"step": 50, "clips": 100}]
    resumed += [{"settings": {}}, {"step": 50, "clips": 100}, {"step": 75, "clips": 150}]
    another = [{"settings": {}}, {"step": 25, "clips": 400}, {"step": 25, "validation": {}}]
    assert model_card.runs_in(resumed) == [150]
    assert model_card.runs_in(resumed + another + resumed) == [150, 400, 150]


def test_data_sets_without_results_are_open():
    table = model_card.data_sets([])
    assert table.count("open") == len(model_card.DATA_SETS) == 5 and "Source" not in table
