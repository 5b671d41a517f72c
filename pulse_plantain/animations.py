"""GIF, WebP and PNG animations and folders of numbered pictures, by way of Pillow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageSequence

from . import clock, containers

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files of a folder that are taken for its pictures."""


def is_animation(start: bytes) -> bool:
    """Whether a file that begins with these 12 bytes is one that is read here."""
    return start[:4] == b"GIF8" or start[:4] == b"\x89PNG" or start[8:12] == b"WEBP"


def read_animation_file(file: IO[bytes], name: str) -> Iterator[tuple[float, Image.Image]]:
    """Pictures of a GIF, WebP or PNG file; a GIF's and a PNG's end marker must be there.

    Args:
        file: seekable.
        name: for messages.

    Yields:
        (time in s, picture).

    Raises:
        ClipError: if it cannot be read to its end, or its pictures are too large.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 64))
    last = file.read().rstrip(b"\0")
    file.seek(0)
    ended = {"GIF": last.endswith(b";"), "PNG": b"IEND" in last}
    with _refuse(name), Image.open(file) as image:
        containers.check_size(*image.size, name)
        if not ended.get(str(image.format), True):
            raise clock.ClipError(f"{name}: the file breaks off")
        yield from read_animation(image, name)


def read_animation(image: Image.Image, name: str) -> Iterator[tuple[float, Image.Image]]:
    """Pictures of an animated PIL image at the sums of their durations (0 counts as 0.1 s).

    Args:
        image: animated or not.
        name: for messages.

    Raises:
        ClipError: if one cannot be read.
    """
    stamp = 0.0
    with _refuse(name):
        for frame in ImageSequence.Iterator(image):
            frame.load()
            yield stamp, frame.convert("RGB")
            stamp += (frame.info.get("duration") or 100) / 1000


def read_folder(folder: Path) -> Iterator[tuple[float | None, Image.Image]]:
    """Pictures of a folder in the order of the numbers in their names.

    Names as PURE's, Image<nanoseconds>.png, carry the time stamps.

    Yields:
        (time in s or None, picture).

    Raises:
        ClipError: if one cannot be read.
    """

    def natural(path: Path) -> list[Any]:
        parts = re.split(r"(\d+)", path.name)  # every second one is a number
        return [int(part) if place % 2 else part for place, part in enumerate(parts)]

    with _refuse(clock.quote_name(folder), "not a folder that can be read"):
        paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    yield from map(read_picture, sorted(paths, key=natural))


def read_picture(path: Path) -> tuple[float | None, Image.Image]:
    """A file's picture, and its time in s where its name is as PURE's, Image<nanoseconds>.png.

    Raises:
        ClipError: if it is no picture that can be read.
    """
    nanoseconds = re.fullmatch(r"Image(\d{16,20})", path.stem)
    name = clock.quote_name(path)
    with _refuse(name), Image.open(path) as image:
        containers.check_size(*image.size, name)
        image.load()
    return (int(nanoseconds[1]) * 1e-9 if nanoseconds else None), image


@contextmanager
def _refuse(name: str, words: str = "not a picture that can be read whole") -> Iterator[None]:
    """Whatever Pillow raises becomes a ClipError."""
    try:
        yield
    except clock.ClipError:
        raise
    except Image.DecompressionBombError as error:
        most = containers.MOST_PIXELS / 1e6
        raise clock.ClipError(
            f"{name}: at most {most:.0f} million pixels can be read, its pictures have more"
        ) from error
    except Exception as error:
        raise clock.ClipError(f"{name}: {words} ({containers.describe_error(error)})") from error
