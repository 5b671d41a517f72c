"""Where to look: boxes over the picture, all along a clip, and what has been seen in them.

The search is told how to draw a part of a window and never sees the model that does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from . import posterior, sheet
from . import reading as reader
from . import windows as windowing

SEARCH_GRID = 64
"""Cells along each side of the picture that the search for the pulse is made of."""

SMALLEST_BOX = 24
"""Shortest side in pixels of a part that is looked at closer."""

FACE_ASPECT = 0.8
"""Width over height of the boxes that are tried."""

ROWS = 3
"""Rows of boxes that cover the picture."""

Box = tuple[float, float, float, float]
"""(left, top, right, bottom), fractions of the picture."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

Draw = Callable[[list[reader.Glance]], list[reader.Drawn]]
"""Draws glances."""

TICK = 5.0
"""Seconds after which the search goes on, once its first windows are there."""

BOXES = 3
"""Boxes that are followed."""

FACES = 2
"""Faces that are drawn, of those that are found."""

LIVELY = 0.5
"""Confidence of the last seconds below which the whole picture is searched again."""

REMEMBERED = 30.0
"""Seconds of witnesses that decide where to look next."""


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
    """The whole picture, and boxes of the shape of a face that cover it in three rows.

    Neighbours in a row share a third at least, rows two thirds: without the row in the middle,
    where most faces are, fewer of them are found (docs/tried.md).

    Args:
        picture_size: (width, height) in pixels.

    Returns:
        list of (left, top, right, bottom), fractions of the picture; the first is the whole.
    """
    height = 0.6
    width = min(1.0, FACE_ASPECT * height * picture_size[1] / picture_size[0])
    columns = 1 + int(np.ceil((1 - width) / (2 / 3 * width) - 1e-9))
    boxes = [
        (x, y, x + width, y + height)
        for y in np.linspace(0, 1 - height, ROWS).tolist()
        for x in np.linspace(0, 1 - width, columns).tolist()
    ]
    return [WHOLE, *boxes]


def list_faces(window: windowing.ClipWindow) -> list[Box]:
    """The largest faces of a window, as boxes in fractions of the picture."""
    width, height = window.picture_size
    boxes = []
    for face in window.faces[:FACES]:
        left, top, right, bottom = np.clip(np.divide(face, (width, height) * 2), 0, 1).tolist()
        boxes.append((left, top, right, bottom))
    return boxes


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


class Search:
    """Looks for the pulse all along a clip, and keeps what was drawn.

    Over the whole picture and the faces in it first, then near the best box; of the boxes that
    speak most for the rate that all of them find, a few are followed. Where the pulse is lost, the
    whole picture is searched again, no more than once in the longest window and when the shortest
    one lies behind what changed a followed box altogether.

    Args:
        layout: of the windows that are drawn.
        draw: draws glances.
        weights: of the reading.
        lengths: of the windows in s.
        anywhere: False to draw windows as they are given, of ``layout``, and nothing else; with
            what is around them, if they bring it, they are compared.
    """

    def __init__(
        self,
        layout: sheet.Layout,
        draw: Draw,
        weights: posterior.Weights,
        lengths: Iterable[float],
        anywhere: bool = True,
    ):
        self.layout, self.draw, self.weights = layout, draw, weights
        self.shortest, self.longest = min(lengths), max(lengths)
        self.anywhere = anywhere
        self.drawn: list[reader.Drawn] = []
        self.boxes: list[Box] = [WHOLE]
        self._next_search = self._next_others = self._last_upheaval = -np.inf

    def take(self, fine: list[windowing.ClipWindow]) -> None:
        """Look at windows that ended together or within :data:`TICK`.

        Args:
            fine: of :func:`divide_finely`, in the order in which they ended.
        """
        if not self.anywhere:
            self.drawn += self.draw([_glance_at_crop(window) for window in fine])
            return
        latest = {window.seconds: window for window in fine}
        latest = sorted(latest.values(), key=lambda window: -window.seconds)
        end = max(window.end for window in fine)
        if self.drawn and (end < self._next_search or self._is_lively(end)):
            self._look(self.boxes[:1], fine)
            if end >= self._next_others:  # windows that end every second show much the same
                self._look(self.boxes[1:], latest[:2])
                self.boxes = self._rank_boxes(self.boxes, end)
                self._next_others = end + TICK / 2 - 1e-6
        else:
            self._search(fine, latest, end)
        self._note_upheavals()

    def _search(
        self, fine: list[windowing.ClipWindow], latest: list[windowing.ClipWindow], end: float
    ) -> None:
        """Look all over the picture, and choose the boxes that are followed."""
        self._next_search = end + self.longest - 1e-6
        size = fine[0].picture_size
        wide = [*list_boxes(size), *list_faces(latest[0])]
        wide = [box for box in wide if is_large(box, size)] or [WHOLE]
        probes = latest if len(latest) < 3 else [latest[0], latest[-1]]
        self._look(wide, probes)
        near = [] if len(wide) == 1 else list_nearby_boxes(self._rank_boxes(wide, end)[0])
        near = [box for box in near if is_large(box, size) and box not in wide]
        self._look(near, probes)
        known = list(dict.fromkeys([*wide, *near, *self.boxes]))
        self.boxes = self._rank_boxes(known, end)[:BOXES]
        rest = [window for window in fine if all(window is not probe for probe in probes)]
        self._look(self.boxes, rest)

    def look_at(self, box: Box, fine: list[windowing.ClipWindow]) -> None:
        """Look at one box of windows and nowhere else; what is beside it is compared all the same.

        Args:
            box: fractions of the picture; whatever is in it is taken for a face.
            fine: of :func:`divide_finely`.
        """
        self._look(
            [box],
            [replace(window, faces=(to_pixels(box, window.picture_size),)) for window in fine],
        )

    def forget(self, before: float) -> None:
        """Drop what was drawn of windows that ended before a time in s."""
        self.drawn = [one for one in self.drawn if one.window.end >= before]

    def read(self, start: float = 0.0, end: float | None = None) -> posterior.Posterior:
        """What all that was drawn says of the time between two instants in s.

        Args:
            start, end: of the time; the end of the last window where None.
        """
        last = max((one.window.end for one in self.drawn), default=start + posterior.HOP)
        return read_drawn(self.drawn, self.weights, (start, last if end is None else end))

    def _look(self, boxes: list[Box], fine: list[windowing.ClipWindow]) -> None:
        """Draw boxes of windows."""
        if not boxes or not fine:
            return
        around = [reader.divide_picture(window) for window in fine]
        glances = [
            reader.Glance(cut_part(window, box, self.layout), box, parts, window)
            for box in boxes
            for window, parts in zip(fine, around, strict=True)
        ]
        self.drawn += self.draw(glances)

    def _note_upheavals(self) -> None:
        """Let the next search come as soon as there is a window behind the last upheaval."""
        last = max((max(one.upheavals, default=-np.inf) for one in self.drawn), default=-np.inf)
        if last > self._last_upheaval:
            self._last_upheaval = last
            self._next_search = min(self._next_search, last + self.shortest)

    def _is_lively(self, end: float) -> bool:
        """Whether the last windows show a pulse."""
        recent = read_drawn(self._recall(end), self.weights, (max(0.0, end - REMEMBERED), end))
        return recent.read_span(end - self.longest, end).confidence >= LIVELY

    def _recall(self, end: float) -> list[reader.Drawn]:
        """What was drawn of the last :data:`REMEMBERED` seconds."""
        return [one for one in self.drawn if one.window.end > end - REMEMBERED]

    def _rank_boxes(self, boxes: list[Box], end: float) -> list[Box]:
        """Boxes in the order in which they speak for the rate that is found, the best first."""
        recent = self._recall(end)
        start = min((one.window.start for one in recent), default=0.0)
        scores: dict[Box, list[float]] = {box: [] for box in boxes}
        read = read_drawn(recent, self.weights, (start, end))
        counted = [one for one in recent if one.counts]
        for one, score in zip(counted, read.score_witnesses(), strict=True):
            if one.place in scores:
                scores[one.place].append(score)
        return sorted(boxes, key=lambda box: -np.mean(scores[box] or [-np.inf]))


