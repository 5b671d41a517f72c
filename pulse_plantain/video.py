"""Files, arrays and streams become pictures on a clock.

Here live the readers of every kind of clip and their true time stamps; nothing is averaged here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.format import Flags
from PIL import Image, ImageSequence

LONGEST_PAUSE = 600.0
"""Longest time between two pictures in seconds; more is taken for broken time stamps."""


PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files of a folder that are taken for its pictures."""


class ClipError(ValueError):
    """A clip that cannot be measured; the message is one line a person can act on."""


@dataclass(frozen=True)
class Clock:
    """When a clip's pictures were taken, where the clip has no time stamps or wrong ones.

    Args:
        fps: pictures a second; replaces a file's own stamps.
        timestamps: presentation times in seconds, one a picture, in place of fps.

    Raises:
        ClipError: if both are given, or fps is not a positive number.
    """

    fps: float | None = None
    timestamps: Iterable[float] | None = None

    def __post_init__(self):
        if self.fps is not None and self.timestamps is not None:
            raise ClipError("give fps or timestamps, not both")
        if self.fps is not None and not 0 < self.fps < np.inf:
            raise ClipError(f"fps must be a positive number, got {self.fps}")

    def stamps(self) -> Iterator[float] | None:
        """The pictures' times in seconds, None where the clip's own stand."""
        if self.fps is not None:
            return (index / self.fps for index in count())
        return None if self.timestamps is None else iter(self.timestamps)


OWN_CLOCK = Clock()
"""The time stamps that the clip itself has."""


def read_frames(clip: Any, clock: Clock = OWN_CLOCK) -> Iterator[tuple[float, np.ndarray]]:
    """Pictures of a clip with their times, one after the other.

    A picture whose stamp is not later than the one before is left out.

    Args:
        clip: path of a video, of an animation (GIF, WebP, APNG) or of a folder of numbered
            pictures; array [T, H, W, C] or tensor [T, C, H, W] with C = 1, 3 or 4, uint8, uint16
            or float in [0, 1]; an animated PIL image; any iterable of PIL images, arrays
            [H, W, C] or paths of pictures.
        clock: the pictures' times, where the clip does not say them.

    Yields:
        (seconds after the first picture, picture [H, W, 3] of the clip's dtype).

    Raises:
        ClipError: if there is nothing to read, no clock, or the file breaks off.
    """
    name, pictures = _open(clip)
    stamps = clock.stamps()
    if stamps is not None:
        pictures = _stamp(name, pictures, stamps, endless=clock.fps is not None)
    first, latest, size = 0.0, None, None
    for index, (stamp, picture) in enumerate(pictures):
        if stamp is None:
            raise ClipError(f"{name} has no time stamps: give fps or timestamps")
        if not np.isfinite(stamp):
            raise ClipError(f"{name}: the time stamp of picture {index} is {stamp}")
        colours = _three_channels(picture, name, index)
        size = size or colours.shape[:2]
        if colours.shape[:2] != size:
            raise ClipError(
                f"{name}: picture {index} is {colours.shape[1]} x {colours.shape[0]} pixels, "
                f"the first one {size[1]} x {size[0]}"
            )
        if latest is None:
            first = stamp
        elif not -1 <= stamp - latest <= LONGEST_PAUSE:
            raise ClipError(f"{name}: time stamps jump from {latest:.2f} to {stamp:.2f} s")
        elif stamp <= latest:
            continue
        latest = stamp
        yield float(stamp - first), colours
    if latest is None:
        raise ClipError(f"{name} holds no pictures")


def _stamp(name, pictures, stamps, endless):
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
        if not str(clip):
            raise ClipError("the clip's name is empty")
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
    return "the clip", map(_unwrap, clip)


def _unwrap(picture):
    """(own stamp in s or None, picture) of one of a caller's pictures, or of the path of one."""
    return read_picture(picture) if isinstance(picture, (str, Path)) else (None, picture)


def read_picture(path: str | Path) -> tuple[float | None, Image.Image]:
    """A file's picture, and its time in s where its name is as PURE's, Image<nanoseconds>.png.

    Raises:
        ClipError: if it is no picture that can be read.
    """
    nanoseconds = re.fullmatch(r"Image(\d{16,20})", Path(path).stem)
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError) as error:
        raise ClipError(f"{path}: not a picture that can be read whole") from error
    return (int(nanoseconds[1]) * 1e-9 if nanoseconds else None), image


def _video(path):
    """Pictures of a video file, upright, at their presentation times."""
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
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
            except av.FFmpegError as error:
                raise ClipError(f"{path}: broken after {end:.1f} s ({_words(error)})") from error
            if frame is None:
                break
            if frame.is_corrupt:
                continue
            stamp = find_stamp(container, frame, index)
            if stamp is not None:
                start = stamp if start is None else start
                end = stamp - start + float((frame.duration or 0) * (frame.time_base or 0))
            picture = frame.to_ndarray(format="rgb24")
            yield stamp, np.rot90(picture, frame.rotation // 90)
        _refuse_cut_video(path, container, stream, end)


def find_stamp(container: Any, frame: Any, index: int) -> float | None:
    """When a decoded picture of a container's first video stream is shown.

    A bare stream of pictures (``.h264``, ``.hevc``, ``.mjpeg``, as single-board cameras write them)
    has no clock, and FFmpeg stamps it with 25 pictures a second of its own; there the rate counts
    that the codec's own header states.

    Args:
        container, frame: of PyAV.
        index: of the frame, in the order of presentation.

    Returns:
        seconds, None where neither the container nor the codec says.
    """
    stream = container.streams.video[0]
    if container.format.flags & Flags.no_timestamps.value:
        rate = stream.codec_context.framerate
    elif frame.pts is not None and frame.time_base:
        return float(frame.pts * frame.time_base)
    else:
        rate = stream.average_rate
    return float(index / rate) if rate else None


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
            if not ended.get(str(image.format), True):
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
        yield read_picture(path)


def pictures_at(
    clip: Any, times: Sequence[float] | np.ndarray, clock: Clock = OWN_CLOCK
) -> list[tuple[float, np.ndarray]]:
    """The pictures on show nearest to some times, in one reading of the clip.

    Args:
        clip, clock: see :func:`read_frames`.
        times: [n] seconds after the first picture.

    Returns:
        list of n (time of the picture in s, picture [H, W, 3]).
    """
    nearest: list[tuple[float, np.ndarray]] = [(np.inf, np.empty(0))] * len(times)
    for time, picture in read_frames(clip, clock):
        for index, wanted in enumerate(times):
            if abs(time - wanted) < abs(nearest[index][0] - wanted):
                nearest[index] = (time, picture)
    return nearest
