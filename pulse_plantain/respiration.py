"""The breath in a pulse: a respiratory rate from how breathing modulates a blood volume pulse.

NumPy and SciPy only. Three modulations are read, beat by beat, and compared as in Karlen et al.,
"Multiparameter Respiratory Rate Estimation From the Photoplethysmogram", IEEE Trans. Biomed. Eng.
2013, 60, 1946: of the pulse's amplitude (RIAV), of its baseline (RIIV) and of the intervals between
its beats (RIFV). Where the three disagree there is no rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import signal

from . import heart_rate

MINIMUM_SECONDS = 60.0
"""Shortest recording from which a respiratory rate is given."""

SPAN, HOP = 32.0, 4.0
"""Length of the spans that are read, and seconds from one to the next; Karlen et al. found 32 s
best of 16, 32 and 64 s."""

BAND = (0.1, 0.75)
"""Breaths looked for, in Hz: 6 to 45 a minute."""

AGREEMENT = 2.0
"""Largest standard deviation of the three rates in breaths a minute (Karlen et al. take 4)."""

GRID = 4.0
"""Samples a second (Hz) of the modulations between the beats (Karlen et al.)."""

SHARE = 2 / 3
"""Smallest share of the spans in which the three agree. Of 1/3, 1/2 and 2/3 the one at which every
answer was within 2 breaths a minute on 100 rendered hearts of the validation split, without noise
and with noise of half and all of the pulse's amplitude."""


@dataclass(frozen=True)
class Respiration:
    """A respiratory rate, and what each modulation says; a figure that is refused is NaN.

    Attributes:
        rate: breaths a minute, the median of the spans in which the three agree.
        amplitude, baseline, interval: breaths a minute by each modulation, the median of all spans.
        agreement: share of the spans in which the three agree, 0...1.
        reason: why there is no rate, None where there is one.
    """

    rate: float
    amplitude: float
    baseline: float
    interval: float
    agreement: float
    reason: str | None

    @classmethod
    def refuse(cls, reason: str) -> Respiration:
        """No figure, and why."""
        return cls(np.nan, np.nan, np.nan, np.nan, 0.0, reason)


@dataclass(frozen=True)
class Modulations:
    """What breathing changes, at each beat.

    Attributes:
        times: [beats] s.
        amplitude: [beats] height of the pulse, any unit.
        baseline: [beats] level that the pulse rides on, any unit.
        interval: [beats] seconds since the beat before.
    """

    times: np.ndarray
    amplitude: np.ndarray
    baseline: np.ndarray
    interval: np.ndarray


def find_modulations(
    trace: np.ndarray, sampling_rate: float, baseline: np.ndarray | None = None
) -> Modulations:
    """The three modulations of a blood volume pulse.

    A beat's height is that of its systolic peak over the lowest point since the beat before. Its
    baseline is the mean between the two peaks, drifts slower than a breath removed.

    Args:
        trace: [samples] real, upright.
        sampling_rate: Hz.
        baseline: [samples] level that the pulse rides on, where ``trace`` is without it; the trace
            itself where None.
    """
    trace = np.asarray(trace, float)
    level = trace if baseline is None else np.asarray(baseline, float)
    slow = signal.butter(2, BAND[0], "highpass", fs=sampling_rate, output="sos")
    level = signal.sosfiltfilt(slow, level, padlen=min(len(level) - 1, int(10 * sampling_rate)))
    beats = heart_rate.beat_times(trace, sampling_rate)
    positions = beats * sampling_rate
    samples = np.arange(len(trace))
    rows = []
    for begin, end in pairwise(positions):
        inside = np.linspace(begin, end, 16)
        lowest = np.interp(inside, samples, trace).min()
        height = np.interp(end, samples, trace) - lowest
        rows.append((height, np.interp(inside, samples, level).mean()))
    amplitude, baselines = np.array(rows).reshape(-1, 2).T
    return Modulations(beats[1:], amplitude, baselines, np.diff(beats))


