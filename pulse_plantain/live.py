"""Cameras and streams: pictures that are still coming in, and a line for every reading of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Settings


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
        from . import stream

        return (
            stream.open_camera(self.camera)
            if self.stream is None
            else stream.open_stream(self.stream)
        )

    def check(self) -> None:
        """Raise ClipError where it cannot be opened; what can be read only once is left alone."""
        name = self.stream
        if name is None or not (name == "-" or "://" in name or Path(name).is_fifo()):
            self.open().close()


def use_one_thread() -> None:
    """Let one thread draw: a reading has a second, and threads that share it spend more time."""
    import torch

    torch.set_num_threads(1)


def watch(source: Source, settings: Settings) -> None:
    """Print a line a second of a camera or a stream, until it ends or is interrupted.

    What the stream lost is said once, when it is over.

    Raises:
        ClipError: if it cannot be opened, breaks off or cannot be measured.
    """
    from .stream import LiveClip
    from .video import Clock

    settings.check()
    source.check()
    pipe = settings.load()
    use_one_thread()
    with source.open() as container:
        live = LiveClip(container, Clock(settings.fps))
        print("   until s      bpm  confidence  s after its last picture")
        readings = pipe.watch(
            live.pictures(),
            timestamps=live.times(),
            window=settings.window,
            stride=settings.stride or 1.0,
            crop=settings.crop,
        )
        try:
            for output in readings:
                rate = f"{output.bpm:.1f}" if output.found else "-"
                end, late = output.windows[0].end, time.monotonic() - live.arrived
                said = f"{end:10.1f}  {rate:>7}        {output.confidence:.2f}  {late:.1f}"
                print(said, flush=True)
        finally:  # whether it ended, broke off or was interrupted
            if live.lost:
                print(f"the stream lost {live.lost.describe()}", flush=True)
