"""Where to look: boxes over the picture, and the search for the one that shows the pulse best.

The search is told how to read a window and never sees the model that does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from . import bijection, sheet
from . import reading as reader
from . import windows as windowing

SEARCH_GRID = 64
"""Cells along each side of the picture that the search for the pulse is made of."""

SMALLEST_BOX = 24
"""Shortest side in pixels of a part that is looked at closer."""

FACE_ASPECT = 0.8
"""Width over height of the boxes that are tried."""

Box = tuple[float, float, float, float]
"""(left, top, right, bottom), fractions of the picture."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

ReadWindows = Callable[[list[windowing.ClipWindow]], list[reader.PulseReading]]
"""Reads windows, each on its own; an empty list where it was interrupted."""


@dataclass(frozen=True)
class Look:
    """One pass over the clip: its windows, what was drawn for them, and the reading.

    Attributes:
        windows: of one length, in time order.
        members: [ensemble, windows, samples, rows, bands] complex, the fields drawn.
        weights: [windows, samples, rows, bands], how much of each cell is on the palette.
        sheets: [windows, H, W, 3] in 0...1, or None where they were not asked for.
        reading: what the mean field says.
    """

    windows: list[windowing.ClipWindow]
    members: np.ndarray
    weights: np.ndarray
    sheets: np.ndarray | None
    reading: reader.PulseReading

    @property
    def field(self) -> np.ndarray:
        """Mean phasors over the ensemble, [windows, samples, rows, bands]."""
        return self.members.mean(0)


@dataclass(frozen=True)
class Found:
    """Where the search found the pulse.

    Attributes:
        box: the part of the picture to look at; :data:`WHOLE` where nothing beats it.
        bpm: the rate that the boxes over the whole picture agree on, NaN where none has one.
    """

    box: Box = WHOLE
    bpm: float = np.nan


def divide_finely(samples: int) -> sheet.Layout:
    """Layout of windows of SEARCH_GRID x SEARCH_GRID cells, of which any part can be cut."""
    grid = SEARCH_GRID
    size = (grid * samples, grid)
    geometry = sheet.SheetGeometry(bands=grid, samples=samples, rows=grid, size=size)
    return sheet.Layout(geometry, (grid, grid))


def cut_part(fine: windowing.ClipWindow, box: Box, layout: sheet.Layout) -> windowing.ClipWindow:
    """A window of the layout from one of :func:`divide_finely`.

    Args:
        fine: of SEARCH_GRID x SEARCH_GRID cells.
        box: the part, in fractions of the picture.
        layout: of the window to make.
    """
    left, top, right, bottom = (side * SEARCH_GRID for side in box)
    return windowing.crop_window(fine, (left, top, right, bottom), layout)


def to_pixels(box: Box, picture_size: tuple[int, int]) -> Box:
    """A box in fractions of the picture as one in pixels."""
    width, height = picture_size
    left, top, right, bottom = box
    return left * width, top * height, right * width, bottom * height


def list_boxes(picture_size: tuple[int, int]) -> list[Box]:
    """The whole picture, and boxes of the shape of a face that cover it, a third of each shared.

    Args:
        picture_size: (width, height) in pixels.

    Returns:
        list of (left, top, right, bottom), fractions of the picture; the first is the whole.
    """
    height = 0.6
    width = min(1.0, FACE_ASPECT * height * picture_size[1] / picture_size[0])

    def spread_starts(side):
        return np.linspace(0, 1 - side, 1 + int(np.ceil((1 - side) / (2 / 3 * side)))).tolist()

    boxes = [
        (x, y, x + width, y + height) for y in spread_starts(height) for x in spread_starts(width)
    ]
    return [WHOLE, *boxes]


def list_nearby_boxes(box: Box) -> list[Box]:
    """The box moved by a fifth of its sides, made smaller and larger; inside the picture.

    Args:
        box: (left, top, right, bottom), fractions of the picture.

    Returns:
        list of six boxes.
    """
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    moves = [(-0.2, 0, 1), (0.2, 0, 1), (0, -0.2, 1), (0, 0.2, 1), (0, 0, 0.75), (0, 0, 1.25)]
    boxes = []
    for right_by, down_by, scale in moves:
        x, y = left + (0.5 + right_by) * width, top + (0.5 + down_by) * height
        half_width, half_height = scale * width / 2, scale * height / 2
        boxes.append(
            (
                max(0.0, x - half_width),
                max(0.0, y - half_height),
                min(1.0, x + half_width),
                min(1.0, y + half_height),
            )
        )
    return boxes


def is_large(box: Box, picture_size: tuple[int, int]) -> bool:
    """Whether a box has enough pixels to be worth a look."""
    left, top, right, bottom = to_pixels(box, picture_size)
    return right - left >= SMALLEST_BOX and bottom - top >= SMALLEST_BOX


