"""Video files and streams become pictures with their own time stamps, by way of PyAV.

Here live the opening of containers, their clocks, and the account of what a damaged one lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.format import Flags
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from . import clock

MOST_PIXELS = 64 * 1024 * 1024
"""Pixels of the largest picture that is read; 8K has 33 million."""

NO_CLIPS = {
    "tty": "text",  # FFmpeg draws any text file as a film of letters
    "concat": "a list of other files",
    "hls": "a list of other files",
    "dash": "a list of other files",
    "sdp": "a list of other streams",
    "imf": "a list of other files",
}
"""Formats of FFmpeg that hold no pictures themselves, and what they are."""

HIDDEN_PICTURES = ("vp8", "mpeg4")
"""Codecs of which a packet may hold no picture that is shown: there packets are not counted."""

TS_PACKETS = (188, 192, 204)
"""Bytes of a packet of MPEG-TS, plain, with a time stamp or with a check sum in front or behind."""

RATELESS_RATE = 25
"""Pictures a second that FFmpeg reads a YUV4MPEG stream with where its header states no rate."""

HEAD = "head"
"""Key of a YUV4MPEG container's metadata for its first bytes."""

HEAD_BYTES = 256
"""Bytes that are kept so; the header of YUV4MPEG has at most 96."""

TOLERANCE = 0.5
"""Seconds by which a file may end before its header says, without being taken for cut off."""


def open_container(
    source: Any, name: str, form: str | None = None, lists: bool = False, kind: str = "video"
) -> Any:
    """PyAV container of a file, a binary file object, a stream or a camera.

    Args:
        source: what ``av.open`` takes.
        name: for messages.
        form: FFmpeg's name of the format, where the source does not show it.
        lists: whether it may be a list of other files or streams, as HLS is; else nothing but
            files of this machine is opened.
        kind: what it should be, for messages.

    Raises:
        ClipError: if it cannot be opened, or holds no pictures.
    """
    options = {"max_pixels": str(MOST_PIXELS)}
    if not lists:
        options["protocol_whitelist"] = "file"
    try:
        source, head = _peek(source)
        container = av.open(
            source, mode="r", format=form, metadata_errors="replace", options=options
        )
    except Exception as error:
        raise clock.ClipError(
            f"{name}: not a {kind} that can be read ({describe_error(error)})"
        ) from error
    try:
        form = container.format.name
        if head is not None and form == "yuv4mpegpipe":
            container.metadata[HEAD] = head
        if form in NO_CLIPS and not (lists and form != "tty"):
            raise clock.ClipError(f"{name}: not a video but {NO_CLIPS[form]}")
        find_stream(container, name)
    except clock.ClipError:
        container.close()
        raise
    return container


