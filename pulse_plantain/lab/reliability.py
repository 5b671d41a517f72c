"""How far a confidence is a probability: compared with the share of guesses that are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pulse_plantain.posterior import WITHIN

BINS = 10
"""Equal bins of confidence."""


def is_right(row: dict[str, Any]) -> bool:
    """Whether a row's ``bpm`` is within 3 of its ``reference``, and there is a pulse at all."""
    reference = row["reference"]
    return bool(reference) and reference > 0 and abs(row["bpm"] - reference) <= WITHIN


def compare_confidences(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Confidences of rows against how often they are right.

    Args:
        rows: of ``bpm``, ``confidence`` and ``reference`` in bpm (0 without a pulse).

    Returns:
        ``calibration_error``, the expected calibration error over equal bins (Naeini et al., AAAI
        2015), and ``bins`` that are not empty, each of ``clips``, mean ``confidence`` and the share
        that is ``right``.
    """
    numbers = [min(int(BINS * row["confidence"]), BINS - 1) for row in rows]
    bins: list[dict[str, float]] = []
    for number in range(BINS):
        inside = [row for row, its in zip(rows, numbers, strict=True) if its == number]
        if inside:
            confidence = float(np.mean([row["confidence"] for row in inside]))
            right = float(np.mean([is_right(row) for row in inside]))
            bins.append({"clips": len(inside), "confidence": confidence, "right": right})
    error = sum(one["clips"] * abs(one["confidence"] - one["right"]) for one in bins)
    return {"calibration_error": error / max(len(rows), 1), "bins": bins}
