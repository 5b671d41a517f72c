"""The temporal clip encoder: a clip becomes, window by window, an appearance and a motion field.

Here live reading, true time stamps, area and box means, the layout of the space-time sheet, and
pictures of a field over the face; no model, no filter and no heart rate.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageSequence
from scipy import sparse

if __package__:
    from .bijection import MOTION_SCALE, encode_phasor, inverse_power_transform, power_transform
else:  # plain import from the repo root
    import bijection as _bijection

    MOTION_SCALE = _bijection.MOTION_SCALE
    encode_phasor = _bijection.encode_phasor
    inverse_power_transform = _bijection.inverse_power_transform
    power_transform = _bijection.power_transform


MIN_SECONDS, MAX_SECONDS = 5.0, 10.0
"""Shortest and longest window in seconds; the shortest is also the shortest clip measured."""

MIN_FPS = 7.0
"""Fewest pictures a second: two for each beat at 204 bpm, the fastest rate looked for."""

LONGEST_PAUSE = 600.0
"""Longest time between two pictures in seconds; more is taken for broken time stamps."""

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files of a folder that are taken for its pictures."""


class ClipError(ValueError):
    """A clip that cannot be measured; the message is one line a person can act on."""


# ------------------------------------------------------------------------------ the sheet's layout


@dataclass(frozen=True)
class SheetGeometry:
    """Layout of the space-time sheet: bands side by side, time to the right within each.

    Band b covers x in [b W / bands, (b + 1) W / bands); within it x is time and y the row, row 0
    on top, so the sheet is laid out as the face is.

    Args:
        bands: vertical bands of the crop.
        samples: time samples of a window.
        rows: rows of cells in the crop.
        size: (width, height) of the sheet in pixels, multiples of 16 (one token of FLUX.2).

    Raises:
        ValueError: if the cells do not fill the sheet, or the tokens do not.
    """

    bands: int
    samples: int
    rows: int
    size: tuple[int, int]

    def __post_init__(self):
        object.__setattr__(self, "size", tuple(int(side) for side in self.size))
        width, height = self.size
        if min(self.bands, self.samples, self.rows, width, height) < 1:
            raise ValueError(f"every number of a sheet geometry must be at least 1, got {self}")
        if width % (self.bands * self.samples) or height % self.rows:
            raise ValueError(f"width must be k * bands * samples and height k * rows, got {self}")
        if width % 16 or height % 16:
            raise ValueError(f"width and height must be multiples of 16, got {self}")

    @property
    def cell(self) -> tuple[int, int]:
        """(width, height) in pixels of one cell at one sample."""
        return self.size[0] // (self.bands * self.samples), self.size[1] // self.rows

    @property
    def field_shape(self) -> tuple[int, int, int]:
        """(samples, rows, bands) of a field."""
        return self.samples, self.rows, self.bands

    def to_dict(self) -> dict:
        """Plain numbers for a JSON file."""
        return {**asdict(self), "size": list(self.size)}

    @classmethod
    def from_dict(cls, numbers: dict) -> SheetGeometry:
        """Inverse of :meth:`to_dict`."""
        return cls(**numbers)


def field_to_sheet(field, geometry: SheetGeometry):
    """Lay a field out as a sheet; every cell and sample fills its rectangle of pixels.

    Args:
        field: [..., samples, rows, bands, C] array or tensor.
        geometry: the layout.

    Returns:
        [..., H, W, C], same kind, dtype and device.

    Raises:
        ValueError: if the field has another shape.
    """
    if tuple(field.shape[-4:-1]) != geometry.field_shape:
        raise ValueError(
            f"a field must be [..., samples, rows, bands, C] = [..., "
            f"{', '.join(map(str, geometry.field_shape))}, C], got shape {tuple(field.shape)}"
        )
    xp = torch if isinstance(field, torch.Tensor) else np
    lead, channels = tuple(field.shape[:-4]), field.shape[-1]
    across, down = geometry.cell
    width, height = geometry.size
    cells = xp.moveaxis(field, -4, -2)[..., :, None, :, :, None, :]
    full = (*lead, geometry.rows, down, geometry.bands, geometry.samples, across, channels)
    return xp.broadcast_to(cells, full).reshape(*lead, height, width, channels)


