"""Pictures on a clock become windows: an appearance image and a motion field for each.

Here live area means, box means on the real clock and the cutting of windows; no file is read and
no model is run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from . import sheet, video

MIN_SECONDS, MAX_SECONDS = 5.0, 10.0
"""Shortest and longest window in seconds; the shortest is also the shortest clip measured."""


MIN_FPS = 7.0
"""Fewest pictures a second: two for each beat at 204 bpm, the fastest rate looked for."""


def area_weights(lower: float, upper: float, cells: int, length: int) -> sparse.csr_array:
    """Weights that average a line of pixels over equal cells; pixels on an edge by their share.

    Args:
        lower, upper: ends of the line of cells, in pixels; pixel j covers [j, j + 1).
        cells: number of cells.
        length: number of pixels.

    Returns:
        [cells, length] float32, every row sums to 1.
    """
    edges = np.linspace(lower, upper, cells + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0) * cells / (upper - lower)
    return sparse.csr_array(weights.astype(np.float32))


class AreaMean:
    """Mean colours of a grid of cells over a crop of a picture, in float, in two small products.

    Args:
        picture_size: (width, height) in pixels.
        crop: (left, top, right, bottom) in pixels, fractions allowed.
        grid: (columns, rows).
    """

    def __init__(self, picture_size: tuple[int, int], crop: Box, grid: tuple[int, int]):
        left, top, right, bottom = crop
        # Only the pixels that count are ever turned into floats.
        self.columns = slice(int(np.floor(left)), int(np.ceil(right)))
        self.rows = slice(int(np.floor(top)), int(np.ceil(bottom)))
        x, y = self.columns.start, self.rows.start
        self.across = area_weights(left - x, right - x, grid[0], self.columns.stop - x)
        self.down = area_weights(top - y, bottom - y, grid[1], self.rows.stop - y)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Means [rows, columns, 3] float32 in [0, 1] of a picture [H, W, 3]."""
        scale = 1 / np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
        pixels = picture[self.rows, self.columns].astype(np.float32)
        height, width, channels = pixels.shape
        lines = (self.down @ pixels.reshape(height, -1)).reshape(-1, width, channels)
        cells = self.across @ lines.transpose(1, 0, 2).reshape(width, -1)
        return cells.reshape(-1, len(lines), channels).transpose(1, 0, 2) * np.float32(scale)


