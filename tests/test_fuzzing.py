"""A hundred damaged clips in every run: none may raise, hang or grow; and the fuzz's own tools."""

import json

import numpy as np
import pytest
from conftest import run_script

from pulse_plantain.lab import fuzzing
from pulse_plantain.video import ClipError

SEED = 1
"""Another one than that of results/fuzz.json."""


def test_a_hundred_damaged_clips(tmp_path):
    kept, out = tmp_path / "rows.jsonl", tmp_path / "fuzz.json"
    words = ["--variants", 100, "--seed", SEED, "--kept", kept, "--out", out]
    assert run_script("fuzz", *words) == 0
    result = json.loads(out.read_text())
    assert sum(result["outcomes"].values()) == result["variants"] == 100
    assert result["failures"] == [] and result["longest_seconds"] < fuzzing.SECONDS
    assert result["outcomes"]["refused"] > 20 and result["outcomes"]["less, and said"] > 10
    assert result["command"].startswith("fuzz.py --variants 100 --seed 1 --kept rows.jsonl")
    assert {"av", "pillow", "ffmpeg"} <= set(result["versions"])
    # What is known is not read again: a row of an earlier run stands.
    lines = kept.read_text().splitlines()
    assert len(lines) == 100
    changed = json.loads(lines[3]) | {"outcome": "too slow"}
    kept.write_text("\n".join([*lines[:3], json.dumps(changed), *lines[4:], '{"seed": 1, "nu']))
    assert run_script("fuzz", *words) == 1
    assert json.loads(out.read_text())["failures"][0]["number"] == 3


def test_variants_are_the_same_each_time_and_differ():
    kinds, damages = len(fuzzing.KINDS), len(fuzzing.DAMAGES)
    assert kinds >= 13
    variants = [fuzzing.make_variant(number, SEED) for number in range(0, kinds * damages, 7)]
    again = [fuzzing.make_variant(one.number, SEED) for one in variants]
    assert again == variants
    assert {one.kind for one in variants} | {one.damage for one in variants} > set(fuzzing.DAMAGES)
    for one in variants:
        sound = fuzzing.make_clip(one.kind)
        if one.damage == "wrong suffix":
            assert one.data == sound and not one.kind.endswith(one.suffix)
        elif one.damage == "cut off":
            assert sound.startswith(one.data) and len(one.data) < len(sound)
        elif one.damage == "block doubled":
            assert len(one.data) > len(sound)
        elif one.damage == "block missing":
            assert len(one.data) < len(sound)
        else:
            assert len(one.data) == len(sound)
    assert fuzzing.make_variant(5, SEED + 1).data != fuzzing.make_variant(5, SEED).data


@pytest.mark.parametrize(
    "change, outcome",
    [
        (lambda times, lost: times, "whole"),
        (lambda times, lost: times[:-1], "less, silently"),
        (lambda times, lost: setattr(lost, "pictures", 1) or times[:-1], "less, and said"),
        (lambda times, lost: [*times[:-1], times[-1] + 1], "other times"),
        (lambda times, lost: [time * 0.9 for time in times], "less, silently"),
    ],
)
def test_outcomes(change, outcome):
    variant = fuzzing.make_variant(0, SEED)
    times = fuzzing.read_sound(variant.kind)
    row = fuzzing.judge(variant, lambda lost: ((time, None) for time in change(times, lost)))
    assert row.outcome == outcome


@pytest.mark.parametrize(
    "error, outcome",
    [
        (ClipError("one line"), "refused"),
        (ClipError("two\nlines"), "raised"),
        (IndexError("list"), "raised"),
        (MemoryError(), "died"),
    ],
)
def test_errors_are_outcomes(error, outcome):
    def fail(lost):
        raise error

    assert fuzzing.judge(fuzzing.make_variant(0, SEED), fail).outcome == outcome


@pytest.mark.slow
def test_a_process_that_hangs_or_dies_is_an_outcome():
    with fuzzing.Reader(SEED) as reader:
        assert reader.read(8).outcome in ("whole", "less, and said", "refused")
        reader._process.kill()
        reader._process.join()
        assert reader.read(0).outcome == "died"
        reader.seconds = 0.0
        assert reader.read(0).outcome == "too slow"


def test_the_sound_clips_have_sixty_pictures_each():
    for kind in fuzzing.KINDS:
        times = fuzzing.read_sound(kind)
        apart = 1 / 30 if kind in fuzzing.CODECS else 0.04
        assert times[0] == 0 and times[-1] == pytest.approx(59 * apart, abs=0.0011), kind
        assert len(times) == 60 or (kind == "clip.webp" and np.all(np.diff(times) > 0)), kind