def sheet_to_field(sheet, geometry: SheetGeometry):
    """Read a sheet back: the mean over each cell's pixels, inverse of field_to_sheet.

    Args:
        sheet: [..., H, W, C] array or tensor of floats or complex numbers.
        geometry: the layout.

    Returns:
        [..., samples, rows, bands, C], same kind, dtype and device.

    Raises:
        ValueError: if the sheet has another size.
    """
    width, height = geometry.size
    if tuple(sheet.shape[-3:-1]) != (height, width):
        raise ValueError(
            f"a sheet must be {width} x {height} pixels (width x height), "
            f"got shape {tuple(sheet.shape)}"
        )
    xp = torch if isinstance(sheet, torch.Tensor) else np
    lead, channels = tuple(sheet.shape[:-3]), sheet.shape[-1]
    across, down = geometry.cell
    pixels = sheet.reshape(
        *lead, geometry.rows, down, geometry.bands, geometry.samples, across, channels
    )
    return xp.moveaxis(pixels.mean((-5, -2)), -2, -4)


def motion_sheet(motion, geometry: SheetGeometry):
    """Motion sheet [..., H, W, 3] in (0, 1) of a motion field [..., samples, rows, bands, 3].

    0.5 + 0.5 f(motion) with the signed power transform at the fixed scale MOTION_SCALE.
    """
    return field_to_sheet(0.5 + 0.5 * power_transform(motion, MOTION_SCALE), geometry)


def motion_from_sheet(sheet, geometry: SheetGeometry):
    """Motion field of a motion sheet: inverse of :func:`motion_sheet`."""
    return inverse_power_transform(2 * sheet_to_field(sheet, geometry) - 1, MOTION_SCALE)


# -------------------------------------------------------------------------------- reading of clips


