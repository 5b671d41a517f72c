"""Calibration: the numbers of the reading, fitted to an adapter on clips of validation subjects.

What is said of the fit is said of clips that it did not see: it is made on either half of the clips
and judged on the other one; the numbers that the adapter gets are fitted to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulse_plantain.lab.reading_fit import (
    START,
    Evidence,
    Fit,
    collect_folder,
    judge,
    name_evidence,
)
from pulse_plantain.lab.reliability import compare_confidences, is_right
from pulse_plantain.posterior import Weights


@dataclass(frozen=True)
class Calibration:
    """What clips say of an adapter.

    Attributes:
        weights: of the reading, fitted to all clips.
        rows: of every clip, judged by weights of which it was no part: ``name``, ``reference``,
            ``bpm``, ``confidence`` and ``present``.
    """

    weights: Weights
    rows: list[dict[str, Any]]

    def sum_up(self, min_confidence: float) -> dict[str, Any]:
        """Figures of the rows, by folder and of all (:func:`summarise`)."""
        groups: dict[str, list[dict[str, Any]]] = {"all": self.rows}
        for row in self.rows:
            groups.setdefault(row["folder"], []).append(row)
        return {name: summarise(rows, min_confidence) for name, rows in groups.items()}


def summarise(rows: Sequence[dict[str, Any]], min_confidence: float) -> dict[str, Any]:
    """Errors, shares and the calibration of rows (see :class:`Calibration`).

    Returns:
        dict of counts, of shares, of errors in bpm, and ``calibration_error`` (see
        :func:`pulse_plantain.lab.reliability.compare_confidences`).
    """
    beating = [row for row in rows if row["reference"]]
    silent = [row for row in rows if not row["reference"]]
    answered = [row for row in beating if row["confidence"] >= min_confidence]
    false = [row for row in silent if row["confidence"] >= min_confidence]
    figures: dict[str, Any] = {"with_pulse": len(beating), "without_pulse": len(silent)}
    if beating:
        figures["mae_bpm"] = float(np.mean([_find_error(row) for row in beating]))
        figures["within_3_bpm"] = float(np.mean([is_right(row) for row in beating]))
        figures["answered"] = len(answered) / len(beating)
    if answered:
        figures["mae_bpm_of_answers"] = float(np.mean([_find_error(row) for row in answered]))
        figures["right_of_answers"] = float(np.mean([is_right(row) for row in answered]))
    if silent:
        figures["answered_without_pulse"] = len(false) / len(silent)
    figures["calibration_error"] = compare_confidences(rows)["calibration_error"]
    return figures


def _find_error(row: dict[str, Any]) -> float:
    """bpm; the whole rate where there is no guess."""
    known = np.isfinite(row["bpm"])
    return abs(row["bpm"] - row["reference"]) if known else row["reference"]


def calibrate(
    pipe: Any, adapter: Path, folders: Sequence[Path], kept: Path, start: Weights = START
) -> Calibration:
    """Collect what is drawn of clips, and fit the reading to it.

    Args:
        pipe: PulsePipeline with the adapter.
        adapter: its file, for the names of what is kept.
        folders: clips with their truth, as scripts/synthesize.py writes them.
        kept: folder where what was drawn is kept.
        start: of the fit.

    Raises:
        ClipError: if a folder holds no clips.
    """
    place = name_evidence(kept, adapter)
    evidence = [
        (folder.name, one) for folder in folders for one in collect_folder(pipe, folder, place)
    ]
    halves: list[list[Evidence]] = [[one for _, one in evidence[part::2]] for part in (0, 1)]
    names = {one.name: folder for folder, one in evidence}
    rows: list[dict[str, Any]] = []
    if all(halves):
        for fitted, judged in (halves, halves[::-1]):
            rows += judge(judged, Fit(fitted, start).run())
    for row in rows:
        row["folder"] = names[row["name"]]
    return Calibration(Fit([one for _, one in evidence], start).run(), rows)
