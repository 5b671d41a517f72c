"""How long clips are read second by second: a rate that moves, a gap, a person who leaves.

The clips are those of ``scripts/synthesize.py --journeys``. The whole clip's curve is compared with
the true rate where the face is there, and with silence where it is not; its rate with those of the
same clip cut into pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pulse_plantain.lab.reading_fit import smooth_rate
from pulse_plantain.output import PulseOutput
from pulse_plantain.posterior import WITHIN
from pulse_plantain.video import ClipError, read_frames

MARGIN = 2.0
"""Seconds on either side of a person's leaving and returning that count as neither."""

PIECE = 10.0
"""Seconds of the pieces that a clip is cut into."""

ASTRAY = 10.0
"""bpm of mean error from which a clip's answers follow something else than its pulse."""


def measure_journey(pipe: Any, clip: Path) -> dict[str, Any]:
    """The curve of a clip beside the truth, and the rates of its pieces.

    Args:
        pipe: PulsePipeline.
        clip: video with its ground truth beside it.

    Returns:
        ``name``; of every instant ``times`` (s), ``rates`` (bpm, the truth), ``there`` (1 the face
        is, 0 it is not, None near the change), ``bpm`` and ``confidence``; ``whole`` and
        ``pieces``, each with ``reference``, ``bpm``, ``guess`` and ``confidence``.

    Raises:
        ClipError: if it is no such clip.
    """
    truth = json.loads(clip.with_suffix(".json").read_text())
    if "away" not in truth:
        raise ClipError(f"{clip.name}: no clip of synthesize.py --journeys")
    clock, rates = np.array(truth["times"][1:]), smooth_rate(truth)
    output = pipe(str(clip))
    times = output.curve.times
    row = {
        "name": clip.stem,
        "times": times.tolist(),
        "rates": np.interp(times, clock, rates).round(2).tolist(),
        "there": [_is_there(time, truth["away"]) for time in times],
        "bpm": output.curve.bpm.round(2).tolist(),
        "confidence": output.curve.confidence.round(4).tolist(),
    }

    def compare(found: PulseOutput, start: float, end: float) -> dict[str, Any]:
        own = (clock >= start) & (clock < end)
        own &= (clock < truth["away"][0]) | (clock > truth["away"][1])
        return {
            "reference": round(float(rates[own].mean()), 2) if own.any() else None,
            "bpm": round(float(found.bpm), 2) if found.found else None,
            "guess": round(float(found.guess), 2) if np.isfinite(found.guess) else None,
            "confidence": round(float(found.confidence), 4),
        }

    row["whole"] = compare(output, 0.0, truth["seconds"])
    row["pieces"] = []
    for start, frames in cut_pieces(clip):
        stamps, pictures = zip(*frames, strict=True)
        try:
            found = pipe(list(pictures), timestamps=[stamp - stamps[0] for stamp in stamps])
        except ClipError:  # what is left at the end is too short
            continue
        row["pieces"].append(compare(found, start, start + PIECE))
    return row


def _is_there(time, away):
    """1 where the face is in the picture, 0 where it is not, None near the change."""
    if away[0] + MARGIN <= time <= away[1] - MARGIN:
        return 0
    return 1 if time <= away[0] - MARGIN or time >= away[1] + MARGIN else None