def find_pulse(
    fine: list[windowing.ClipWindow], layout: sheet.Layout, read_windows: ReadWindows
) -> Found:
    """The part of the picture whose drawing is most surely one pulse.

    A search by looking: boxes over the whole picture first, then those near the best. The readings
    of the first, at every length, vote on the rate; those near the best would vote for it. A box
    counts as much as its surest reading that agrees with the vote.

    Args:
        fine: windows to read, of :func:`divide_finely`, one of each length.
        layout: of the windows that are drawn.
        read_windows: reads the parts that are cut.
    """
    size = fine[0].picture_size

    def look_into(boxes: list[Box]) -> list[tuple[Box, float, reader.PulseReading]]:
        large = [box for box in boxes if is_large(box, size)]
        pairs = [(box, window) for box in large for window in fine]
        if not pairs:
            return []
        readings = read_windows([cut_part(window, box, layout) for box, window in pairs])
        if not readings:  # interrupted
            return []
        return [
            (box, window.seconds, one) for (box, window), one in zip(pairs, readings, strict=True)
        ]

    wide = look_into(list_boxes(size))
    if not wide:
        return Found()
    rates, confidences, lengths = zip(
        *((one.bpm, one.confidence, seconds) for _, seconds, one in wide), strict=True
    )
    most_beats = reader.count_most_beats(layout.geometry)
    bpm = reader.vote_on_rate(rates, confidences, lengths, most_beats)
    best = _surest_box(wide, bpm)
    if best == WHOLE:
        return Found(WHOLE, bpm)
    return Found(_surest_box(wide + look_into(list_nearby_boxes(best)), bpm), bpm)


def _surest_box(looks: Iterable[tuple[Box, float, reader.PulseReading]], bpm: float) -> Box:
    """The box with the surest reading that agrees with a rate (NaN: any reading does)."""
    sure: dict[Box, float] = {}
    for box, _, one in looks:
        agrees = np.isnan(bpm) or abs(one.bpm - bpm) <= reader.SAME_RATE
        sure[box] = max(one.confidence if agrees else 0.0, sure.get(box, 0.0))
    return max(sure, key=lambda box: sure[box])


def encode_finely(
    encode: Callable[[sheet.Layout], Iterable[windowing.ClipWindow]], layout: sheet.Layout
) -> tuple[list[windowing.ClipWindow], list[windowing.ClipWindow]]:
    """The windows of a whole picture, in one pass, and some of them in fine cells.

    Args:
        encode: :func:`~pulse_plantain.windows.encode_windows` with all arguments but the layout.
        layout: of the windows that are drawn.

    Returns:
        (windows of the layout, the first of each length of :func:`divide_finely`).
    """
    windows: list[windowing.ClipWindow] = []
    first: dict[float, windowing.ClipWindow] = {}
    for fine in encode(divide_finely(layout.geometry.samples)):
        windows.append(cut_part(fine, WHOLE, layout))
        first.setdefault(fine.seconds, fine)
    return windows, list(first.values())


def read_sheets(
    windows: Sequence[windowing.ClipWindow],
    sheets: Iterable[torch.Tensor],
    geometry: sheet.SheetGeometry,
    keep_sheets: bool = False,
) -> Look:
    """Fields and heart rate of the sheets drawn for windows of one length.

    Args:
        windows: in time order.
        sheets: batches [B, 3, H, W] in [-1, 1]; of an ensemble member by member.
        geometry: of the sheets.
        keep_sheets: whether the look holds the sheets, those of the mean field with an ensemble.
    """
    pictures, drawn, palette = [], [], []
    for images in sheets:
        field, weight = reader.decode_field(images, geometry)
        drawn.append(field)
        palette.append(weight)
        if keep_sheets:
            pictures.append(images.movedim(1, -1) / 2 + 0.5)
    members = torch.cat(drawn).unflatten(0, (-1, len(windows))).numpy()
    weights = torch.cat(palette).unflatten(0, (-1, len(windows))).mean(0).numpy()
    field, starts = members.mean(0), [window.start for window in windows]
    kept: Any = None
    if keep_sheets and len(members) == 1:
        kept = torch.cat(pictures).numpy()
    elif keep_sheets:
        kept = sheet.field_to_sheet(bijection.encode_phasor(field), geometry)
    reading = reader.read_fields(field, weights, starts, windows[0].sampling_rate)
    return Look(list(windows), members, weights, kept, reading)


def group_by_length(some: Iterable[windowing.ClipWindow]) -> list[list[windowing.ClipWindow]]:
    """Lists of windows of the same length, in the order of their first."""
    lists: dict[float, list[windowing.ClipWindow]] = {}
    for window in some:
        lists.setdefault(window.seconds, []).append(window)
    return list(lists.values())


def choose_look(looks: list[Look], bpm: float) -> Look:
    """The look with the highest confidence, of those that agree with a rate where any does.

    Args:
        looks: of one clip.
        bpm: the rate, or NaN.
    """
    agreeing = [look for look in looks if abs(look.reading.bpm - bpm) <= reader.SAME_RATE]
    return max(agreeing or looks, key=lambda look: look.reading.confidence)