def _glance_at_crop(window: windowing.ClipWindow) -> reader.Glance:
    """A glance at a window as it is given, as if at a face, beside the picture that it brings."""
    around = None if window.whole is None else reader.divide_picture(window.whole)
    return reader.Glance(replace(window, faces=(window.crop,)), WHOLE, around, window.whole)


def read_drawn(
    drawn: Iterable[reader.Drawn], weights: posterior.Weights, span: tuple[float, float]
) -> posterior.Posterior:
    """The posterior of what was drawn, without windows that do not count.

    Args:
        drawn: in any order.
        weights: of the reading.
        span: (start, end) in s.
    """
    drawn = list(drawn)
    witnesses = [one.witness for one in drawn if one.counts]
    return posterior.Posterior(witnesses, weights, span, list_upheavals(drawn))


def list_upheavals(drawn: Iterable[reader.Drawn]) -> list[float]:
    """Times in s at which something that was drawn changes altogether, in order."""
    return sorted({time for one in drawn for time in one.upheavals})


def divide_by_ticks(
    fine: Iterable[windowing.ClipWindow], first: float, tick: float
) -> Iterator[list[windowing.ClipWindow]]:
    """Windows in groups of those that end up to the first tick, up to the second and so on.

    Args:
        fine: in the order in which they end.
        first: end of the first tick in s.
        tick: seconds from one to the next.
    """
    group: list[windowing.ClipWindow] = []
    until = first
    for window in fine:
        if window.end > until + 1e-6:
            if group:
                yield group
            group = []
            until += tick * max(1, np.ceil((window.end - until) / tick - 1e-6))
        group.append(window)
    if group:
        yield group


def choose_course(
    drawn: list[reader.Drawn],
    read: posterior.Posterior,
    span: tuple[float, float] = (-np.inf, np.inf),
) -> list[reader.Drawn]:
    """Of what was drawn the windows of one length that speak most for the rate, in time order.

    For each window the box that speaks most for it. What windows say that do not count is not
    asked.

    Args:
        drawn: of one clip.
        read: what it says.
        span: (start, end) in s that the windows must lie in.
    """
    scores = np.full(len(drawn), -np.inf)
    counted = [number for number, one in enumerate(drawn) if one.counts]
    scores[counted] = read.score_witnesses()
    best: dict[float, dict[float, int]] = {}
    for number, one in enumerate(drawn):
        if one.window.start < span[0] - 1e-6 or one.window.end > span[1] + 1e-6:
            continue
        windows = best.setdefault(one.window.seconds, {})
        kept = windows.setdefault(one.window.start, number)
        if scores[number] > scores[kept]:
            windows[one.window.start] = number

    def average(windows: dict[float, int]) -> float:
        known = scores[list(windows.values())]
        known = known[np.isfinite(known)]
        return float(known.mean()) if len(known) else -np.inf

    chosen = max(best.values(), key=average)
    return [drawn[chosen[start]] for start in sorted(chosen)]