def cut_pieces(clip: Path) -> Iterator[tuple[float, list[tuple[float, np.ndarray]]]]:
    """(start in s, its (time, picture) pairs) of every :data:`PIECE` of a clip."""
    for number, frames in groupby(read_frames(clip), lambda frame: frame[0] // PIECE):
        yield PIECE * number, list(frames)


def sum_up(rows: Sequence[dict[str, Any]], min_confidence: float) -> dict[str, Any]:
    """Figures of :func:`measure_journey`.

    Returns:
        of the seconds with a face: their number, the share that is answered, the mean absolute
        error and the share within 3 bpm of the answers, and of all best guesses; of those
        without one the share that is silent; of whole clips and of pieces how many are answered and
        right; ``worse_than_its_pieces``, clips answered wrongly of which a piece was right; and of
        the clips whose answered seconds are off by more than :data:`ASTRAY` on average their
        number, the largest spread of what is said in one of them (standard deviation, bpm), and the
        mean absolute error of the answers of all others.
    """
    columns = ("rates", "there", "bpm", "confidence")
    rate, there, bpm, sure = (
        np.concatenate([np.array(row[name], float) for row in rows]) for name in columns
    )
    given, seen, away = sure >= min_confidence, there == 1, there == 0
    error = np.abs(bpm - rate)
    answered = error[seen & given]
    answers = [list_answers(row, min_confidence) for row in rows]
    astray = [said for said, own in answers if is_astray(own)]
    rest = np.concatenate([np.empty(0), *(own for _, own in answers if not is_astray(own))])
    wholes = [row["whole"] for row in rows]
    pieces = [piece for row in rows for piece in row["pieces"] if piece["reference"]]
    return {
        "clips": len(rows),
        "seconds_with_face": int(seen.sum()),
        "answered": float(given[seen].mean()),
        "mae_bpm_of_answers": float(answered.mean()) if len(answered) else None,
        "right_of_answers": float((answered <= WITHIN).mean()) if len(answered) else None,
        "mae_bpm_of_all": float(np.nanmean(error[seen])),
        "within_3_bpm_of_all": float((error[seen] <= WITHIN).mean()),
        "seconds_without_face": int(away.sum()),
        "silent_without_face": float(1 - given[away].mean()),
        "whole": _count_answers(wholes),
        "pieces": _count_answers(pieces),
        "worse_than_its_pieces": sum(_is_worse(row) for row in rows),
        "astray": len(astray),
        "spread_of_astray_bpm": max((float(said.std()) for said in astray), default=0.0),
        "mae_bpm_of_the_others": float(rest.mean()) if len(rest) else None,
    }


def list_answers(row: dict[str, Any], min_confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Rates said and their errors, [n] each, of the answered seconds with a face."""
    columns = ("rates", "there", "bpm", "confidence")
    rate, there, bpm, sure = (np.array(row[name], float) for name in columns)
    chosen = (there == 1) & (sure >= min_confidence)
    return bpm[chosen], np.abs(bpm - rate)[chosen]


def is_astray(errors: np.ndarray) -> bool:
    """Whether the answered seconds of a clip, with errors [n] in bpm, are astray on average."""
    return len(errors) > 0 and errors.mean() > ASTRAY


def _is_right(one):
    return one["bpm"] is not None and abs(one["bpm"] - one["reference"]) <= WITHIN


def _count_answers(some):
    answered = [one for one in some if one["bpm"] is not None]
    guesses = [one for one in some if one["guess"] is not None]
    near = sum(abs(one["guess"] - one["reference"]) <= WITHIN for one in guesses)
    right = sum(_is_right(one) for one in answered)
    return {"count": len(some), "answered": len(answered), "right": right, "guessed_right": near}


def _is_worse(row):
    """Whether a clip is answered wrongly, though a piece of it is answered rightly."""
    pieces = [piece for piece in row["pieces"] if piece["reference"]]
    wrong = row["whole"]["bpm"] is not None and not _is_right(row["whole"])
    return wrong and any(_is_right(piece) for piece in pieces)


def draw_journeys(rows: Sequence[dict[str, Any]], min_confidence: float, most: int = 8) -> Figure:
    """The true rate of some clips, and what is read of it second by second.

    Args:
        rows: of :func:`measure_journey`.
        min_confidence: from which a rate is given; what is below is hollow.
        most: clips that are drawn, evenly spread over the rows.
    """
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    lines = (len(chosen) + 1) // 2
    figure = Figure(figsize=(13, 2.6 * lines), layout="constrained")
    for axes, row in zip(figure.subplots(lines, 2, squeeze=False).ravel(), chosen, strict=False):
        names = ("times", "rates", "there", "bpm", "confidence")
        times, rates, there, bpm, sure = (np.array(row[name], float) for name in names)
        axes.plot(times, np.where(there == 1, rates, np.nan), color="0.6", linewidth=4, alpha=0.6)
        away = times[there == 0]
        if len(away):
            axes.axvspan(away[0] - MARGIN, away[-1] + MARGIN, color="0.92")
        given = sure >= min_confidence
        axes.scatter(times[given], bpm[given], s=12, color="C0")
        axes.scatter(times[~given], bpm[~given], s=12, facecolors="none", edgecolors="C0")
        middle = float(np.median(rates))
        axes.set(ylim=(middle - 40, middle + 40), ylabel="bpm")
        axes.set_title(f"{row['name']}", fontsize=8)
    figure.supxlabel("s; grey line: true rate; grey ground: nobody there; full: answered")
    return figure
