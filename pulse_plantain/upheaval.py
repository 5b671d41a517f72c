"""Where a picture changes altogether: it is cut, a face comes or goes, something hides it.

What is seen before such a change and what is seen after it are not two parts of one course.
"""

from __future__ import annotations

import numpy as np

LAG = 0.5
"""Seconds within which the picture changes, and after which it must still be another one."""

UNLIKE = 0.25
"""Sine of the angle between two pictures from which they are of different things."""

DARKEST = 8 / 255
"""Root mean square below which a picture is too dark to be of anything."""


def compare_moments(pictures: np.ndarray, lag: int) -> np.ndarray:
    """How unlike the pictures before and after each moment are, and stay.

    A picture is a vector of all its values, and the sine of the angle between two of them does not
    depend on how bright either is. Of a moment the least counts of three such sines: from one lag
    to the next, and with either picture taken one lag further away; so a flash, or a hand that
    passes, is no change. In place of a picture that is dark stands the last one that is not.

    Args:
        pictures: [samples, ...], evenly spaced in time.
        lag: samples.

    Returns:
        [samples - lag] in 0..1, of the moments half a lag after each sample.
    """
    flat = pictures.reshape(len(pictures), -1).astype(float)
    size = np.sqrt(np.square(flat).mean(1))
    number = np.arange(len(flat))
    lit = np.maximum.accumulate(np.where(size >= DARKEST, number, -1))
    flat = (flat / np.maximum(size, np.finfo(float).tiny)[:, None])[np.maximum(lit, 0)]
    flat[lit < 0] = 0

    before, after = number[:-lag], number[lag:]
    pairs = [
        (before, after),
        (np.maximum(before - lag, 0), after),
        (before, np.minimum(after + lag, number[-1])),
    ]
    sines = []
    for one, other in pairs:
        cosine = (flat[one] * flat[other]).mean(1)
        known = (lit[one] >= 0) & (lit[other] >= 0)
        sines.append(np.where(known, np.sqrt(np.clip(1 - cosine**2, 0, 1)), 0))
    return np.min(sines, 0)


def find_upheavals(pictures: np.ndarray, times: np.ndarray) -> tuple[float, ...]:
    """Times in s at which pictures change altogether, in order.

    Args:
        pictures: [samples, rows, bands, 3] in 0..1.
        times: [samples] s, evenly spaced.

    Returns:
        of every sample's interval in which they do, so a slow change has several.
    """
    interval = (times[-1] - times[0]) / max(len(times) - 1, 1)
    lag = max(1, round(LAG / interval))
    unlike = compare_moments(pictures, lag)
    moments = times[: len(unlike)] + lag * interval / 2
    return tuple(moments[unlike >= UNLIKE].tolist())
