"""How well a respiratory rate is read off a pulse: on rendered hearts and on finger recordings.

The rendered hearts' breath is known. The finger recordings have no belt: there the breath in the
intervals of a chest strap stands in for one, a reference that is a modulation of a pulse itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulse_plantain import respiration

from .synthetic import split_seeds
from .synthetic.draw import Draw
from .synthetic.signals import Heart

SAMPLING_RATE = 12.0
"""Hz of the rendered pulses, that of a drawn one of 8 s."""

FINGER_RATE = 30.0
"""Hz that the finger recordings are read at, which is about their cameras' rate."""

NEAR = 2.0
"""Breaths a minute within which a rate counts as right."""


@dataclass(frozen=True)
class Row:
    """One recording.

    Attributes:
        reference: breaths a minute.
        found: what was read off its pulse.
    """

    reference: float
    found: respiration.Respiration


def measure_hearts(count: int, noise: float, seconds: float = 60.0) -> list[Row]:
    """Rendered pulses of the test split with noise.

    Args:
        count: of hearts.
        noise: standard deviation in amplitudes of the pulse's fundamental.
        seconds: length of each.
    """
    seeds = split_seeds("test", count)
    heart, rng = Heart.draw(Draw(seeds, stream=5)), np.random.default_rng(0)
    times = torch.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    pulses = heart.pulse(times.expand(count, -1))[0].numpy()
    noisy = pulses + noise * rng.standard_normal(pulses.shape)
    return [
        Row(60 * float(breath), respiration.respiratory_rate(pulse, SAMPLING_RATE))
        for breath, pulse in zip(heart.breath, noisy, strict=True)
    ]


def measure_fingers(folder: Path) -> list[Row]:
    """Finger recordings in the layout of the Welltory PPG data set: PPG.csv and RR.txt in folders.

    Raises:
        ValueError: if the folder holds none.
    """
    places = sorted(path.parent for path in folder.glob("*/PPG.csv"))
    if not places:
        raise ValueError(f"{folder}: no folders with PPG.csv and RR.txt")
    return [_measure_finger(place) for place in places]


def _measure_finger(place: Path) -> Row:
    table = np.genfromtxt(place / "PPG.csv", delimiter=",", names=True)
    times = table["time"] / 1000
    grid = np.arange(times[0], times[-1], 1 / FINGER_RATE)
    red = np.interp(grid, times, table["R"])  # the only colour that all of them have
    found = respiration.respiratory_rate(1 - red / red.mean(), FINGER_RATE)
    intervals = np.array((place / "RR.txt").read_text().split(), float) / 1000
    return Row(read_strap(intervals), found)


def read_strap(intervals: np.ndarray) -> float:
    """Breaths a minute in the intervals of a chest strap [beats] in s, the median of its spans."""
    beats = np.cumsum(intervals)
    starts = np.arange(0, beats[-1] - respiration.SPAN, respiration.HOP)
    spans = [(beats >= start) & (beats < start + respiration.SPAN) for start in starts]
    highest = 0.5 / float(np.median(intervals))
    rates = [respiration.find_breaths(beats[own], intervals[own], highest) for own in spans]
    return float(np.nanmedian(rates))


def sum_up(rows: Sequence[Row]) -> dict[str, Any]:
    """Figures of recordings: how many got a rate, its error, and that of each modulation alone."""
    answered = [row for row in rows if row.found.reason is None]
    singles = {
        name: _compare((row.reference, getattr(row.found, name)) for row in rows)
        for name in ("amplitude", "baseline", "interval")
    }
    pairs = ((row.reference, row.found.rate) for row in answered)
    return {"count": len(rows), "answered": len(answered), **_compare(pairs), "alone": singles}


def _compare(pairs: Iterable[tuple[float, float]]) -> dict[str, float]:
    """Mean absolute error in breaths a minute, and the share within :data:`NEAR`."""
    errors = np.array([abs(rate - reference) for reference, rate in pairs])
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        return {"mae": np.nan, "within": np.nan}
    return {"mae": float(errors.mean()), "within": float(np.mean(errors <= NEAR))}
