"""Whether what is kept between runs is still what would be made."""

import os

import pytest
import torch

from pulse_plantain.lab import batches, kept
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.batches import TRAIN, WEBCAM


def test_fingerprint_changes_with_content_and_words(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    first = kept.fingerprint([tmp_path], "x")
    assert kept.fingerprint([tmp_path], "x") == first
    assert kept.fingerprint([tmp_path], "y") != first
    file.write_text("two")
    assert kept.fingerprint([tmp_path], "x") != first


def test_what_is_older_than_its_source_is_not_fresh(tmp_path):
    clip, truth, made = (tmp_path / name for name in ("clip", "truth", "made"))
    for number, file in enumerate((clip, truth)):
        file.touch()
        os.utime(file, (100 + number, 100 + number))
    assert not kept.is_fresh(made, clip, truth)
    made.touch()
    for seconds, fresh in ((102, True), (101, True), (100, False)):
        os.utime(made, (seconds, seconds))
        assert kept.is_fresh(made, clip, truth) is fresh


@pytest.fixture
def open_shared(tmp_path, monkeypatch):
    """Function that opens the batches of a training; all trainings share one cache, and what is
    simulated are the seeds themselves."""

    def simulate(self, split, seeds, window):
        drawn = torch.tensor(list(seeds), dtype=torch.float64)
        return dict.fromkeys(("field", "bpm", "seconds"), drawn)

    monkeypatch.setattr(batches.Batches, "simulate", simulate)

    def open_batches(**changes):
        settings = AdapterSettings(**{"cache": str(tmp_path), "batch": 4, "clips": 8} | changes)
        return batches.open_batches(settings, None, torch.device("cpu"))

    return open_batches


def test_trainings_that_share_a_cache_have_clips_of_their_own(open_shared):
    first, later, larger = (open_shared(), open_shared(skip=400), open_shared(batch=8))
    seeds = {
        name: [own.load(TRAIN, number, 8.0)["bpm"].tolist() for number in (0, 1)]
        for name, own in (("first", first), ("later", later), ("larger", larger))
    }
    start = seeds["first"][0][0]
    assert seeds["first"] == [[start + i for i in range(k, k + 4)] for k in (0, 4)]
    assert seeds["later"] == [[start + 400 + i for i in range(k, k + 4)] for k in (0, 4)]
    assert seeds["larger"] == [[start + i for i in range(k, k + 8)] for k in (0, 8)]
    assert first.load(WEBCAM, 0, 8.0)["bpm"][0] == later.load(WEBCAM, 0, 8.0)["bpm"][0]


def test_clips_that_older_code_made_are_made_anew(open_shared, tmp_path, monkeypatch):
    code = tmp_path / "room.py"
    code.write_text("light = 1")
    monkeypatch.setattr(batches, "follow_imports", lambda *rooms: [code])
    first = open_shared()
    assert first.cache == open_shared(skip=400).cache
    code.write_text("light = 2")
    assert open_shared().cache != first.cache
