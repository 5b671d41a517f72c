"""Methods that are told more than the model is, on clips by hand and on simulated ones."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import run_script

from pulse_plantain.lab import oracles

SECONDS, SAMPLES = 8.0, 96
TIMES = (np.arange(SAMPLES) + 0.5) * SECONDS / SAMPLES
COLOUR = np.array([0.3, 1.0, 0.7])


def make_clip(bpm, flutter, blotches=0.0):
    """A clip of 4 x 4 cells, of which half show a pulse, under light that beats at 100 a minute.

    Args:
        bpm: of the pulse.
        flutter: of the light, in all cells and channels alike, over the pulse.
        blotches: of light that is green and differs from cell to cell, over the pulse.
    """
    rng = np.random.default_rng(0)
    phase = 2 * np.pi * bpm / 60 * TIMES
    pulse = 0.002 * (np.arange(16).reshape(4, 4) % 2) * np.exp(-0.3j)
    shown = (pulse[None] * np.exp(1j * phase)[:, None, None]).real[..., None] * COLOUR
    beat = np.sin(2 * np.pi * 100 / 60 * TIMES)[:, None, None, None]
    uneven = np.linspace(0, 1, 16).reshape(4, 4, 1) * COLOUR
    light = 0.002 * beat * (flutter + blotches * uneven)
    noise = 1e-5 * rng.standard_normal((SAMPLES, 4, 4, 3))
    return oracles.Clip(shown + light + noise, pulse, phase, SECONDS)


def test_light_alike_in_all_channels_is_read_through_by_their_ratios():
    found = {name: rate for name, (_, rate) in oracles.read_clip(make_clip(66, 3.0)).items()}
    assert found.pop("GREEN") == pytest.approx(100, abs=1)
    del found["PBV"]  # without noise its weights depend on colours that are not quite these
    assert list(found) == ["CHROM", "POS", *oracles.TOLD]
    assert all(rate == pytest.approx(66, abs=1) for rate in found.values())


def test_light_of_the_pulse_s_colour_is_read_through_by_cells_alone():
    found = {name: rate for name, (_, rate) in oracles.read_clip(make_clip(66, 0.0, 8.0)).items()}
    assert found.pop(oracles.TOLD_ALL) == pytest.approx(66, abs=1)
    del found["PBV"]
    assert all(rate == pytest.approx(100, abs=1) for rate in found.values())


def test_cells_are_weighed_as_the_oracle_is_told():
    clip = make_clip(66, 0.0)
    others = np.roll(clip.pulse, 1, axis=1)  # cells without a pulse, under a lamp of its colour
    beat = np.sin(2 * np.pi * 100 / 60 * TIMES)[:, None, None, None]
    motion = clip.motion + 2 * beat * np.abs(others)[..., None] * COLOUR
    for pulse, rate in ((clip.pulse, 66), (others, 100)):
        told = replace(clip, motion=motion, pulse=pulse)
        assert oracles.read_clip(told)[oracles.TOLD_ALL][1] == pytest.approx(rate, abs=1)


def test_slow_courses_are_taken_out():
    drift = np.stack([np.ones(SAMPLES), TIMES**3 - TIMES, np.sin(9 * TIMES)], 1)
    flat = oracles.flatten_slowly(drift)
    assert abs(flat[:, :2]).max() < 1e-10 and flat[:, 2].std() > 0.5


def test_the_surest_length_is_kept_and_clips_without_skin_are_left_out():
    assert oracles.keep_surest([{"POS": (0.2, 20.0)}, {"POS": (0.5, -1.0)}], "POS") == -1
    nothing = dict.fromkeys((*oracles.CLASSICAL, *oracles.TOLD), float("nan"))
    right = dict.fromkeys(nothing, -1.0) | {"GREEN": 10.0}
    figures = oracles.sum_up([{"bpm": 60.0} | right, {"bpm": 60.0} | nothing])
    assert figures["GREEN"] == {"clips": 1, "within_3_bpm": 0.0, "mae_bpm": 10.0}
    assert figures["POS"] == {"clips": 1, "within_3_bpm": 1.0, "mae_bpm": 1.0}


def test_figures_on_the_validation_clips_are_written(tmp_path, capsys):
    out = tmp_path / "results"
    options = ("--light", "plain", "--out", str(out))
    assert run_script("measure_oracles", "--count", "2", *options) == 0
    result = json.loads((out / "oracles.json").read_text())
    assert result["light"] == "plain" and len(result["rows"]) == 2
    assert result["figures"][oracles.TOLD_ALL]["within_3_bpm"] == 1
    assert capsys.readouterr().out.splitlines()[0].startswith("GREEN ")
    assert run_script("measure_oracles", "--count", "0", *options) == 2
    line = "measure_oracles.py: --count must be at least 1, got 0\n"
    assert capsys.readouterr().err.endswith(line)
