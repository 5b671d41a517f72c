"""Files, arrays and streams become pictures on a clock.

Here every kind of clip is told from the others and its pictures are checked; containers and
animations are read in rooms of their own, and nothing is averaged here.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.container import InputContainer
from PIL import Image

from . import animations, containers
from . import clock as clocks

ClipError = clocks.ClipError
Clock = clocks.Clock
Lost = clocks.Lost
OWN_CLOCK = clocks.OWN_CLOCK
quote = clocks.quote
find_stamp = containers.find_stamp

Stamped = tuple[float | None, Any]
"""(a picture's own time in s or None, the picture or None where it is lost)."""

Picture = np.ndarray | containers.Decoded
"""[H, W, 3], or what a decoder gives, whose planes are read as they are."""

CHANNELS = (1, 3, 4)
"""Channels that a picture may have."""


def read_frames(
    clip: Any, clock: Clock = OWN_CLOCK, lost: Lost | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Pictures of a clip with their times: :func:`read_pictures`, each as an upright array.

    Args:
        clip, clock, lost: see :func:`read_pictures`.

    Yields:
        (seconds after the first picture, picture [H, W, 3] of the clip's dtype).

    Raises:
        ClipError: as :func:`read_pictures`.
    """
    for time, picture in read_pictures(clip, clock, lost):
        yield time, to_rgb(picture)


def read_pictures(
    clip: Any, clock: Clock = OWN_CLOCK, lost: Lost | None = None
) -> Iterator[tuple[float, Picture]]:
    """Pictures of a clip with their times, one after the other.

    A picture that is damaged, or whose stamp is not later than the one before, is left out and
    counted; a clip is refused only where it breaks off or its time is not known.

    Args:
        clip: path of a video, of an animation (GIF, WebP, APNG) or of a folder of numbered
            pictures; a file's contents as bytes, or a binary file object (one that can be
            rewound is read from its start, a pipe from where it stands); a PyAV container; array
            [T, H, W, C] or tensor [T, C, H, W] or [T, H, W, C] with C = 1, 3 or 4, uint8, uint16
            or float in [0, 1]; what torchcodec, torchvision and decord give; an animated PIL
            image; any iterable of PIL images, arrays [H, W, C], tensors, paths of pictures or
            frames of these libraries.
        clock: the pictures' times, where the clip does not say them.
        lost: an account to which is added, while the clip is read, what it should have and has
            not.

    Yields:
        (seconds after the first picture, picture [H, W, 3] of the clip's dtype, or what a decoder
        gives of a video).

    Raises:
        ClipError: if there is nothing to read, no clock, or the file breaks off. Nothing else is
            raised for a file; what an iterator of the caller's own raises is passed on.
    """
    lost = Lost() if lost is None else lost
    gaps = clocks.GapCounter(lost)
    name, pictures, paced = _open(clip, lost)
    stamps = clock.stamps()
    if stamps is not None:
        pictures = _stamp(name, pictures, stamps, endless=clock.fps is not None)
    first, latest, size = 0.0, None, None
    for index, (stamp, found) in enumerate(pictures):
        if found is None:
            continue
        if stamp is None:
            raise ClipError(f"{name} has no time stamps: give fps or timestamps")
        if not np.isfinite(stamp):
            raise ClipError(f"{name}: the time stamp of picture {index} is {stamp}")
        decoded = isinstance(found, containers.Decoded)
        picture = found if decoded else _three_channels(found, name, index)
        width, height = find_size(picture)
        size = size or (width, height)
        if (width, height) != size:
            raise ClipError(
                f"{name}: picture {index} is {width} x {height} pixels, "
                f"the first one {size[0]} x {size[1]}"
            )
        if latest is None:
            first = stamp
        elif not -1 <= stamp - latest <= clocks.LONGEST_PAUSE:
            jump = f"from {clocks.write_seconds(latest)} to {clocks.write_seconds(stamp)} s"
            raise ClipError(f"{name}: time stamps jump {jump}")
        elif stamp <= latest:
            lost.disordered += 1
            continue
        elif paced:
            gaps.add(stamp - latest)
        latest = stamp
        yield float(stamp - first), picture
    if latest is None:
        raise ClipError(f"{name} holds no pictures")
    gaps.close()


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


# ------------------------------------------------------------------------------------ one picture


def to_rgb(picture: Picture) -> np.ndarray:
    """Upright picture [H, W, 3]; an array as it is."""
    return picture.to_rgb() if isinstance(picture, containers.Decoded) else picture


def find_size(picture: Picture) -> tuple[int, int]:
    """(width, height) in pixels of a picture, upright."""
    if isinstance(picture, containers.Decoded):
        return picture.size
    return picture.shape[1], picture.shape[0]


def _three_channels(picture, name, index):
    """Picture [H, W, 3] of a PIL image or of an array [H, W] or [H, W, 1, 3 or 4]."""
    if isinstance(picture, Image.Image):
        picture = picture if picture.mode.startswith("I;16") else convert_picture(picture, name)
    elif isinstance(picture, torch.Tensor):
        picture = to_array(picture, name)
        if picture.ndim == 3 and picture.shape[2] not in CHANNELS and picture.shape[0] in CHANNELS:
            picture = picture.transpose(1, 2, 0)
    picture = np.asarray(picture)
    if picture.dtype not in (np.uint8, np.uint16) and picture.dtype.kind != "f":
        raise ClipError(
            f"{name}: pictures must be uint8, uint16 or float in [0, 1], got {picture.dtype}"
        )
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in CHANNELS or 0 in picture.shape:
        raise ClipError(
            f"{name}: pictures must be [H, W, 3], got shape {picture.shape} for picture {index}"
        )
    if picture.shape[2] == 1:
        return np.broadcast_to(picture, (*picture.shape[:2], 3))
    return picture[..., :3]


def convert_picture(image: Image.Image, name: str) -> Image.Image:
    """A PIL picture in RGB.

    Args:
        image: of any mode; its file may not have been read yet.
        name: for messages.

    Raises:
        ClipError: if its file is cut short or damaged.
    """
    try:
        return image.convert("RGB")
    except Exception as error:  # whatever a decoder raises
        raise ClipError(
            f"{name}: a picture that is cut short or damaged ({containers.describe_error(error)})"
        ) from error


def to_array(tensor: torch.Tensor, name: str) -> np.ndarray:
    """A tensor's numbers as an array; bfloat16 becomes float32.

    Raises:
        ClipError: if it has none that can be read, as a tensor on "meta".
    """
    try:
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except (RuntimeError, TypeError, ValueError) as error:  # NotImplementedError is one
        raise ClipError(
            f"{name}: no numbers can be read from a tensor of {tensor.dtype} on {tensor.device}"
        ) from error


def _unwrap(frame: Any) -> Stamped:
    """(own time in s or None, picture) of a frame of any library, or of the path of a picture."""
    if isinstance(frame, (str, os.PathLike)):
        return animations.read_picture(Path(frame))
    if hasattr(frame, "pts_seconds") and hasattr(frame, "data"):  # torchcodec.Frame
        return float(frame.pts_seconds), frame.data
    if isinstance(frame, av.VideoFrame):
        return frame.time, containers.decode(frame, "the clip")
    if isinstance(frame, Mapping) and "data" in frame:  # torchvision.io.VideoReader
        stamp = frame.get("pts")
        return None if stamp is None else float(stamp), frame["data"]
    as_array = getattr(frame, "asnumpy", None)  # decord.NDArray
    return None, frame if as_array is None else as_array()


# ----------------------------------------------------------------------------------- kinds of clips


class _Opened(NamedTuple):
    """A clip that is going to be read.

    Attributes:
        name: for messages.
        pictures: with their own stamps.
        paced: whether they should follow each other evenly. An animation's do not: what stands
            still is one picture, and every picture says how long it is shown.
    """

    name: str
    pictures: Iterator[Stamped]
    paced: bool = True


def _open(clip: Any, lost: Lost) -> _Opened:
    """Open any kind of clip."""
    if isinstance(clip, (str, os.PathLike)):
        return _open_path(clip, lost)
    if isinstance(clip, (bytes, bytearray, memoryview)):
        return _open_file(io.BytesIO(clip), "the clip", lost)
    if hasattr(clip, "read"):
        name = getattr(clip, "name", None)
        name = clocks.quote_name(name) if isinstance(name, str) else "the clip"
        return _open_file(clip, name, lost)
    if isinstance(clip, InputContainer):
        known = clip.name and clip.name != "<none>"  # as PyAV calls a file object without a name
        name = clocks.quote_name(clip.name.removeprefix("file:") if known else "the stream")
        return _Opened(name, containers.read_container(clip, name, lost))
    if isinstance(clip, Image.Image):
        return _Opened("the picture", animations.read_animation(clip, "the picture"), paced=False)
    return _Opened("the clip", _open_frames(clip))


def _open_path(clip: str | os.PathLike, lost: Lost) -> _Opened:
    """Open a file or a folder."""
    path = Path(os.fsdecode(clip))
    if not os.fsdecode(clip):
        raise ClipError("the clip's name is empty")
    name = clocks.quote_name(path)
    try:
        if path.is_dir():
            return _Opened(name, animations.read_folder(path))
        if not path.is_file():
            raise ClipError(f"{name}: {'no file or folder' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            start = file.read(12)
    except (OSError, ValueError) as error:
        if isinstance(error, ClipError):
            raise
        raise ClipError(f"{name}: {containers.describe_error(error)}") from error
    if not start:
        raise ClipError(f"{name}: the file is empty")
    if animations.is_animation(start):
        return _Opened(name, _read_animation_path(path, name), paced=False)
    # A name may hold a colon, which FFmpeg would take for the end of a protocol.
    return _Opened(name, _read_container(f"file:{path}", name, lost, threads=True))


def _read_animation_path(path, name):
    with path.open("rb") as file:
        yield from animations.read_animation_file(file, name)


def _read_container(source, name, lost, threads):
    with containers.open_container(source, name) as container:
        yield from containers.read_container(container, name, lost, threads)


def _open_file(file: Any, name: str, lost: Lost) -> _Opened:
    """Read the start of a binary file object, which stays open when it has been read."""
    if getattr(file, "closed", False) is True:
        raise ClipError(f"{name}: the file is closed")
    try:
        if rewinds := containers.can_rewind(file):
            file.seek(0)
        start = file.read(12)
        whole = file
        if not rewinds and isinstance(start, bytes) and animations.is_animation(start):
            whole = io.BytesIO(start + file.read())
    except Exception as error:  # whatever kind of file it is
        raise ClipError(f"{name}: {containers.describe_error(error)}") from error
    if isinstance(start, str):
        raise ClipError(f'{name}: a file must be opened for bytes, open(path, "rb")')
    if not start:
        raise ClipError(f"{name}: the file is empty")
    if animations.is_animation(start):
        return _Opened(name, animations.read_animation_file(whole, name), paced=False)
    if rewinds:
        file.seek(0)
    source = file if rewinds else containers.Pipe(start, file)
    return _Opened(name, _read_container(source, name, lost, threads=rewinds))


def _open_frames(clip: Any) -> Iterator[Stamped]:
    """Pictures of arrays, tensors, what decoders give, and iterables of such."""
    if hasattr(clip, "asnumpy"):  # decord.NDArray
        clip = clip.asnumpy()
    if hasattr(clip, "pts_seconds") and getattr(clip.data, "ndim", 0) == 4:  # torchcodec.FrameBatch
        stamps = np.asarray(clip.pts_seconds, dtype=float).ravel().tolist()
        return zip(stamps, _split_tensor(torch.as_tensor(clip.data)), strict=True)
    if hasattr(clip, "get_frame_at"):  # torchcodec.decoders.VideoDecoder
        return _decode_by_index(len(clip), lambda index: _unwrap(clip.get_frame_at(index)))
    if hasattr(clip, "get_frame_timestamp"):  # decord.VideoReader
        return _decode_by_index(
            len(clip),
            lambda index: (float(clip.get_frame_timestamp(index)[0]), _unwrap(clip[index])[1]),
        )
    if isinstance(clip, tuple) and len(clip) == 3 and isinstance(clip[2], Mapping):
        return _open_read_video(*clip)
    if isinstance(clip, torch.Tensor):
        return ((None, frame) for frame in _split_tensor(clip))
    if isinstance(clip, np.ndarray) and (clip.ndim != 4 or clip.shape[3] not in CHANNELS):
        raise ClipError(f"an array clip must be [T, H, W, 3], got shape {clip.shape}")
    if not isinstance(clip, Iterable):
        raise ClipError(f"a clip is a path, an array or pictures, got {type(clip).__name__}")
    return map(_unwrap, clip)


def _split_tensor(clip: torch.Tensor) -> Iterator[torch.Tensor]:
    """Pictures [H, W, C] of a tensor [T, C, H, W], or [T, H, W, C] where that cannot be meant."""
    if clip.ndim != 4 or not {clip.shape[1], clip.shape[3]} & set(CHANNELS):
        raise ClipError(
            f"a tensor clip must be [T, 3, H, W] or [T, H, W, 3], got shape {tuple(clip.shape)}"
        )
    return iter(clip.permute(0, 2, 3, 1) if clip.shape[1] in CHANNELS else clip)


def _open_read_video(pictures: Any, _: Any, about: Mapping) -> Iterator[Stamped]:
    """Of torchvision.io.read_video: (video [T, H, W, C], audio, {"video_fps": ...})."""
    stamps = Clock(about.get("video_fps")).stamps()
    frames = _split_tensor(torch.as_tensor(pictures))
    return zip(stamps, frames, strict=False) if stamps else ((None, frame) for frame in frames)


def _decode_by_index(frames: int, decode: Callable[[int], Stamped]) -> Iterator[Stamped]:
    """Pictures of a decoder that is asked for one at a time; whatever it raises is a ClipError."""
    try:
        for index in range(frames):
            yield decode(index)
    except Exception as error:
        raise ClipError(f"the clip: {containers.describe_error(error)}") from error


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
    nearest: list[tuple[float, Any]] = [(np.inf, np.empty(0))] * len(times)
    for time, picture in read_pictures(clip, clock):
        for index, wanted in enumerate(times):
            if abs(time - wanted) < abs(nearest[index][0] - wanted):
                nearest[index] = (time, picture)
    return [(time, to_rgb(picture)) for time, picture in nearest]
