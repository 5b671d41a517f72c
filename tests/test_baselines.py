"""Each classical method on a skin patch of the dichromatic model, where its assumptions hold."""

import numpy as np
import pytest

from pulse_plantain import heart_rate
from pulse_plantain.lab import baselines

FS = 30.0
SKIN = np.array([0.62, 0.42, 0.35])


def wander(rng, samples):
    """[samples] irregular motion, 0.05-4 Hz with a 1/f amplitude, standard deviation 1."""
    frequencies = np.fft.rfftfreq(samples, 1 / FS)
    lines = rng.normal(size=(len(frequencies), 2)).view(complex)[:, 0]
    lines *= (frequencies > 0.05) & (frequencies < 4)
    moves = np.fft.irfft(lines / np.maximum(frequencies, 0.3), samples)
    return moves / moves.std()


def skin_colours(rng, rate, intensity=0.0, specular=0.0, seconds=10.0):
    """(rgb [samples, 3], bvp [samples]) by C = I (skin (1 - 0.004 p bvp) + specular white).

    ``intensity`` is the relative standard deviation of the light on the skin, ``specular`` that
    of the mirror-like share that moves with the head, both in the band of the heart.
    """
    times = np.arange(round(seconds * FS)) / FS
    phase = 2 * np.pi * rate / 60 * times + rng.uniform(0, 2 * np.pi)
    bvp = np.cos(phase) + 0.3 * np.cos(2 * phase - 1)
    light = 1 + intensity * wander(rng, len(times))
    shine = 0.4 * specular * (1.5 + wander(rng, len(times)))
    absorbed = 0.004 * baselines.BLOOD_VOLUME_VECTOR / 0.77 * bvp[:, None]
    rgb = light[:, None] * (SKIN * (1 - absorbed) + shine[:, None])
    return rgb * (1 + 0.0005 * rng.normal(size=rgb.shape)), bvp


def errors_and_correlations(method, **motion):
    """[30] absolute errors in bpm and [30] correlations with the BVP, rates of 45-170 bpm."""
    errors, correlations = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rate = rng.uniform(45, 170)
        rgb, bvp = skin_colours(rng, rate, **motion)
        found = baselines.METHODS[method](rgb, FS)
        assert found.shape == bvp.shape
        errors.append(abs(heart_rate.fft_rate(found, FS) - rate))
        correlations.append(np.corrcoef(found, bvp)[0, 1])
    return np.array(errors), np.array(correlations)


@pytest.mark.parametrize(
    ("method", "motion", "correlation"),
    [
        ("green", {}, 0.98),
        ("ica", {"intensity": 0.02, "specular": 0.01}, 0.5),
        ("chrom", {"intensity": 0.02, "specular": 0.01}, 0.8),
        ("pos", {"intensity": 0.02, "specular": 0.01}, 0.8),
        ("pbv", {"intensity": 0.02, "specular": 0.01}, 0.85),
        ("lgi", {"intensity": 0.05}, 0.85),
        ("omit", {"intensity": 0.05}, 0.85),
    ],
)
def test_method_recovers_the_rate_where_its_assumptions_hold(method, motion, correlation):
    errors, correlations = errors_and_correlations(method, **motion)
    assert np.median(errors) < 0.5
    assert np.max(errors) < 2.5
    assert np.mean(correlations) > correlation  # upright: more blood is higher


@pytest.mark.parametrize(
    ("method", "motion"),
    [("green", {"intensity": 0.02}), ("lgi", {"specular": 0.1}), ("omit", {"specular": 0.1})],
)
def test_method_fails_where_its_assumptions_do_not_hold(method, motion):
    errors, _ = errors_and_correlations(method, **motion)
    assert np.mean(errors) > 10  # so that the figures above mean something


def test_chrom_and_pos_cancel_what_their_papers_say_they_cancel():
    """Light that all channels share is gone from POS and CHROM, white shine from CHROM."""
    rng = np.random.default_rng(0)
    moves = wander(rng, 300)[:, None]
    flicker = SKIN * (1 + 0.002 * moves)
    shine = np.ones(3) * (1 + 0.002 * moves)
    assert np.abs(baselines.pos(flicker, FS)).max() < 1e-12
    assert np.abs(baselines.chrom(shine, FS)).max() < 2e-3 * np.abs(moves).max()
    green = np.abs(baselines.green(flicker, FS)).max()
    assert green == pytest.approx(0.002 * np.abs(moves).max(), rel=0.1)


def test_methods_ignore_the_unit_of_the_colours():
    rgb, _ = skin_colours(np.random.default_rng(5), 72.0, intensity=0.01)
    for name, method in baselines.METHODS.items():
        one, many = method(rgb, FS), method(255 * rgb, FS)
        assert abs(np.corrcoef(one, many)[0, 1]) > 0.999, name
