"""Where faces are: a clip is looked at once a second, and what is found again and again is a face.

The finder is the cascade of Viola and Jones for frontal faces (CVPR 2001) that comes with OpenCV 4.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import cells, video

EVERY = 1.0
"""Seconds from one look to the next."""

LONGEST_SIDE = 320
"""Pixels of the longer side of the picture that is searched; larger ones are made smaller."""

SMALLEST = 0.1
"""Smallest side of a face, as a share of the shorter side of the picture."""

SCALE, NEIGHBOURS = 1.1, 4
"""Of the cascade: from one size to the next, and how often a face must be found at one look."""

ALIKE = 0.4
"""Intersection over union from which two boxes are one face."""

APART = 0.1
"""The same, up to which two boxes may be two faces."""

OFTEN = 1 / 3
"""Share of the looks at which a face must be found."""

Faces = tuple[cells.Box, ...]
"""(left, top, right, bottom) in pixels of each, the largest first."""


class FaceFinder:
    """Looks for faces in the pictures of a clip, once a second.

    Without OpenCV, or with one that brings no cascade, it finds none and warns once.
    """

    def __init__(self) -> None:
        self._next = -np.inf
        self._shrink: cells.CellMeans | None = None

    def look(self, time: float, picture: video.Picture) -> Faces | None:
        """The faces of a picture; None where it is not looked at.

        Args:
            time: s; pictures come in the order of their times.
            picture: of the size of those before it.
        """
        if time < self._next or load_cascade() is None:
            return None
        self._next = time + EVERY - 1e-6
        size = video.find_size(picture)
        grid = choose_grid(size)
        if self._shrink is None:
            whole = (0.0, 0.0, float(size[0]), float(size[1]))
            self._shrink = cells.CellMeans(size, whole, grid)
        across, down = size[0] / grid[0], size[1] / grid[1]
        return tuple(
            (left * across, top * down, right * across, bottom * down)
            for left, top, right, bottom in find_faces(self._shrink(picture))
        )


def choose_grid(picture_size: tuple[int, int]) -> tuple[int, int]:
    """(columns, rows) of the picture that is searched, of no more than :data:`LONGEST_SIDE`."""
    share = min(1.0, LONGEST_SIDE / max(picture_size))
    columns, rows = (max(1, round(share * side)) for side in picture_size)
    return columns, rows


def find_faces(picture: np.ndarray) -> list[cells.Box]:
    """Boxes (left, top, right, bottom) of the faces in a picture, in its pixels.

    Args:
        picture: [H, W, 3] in [0, 1].
    """
    cascade = load_cascade()
    if cascade is None:
        return []
    luma = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    grey = np.clip(np.round(255 * luma), 0, 255).astype(np.uint8)
    side = max(1, round(SMALLEST * min(grey.shape)))
    with _ONE_AT_A_TIME:
        found = cascade.detectMultiScale(grey, SCALE, NEIGHBOURS, minSize=(side, side))
    boxes = np.reshape(found, (-1, 4)).astype(float).tolist()
    return [(x, y, x + width, y + height) for x, y, width, height in boxes]


_ONE_AT_A_TIME = threading.Lock()  # a cascade keeps the picture that it works on


@cache
def load_cascade() -> Any:
    """OpenCV's cascade for frontal faces; None, with a warning, where there is none."""
    try:
        import cv2

        folder = Path(cv2.__file__).parent / "data"
        return cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
    except (ImportError, AttributeError):
        warnings.warn(
            "faces are not looked for, and fewer heart rates will be sure: this needs OpenCV 4 "
            '(pip install "opencv-python-headless<5")',
            stacklevel=2,
        )
        return None


def settle(looks: Sequence[Faces]) -> Faces:
    """The faces that are found again and again.

    Boxes that share most of their area are one face, whose box is their mean. Of faces that overlap
    the one that is found more often is kept.

    Args:
        looks: what was found at each look.

    Returns:
        the faces found in at least a third of the looks, the largest first.
    """
    rest = [(number, box) for number, found in enumerate(looks) for box in found]
    faces: list[cells.Box] = []
    while rest:
        alike = [[one for one in rest if compare_boxes(box, one[1]) >= ALIKE] for _, box in rest]
        group = max(alike, key=len)
        if len({number for number, _ in group}) < OFTEN * len(looks):
            break
        left, top, right, bottom = np.mean([box for _, box in group], 0).tolist()
        face = (left, top, right, bottom)
        if all(compare_boxes(face, other) <= APART for other in faces):
            faces.append(face)
        rest = [one for one in rest if one not in group]
    return tuple(sorted(faces, key=lambda box: -find_area(box)))


def find_area(box: cells.Box) -> float:
    """Area of a box; 0 where its sides are in the wrong order."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def find_common_area(one: cells.Box, other: cells.Box) -> float:
    """Area of the intersection of two boxes."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    return find_area((left, top, min(one[2], other[2]), min(one[3], other[3])))


def compare_boxes(one: cells.Box, other: cells.Box) -> float:
    """Intersection of two boxes over their union: 1 for one box, 0 for two apart."""
    both = find_common_area(one, other)
    return both / max(find_area(one) + find_area(other) - both, np.finfo(float).tiny)
