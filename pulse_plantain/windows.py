"""Pictures on a clock become windows: an appearance image and a motion field for each.

Here live box means on the real clock and the cutting of windows; no file is read and no model is
run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from . import ahead, cells, face_finder, sheet, video
from . import clock as clocks

MIN_SECONDS, MAX_SECONDS = 5.0, 10.0
"""Shortest and longest window in seconds; the shortest is also the shortest clip measured."""


MIN_STRIDE = 0.1
"""Shortest time in seconds from one window to the next."""

MOST_LENGTHS = 16
"""Lengths of windows that a clip is cut into at most."""

MIN_FPS = 7.0
"""Fewest pictures a second: two for each beat at 204 bpm, the fastest rate looked for."""

BLACK = 1 / 1024
"""Mean level, of 1, under which a cell is black: a quarter of the smallest step of 8 bits."""


class RunningMeans:
    """Means over intervals of the signal that runs straight from value to value, as it comes in.

    A picture's light was gathered around its own stamp, so holding it until the next stamp would
    delay the signal by half an interval between pictures, by more where pictures are missing;
    straight lines between the stamps delay nothing, and bridge what is missing. They weigh each
    picture by half the time to its two neighbours, and damp a sinusoid of frequency f at interval
    d by sinc(f d)^2 (under 1 % at 1.5 Hz and 30 fps).

    Only the values themselves are kept. A mean is the sum of the few that lie in and next to its
    interval, by their weights, so windows that overlap cost no more than what they add up.

    Attributes:
        stamps: s, rising.
        values: one a stamp; before the first and after the last the value stands.
    """

    def __init__(self) -> None:
        self.stamps: deque[float] = deque()
        self.values: deque[np.ndarray] = deque()

    def add(self, stamp: float, value: np.ndarray) -> None:
        """Take the value at a stamp in s, later than those before."""
        self.stamps.append(stamp)
        self.values.append(value)

    def forget(self, stamp: float) -> None:
        """Drop what no interval from ``stamp`` on needs; one value before it still is."""
        while len(self.stamps) > 1 and self.stamps[1] <= stamp:
            self.stamps.popleft()
            self.values.popleft()

    def measure(self, edges: np.ndarray) -> np.ndarray:
        """Means [m, ...] float64 over the intervals between edges [m + 1] in s, rising."""
        weights, values = weigh_knots(np.array(self.stamps), edges), list(self.values)
        means = np.empty((len(edges) - 1, *values[0].shape))
        for row, (start, end) in enumerate(pairwise(weights.indptr)):
            near = np.stack([values[knot] for knot in weights.indices[start:end]])
            means[row] = np.tensordot(weights.data[start:end], near, 1)
        return means


def weigh_knots(stamps: np.ndarray, edges: np.ndarray) -> sparse.csr_array:
    """Weights of values at stamps in the means of the signal that runs straight between them.

    Args:
        stamps: [n] s, rising; before the first and after the last the value stands.
        edges: [m + 1] s, rising, of the intervals.

    Returns:
        [m, n], every row sums to 1.
    """
    inside = stamps[(stamps > edges[0]) & (stamps < edges[-1])]
    bounds = np.union1d(edges, inside)  # between two of them the signal is straight
    middle, length = (bounds[1:] + bounds[:-1]) / 2, np.diff(bounds)
    row = np.clip(np.searchsorted(edges, middle) - 1, 0, None)  # a stamp may be as good as an edge
    share = length / np.diff(edges)[row]
    place = np.interp(middle, stamps, np.arange(len(stamps)))  # of the middle, in stamps
    left = np.minimum(place.astype(int), max(len(stamps) - 2, 0))
    right = np.minimum(left + 1, len(stamps) - 1)
    data = np.concatenate([share * (1 - place + left), share * (place - left)])
    both = np.concatenate([row, row]), np.concatenate([left, right])
    weights = sparse.coo_array((data, both), (len(edges) - 1, len(stamps))).tocsr()
    weights.eliminate_zeros()
    return weights


class _MeanPicture:
    """Running sums of pictures in slots of time, for the mean picture of any later window.

    Args:
        slot: length of a slot (s); a window's ends are good to that.
    """

    def __init__(self, slot):
        self.slot = slot
        self.sums = deque()  # [number of the slot, number of pictures, their sum]

    def add(self, time, picture):
        number = int(time // self.slot)
        if not self.sums or self.sums[-1][0] != number:
            self.sums.append([number, 0, np.zeros_like(picture, dtype=float)])
        self.sums[-1][1] += 1
        self.sums[-1][2] += picture

    def forget(self, time):
        while self.sums and (self.sums[0][0] + 1) * self.slot <= time:
            self.sums.popleft()

    def mean(self, start, end):
        """Mean picture [h, w, 3] float32 of [start, end), slots on the edge by their share."""
        total, pictures = np.zeros(()), 0.0
        for number, size, summed in self.sums:
            share = min(end, (number + 1) * self.slot) - max(start, number * self.slot)
            if share > 0:
                total = total + share * summed
                pictures += share * size
        return (total / pictures).astype(np.float32)


@dataclass(frozen=True)
class ClipWindow:
    """One window of a clip as the model sees it. Times are seconds after the first picture.

    Attributes:
        start, end: of the window (s).
        times: [samples] centres of the samples (s).
        motion: [samples, rows, bands, 3] float32, (I - mean) / mean of each cell and channel, the
            mean over the window; 0 where a cell is black throughout.
        appearance: [h, w, 3] float32 in [0, 1], the mean picture of the crop.
        frames: different pictures shown in the window.
        longest_gap: longest time in the window without a new picture (s); 1 / fps where none is
            missing. Gaps are bridged by straight lines, so a long one hides beats.
        crop: (left, top, right, bottom) of the crop in pixels.
        picture_size: (width, height) of the whole picture in pixels.
        whole: the same time of the whole picture, around a crop; None where it was not asked for.
        faces: (left, top, right, bottom) in pixels of the faces in the picture, the largest first;
            none where none was looked for.
    """

    start: float
    end: float
    times: np.ndarray
    motion: np.ndarray
    appearance: np.ndarray
    frames: int
    longest_gap: float
    crop: cells.Box
    picture_size: tuple[int, int]
    whole: ClipWindow | None = None
    faces: face_finder.Faces = ()

    @classmethod
    def blank(cls, start: float, end: float, geometry: sheet.SheetGeometry) -> ClipWindow:
        """The window of a pulse sheet whose clip is not at hand; its crop is the sheet itself."""
        samples, (width, height) = geometry.samples, geometry.size
        interval = (end - start) / samples
        return cls(
            start=float(start),
            end=float(end),
            times=start + (np.arange(samples) + 0.5) * interval,
            motion=np.zeros((*geometry.field_shape, 3), np.float32),
            appearance=np.zeros((1, 1, 3), np.float32),
            frames=samples,
            longest_gap=interval,
            crop=(0.0, 0.0, float(width), float(height)),
            picture_size=(width, height),
        )

    @property
    def seconds(self) -> float:
        """Length in seconds, to the microsecond."""
        return round(self.end - self.start, 6)

    @property
    def sampling_rate(self) -> float:
        """Samples a second (Hz)."""
        return len(self.times) / (self.end - self.start)


@dataclass(frozen=True)
class Beside:
    """What a window brings with it of the picture that it was cut from.

    Attributes:
        whole: layout of the whole picture at the same time; None where it is not asked for.
        faces: whether faces are looked for in the whole picture, once a second.
    """

    whole: sheet.Layout | None = None
    faces: bool = False


ALONE = Beside()


def encode_windows(
    clip: Any,
    layout: sheet.Layout,
    *,
    clock: video.Clock = video.OWN_CLOCK,
    window: float | Iterable[float] = 8.0,
    stride: float | None = None,
    crop: cells.Box | None = None,
    beside: Beside = ALONE,
    lost: video.Lost | None = None,
) -> Iterator[ClipWindow]:
    """Windows of a clip, in one pass; what is kept is the cells of one window and one picture.

    Windows begin every ``stride`` seconds; the last one ends with the clip, so that its tail is
    covered, and a clip shorter than a window is one window of the clip's own length, unless
    another of the lengths asked for is within a tenth of it. The clip ends when its last picture
    would have made way for another. Identical pictures in a row (a recorder that fills up its
    frame rate) count once, at the first stamp. A window in which no new picture came is left out.

    Args:
        clip, clock, lost: see :func:`~pulse_plantain.video.read_frames`.
        layout: bands, rows and samples, and the size of the appearance image.
        window: length in seconds, 5 to 10, or several lengths.
        stride: seconds from one window's start to the next one's, half a window where None.
        crop: (left, top, right, bottom) in pixels, fractions allowed; the whole picture where
            None.
        beside: what each window brings with it.

    Yields:
        ClipWindow, those of one length in time order, each as soon as its last picture is there;
        of several that end together, in the order of the lengths.

    Raises:
        ClipError: as :func:`~pulse_plantain.video.read_frames`, and for a clip under 5 s or under 7
            pictures a second, one picture, or a crop outside the picture.
    """
    lengths = window_lengths(window)
    stride = check_windows(lengths, stride)
    strides = {length: stride or length / 2 for length in lengths}
    place = None if crop is None else check_crop(crop)
    memory = _Memory(layout, min(lengths) / 16, place, beside.whole)
    finder = face_finder.FaceFinder() if beside.faces else None
    starts = dict.fromkeys(lengths, 0.0)  # of the next window
    seen = memory.average(video.read_pictures(clip, clock, lost), finder)
    for time, blocks, faces in ahead.read_ahead(seen) if ahead.can_wait(clip) else seen:
        memory.add(time, blocks, faces)
        for length in lengths:
            while starts[length] + length <= memory.known_until:
                yield from memory.cut(starts[length], starts[length] + length)
                starts[length] += strides[length]
        # A tail that ends with the clip may still reach back by a window.
        memory.forget(min(*starts.values(), time - max(lengths)))

    end = memory.end
    half = memory.interval / 2
    if end < MIN_SECONDS - half:
        raise video.ClipError(
            f"the clip is {_floor(end)} s long; at least {MIN_SECONDS:.0f} s are needed, "
            f"{max(lengths):g} s or more are best"
        )
    fitting = [length for length in lengths if length <= end + half]
    for length in fitting:
        start = starts[length]
        while start + length <= end + half:
            yield from memory.cut(start, start + length)
            start += strides[length]
        covered = start - strides[length] + length
        if covered < end - length / layout.geometry.samples:
            yield from memory.cut(end - length, end)
    if len(fitting) < len(lengths) and max(fitting, default=0) < 0.9 * end:
        yield from memory.cut(0.0, end)


def _floor(seconds):
    """Seconds as text, never more than they are: 4.96 s must not read as the 5.0 that it lacks."""
    return f"{np.floor(100 * seconds + 1e-6) / 100:.2f}".removesuffix("0")


def window_lengths(window: float | Iterable[float]) -> tuple[float, ...]:
    """A length in seconds, or several, as a tuple, each once.

    Raises:
        ClipError: if one is no number, or there are more than :data:`MOST_LENGTHS`.
    """
    return tuple(dict.fromkeys(clocks.list_numbers(window, "window", MOST_LENGTHS)))


def crop_window(fine: ClipWindow, box: cells.Box, layout: sheet.Layout) -> ClipWindow:
    """A closer look at a part of a finely divided window, without reading the clip again.

    Args:
        fine: a window of ``rows`` x ``bands`` cells, as many as its appearance image has pixels
            (:func:`encode_windows` with a layout of ``appearance_size=(bands, rows)``).
        box: (left, top, right, bottom) in cells of ``fine``, fractions allowed; inside a cell the
            light is taken for even.
        layout: of the window to make.

    Returns:
        ClipWindow of the box; for whole cells what :func:`encode_windows` gives with that crop, up
        to rounding and the appearance image's resolution.
    """
    left, top, right, bottom = box
    rows, bands = fine.appearance.shape[:2]
    down = slice(int(np.floor(top)), int(np.ceil(bottom)))
    across = slice(int(np.floor(left)), int(np.ceil(right)))

    def shrink(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
        """[..., rows, bands, 3] of the box -> area means [..., height, width, 3] over it."""
        y, x = down.start, across.start
        lines = cells.weigh_area(top - y, bottom - y, height, down.stop - y)
        columns = cells.weigh_area(left - x, right - x, width, across.stop - x)
        lead, (tall, wide, channels) = pictures.shape[:-3], pictures.shape[-3:]
        short = lines @ pictures.reshape(*lead, tall, wide * channels)
        return columns @ short.reshape(*lead, height, wide, channels)

    geometry = layout.geometry
    light = fine.appearance[down, across]
    change = shrink(light * fine.motion[:, down, across], geometry.rows, geometry.bands)
    mean = shrink(light, geometry.rows, geometry.bands)
    crop_left, crop_top, crop_right, crop_bottom = fine.crop
    wide, tall = (crop_right - crop_left) / bands, (crop_bottom - crop_top) / rows
    return replace(
        fine,
        motion=np.where(mean > BLACK, change / np.maximum(mean, BLACK), 0).astype(np.float32),
        appearance=shrink(light, *reversed(layout.appearance_size)).astype(np.float32),
        crop=(
            crop_left + left * wide,
            crop_top + top * tall,
            crop_left + right * wide,
            crop_top + bottom * tall,
        ),
    )


class _Memory:
    """The cells of the latest pictures, and windows cut from them.

    Args:
        layout: rows, bands and samples; the appearance image's pixels are blocks of a cell.
        slot: see :class:`_MeanPicture`.
        crop: as the caller gave it.
        around: layout of the whole picture, of which windows are cut beside those of the crop.
    """

    def __init__(
        self,
        layout: sheet.Layout,
        slot: float,
        crop: cells.Box | None,
        around: sheet.Layout | None = None,
    ):
        self.geometry, self.grid = layout.geometry, layout.appearance_size
        self.crop = crop
        self.whole = None if around is None else _Memory(around, slot, None)
        self.appearance = _MeanPicture(slot)
        self.picture_size = (0, 0)
        self.means = RunningMeans()  # of pictures that differ: cells [rows, bands, 3]
        self.looks: deque[tuple[float, face_finder.Faces]] = deque()
        # Between pictures, those that repeat one included.
        self.intervals: deque[float] = deque(maxlen=512)
        self.latest = 0.0

    def average(
        self,
        pictures: Iterable[tuple[float, video.Picture]],
        finder: face_finder.FaceFinder | None = None,
    ) -> Iterator[tuple[float, list[np.ndarray], face_finder.Faces | None]]:
        """Pictures with their times -> means of their blocks with the same times, and faces.

        The blocks are [h, w, 3] of the crop, and those of what is around it, where it is kept. The
        faces are None where none was looked for.
        """
        areas: list[cells.CellMeans] = []  # none until there is a picture
        for time, picture in pictures:
            areas = areas or self._find_areas(video.find_size(picture))
            blocks = [area(picture) for area in areas]
            yield time, blocks, None if finder is None else finder.look(time, picture)

    def _find_areas(self, picture_size: tuple[int, int]) -> list[cells.CellMeans]:
        """What averages pictures of a size over the blocks that are kept."""
        self.picture_size = picture_size
        self.crop = fit_crop(self.crop, picture_size)
        own = cells.CellMeans(picture_size, self.crop, self.grid)
        return [own, *(self.whole._find_areas(picture_size) if self.whole else [])]

    def add(
        self, time: float, blocks: list[np.ndarray], faces: face_finder.Faces | None = None
    ) -> None:
        """Take the means of a picture's blocks and its faces, as :meth:`average` gives them."""
        if faces is not None:
            self.looks.append((time, faces))
        fine, *others = blocks
        if self.whole:
            self.whole.add(time, others)
        if self.means.values:
            self.intervals.append(time - self.latest)
        self.latest = time
        rows, bands = self.geometry.rows, self.geometry.bands
        coarse = fine.reshape(rows, self.grid[1] // rows, bands, -1, 3).mean((1, 3))
        if not self.means.values or not np.array_equal(coarse, self.means.values[-1]):
            self.means.add(time, coarse)
            self.appearance.add(time, fine)

    def forget(self, time: float) -> None:
        """Drop what no window from ``time`` on needs."""
        self.means.forget(time)
        self.appearance.forget(time)
        while self.looks and self.looks[0][0] < time:
            self.looks.popleft()
        if self.whole:
            self.whole.forget(time)

    @property
    def known_until(self):
        """Time up to which the straight lines between pictures are known."""
        return self.means.stamps[-1]

    @property
    def interval(self):
        """Median time between pictures (s)."""
        if not self.intervals:
            raise video.ClipError("the clip has one picture; a pulse needs at least 5 s of video")
        return float(np.median(self.intervals))

    @property
    def end(self):
        """End of the clip after the picture that came last (s)."""
        return self.latest + self.interval

    def cut(self, start, end):
        """Yield the window from start to end, unless no new picture came in it."""
        if self.interval > 1 / MIN_FPS:
            raise video.ClipError(
                f"the clip has {1 / self.interval:.2g} pictures a second; "
                f"at least {MIN_FPS:.0f} are needed to see a pulse"
            )
        stamps = np.array(self.means.stamps)
        inside = (stamps >= start) & (stamps < end)
        if not inside.any():
            return
        edges = np.linspace(start, end, self.geometry.samples + 1)
        yield ClipWindow(
            start=start,
            end=end,
            times=(edges[1:] + edges[:-1]) / 2,
            motion=_relative(self.means.measure(edges)),
            appearance=self.appearance.mean(start, end),
            frames=int(inside.sum()),
            longest_gap=_longest_gap(stamps, start, end),
            crop=fit_crop(self.crop, self.picture_size),
            picture_size=self.picture_size,
            whole=next(self.whole.cut(start, end), None) if self.whole else None,
            faces=face_finder.settle([faces for time, faces in self.looks if start <= time < end]),
        )


def _relative(means):
    """(I - mean) / mean [samples, rows, bands, 3] float32 of means, which are overwritten."""
    whole = means.mean(0)
    lit = whole > BLACK
    means -= whole
    means *= np.where(lit, 1 / np.where(lit, whole, 1), 0)
    return means.astype(np.float32)


def _longest_gap(stamps, start, end):
    """Longest time (s) between new pictures that touches the window from start to end."""
    bounds = np.append(stamps, max(end, stamps[-1]))
    touching = (bounds[1:] > start) & (bounds[:-1] < end)
    return float(np.diff(bounds)[touching].max())


def check_windows(lengths: Sequence[float], stride: float | None) -> float | None:
    """The stride as a number; ClipError unless windows of these lengths can be cut so far apart."""
    if not lengths or not all(MIN_SECONDS <= length <= MAX_SECONDS for length in lengths):
        wrong = ", ".join(f"{length:g}" for length in lengths) or "none"
        raise video.ClipError(
            f"window must be {MIN_SECONDS:.0f} to {MAX_SECONDS:.0f} seconds, got {wrong}"
        )
    if stride is None:
        return None
    apart = clocks.to_number(stride, "stride")
    if not MIN_STRIDE <= apart <= min(lengths):
        raise video.ClipError(
            f"stride must be at least {MIN_STRIDE} and at most the window's {min(lengths):g} s, "
            f"got {stride}"
        )
    return apart


def check_crop(crop: Any) -> cells.Box:
    """Four numbers of a crop; whether they lie in the picture is seen when there is one.

    Raises:
        ClipError: if it is not four numbers.
    """
    try:
        left, top, right, bottom = clocks.list_numbers(crop, "crop", 4)
    except ValueError as error:
        raise video.ClipError(
            f"crop must be (left, top, right, bottom) in pixels, got {clocks.quote(crop)}"
        ) from error
    return left, top, right, bottom


def fit_crop(crop: Any, picture_size: tuple[int, int]) -> cells.Box:
    """Crop as four floats, or the whole picture; ClipError unless it lies in the picture."""
    width, height = picture_size
    if crop is None:
        return 0.0, 0.0, float(width), float(height)
    left, top, right, bottom = crop
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    if not inside or right - left < 8 or bottom - top < 8:
        raise video.ClipError(
            f"crop must be (left, top, right, bottom) inside the picture of {width} x {height} "
            f"pixels and at least 8 pixels a side, got {tuple(crop)}"
        )
    return left, top, right, bottom
