"""Parts of one picture that carry different heart rates: two people where one was thought of.

Each box that the search drew is read by itself; nothing is drawn for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from . import face_finder, posterior, search
from . import reading as reader

SURE = 0.9
"""Confidence of each of two parts that are told apart."""

APART = 6.0
"""Smallest difference of their rates in bpm, twice what a rate that counts as right may be off."""

SPREADS = 3.0
"""Smallest difference of their rates in standard deviations."""

LOOK = 20.0
"""Longest time in s over which parts are compared: a rate changes, and boxes are looked at when the
search comes by."""

SHARED = 0.1
"""Largest share of the smaller of two boxes that is in the other one."""


@dataclass(frozen=True)
class Part:
    """A part of the picture, and what it says by itself.

    Attributes:
        box: (left, top, right, bottom), fractions of the picture.
        crop: the same in pixels.
        bpm: heart rate.
        bpm_uncertainty: half of the central 68 % of its posterior, in bpm.
        confidence: chance that there is a pulse and its rate within 3 bpm of ``bpm``.
        start, end: s, of the time over which it was read.
    """

    box: search.Box
    crop: search.Box
    bpm: float
    bpm_uncertainty: float
    confidence: float
    start: float
    end: float


def list_spans(drawn: Iterable[reader.Drawn]) -> list[tuple[float, float]]:
    """The times in s over which boxes were looked at, those of :data:`LOOK` at most, each once."""
    ends: dict[search.Box, tuple[float, float]] = {}
    for one in drawn:
        start, end = ends.get(one.place, (np.inf, -np.inf))
        ends[one.place] = min(start, one.window.start), max(end, one.window.end)
    return sorted({span for span in ends.values() if span[1] - span[0] <= LOOK})


def read_parts(
    drawn: Iterable[reader.Drawn], weights: posterior.Weights, span: tuple[float, float]
) -> list[Part]:
    """Every box that was looked at in a span of time in s and may be sure, read by itself."""
    places: dict[search.Box, list[reader.Drawn]] = {}
    for one in drawn:
        inside = one.window.start >= span[0] - 1e-6 and one.window.end <= span[1] + 1e-6
        if one.counts and inside:
            places.setdefault(one.place, []).append(one)
    parts = []
    for box, own in places.items():
        read = search.read_drawn(own, weights, span)
        if read.bound_confidence(*span) < SURE:
            continue
        found = read.read_clip(*span)
        crop = own[-1].window.crop
        parts.append(Part(box, crop, found.bpm, found.uncertainty, found.confidence, *span))
    return parts


def find_two_rates(drawn: Sequence[reader.Drawn], weights: posterior.Weights) -> list[Part]:
    """The two surest parts that clearly carry two rates at one time.

    Args:
        drawn: of a clip.
        weights: of the reading.

    Returns:
        two parts from left to right that hardly overlap, each sure, their rates too far apart to be
        one; none where there are no such parts.
    """
    pairs = []
    for span in list_spans(drawn):
        sure = [part for part in read_parts(drawn, weights, span) if part.confidence >= SURE]
        pairs += [pair for pair in combinations(sure, 2) if _differ(*pair)]
    if not pairs:
        return []
    surest = max(pairs, key=lambda pair: min(part.confidence for part in pair))
    return sorted(surest, key=lambda part: part.box)


def _differ(one: Part, other: Part) -> bool:
    """Whether two sure parts are two places with two rates."""
    difference = abs(one.bpm - other.bpm)
    spread = np.hypot(one.bpm_uncertainty, other.bpm_uncertainty)
    return difference >= max(APART, SPREADS * spread) and share_area(one.box, other.box) <= SHARED


def share_area(one: search.Box, other: search.Box) -> float:
    """Share of the smaller of two boxes that is in the other one, 0...1."""
    smaller = min(face_finder.find_area(one), face_finder.find_area(other))
    return face_finder.find_common_area(one, other) / max(smaller, np.finfo(float).tiny)
