"""Whether a clip's red and blue are swapped, as in pictures of OpenCV that were not turned to RGB.

Skin is redder than it is blue in nearly any light. Nothing is changed here: the owner is told.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from . import heart_rate
from . import reading as reader

SKIN, SPREAD = 0.43, 0.20
"""Mean and standard deviation of log(red / blue) of the skin that carries the pulse, in 258
rendered faces of the validation splits in plain and in camera light; the lowest was 0.02. Of 16
recordings of real skin (Dasari et al., npj Digital Medicine 2021, 4, 91; Wu et al., SIGGRAPH 2012),
all are above 0.1."""

SURE = 0.95
"""Chance of swapped colours from which the owner is told."""

_LOGGER = logging.getLogger(__name__)


def find_swap(course: Sequence[reader.Drawn]) -> float:
    """Chance that red and blue are swapped, both orders being as likely before the clip is seen.

    Cells that can be skin in one order or the other (green is not their strongest colour) are
    weighed by how much of the pulse they carry, and the mean of log(red / blue) is compared with
    that of skin and of skin turned to BGR, two normal distributions.

    Args:
        course: windows that were drawn, of a clip.

    Returns:
        0...1; 0.5 where no cell can be skin.
    """
    ratios, weights = [], []
    for one in course:
        _, shares = heart_rate.pulse_from_field(one.field, one.weights)
        light = reader.average_cells(one.window.appearance, shares.shape)
        if light.shape[:2] != shares.shape:
            continue  # a sheet without its clip
        red, green, blue = np.moveaxis(light.astype(float), -1, 0) + 1e-3
        ratios.append(np.log(red / blue))
        weights.append(shares * (green < np.maximum(red, blue)))
    total = np.sum(weights)
    if not total > 0:
        return 0.5
    ratio = float(np.sum(np.multiply(ratios, weights)) / total)
    return float(1 / (1 + np.exp(np.clip(2 * SKIN * ratio / SPREAD**2, -50, 50))))


def warn_of_swap(course: Sequence[reader.Drawn]) -> None:
    """Log one line where a clip's red and blue are almost surely swapped."""
    chance = find_swap(course)
    if chance >= SURE:
        _LOGGER.warning(
            "the skin is blue: red and blue are swapped with a chance of %.2f, as in BGR pictures "
            "of OpenCV; turn them around with picture[..., ::-1] and measure again",
            min(chance, 0.99),
        )