def read_frames(
    clip, fps: float | None = None, timestamps: Iterable[float] | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Pictures of a clip with their times, one after the other.

    A picture whose stamp is not later than the one before is left out.

    Args:
        clip: path of a video, of an animation (GIF, WebP, APNG) or of a folder of numbered
            pictures; array [T, H, W, C] or tensor [T, C, H, W] with C = 1, 3 or 4, uint8, uint16
            or float in [0, 1]; an animated PIL image; any iterable of PIL images or arrays
            [H, W, C].
        fps: pictures a second; replaces a file's own stamps.
        timestamps: presentation times in seconds, one a picture, in place of fps.

    Yields:
        (seconds after the first picture, picture [H, W, 3] of the clip's dtype).

    Raises:
        ClipError: if there is nothing to read, no clock, or the file breaks off.
    """
    if fps is not None and timestamps is not None:
        raise ClipError("give fps or timestamps, not both")
    if fps is not None and not 0 < fps < np.inf:
        raise ClipError(f"fps must be a positive number, got {fps}")
    name, pictures = _open(clip)
    stamps = (index / fps for index in count()) if fps is not None else timestamps
    if stamps is not None:
        pictures = _stamped(name, pictures, iter(stamps), endless=fps is not None)
    first = latest = size = None
    for index, (stamp, picture) in enumerate(pictures):
        if stamp is None:
            raise ClipError(f"{name} has no time stamps: give fps or timestamps")
        if not np.isfinite(stamp):
            raise ClipError(f"{name}: the time stamp of picture {index} is {stamp}")
        picture = _three_channels(picture, name, index)
        size = size or picture.shape[:2]
        if picture.shape[:2] != size:
            raise ClipError(
                f"{name}: picture {index} is {picture.shape[1]} x {picture.shape[0]} pixels, "
                f"the first one {size[1]} x {size[0]}"
            )
        if latest is None:
            first = stamp
        elif not -1 <= stamp - latest <= LONGEST_PAUSE:
            raise ClipError(f"{name}: time stamps jump from {latest:.2f} to {stamp:.2f} s")
        elif stamp <= latest:
            continue
        latest = stamp
        yield float(stamp - first), picture
    if latest is None:
        raise ClipError(f"{name} holds no pictures")


def _stamped(name, pictures, stamps, endless):
    """Pictures with the caller's stamps instead of their own; as many as there are pictures."""
    index = -1
    for index, (_, picture) in enumerate(pictures):
        stamp = next(stamps, None)
        if stamp is None:
            raise ClipError(f"{name}: {index} time stamps are fewer than its pictures")
        yield float(stamp), picture
    if not endless and next(stamps, None) is not None:
        raise ClipError(f"{name}: more time stamps than its {index + 1} pictures")


def _three_channels(picture, name, index):
    """Picture [H, W, 3] of a PIL image or of an array [H, W] or [H, W, 1, 3 or 4]."""
    if isinstance(picture, Image.Image):
        picture = picture if picture.mode.startswith("I;16") else picture.convert("RGB")
    elif isinstance(picture, torch.Tensor):
        picture = picture.detach().cpu()
        picture = picture.float() if picture.dtype == torch.bfloat16 else picture
    picture = np.asarray(picture)
    if picture.dtype not in (np.uint8, np.uint16) and picture.dtype.kind != "f":
        raise ClipError(
            f"{name}: pictures must be uint8, uint16 or float in [0, 1], got {picture.dtype}"
        )
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or 0 in picture.shape:
        raise ClipError(
            f"{name}: pictures must be [H, W, 3], got shape {picture.shape} for picture {index}"
        )
    if picture.shape[2] == 1:
        return np.broadcast_to(picture, (*picture.shape[:2], 3))
    return picture[..., :3]


def _open(clip):
    """(name for messages, iterator of (own stamp in s or None, picture)) of any kind of clip."""
    if isinstance(clip, (str, Path)):
        path = Path(clip)
        if path.is_dir():
            return str(clip), _folder(path)
        if not path.is_file():
            raise ClipError(f"{clip}: no such file")
        with path.open("rb") as file:
            start = file.read(12)
        if not start:
            raise ClipError(f"{clip}: the file is empty")
        if start[:4] == b"GIF8" or start[:4] == b"\x89PNG" or start[8:] == b"WEBP":
            return str(clip), _animation_file(path)
        return str(clip), _video(path)
    if isinstance(clip, Image.Image):
        return "the picture", _animation(clip)
    if isinstance(clip, torch.Tensor):
        if clip.ndim != 4 or clip.shape[1] not in (1, 3, 4):
            raise ClipError(f"a tensor clip must be [T, 3, H, W], got shape {tuple(clip.shape)}")
        return "the clip", ((None, frame) for frame in clip.permute(0, 2, 3, 1))
    if isinstance(clip, np.ndarray) and (clip.ndim != 4 or clip.shape[3] not in (1, 3, 4)):
        raise ClipError(f"an array clip must be [T, H, W, 3], got shape {clip.shape}")
    if not isinstance(clip, Iterable):
        raise ClipError(f"a clip is a path, an array or pictures, got {type(clip).__name__}")
    return "the clip", ((None, frame) for frame in clip)


def _video(path):
    """Pictures of a video file, upright, at their presentation times."""
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise ClipError(f"{path}: not a video that can be read ({_words(error)})") from error
    with container:
        # FFmpeg draws any text file as a film of letters.
        if container.format.name == "tty":
            raise ClipError(f"{path}: not a video")
        if not container.streams.video:
            raise ClipError(f"{path}: no pictures in the file, only other streams")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        end, start = 0.0, None
        frames = container.decode(stream)
        for index in count():
            try:
                frame = next(frames, None)
            except av.error.FFmpegError as error:
                raise ClipError(f"{path}: broken after {end:.1f} s ({_words(error)})") from error
            if frame is None:
                break
            if frame.is_corrupt:
                continue
            if frame.pts is not None:
                stamp = float(frame.pts * frame.time_base)
            else:
                stamp = float(index / stream.average_rate) if stream.average_rate else None
            if stamp is not None:
                start = stamp if start is None else start
                end = stamp - start + float((frame.duration or 0) * frame.time_base)
            picture = frame.to_ndarray(format="rgb24")
            yield stamp, np.rot90(picture, frame.rotation // 90)
        _refuse_cut_video(path, container, stream, end)


def _refuse_cut_video(path, container, stream, end):
    """Raise ClipError where the header promised more seconds than the pictures lasted."""
    promised, tolerance = 0.0, 0.5
    if stream.duration is not None:
        promised = float(stream.duration * stream.time_base)
    if stream.frames and stream.average_rate:  # an AVI's duration is guessed from the file's size
        promised = max(promised, float(stream.frames / stream.average_rate))
    if "matroska" in container.format.name and container.duration:
        promised = container.duration / av.time_base
        tolerance = 0.5 if len(container.streams) == 1 else 2.0  # sound may last longer
    if end < promised - tolerance:
        raise ClipError(f"{path}: the file breaks off, {end:.1f} of {promised:.1f} s could be read")


def _words(error):
    return (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()


def _animation_file(path):
    """Pictures of a GIF, WebP or PNG file; a GIF's and a PNG's end marker must be there."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        last = file.read().rstrip(b"\0")
    ended = {"GIF": last.endswith(b";"), "PNG": b"IEND" in last}
    try:
        with Image.open(path) as image:
            if not ended.get(image.format, True):
                raise ClipError(f"{path}: the file breaks off")
            yield from _animation(image)
    except (OSError, EOFError, SyntaxError) as error:
        raise ClipError(f"{path}: not a picture that can be read whole ({error})") from error


def _animation(image):
    """Pictures of an animated PIL image at the sums of their durations (0 counts as 0.1 s)."""
    stamp = 0.0
    for frame in ImageSequence.Iterator(image):
        frame.load()
        yield stamp, frame.convert("RGB")
        stamp += (frame.info.get("duration") or 100) / 1000


def _folder(folder):
    """Pictures of a folder in the order of the numbers in their names.

    Names as PURE's, Image<nanoseconds>.png, carry the time stamps.
    """

    def natural(path):
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]

    for path in sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES), key=natural
    ):
        nanoseconds = re.fullmatch(r"Image(\d{16,20})", path.stem)
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError) as error:
            raise ClipError(f"{path}: not a picture that can be read whole") from error
        yield (int(nanoseconds[1]) * 1e-9 if nanoseconds else None), image


# --------------------------------------------------------------------- means over area and in time


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

    def __init__(self, picture_size, crop, grid):
        left, top, right, bottom = crop
        # Only the pixels that count are ever turned into floats.
        self.columns = slice(int(np.floor(left)), int(np.ceil(right)))
        self.rows = slice(int(np.floor(top)), int(np.ceil(bottom)))
        x, y = self.columns.start, self.rows.start
        self.across = area_weights(left - x, right - x, grid[0], self.columns.stop - x)
        self.down = area_weights(top - y, bottom - y, grid[1], self.rows.stop - y)

    def __call__(self, picture):
        """Means [rows, columns, 3] float32 in [0, 1] of a picture [H, W, 3]."""
        scale = 1 / np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
        pixels = picture[self.rows, self.columns].astype(np.float32)
        height, width, channels = pixels.shape
        lines = (self.down @ pixels.reshape(height, -1)).reshape(-1, width, channels)
        cells = self.across @ lines.transpose(1, 0, 2).reshape(width, -1)
        return cells.reshape(-1, len(lines), channels).transpose(1, 0, 2) * np.float32(scale)


def box_means(stamps, values, edges):
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
        total = pictures = 0
        for number, size, summed in self.sums:
            share = min(end, (number + 1) * self.slot) - max(start, number * self.slot)
            if share > 0:
                total = total + share * summed
                pictures += share * size
        return (total / pictures).astype(np.float32)


# -------------------------------------------------------------------------------------- the window


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
    crop: tuple[float, float, float, float]
    picture_size: tuple[int, int]

    @property
    def sampling_rate(self) -> float:
        """Samples a second (Hz)."""
        return len(self.times) / (self.end - self.start)


def encode_windows(
    clip,
    geometry: SheetGeometry,
    *,
    fps: float | None = None,
    timestamps: Iterable[float] | None = None,
    window: float | Iterable[float] = 8.0,
    stride: float | None = None,
    crop: tuple[float, float, float, float] | None = None,
    appearance_size: tuple[int, int] = (64, 64),
) -> Iterator[ClipWindow]:
    """Windows of a clip, in one pass; what is kept is the cells of one window and one picture.

    Windows begin every ``stride`` seconds; the last one ends with the clip, so that its tail is
    covered, and a clip shorter than a window is one window of the clip's own length, unless
    another of the lengths asked for is within a tenth of it. The clip ends when its last picture
    would have made way for another. Identical pictures in a row (a recorder that fills up its
    frame rate) count once, at the first stamp. A window in which no new picture came is left out.

    Args:
        clip, fps, timestamps: see :func:`read_frames`.
        geometry: bands, rows and samples.
        window: length in seconds, 5 to 10, or several lengths.
        stride: seconds from one window's start to the next one's, half a window where None.
        crop: (left, top, right, bottom) in pixels, fractions allowed; the whole picture where
            None.
        appearance_size: (width, height), multiples of (bands, rows).

    Yields:
        ClipWindow, those of one length in time order, each as soon as its last picture is there;
        of several that end together, in the order of the lengths.

    Raises:
        ClipError: as :func:`read_frames`, and for a clip under 5 s or under 7 pictures a second,
            one picture, or a crop outside the picture.
    """
    lengths = window_lengths(window)
    strides = {length: stride or length / 2 for length in lengths}
    _check_windows(geometry, lengths, stride, appearance_size)
    memory = _Memory(geometry, min(lengths) / 16, crop, appearance_size)
    starts = dict.fromkeys(lengths, 0.0)  # of the next window
    for time, picture in read_frames(clip, fps, timestamps):
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
        raise ClipError(
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
        if covered < end - length / geometry.samples:
            yield from memory.cut(end - length, end)
    if len(fitting) < len(lengths) and max(fitting, default=0) < 0.9 * end:
        yield from memory.cut(0.0, end)


def window_lengths(window) -> tuple[float, ...]:
    """A length in seconds, or several, as a tuple."""
    lengths = window if isinstance(window, Iterable) else (window,)
    return tuple(float(length) for length in lengths)


def crop_window(fine: ClipWindow, box, geometry: SheetGeometry, appearance_size) -> ClipWindow:
    """A closer look at a part of a finely divided window, without reading the clip again.

    Args:
        fine: a window of ``rows`` x ``bands`` cells, as many as its appearance image has pixels
            (:func:`encode_windows` with such a geometry and ``appearance_size=(bands, rows)``).
        box: (left, top, right, bottom) in cells of ``fine``, fractions allowed; inside a cell the
            light is taken for even.
        geometry, appearance_size: of the window to make.

    Returns:
        ClipWindow of the box; for whole cells what :func:`encode_windows` gives with that crop, up
        to rounding and the appearance image's resolution.
    """
    left, top, right, bottom = box
    rows, bands = fine.appearance.shape[:2]
    light = fine.appearance

    def shrunk(picture, height, width):
        """[rows, bands, C] -> [height, width, C], area means over the box."""
        down = area_weights(top, bottom, height, rows)
        across = area_weights(left, right, width, bands)
        lines = (down @ picture.reshape(rows, -1)).reshape(height, bands, -1)
        columns = across @ lines.swapaxes(0, 1).reshape(bands, -1)
        return columns.reshape(width, height, -1).swapaxes(0, 1)

    samples = len(fine.motion)
    change = (light * fine.motion).transpose(1, 2, 0, 3).reshape(rows, bands, -1)
    change = shrunk(change, geometry.rows, geometry.bands)
    mean = shrunk(light, geometry.rows, geometry.bands)
    change = change.reshape(geometry.rows, geometry.bands, samples, 3).transpose(2, 0, 1, 3)
    crop_left, crop_top, crop_right, crop_bottom = fine.crop
    across, down = (crop_right - crop_left) / bands, (crop_bottom - crop_top) / rows
    return replace(
        fine,
        motion=np.where(mean > 0, change / np.maximum(mean, 1e-9), 0).astype(np.float32),
        appearance=shrunk(light, *reversed(appearance_size)).astype(np.float32),
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
        geometry: rows, bands and samples.
        slot: see :class:`_MeanPicture`.
        crop: as the caller gave it.
        appearance_size: (width, height) of the grid whose blocks are the cells.
    """

    def __init__(self, geometry, slot, crop, appearance_size):
        self.geometry, self.crop, self.grid = geometry, crop, appearance_size
        self.appearance = _MeanPicture(slot)
        self.area = self.picture_size = None
        self.knots = deque()  # (time, cells [rows, bands, 3]) of pictures that differ
        self.intervals = deque(maxlen=512)  # between pictures, those that repeat one included
        self.latest = None

    def add(self, time, picture):
        if self.area is None:
            self.picture_size = (picture.shape[1], picture.shape[0])
            self.crop = _checked_crop(self.crop, self.picture_size)
            self.area = AreaMean(self.picture_size, self.crop, self.grid)
        else:
            self.intervals.append(time - self.latest)
        self.latest = time
        fine = self.area(picture)
        rows, bands = self.geometry.rows, self.geometry.bands
        cells = fine.reshape(rows, self.grid[1] // rows, bands, -1, 3).mean((1, 3))
        if not (cells.min() >= -0.01 and cells.max() <= 1.01):
            raise ClipError(
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
            raise ClipError("the clip has one picture; a pulse needs at least 5 s of video")
        return float(np.median(self.intervals))

    @property
    def end(self):
        """End of the clip after the picture that came last (s)."""
        return self.latest + self.interval

    def cut(self, start, end):
        """Yield the window from start to end, unless no new picture came in it."""
        if self.interval > 1 / MIN_FPS:
            raise ClipError(
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
            crop=self.crop,
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


def _check_windows(geometry, lengths, stride, appearance_size):
    if not lengths or not all(MIN_SECONDS <= length <= MAX_SECONDS for length in lengths):
        wrong = ", ".join(f"{length:g}" for length in lengths) or "none"
        raise ClipError(
            f"window must be {MIN_SECONDS:.0f} to {MAX_SECONDS:.0f} seconds, got {wrong}"
        )
    if stride is not None and not 0 < stride <= min(lengths):
        raise ClipError(
            f"stride must be above 0 and at most the window's {min(lengths):g} s, got {stride}"
        )
    width, height = appearance_size
    if width % geometry.bands or height % geometry.rows:
        raise ClipError(
            f"appearance_size must be multiples of {geometry.bands} bands and {geometry.rows} "
            f"rows, got {appearance_size}"
        )


def _checked_crop(crop, picture_size):
    """Crop as four floats, or the whole picture."""
    width, height = picture_size
    if crop is None:
        return 0.0, 0.0, float(width), float(height)
    left, top, right, bottom = (float(side) for side in crop)
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    if not inside or right - left < 8 or bottom - top < 8:
        raise ClipError(
            f"crop must be (left, top, right, bottom) inside the picture of {width} x {height} "
            f"pixels and at least 8 pixels a side, got {tuple(crop)}"
        )
    return left, top, right, bottom


# ------------------------------------------------------------------------------ pictures of a field


def pulse_overlay(picture, phasors, crop):
    """The pulse's colours at one moment, alone and over the face.

    Args:
        picture: [H, W, 3] uint8 or float in [0, 1].
        phasors: [rows, bands] complex, a exp(i phase), amplitude as a fraction (AC/DC).
        crop: (left, top, right, bottom) of the field in the picture's pixels.

    Returns:
        (colours [H, W, 3], overlay [H, W, 3]) float32 in [0, 1]: the smoothly enlarged field in
        the bijection's colours, black outside the crop; the picture in grey under them.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = crop
    x = (np.arange(width) + 0.5 - left) / (right - left)
    y = (np.arange(height) + 0.5 - top) / (bottom - top)
    columns, rows = (x > 0) & (x < 1), (y > 0) & (y < 1)
    smooth = _between_cells(y[rows], phasors.shape[0]) @ phasors
    smooth = smooth @ _between_cells(x[columns], phasors.shape[1]).T
    colours = np.zeros((height, width, 3), np.float32)
    colours[np.ix_(rows, columns)] = encode_phasor(smooth.astype(np.complex64))
    scale = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
    grey = picture @ np.float32([0.299, 0.587, 0.114]) / np.float32(scale)
    red, green, blue = np.moveaxis(colours, -1, 0)
    under = grey * (1 - 0.6 * np.maximum(np.maximum(red, green), blue))
    return colours, np.clip(under[..., None] + 0.7 * colours, 0, 1)


def _between_cells(positions, cells):
    """Weights [n, cells] of linear interpolation between cell centres, positions in (0, 1)."""
    at = np.clip(positions * cells - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))


def pictures_at(clip, times, fps: float | None = None):
    """The pictures on show nearest to some times, in one reading of the clip.

    Args:
        clip, fps: see :func:`read_frames`.
        times: [n] seconds after the first picture.

    Returns:
        list of n (time of the picture in s, picture [H, W, 3]).
    """
    nearest = [(np.inf, None)] * len(times)
    for time, picture in read_frames(clip, fps):
        for index, wanted in enumerate(times):
            if abs(time - wanted) < abs(nearest[index][0] - wanted):
                nearest[index] = (time, picture)
    return nearest


def phasors_at(field, start, end, time):
    """Phasors of a window's field at one moment, on the arc between the two nearest samples.

    Args:
        field: [samples, rows, bands] complex of the window from start to end (s).
        start, end, time: in seconds; a time outside takes the first or the last sample.

    Returns:
        [rows, bands] complex; along a chord instead, a fast pulse would flicker.
    """
    at = np.clip((time - start) / (end - start) * len(field) - 0.5, 0, len(field) - 1)
    before = min(int(at), len(field) - 2)
    first, second = field[before], field[before + 1]
    turn = np.angle(second * np.conj(first))
    length = (1 - at + before) * abs(first) + (at - before) * abs(second)
    return length * np.exp(1j * (np.angle(first) + (at - before) * turn))


def overlays(clip, windows, field, *, fps=None, timestamps=None, apart=0.0):
    """(time in s, overlay [H, W, 3] uint8) of the clip's pictures with the pulse's colours on them.

    Each picture takes the field of the window whose middle is nearest.

    Args:
        clip, fps, timestamps: see :func:`read_frames`; a clip that can be read again.
        windows: one mapping a window with start, end (s) and crop.
        field: [windows, samples, rows, bands] complex.
        apart: s from one picture to the next; 0: every picture.

    Raises:
        ClipError: as :func:`read_frames`.
    """
    middles = np.array([(window["start"] + window["end"]) / 2 for window in windows])
    due = 0.0
    for time, picture in read_frames(clip, fps, timestamps):
        if time < due - 1e-6:
            continue
        due += apart
        nearest = int(np.abs(middles - time).argmin())
        window = windows[nearest]
        phasors = phasors_at(field[nearest], window["start"], window["end"], time)
        yield time, np.uint8(pulse_overlay(picture, phasors, window["crop"])[1] * 255 + 0.5)


def write_overlay_video(path, clip, windows, field, *, fps=None, timestamps=None):
    """Write the clip with the pulse's colours over it, at the clip's own picture times.

    Args:
        path: the H.264 file to write.
        clip, windows, field, fps, timestamps: see :func:`overlays`.

    Raises:
        ClipError: as :func:`read_frames`.
    """
    tick = Fraction(1, 90000)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=90000)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18", "preset": "veryfast"}
        stream.codec_context.time_base = tick
        for time, overlay in overlays(clip, windows, field, fps=fps, timestamps=timestamps):
            # Chroma is stored for 2 x 2 pixels: odd sides lose their last line.
            even = overlay[: len(overlay) // 2 * 2, : overlay.shape[1] // 2 * 2]
            if not stream.codec_context.is_open:
                stream.width, stream.height = even.shape[1], even.shape[0]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
