"""Calibration: the numbers of the reading, fitted to an adapter on clips of validation subjects.

What is said of the fit is said of clips that it did not see: it is made on either half of the clips
and judged on the other one; the numbers that the adapter gets are fitted to all of them. Clips of
one number have one heart, in whatever folder, and are in one half.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from pulse_plantain.posterior import MIN_CONFIDENCE, WITHIN, Posterior, Weights


@dataclass(frozen=True)
class Calibration:
    """What clips say of an adapter.

    Attributes:
        weights: of the reading, fitted to all clips.
        rows: of every clip, judged by weights of which it was no part: ``name``, ``reference``,
            ``bpm``, ``confidence`` and ``present``.
        long: the same of every long clip, second by second (:func:`judge_seconds`).
    """

    weights: Weights
    rows: list[dict[str, Any]]
    long: list[dict[str, Any]] = field(default_factory=list)

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


def judge_seconds(
    evidence: Sequence[Evidence], weights: Weights, min_confidence: float
) -> list[dict[str, Any]]:
    """A row for each long clip: what the posterior says of it, second by second and as a whole.

    Returns:
        ``name``; ``with_pulse`` and ``without``, how many of its seconds have one; of the first
        ``answered``, ``right`` (within 3 bpm) and ``error`` (bpm, their sum); of the second
        ``false``, those that get a rate; the ``confidence`` of the whole clip and its
        ``error_bpm``, None without a pulse.
    """
    rows = []
    for one in evidence:
        read = Posterior(one.witnesses, weights, (0.0, one.seconds), one.upheavals)
        instants, whole = read.find_instants(), read.read_clip()
        bpm, sure = (np.array([getattr(e, n) for e in instants]) for n in ("bpm", "confidence"))
        beating, given = np.isfinite(one.rates), sure >= min_confidence
        error = np.abs(bpm - one.rates)[beating & given]
        off = abs(whole.bpm - np.nanmean(one.rates)) if beating.any() else None
        rows.append(
            {
                "name": one.name,
                "with_pulse": int(beating.sum()),
                "without": int((~beating).sum()),
                "answered": len(error),
                "right": int((error <= WITHIN).sum()),
                "error": round(float(error.sum()), 3),
                "false": int((given & ~beating).sum()),
                "confidence": round(float(whole.confidence), 4),
                "error_bpm": None if off is None else round(float(off), 3),
            }
        )
    return rows


def summarise_seconds(rows: Sequence[dict[str, Any]], min_confidence: float) -> dict[str, Any]:
    """Figures of rows of :func:`judge_seconds`: counts of clips, shares of seconds, errors."""
    with_pulse, without, answered, right, error, false = (
        sum(row[name] for row in rows)
        for name in ("with_pulse", "without", "answered", "right", "error", "false")
    )
    beating = [row for row in rows if row["with_pulse"]]
    silent = [row for row in rows if not row["with_pulse"]]
    given = [row for row in beating if row["confidence"] >= min_confidence]
    return {
        "with_pulse": len(beating),
        "answered_seconds": answered / max(with_pulse, 1),
        "right_of_answers": right / max(answered, 1),
        "mae_bpm_of_answers": error / max(answered, 1),
        "answered": len(given),
        "right": sum(row["error_bpm"] <= WITHIN for row in given),
        "without_pulse": len(silent),
        "answered_seconds_without_pulse": false / max(without, 1),
        "answered_without_pulse": sum(row["confidence"] >= min_confidence for row in silent),
    }


def find_half(one: Evidence, folder: str) -> int:
    """0 or 1, the half of the clips that one belongs to: whether its number is even.

    Args:
        one: of a clip that scripts/synthesize.py wrote; its number is the first one in its name.
        folder: of the clip, with which the name of the evidence begins.
    """
    number = re.search(r"\d+", one.name.removeprefix(folder))
    return int(number[0]) % 2 if number else 0


def calibrate(
    pipe: Any,
    adapter: Path,
    folders: Sequence[Path],
    kept: Path,
    start: Weights = START,
    long: Sequence[Path] = (),
    min_confidence: float = MIN_CONFIDENCE,
) -> Calibration:
    """Collect what is drawn of clips, and fit the reading to it.

    Args:
        pipe: PulsePipeline with the adapter.
        adapter: its file, for the names of what is kept.
        folders: clips with their truth, as scripts/synthesize.py writes them.
        kept: folder where what was drawn is kept.
        start: of the fit.
        long: folders of longer clips, to which it is fitted, too.
        min_confidence: from which a rate is given, on which the rows of long clips depend.

    Raises:
        ClipError: if a folder holds no clips.
    """
    place = name_evidence(kept, adapter)
    halves: tuple[list[Evidence], list[Evidence]] = [], []
    minutes: tuple[list[Evidence], list[Evidence]] = [], []
    names: dict[str, str] = {}
    for some, parts in ((folders, halves), (long, minutes)):
        for folder in some:
            for one in collect_folder(pipe, folder, place):
                parts[find_half(one, folder.name)].append(one)
                names[one.name] = folder.name
    rows: list[dict[str, Any]] = []
    seconds: list[dict[str, Any]] = []
    if all(halves):
        for part in (0, 1):
            weights = Fit(halves[part] + minutes[part], start).run()
            rows += judge(halves[1 - part], weights)
            seconds += judge_seconds(minutes[1 - part], weights, min_confidence)
    for row in rows:
        row["folder"] = names[row["name"]]
    weights = Fit([one for some in (*halves, *minutes) for one in some], start).run()
    return Calibration(weights, rows, seconds)