class Pipe:
    """A file object that cannot be rewound, with what has been read of it put back in front.

    Args:
        start: what has been read.
        file: the rest.
    """

    def __init__(self, start: bytes, file: Any):
        self._start, self._file = start, file

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes."""
        if not self._start:
            return self._file.read(size)
        start, self._start = self._start, b""
        if 0 <= size < len(start):
            start, self._start = start[:size], start[size:]
        return start


def can_rewind(file: Any) -> bool:
    """Whether a file object can be read from its start again."""
    return hasattr(file, "seek") and getattr(file, "seekable", lambda: True)()


def _peek(source):
    """(a source that gives all its bytes, its first bytes as text); (source, None) for a name."""
    if not hasattr(source, "read"):
        return source, None
    place, head = getattr(source, "tell", int)() if can_rewind(source) else None, b""
    while len(head) < HEAD_BYTES and (more := source.read(HEAD_BYTES - len(head))):
        head += more
    if place is None:
        return Pipe(head, source), head.decode("latin-1")
    source.seek(place)
    return source, head.decode("latin-1")


def lacks_clock(container: Any) -> bool:
    """Whether a container's pictures have stamps that FFmpeg made up, or none.

    Coded pictures one after the other (JPEG, PNG) have none, and a YUV4MPEG stream has none whose
    header states no rate (``F0:0``, or no ``F``). A header that cannot be seen again, as of a
    stream from the net, states none where FFmpeg says what it says without one.

    Args:
        container: of PyAV.
    """
    form = container.format.name
    if form != "yuv4mpegpipe":
        return form.endswith("_pipe") or form in ("image2", "ingenient")
    if find_stream(container).average_rate != RATELESS_RATE:
        return False
    if HEAD not in container.metadata:
        container.metadata[HEAD] = _read_head(str(container.name).removeprefix("file:"))
    line = container.metadata[HEAD].partition("\n")[0]
    stated = re.findall(r" F(\d+):(\d+)(?= |$)", line)[-1:]
    return not any(int(beats) and int(seconds) for beats, seconds in stated)


def _read_head(name):
    """First bytes of a file as text, none where there is none."""
    try:
        if not Path(name).is_file():
            return ""
        with Path(name).open("rb") as file:
            return file.read(HEAD_BYTES).decode("latin-1")
    except (OSError, ValueError):
        return ""


def find_stream(container: Any, name: str = "the stream") -> Any:
    """The container's first stream of pictures that is more than a cover.

    Raises:
        ClipError: if there is none, or no decoder for it.
    """
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise clock.ClipError(f"{name}: no pictures in the file, only other streams")
    if streams[0].codec_context is None:
        raise clock.ClipError(f"{name}: pictures of a kind that cannot be decoded")
    return streams[0]


def read_container(
    container: Any, name: str, lost: clock.Lost, threads: bool = False
) -> Iterator[Stamped]:
    """Pictures of a container, upright, at their presentation times.

    Args:
        container: see :func:`open_container`.
        name: for messages.
        lost: where the pictures that cannot be decoded, and missing ends, are added.
        threads: whether several pictures may be decoded at once, which delays a live stream.

    Yields:
        :data:`Stamped`; (None, None) in the place of a picture that is lost.

    Raises:
        ClipError: if no picture can be decoded, pictures are too large, or the file breaks off.
    """
    stream = find_stream(container, name)
    check_size(stream.codec_context.width, stream.codec_context.height, name)
    seen, turns = _Seen(container, stream), {}
    try:
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        stream.thread_type = "AUTO" if threads else "SLICE"
    except Exception as error:
        raise clock.ClipError(f"{name}: {describe_error(error)}") from error
    for packet in _demux(container, name, seen):
        if not seen.take_packet(packet):
            continue
        try:
            frames = packet.decode()
        except Exception as error:  # whatever a decoder raises: this picture is lost
            seen.failed += 1
            seen.why = describe_error(error)
            lost.pictures += 1
            yield None, None
            continue
        for frame in frames:
            stamp = seen.take_frame(frame)
            if frame.is_corrupt:
                lost.pictures += 1
                yield None, None
            else:
                yield stamp, decode(frame, name, turns)
    if not seen.frames:
        raise clock.ClipError(f"{name}: no picture in it can be decoded ({seen.why})")
    lost.pictures += seen.count_missing() + seen.is_cut
    _settle_ends(seen, name, lost)


class _Seen:
    """What of a container has come by so far.

    Args:
        container, stream: of PyAV.
    """

    def __init__(self, container: Any, stream: Any):
        self.container, self.stream = container, stream
        self.packets = self.frames = self.failed = 0
        self.interlaced = False
        self.why = "no data"
        self.first: float | None = None  # s, of the first picture
        self.end = 0.0  # s, of the last picture
        self.reached = 0.0  # s, end of the latest packet of any stream
        self.read = 0  # bytes up to the end of the latest packet, where its place is known

    def take_packet(self, packet: Any) -> bool:
        """Note a packet; whether it is one of the pictures'."""
        if packet.pts is not None and packet.time_base:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.reached = max(self.reached, end)
        if packet.stream_index != self.stream.index:
            return False
        self.packets += bool(packet.size) and not packet.is_discard
        self.read = max(self.read, (packet.pos or 0) + packet.size)
        return True

    def take_frame(self, frame: Any) -> float | None:
        """Note a decoded picture; its time in s."""
        stamp = find_stamp(self.container, frame, self.frames + self.failed)
        self.frames += 1
        self.interlaced |= frame.interlaced_frame
        if stamp is not None:
            self.first = stamp if self.first is None else self.first
            self.end = stamp + float((frame.duration or 0) * (frame.time_base or 0))
        return stamp

    def count_missing(self) -> int:
        """Pictures that went into the decoder and never came out."""
        if self.interlaced or self.stream.codec_context.name in HIDDEN_PICTURES:
            return 0  # two fields, or a hidden picture, may come in packets of their own
        return max(0, self.packets - self.frames - self.failed)

    @property
    def is_cut(self) -> bool:
        """Whether the file ends within a picture or a packet, where its form has one length."""
        form, size = self.container.format.name, self.container.size
        if form == "mpegts":
            return size > 0 and all(size % length for length in TS_PACKETS)
        return form == "yuv4mpegpipe" and size > self.read > 0

    @property
    def seconds(self) -> float:
        """From the first picture to the end of the last."""
        return 0.0 if self.first is None else self.end - self.first


