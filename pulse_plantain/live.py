"""Cameras and streams: pictures that are still coming in, and a line for every reading of them."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Settings

CAMERAS = {
    "linux": ("v4l2", "/dev/video0"),
    "darwin": ("avfoundation", "0"),
    "win32": ("dshow", ""),
}
"""FFmpeg's name for cameras on each system, and its first one."""


@dataclass(frozen=True)
class Source:
    """A camera or a stream.

    Args:
        stream: file or address that FFmpeg knows, "-" for standard input; a camera where None.
        camera: FFmpeg's name of the camera; the first one where empty.
    """

    stream: str | None = None
    camera: str = ""

    def open(self) -> Any:
        """PyAV container of it.

        Raises:
            ClipError: if it cannot be opened or holds no pictures.
        """
        import av

        from .video import ClipError

        form, name = None, self.stream
        if name is None:
            form, first = CAMERAS.get(sys.platform, (None, ""))
            name = self.camera or first
        try:
            container = av.open(sys.stdin.buffer if name == "-" else name, format=form)
        except (av.FFmpegError, OSError) as error:
            raise ClipError(f"{name}: no camera or stream that can be opened ({error})") from error
        if not container.streams.video:
            raise ClipError(f"{name}: no pictures in the stream")
        return container

    def check(self) -> None:
        """Raise ClipError where it cannot be opened; what can be read only once is left alone."""
        name = self.stream
        if name is None or not (name == "-" or "://" in name or Path(name).is_fifo()):
            self.open().close()


class StreamClock:
    """The time stamps of a stream's pictures, each asked for after its picture, and the last's age.

    Args:
        container: PyAV container to decode.
        fps: pictures a second, in place of the stream's own time stamps.
    """

    def __init__(self, container: Any, fps: float | None = None):
        self.container, self.fps = container, fps
        self.stamps: deque[float] = deque()
        self.arrived = time.monotonic()

    def pictures(self) -> Iterator[Any]:
        """The pictures [H, W, 3] uint8, as they come in.

        Raises:
            ClipError: if nothing says when they were taken.
        """
        from .video import ClipError, find_stamp

        for index, frame in enumerate(self.container.decode(video=0)):
            stamp = index / self.fps if self.fps else find_stamp(self.container, frame, index)
            if stamp is None:
                raise ClipError(
                    "the stream has no time stamps and its codec states no rate: give --fps, or "
                    "send it in a container, as MPEG-TS"
                )
            self.stamps.append(stamp)
            self.arrived = time.monotonic()
            yield frame.to_ndarray(format="rgb24")

    def times(self) -> Iterator[float]:
        """The time of each picture in s, for as long as there are pictures."""
        while self.stamps:
            yield self.stamps.popleft()


def watch(source: Source, settings: Settings) -> None:
    """Print a line a second of a camera or a stream, until it ends or is interrupted.

    Raises:
        ClipError: if it cannot be opened, breaks off or cannot be measured.
    """
    import av

    from .video import ClipError

    settings.check()
    source.check()
    pipe = settings.load()
    with source.open() as container:
        stream = StreamClock(container, settings.fps)
        print("   until s      bpm  confidence  s after its last picture")
        readings = pipe.watch(
            stream.pictures(),
            timestamps=stream.times(),
            window=settings.window,
            stride=settings.stride or 1.0,
            crop=settings.crop,
        )
        try:
            for output in readings:
                rate = f"{output.bpm:.1f}" if output.found else "-"
                end, late = output.windows[0].end, time.monotonic() - stream.arrived
                print(
                    f"{end:10.1f}  {rate:>7}        {output.confidence:.2f}  {late:.1f}",
                    flush=True,
                )
        except av.FFmpegError as error:
            raise ClipError(f"the stream breaks off ({error})") from error