def stitch_levels(
    levels: Sequence[np.ndarray], starts: Sequence[float], sampling_rate: float
) -> np.ndarray:
    """Overlapping windows' levels joined into one, on the clock of :func:`heart_rate.stitch`.

    A window's level is relative to its own mean, so each is raised to those before it where they
    overlap, and cross-faded under a Hann taper.

    Args:
        levels: windows of [samples], in time order, all at ``sampling_rate``.
        starts: [windows] s.
        sampling_rate: Hz.

    Returns:
        [n] the level, its mean over the first window 0; straight lines where no window reaches.
    """
    origin = min(starts)
    end = max(start + len(own) / sampling_rate for start, own in zip(starts, levels, strict=True))
    count = round((end - origin) * sampling_rate)
    joined, weight = np.zeros(count), np.zeros(count)
    for start, own in zip(starts, levels, strict=True):
        position = np.arange(count) + 0.5 - (start - origin) * sampling_rate - 0.5
        inside = np.flatnonzero((position > -0.5) & (position < len(own) - 0.5))
        values = np.interp(position[inside], np.arange(len(own)), own)
        fade = np.sin(np.pi * (position[inside] + 0.5) / len(own)) ** 2 + 1e-9
        both = np.minimum(fade, weight[inside])
        if both.any():
            before = joined[inside] / np.maximum(weight[inside], 1e-12)
            values = values + np.average(before - values, weights=both)
        joined[inside] += fade * values
        weight[inside] += fade
    known = weight > 0
    level = joined / np.where(known, weight, 1)
    return np.interp(np.arange(count), np.flatnonzero(known), level[known])


def find_breaths(times: np.ndarray, values: np.ndarray, highest: float) -> float:
    """Rate of the strongest breath in one modulation.

    Args:
        times: [beats] s.
        values: [beats] of the modulation.
        highest: Hz, at most half of the heart rate: a breath is sampled by the beats.

    Returns:
        breaths a minute, NaN where there is no peak.
    """
    if len(times) < 6 or np.ptp(values) == 0:
        return np.nan
    grid = np.arange(times[0], times[-1], 1 / GRID)
    band = (BAND[0], min(BAND[1], highest))
    return heart_rate.fft_rate(np.interp(grid, times, values), GRID, band, "hann")


def respiratory_rate(
    trace: np.ndarray, sampling_rate: float, baseline: np.ndarray | None = None
) -> Respiration:
    """Respiratory rate of a blood volume pulse of a minute or more.

    Spans of 32 s, 4 s apart, get a rate from each of the three modulations, and their median where
    the standard deviation of the three is at most 2 breaths a minute. The rate is the median of
    those spans, given where they are two thirds of all.

    Args:
        trace: [samples] real, upright.
        sampling_rate: Hz.
        baseline: see :func:`find_modulations`.

    Returns:
        :class:`Respiration`; refused with a reason below :data:`MINIMUM_SECONDS`, without beats
        and where the three disagree.
    """
    seconds = len(trace) / sampling_rate
    if seconds < MINIMUM_SECONDS:
        return Respiration.refuse(
            f"{seconds:.1f} s: a respiratory rate needs {MINIMUM_SECONDS:.0f} s"
        )
    found = find_modulations(trace, sampling_rate, baseline)
    if len(found.times) < MINIMUM_SECONDS * heart_rate.BAND[0] / 2:
        return Respiration.refuse(f"only {len(found.times)} beats in {seconds:.0f} s")
    highest = 0.5 / float(np.median(found.interval))
    rows = []
    for start in np.arange(0, seconds - SPAN + 0.01, HOP):
        inside = (found.times >= start) & (found.times < start + SPAN)
        rows.append(
            [
                find_breaths(found.times[inside], values[inside], highest)
                for values in (found.amplitude, found.baseline, found.interval)
            ]
        )
    rates = np.array(rows)
    agree = np.isfinite(rates).all(1) & (np.std(rates, 1) <= AGREEMENT)
    medians = (
        float(np.median(own[np.isfinite(own)])) if np.isfinite(own).any() else np.nan
        for own in rates.T
    )
    singles = dict(zip(("amplitude", "baseline", "interval"), medians, strict=True))
    share = float(agree.mean())
    if share < SHARE:
        reason = (
            f"the pulse's amplitude, baseline and intervals agree on a breath {100 * share:.0f} % "
            f"of the time; {100 * SHARE:.0f} % are needed"
        )
        return Respiration(rate=np.nan, **singles, agreement=share, reason=reason)
    rate = float(np.median(np.median(rates[agree], 1)))
    return Respiration(rate=rate, **singles, agreement=share, reason=None)