def _demux(container, name, seen):
    """Packets of all streams: one that goes on to the end shows that the file is whole."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except Exception as error:
            raise clock.ClipError(
                f"{name}: broken after {seen.seconds:.1f} s ({describe_error(error)})"
            ) from error
        if packet is None:
            return
        yield packet


def find_stamp(container: Any, frame: Any, index: int) -> float | None:
    """When a decoded picture of a container is shown.

    A bare stream of pictures (``.h264``, ``.hevc``, ``.mjpeg``, as single-board cameras write them)
    has no clock, and FFmpeg stamps it with 25 pictures a second of its own; there the rate counts
    that the codec's own header states.

    Args:
        container, frame: of PyAV.
        index: of the frame, in the order of presentation.

    Returns:
        seconds, None where neither the container nor the codec says.
    """
    form, stream = container.format, find_stream(container)
    if lacks_clock(container):
        return None if index else 0.0
    if form.flags & Flags.no_timestamps.value:
        rate = stream.codec_context.framerate
    elif frame.pts is not None and frame.time_base:
        return float(frame.pts * frame.time_base)
    else:
        rate = stream.average_rate
    return float(index / rate) if rate else None


def decode(frame: Any, name: str, turns: dict[float, Turn] | None = None) -> Decoded:
    """A PyAV frame with its turn.

    Args:
        frame: of PyAV.
        name: for messages.
        turns: those of the stream's frames, by the frame's rotation; new ones are added.

    Raises:
        ClipError: if it is too large, or its turn cannot be told.
    """
    check_size(frame.width, frame.height, name)
    turns = {} if turns is None else turns
    try:
        rotation = frame.rotation
        if rotation not in turns:
            turns[rotation] = find_turn(frame)
    except Exception as error:
        raise clock.ClipError(f"{name}: {describe_error(error)}") from error
    return Decoded(frame, turns[rotation], name)


def check_size(width: int, height: int, name: str) -> None:
    """ClipError for pictures of more than :data:`MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise clock.ClipError(
            f"{name}: pictures of {width} x {height} pixels; "
            f"at most {MOST_PIXELS / 1e6:.0f} million pixels can be read"
        )


@dataclass(frozen=True)
class Turn:
    """How a picture is turned upright.

    Attributes:
        transposed: whether rows and columns change places, before all else.
        down, across: whether the rows, or the columns, run the other way.
    """

    transposed: bool = False
    down: bool = False
    across: bool = False

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The picture [H, W, 3] as it is to be shown, a view."""
        picture = picture.swapaxes(0, 1) if self.transposed else picture
        return picture[:: -1 if self.down else 1, :: -1 if self.across else 1]


@dataclass(frozen=True)
class Decoded:
    """A picture as a decoder gives it, whose planes can be read as they are.

    Attributes:
        frame: of PyAV.
        turn: by which it is made upright.
        name: of the clip, for messages.
    """

    frame: av.VideoFrame
    turn: Turn
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the upright picture."""
        size = self.frame.width, self.frame.height
        return (size[1], size[0]) if self.turn.transposed else size

    def to_rgb(self) -> np.ndarray:
        """Upright picture [H, W, 3] uint8.

        Raises:
            ClipError: if it is of a format that cannot be turned into colours.
        """
        try:
            return self.turn.apply(self.frame.to_ndarray(format="rgb24"))
        except Exception as error:
            raise clock.ClipError(
                f"{self.name}: its pictures cannot be turned into colours ({describe_error(error)})"
            ) from error


Stamped = tuple[float | None, Decoded | None]
"""(time in s or None where the file does not say, picture or None where it is lost)."""


def find_turn(frame: Any) -> Turn:
    """Turn of a frame's display matrix: quarter turns and mirrors.

    The matrix (ISO/IEC 14496-12, 8.3.2) sends a point (x, y) to (a x + c y, b x + d y).

    Args:
        frame: of PyAV.
    """
    # PyAV ties a frame to its side data in a circle that only the garbage collector unties: a
    # copy of four pixels is asked, so that no whole picture stays in memory.
    small = frame.reformat(width=2, height=2, format="gray", threads=1)
    matrix = small.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None or len(bytes(matrix)) < 36:
        return Turn()
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) >= abs(b):
        return Turn(False, d < 0, a < 0)
    return Turn(True, b < 0, c < 0)


def _settle_ends(seen, name, lost):
    """Count seconds missing at the ends.

    Raises:
        ClipError: where the file breaks off.
    """
    flags = seen.container.format.flags
    if seen.first is None or flags & Flags.no_timestamps.value or lacks_clock(seen.container):
        return
    stream, first = seen.stream, seen.first
    start = first if stream.start_time is None else float(stream.start_time * stream.time_base)
    promised, reached, own = _find_promise(seen, start)
    if reached < promised - TOLERANCE:
        raise clock.ClipError(
            f"{name}: the file breaks off, {max(0.0, reached - first):.1f} of "
            f"{promised - first:.1f} s could be read"
        )
    negligible = 0.75 * seen.seconds / seen.frames  # a picture's time, less rounding
    for missing in (first - start, own - seen.end):
        if missing > negligible:
            lost.end_seconds += missing


def _find_promise(seen, start):
    """When the header says that the file ends, when it did, when the pictures should (s)."""
    stream, container, form = seen.stream, seen.container, seen.container.format.name
    if any(known in form for known in ("matroska", "flv", "asf")) and container.duration:
        # The header states the length of the whole file, of which sound may be the last.
        promised = container.duration / av.time_base
        own = _read_duration(stream.metadata.get("DURATION", ""))
        if own is None or own > promised + TOLERANCE:
            own = promised if len(container.streams) == 1 else seen.end
        return promised, max(seen.end, seen.reached), own
    promised = seen.end
    if form == "avi" and stream.frames and stream.average_rate:
        # Its duration is guessed from the file's size.
        promised = start + float(stream.frames / stream.average_rate)
    elif stream.duration is not None:
        promised = start + float(stream.duration * stream.time_base)
    # The length of an MPEG stream is no header's, but guessed from its last packets.
    return promised, seen.end, seen.end if form in ("mpeg", "mpegts") else promised


def _read_duration(text):
    """Seconds of Matroska's "00:01:02.345", None where there are none."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + clock.read_number(seconds)
    except (ValueError, ArithmeticError):
        return None


def describe_error(error: BaseException) -> str:
    """An error of a decoder in a few words."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    words = getattr(error, "strerror", None)
    if not words and isinstance(error, (OSError, SyntaxError)):
        words = str(error)
    return (str(words or type(error).__name__).splitlines() or ["?"])[0].rstrip(".").lower()
