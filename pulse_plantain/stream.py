"""Cameras and streams that are still coming in: how they are opened, and how old they are.

Nothing is measured here.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import containers, video

CAMERAS = {
    "linux": ("v4l2", "/dev/video0"),
    "darwin": ("avfoundation", "0"),
    "win32": ("dshow", ""),
}
"""FFmpeg's name for cameras on each system, and its first one."""


def open_stream(source: str) -> Any:
    """PyAV container of a file or a stream that FFmpeg knows; "-" is what comes through a pipe.

    Raises:
        ClipError: if it cannot be opened or holds no pictures.
    """
    if source == "-":
        return containers.open_container(sys.stdin.buffer, "the pipe")
    # A file's name may hold a colon, which FFmpeg would take for the end of a protocol.
    address = f"file:{source}" if _is_here(source) else source
    return containers.open_container(address, source, lists=True)


def _is_here(source):
    """Whether there is a file, a pipe or a device of this name."""
    try:
        return Path(source).exists()
    except OSError:  # an address may be longer than a file's name can be
        return False


def open_camera(device: str = "") -> Any:
    """PyAV container of a camera; the system's first one where none is named.

    Raises:
        ClipError: if it cannot be opened.
    """
    form, first = CAMERAS.get(sys.platform, (None, ""))
    source = device or first
    return containers.open_container(source, source or "the camera", form, kind="camera")


class LiveClip:
    """The pictures of a stream and their times, each time asked for after its picture.

    Args:
        container: of :func:`open_stream` or :func:`open_camera`.
        clock: the pictures' times, where the stream does not say them.

    Attributes:
        lost: what the stream should have had and had not, so far.
        arrived: moment of ``time.monotonic`` when the latest picture came.
    """

    def __init__(self, container: Any, clock: video.Clock = video.OWN_CLOCK):
        self.container, self.clock = container, clock
        self.lost = video.Lost()
        self.arrived = time.monotonic()
        self._stamps: deque[float] = deque()

    def pictures(self) -> Iterator[video.Picture]:
        """The pictures, as they come in.

        Raises:
            ClipError: as :func:`~pulse_plantain.video.read_pictures`.
        """
        for stamp, picture in video.read_pictures(self.container, self.clock, self.lost):
            self._stamps.append(stamp)
            self.arrived = time.monotonic()
            yield picture

    def times(self) -> Iterator[float]:
        """The time of each picture in s, for as long as there are pictures."""
        while self._stamps:
            yield self._stamps.popleft()