def box_means(stamps: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Means over intervals of the signal that runs straight from value to value.

    A picture's light was gathered around its own stamp, so holding it until the next stamp would
    delay the signal by half an interval between pictures, by more where pictures are missing;
    straight lines between the stamps delay nothing, and bridge what is missing. They weigh each
    picture by half the time to its two neighbours, and damp a sinusoid of frequency f at interval
    d by sinc(f d)^2 (under 1 % at 1.5 Hz and 30 fps).

    Args:
        stamps: [n] seconds, rising.
        values: [n, ...] one a stamp; before the first and after the last the value stands.
        edges: [m + 1] seconds, rising: the m intervals.

    Returns:
        [m, ...] float64.
    """
    stamps = np.concatenate(
        [[min(stamps[0], edges[0]) - 1], stamps, [max(stamps[-1], edges[-1]) + 1]]
    )
    values = np.asarray(values, dtype=float)
    values = np.concatenate([values[:1], values, values[-1:]])
    steps = np.diff(stamps).reshape(-1, *[1] * (values.ndim - 1))
    areas = np.concatenate([0 * values[:1], np.cumsum(steps * (values[1:] + values[:-1]) / 2, 0)])
    left = np.searchsorted(stamps, edges, side="right") - 1
    into = (edges - stamps[left]).reshape(-1, *[1] * (values.ndim - 1))
    slope = (values[left + 1] - values[left]) / steps[left]
    upto = areas[left] + into * (values[left] + slope * into / 2)
    return np.diff(upto, axis=0) / np.diff(edges).reshape(-1, *[1] * (values.ndim - 1))


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


Box = tuple[float, float, float, float]
"""(left, top, right, bottom): of a crop in pixels, or of a part in cells."""


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
    """

    start: float
    end: float
    times: np.ndarray
    motion: np.ndarray
    appearance: np.ndarray
    frames: int
    longest_gap: float
    crop: Box
    picture_size: tuple[int, int]

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


def encode_windows(
    clip: Any,
    layout: sheet.Layout,
    *,
    clock: video.Clock = video.OWN_CLOCK,
    window: float | Iterable[float] = 8.0,
    stride: float | None = None,
    crop: Box | None = None,
) -> Iterator[ClipWindow]:
    """Windows of a clip, in one pass; what is kept is the cells of one window and one picture.

    Windows begin every ``stride`` seconds; the last one ends with the clip, so that its tail is
    covered, and a clip shorter than a window is one window of the clip's own length, unless
    another of the lengths asked for is within a tenth of it. The clip ends when its last picture
    would have made way for another. Identical pictures in a row (a recorder that fills up its
    frame rate) count once, at the first stamp. A window in which no new picture came is left out.

    Args:
        clip, clock: see :func:`~pulse_plantain.video.read_frames`.
        layout: bands, rows and samples, and the size of the appearance image.
        window: length in seconds, 5 to 10, or several lengths.
        stride: seconds from one window's start to the next one's, half a window where None.
        crop: (left, top, right, bottom) in pixels, fractions allowed; the whole picture where
            None.

    Yields:
        ClipWindow, those of one length in time order, each as soon as its last picture is there;
        of several that end together, in the order of the lengths.

    Raises:
        ClipError: as :func:`~pulse_plantain.video.read_frames`, and for a clip under 5 s or under 7
            pictures a second, one picture, or a crop outside the picture.
    """
    lengths = window_lengths(window)
    strides = {length: stride or length / 2 for length in lengths}
    check_windows(lengths, stride)
    memory = _Memory(layout, min(lengths) / 16, crop)
    starts = dict.fromkeys(lengths, 0.0)  # of the next window
    for time, picture in video.read_frames(clip, clock):
        memory.add(time, picture)
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
            f"the clip is {end:.1f} s long; at least {MIN_SECONDS:.0f} s are needed, "
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


def window_lengths(window: float | Iterable[float]) -> tuple[float, ...]:
    """A length in seconds, or several, as a tuple."""
    lengths = window if isinstance(window, Iterable) else (window,)
    return tuple(float(length) for length in lengths)


def crop_window(fine: ClipWindow, box: Box, layout: sheet.Layout) -> ClipWindow:
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
    light = fine.appearance

    def shrink(picture, height, width):
        """[rows, bands, C] -> [height, width, C], area means over the box."""
        down = area_weights(top, bottom, height, rows)
        across = area_weights(left, right, width, bands)
        lines = (down @ picture.reshape(rows, -1)).reshape(height, bands, -1)
        columns = across @ lines.swapaxes(0, 1).reshape(bands, -1)
        return columns.reshape(width, height, -1).swapaxes(0, 1)

    samples, geometry = len(fine.motion), layout.geometry
    change = (light * fine.motion).transpose(1, 2, 0, 3).reshape(rows, bands, -1)
    change = shrink(change, geometry.rows, geometry.bands)
    mean = shrink(light, geometry.rows, geometry.bands)
    change = change.reshape(geometry.rows, geometry.bands, samples, 3).transpose(2, 0, 1, 3)
    crop_left, crop_top, crop_right, crop_bottom = fine.crop
    across, down = (crop_right - crop_left) / bands, (crop_bottom - crop_top) / rows
    return replace(
        fine,
        motion=np.where(mean > 0, change / np.maximum(mean, 1e-9), 0).astype(np.float32),
        appearance=shrink(light, *reversed(layout.appearance_size)).astype(np.float32),
        crop=(
            crop_left + left * across,
            crop_top + top * down,
            crop_left + right * across,
            crop_top + bottom * down,
        ),
    )


class _Memory:
    """The cells of the latest pictures, and windows cut from them.

    Args:
        layout: rows, bands and samples; the appearance image's pixels are blocks of a cell.
        slot: see :class:`_MeanPicture`.
        crop: as the caller gave it.
    """

    def __init__(self, layout: sheet.Layout, slot: float, crop: Box | None):
        self.geometry, self.grid = layout.geometry, layout.appearance_size
        self.crop = crop
        self.appearance = _MeanPicture(slot)
        self.area: AreaMean | None = None  # until there is a picture
        self.picture_size = (0, 0)
        self.knots: deque[tuple[float, np.ndarray]] = (
            deque()
        )  # (time, cells [rows, bands, 3]) of pictures that differ
        # Between pictures, those that repeat one included.
        self.intervals: deque[float] = deque(maxlen=512)
        self.latest = 0.0

    def add(self, time: float, picture: np.ndarray) -> None:
        if self.area is None:
            self.picture_size = (picture.shape[1], picture.shape[0])
            self.crop = check_crop(self.crop, self.picture_size)
            self.area = AreaMean(self.picture_size, self.crop, self.grid)
        else:
            self.intervals.append(time - self.latest)
        self.latest = time
        fine = self.area(picture)
        rows, bands = self.geometry.rows, self.geometry.bands
        cells = fine.reshape(rows, self.grid[1] // rows, bands, -1, 3).mean((1, 3))
        if not (cells.min() >= -0.01 and cells.max() <= 1.01):
            raise video.ClipError(
                f"float pictures must lie in [0, 1], got {cells.min():.3g} to {cells.max():.3g}"
            )
        if not self.knots or not np.array_equal(cells, self.knots[-1][1]):
            self.knots.append((time, cells))
            self.appearance.add(time, fine)

    def forget(self, time):
        """Drop what no window from ``time`` on needs; one picture before it still is."""
        while len(self.knots) > 1 and self.knots[1][0] <= time:
            self.knots.popleft()
        self.appearance.forget(time)

    @property
    def known_until(self):
        """Time up to which the straight lines between pictures are known."""
        return self.knots[-1][0]

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
        stamps = np.array([time for time, _ in self.knots])
        inside = (stamps >= start) & (stamps < end)
        if not inside.any():
            return
        edges = np.linspace(start, end, self.geometry.samples + 1)
        means = box_means(stamps, np.stack([cells for _, cells in self.knots]), edges)
        yield ClipWindow(
            start=start,
            end=end,
            times=(edges[1:] + edges[:-1]) / 2,
            motion=_relative(means),
            appearance=self.appearance.mean(start, end),
            frames=int(inside.sum()),
            longest_gap=_longest_gap(stamps, start, end),
            crop=check_crop(self.crop, self.picture_size),
            picture_size=self.picture_size,
        )


def _relative(means):
    """(I - mean) / mean [samples, rows, bands, 3] float32 of means of the same shape."""
    whole = means.mean(0)
    lit = whole > 0
    return np.where(lit, means / np.where(lit, whole, 1) - 1, 0).astype(np.float32)


def _longest_gap(stamps, start, end):
    """Longest time (s) between new pictures that touches the window from start to end."""
    bounds = np.append(stamps, max(end, stamps[-1]))
    touching = (bounds[1:] > start) & (bounds[:-1] < end)
    return float(np.diff(bounds)[touching].max())


def check_windows(lengths: Sequence[float], stride: float | None) -> None:
    """ClipError unless windows of these lengths, this far apart, can be cut."""
    if not lengths or not all(MIN_SECONDS <= length <= MAX_SECONDS for length in lengths):
        wrong = ", ".join(f"{length:g}" for length in lengths) or "none"
        raise video.ClipError(
            f"window must be {MIN_SECONDS:.0f} to {MAX_SECONDS:.0f} seconds, got {wrong}"
        )
    if stride is not None and not 0 < stride <= min(lengths):
        raise video.ClipError(
            f"stride must be above 0 and at most the window's {min(lengths):g} s, got {stride}"
        )


def check_crop(crop: Any, picture_size: tuple[int, int]) -> Box:
    """Crop as four floats, or the whole picture; ClipError unless it is inside the picture."""
    width, height = picture_size
    if crop is None:
        return 0.0, 0.0, float(width), float(height)
    left, top, right, bottom = (float(side) for side in crop)
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    if not inside or right - left < 8 or bottom - top < 8:
        raise video.ClipError(
            f"crop must be (left, top, right, bottom) inside the picture of {width} x {height} "
            f"pixels and at least 8 pixels a side, got {tuple(crop)}"
        )
    return left, top, right, bottom
