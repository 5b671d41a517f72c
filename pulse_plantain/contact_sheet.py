"""Many frames in one picture: a contact sheet is made of a clip, and cut into frames again.

Here live the grid and the length that both directions share; nothing is measured here.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from PIL import Image

from . import sheet, video, windows

GRID = (8, 12)
"""Rows and columns of a contact sheet, read row by row, where nothing else is said."""

SECONDS = 8.0
"""What a contact sheet covers, in seconds, where nothing else is said."""

MOST_SIDE = 10_000
"""Most rows or columns of a grid."""

TILE = 128
"""The longer side of a frame on a sheet that is made here, in pixels."""

MOST_CHANGE = 0.6
"""Share of a sheet's contrast that may lie between its frames. It was at most 0.03 on sheets of the
bundled clip and of five photographs held by a hand, and 0.99 on two photographs cut as sheets."""

LEAST_CHANGE = 4.0
"""Grey levels between frames below which they are of one scene, however flat it is."""


def make_contact_sheet(
    clip: Any, start: float = 0.0, clock: video.Clock = video.OWN_CLOCK
) -> Image.Image:
    """A picture of the frames of :data:`SECONDS` of a clip, on a grid of :data:`GRID`.

    A frame is the mean over its share of the time and over the area of its pixels. Fractions of a
    grey level survive the eight bits as a dither: noise of one level's width, the same for every
    clip, is added before the levels are cut off.

    Args:
        clip, clock: see :func:`pulse_plantain.video.read_frames`.
        start: seconds from the first picture; the first window at or after it is taken, and
            windows begin a second apart.

    Raises:
        ClipError: if the clip cannot be read or has no whole :data:`SECONDS` from ``start`` on.
    """
    rows, columns = GRID
    _, first = next(video.read_frames(clip, clock))
    scale = TILE / max(first.shape[:2])
    height, width = (max(1, round(side * scale)) for side in first.shape[:2])
    strip = sheet.SheetGeometry(
        width, rows * columns, height, size=(width * rows * columns, height)
    )
    layout = sheet.Layout(strip, (width, height))
    for window in windows.encode_windows(clip, layout, clock=clock, window=SECONDS, stride=1.0):
        if window.start >= start and window.end - window.start > SECONDS - 0.1:
            break
    else:
        raise video.ClipError(f"{clip}: no {SECONDS:g} s from {start:g} s on")
    frames = window.appearance * (1 + window.motion)
    tiled = frames.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    levels = 255 * tiled.reshape(rows * height, columns * width, 3)
    dither = np.random.default_rng(0).random(levels.shape, np.float32)
    return Image.fromarray(np.floor(levels + dither).clip(0, 255).astype(np.uint8))


def frames_from_contact_sheet(
    image: Image.Image, grid: tuple[int, int] = GRID
) -> list[Image.Image]:
    """Frames of a contact sheet, row by row, for ``pipe(frames, fps=len(frames) / seconds)``.

    Args:
        image: rows x columns frames of one size without gaps.
        grid: (rows, columns).

    Raises:
        ClipError: if the grid is not two whole numbers, or does not divide the picture.
    """
    rows, columns = check_grid(grid)
    if image.width % columns or image.height % rows:
        raise video.ClipError(
            f"a grid of {rows} x {columns} frames does not divide a picture of "
            f"{image.width} x {image.height} pixels"
        )
    width, height = image.width // columns, image.height // rows
    return [
        image.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))
        for y in range(rows)
        for x in range(columns)
    ]


def check_grid(grid: Any) -> tuple[int, int]:
    """A grid as (rows, columns).

    Raises:
        ClipError: if it is not two whole numbers from 1 to :data:`MOST_SIDE`.
    """
    try:
        rows, columns = (index(side) for side in grid)
    except (TypeError, ValueError):
        rows = columns = 0
    if not (1 <= rows <= MOST_SIDE and 1 <= columns <= MOST_SIDE):
        raise video.ClipError(
            f"a grid must be (rows, columns), two whole numbers from 1 to {MOST_SIDE}, "
            f"got {video.quote(grid)}"
        )
    return rows, columns


def is_still(clip: Any) -> bool:
    """Whether what is given as a clip is one still picture."""
    return isinstance(clip, Image.Image) and not getattr(clip, "is_animated", False)


def open_contact_sheet(image: Image.Image, grid: tuple[int, int] = GRID) -> list[Image.Image]:
    """Frames of a still picture that somebody passed for a clip.

    Args:
        image: a contact sheet, or a picture that is none.
        grid: (rows, columns).

    Raises:
        ClipError: if it is no contact sheet: the grid is none or does not divide it, its parts are
            not frames of one scene, or its file is cut short. The message says what would be right.
    """
    rows, columns = check_grid(grid)
    whole = image.width % columns == 0 and image.height % rows == 0
    frames = []
    if whole:
        frames = frames_from_contact_sheet(video.convert_picture(image, "the picture"), grid)
    if not frames or not _show_one_scene(frames):
        raise video.ClipError(
            f"this picture of {image.width} x {image.height} pixels is no contact sheet of "
            f"{rows} x {columns} frames: make one of a clip with "
            "python scripts/contact_sheet.py CLIP SHEET.png, or send the clip itself"
        )
    return frames


def _show_one_scene(frames: list[Image.Image]) -> bool:
    """Whether frames differ less from one another than the places within them."""
    small = [frame.convert("L").resize((16, 16), Image.Resampling.BOX) for frame in frames]
    levels = np.stack([np.asarray(frame, np.float32) for frame in small])
    between = levels.var(axis=0).mean()
    return bool(np.sqrt(between) < LEAST_CHANGE or between < MOST_CHANGE * levels.var())


def open_timed(
    image: Image.Image, fps: float | None, timestamps: Any
) -> tuple[list[Image.Image], float | None]:
    """Frames of a contact sheet, and their rate: :data:`SECONDS` in all where nothing is given.

    Args:
        image: see :func:`open_contact_sheet`.
        fps, timestamps: that were given for the frames.

    Raises:
        ClipError: if the picture is none.
    """
    frames = open_contact_sheet(image)
    if fps is None and timestamps is None:
        fps = len(frames) / SECONDS
    return frames, fps
