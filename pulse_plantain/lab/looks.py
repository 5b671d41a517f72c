"""One look at one window: its rate and how sure it is, for the validation of a training.

A trainer draws thousands of windows, each by itself, and wants one figure for each; a clip is read
by the posterior of all that was drawn of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pulse_plantain import heart_rate

FAINTEST_PULSE = 8e-4
"""Amplitude (AC/DC, rms over the skin) at which a drawn pulse is half believed: what is drawn of
clips without a pulse lies mostly below it (0.0003 to 0.0009 on rendered validation clips)."""


@dataclass(frozen=True)
class Look:
    """What one drawing says by itself.

    Attributes:
        bpm: of its trace, NaN without a spectral line.
        confidence: 0...1, no probability.
    """

    bpm: float
    confidence: float


def read_look(field: np.ndarray, weights: np.ndarray, sampling_rate: float) -> Look:
    """Read one field.

    The confidence is the share of its trace's power in one spectral line (an even phase ramp has 1,
    noise about 0.06), times a^2 / (a^2 + FAINTEST_PULSE^2) with a the rms amplitude of the cells
    that carry the trace.

    Args:
        field: [samples, rows, bands] complex, AC/DC as a fraction.
        weights: same shape, >= 0.
        sampling_rate: Hz.
    """
    trace, shares = heart_rate.pulse_from_field(field, weights)
    power = float((shares * np.mean(np.abs(field) ** 2, 0)).sum())
    drawn = power / (power + FAINTEST_PULSE**2)
    bpm = float(heart_rate.mean_rate(trace, sampling_rate))
    return Look(bpm, heart_rate.spectral_concentration(trace, sampling_rate) * drawn)
