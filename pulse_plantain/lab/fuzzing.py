"""Damaged clips by the thousand: what the reader of clips makes of each, in processes of their own.

Here live the sound clips, the kinds of damage, the outcomes and the processes with their limits.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from pulse_plantain.video import ClipError, Clock, Lost, read_frames

FPS, PICTURES = 30, 60
SIZE = (64, 48)
"""Of a sound clip: pictures a second, pictures, and (width, height) in pixels."""

SECONDS, MEMORY = 30.0, 1 << 30
"""What a process may take to read one file: seconds, and bytes beyond what it has before."""

CODECS: dict[str, tuple[str, dict[str, str], bool]] = {
    "plain.mp4": ("libx264", {}, False),
    "faststart.mp4": ("libx264", {"movflags": "faststart"}, True),
    "fragments.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}, False),
    "intra.mov": ("mjpeg", {}, False),
    "lossless.mkv": ("ffv1", {}, False),
    "sound.mkv": ("libx264", {}, True),
    "vp8.webm": ("libvpx", {}, False),
    "vp9.webm": ("libvpx-vp9", {}, False),
    "parts.avi": ("mpeg4", {}, False),
    "intra.avi": ("mjpeg", {}, False),
    "clip.flv": ("libx264", {}, False),
    "clip.ts": ("libx264", {}, True),
    "clip.mpg": ("mpeg2video", {}, False),
    "clip.wmv": ("wmv2", {}, False),
    "bare.h264": ("libx264", {}, False),
    "plain.y4m": ("rawvideo", {"strict": "-1"}, False),
}
"""Name of a container's file -> codec, options of the container, whether it has sound."""

KINDS = (*CODECS, "clip.gif", "clip.webp", "clip.png")
"""Names of the sound clips; their suffixes tell the containers apart."""

MARKS = (
    *(b"mvhd", b"tkhd", b"mdhd", b"elst", b"stts", b"stsz", b"stco", b"stsc", b"stsd", b"trun"),
    *(b"tfhd", b"avih", b"strh", b"strf", b"idx1", b"IHDR", b"acTL", b"fcTL", b"ANMF", b"VP8X"),
    *(b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75", b"onMetaData", b"GIF89a"),
)
"""Where headers of the containers keep their numbers."""

LIES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers that a lying header states."""


# ------------------------------------------------------------------------------------ sound clips


def draw_pictures() -> list[np.ndarray]:
    """A scene that moves and beats, [H, W, 3] uint8 each."""
    rng = np.random.default_rng(0)
    scene = rng.uniform(60, 190, (12, 32, 3)).repeat(8, 0).repeat(8, 1)
    width, height = SIZE
    moves = np.round(16 * (1 + np.sin(np.arange(PICTURES) / 9))).astype(int)
    beats = 20 * np.sin(np.arange(PICTURES))
    return [
        (scene[move : move + height, 2 * move : 2 * move + width] + beat).astype(np.uint8)
        for move, beat in zip(moves, beats, strict=True)
    ]


@cache
def make_clip(kind: str) -> bytes:
    """The sound clip of one of :data:`KINDS`."""
    with tempfile.TemporaryDirectory() as folder:  # the index goes to the front by name only
        path = Path(folder) / kind
        if kind in CODECS:
            _write_container(path, kind)
        else:
            pages = [Image.fromarray(picture) for picture in draw_pictures()]
            pages[0].save(path, save_all=True, append_images=pages[1:], duration=40)
        return path.read_bytes()


FORMS = {
    **{"mkv": "matroska", "ts": "mpegts", "mpg": "mpeg", "wmv": "asf", "y4m": "yuv4mpegpipe"},
    **{suffix: suffix for suffix in ("mp4", "mov", "webm", "avi", "flv", "h264")},
}
"""Suffix -> FFmpeg's name of the container."""


def _write_container(path, kind):
    codec, options, sound = CODECS[kind]
    form = FORMS[path.suffix.removeprefix(".")]
    with av.open(str(path), "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options={"threads": "1"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")
        speech: Any = container.add_stream("aac", rate=16000) if sound else None
        for number, picture in enumerate(draw_pictures()):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if speech is not None and number * 16000 / FPS % 1024 < 16000 / FPS:
                silence = np.zeros((1, 1024), np.float32)
                frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
                frame.sample_rate = 16000
                container.mux(speech.encode(frame))
        container.mux(stream.encode())
        if speech is not None:
            container.mux(speech.encode())


# --------------------------------------------------------------------------------------- damage


def _choose_block(size, rng):
    """(start, end) of a block of up to a fifth of a file."""
    length = int(rng.integers(1, max(2, size // 5)))
    start = int(rng.integers(0, max(1, size - length)))
    return start, start + length


def cut_off(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The file breaks off."""
    return data[: int(rng.integers(1, len(data)))]


def flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One to sixty-four bits are turned over."""
    for place in rng.integers(0, 8 * len(data), int(2 ** rng.integers(0, 7))):
        data[place // 8] ^= 1 << (place % 8)
    return data


def fill_with_noise(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block becomes noise."""
    start, end = _choose_block(len(data), rng)
    data[start:end] = rng.bytes(end - start)
    return data


def fill_with_zeros(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block becomes zeros, as a disk leaves what it could not write."""
    start, end = _choose_block(len(data), rng)
    data[start:end] = bytes(end - start)
    return data


def swap_blocks(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two blocks change places."""
    start, end = _choose_block(len(data), rng)
    other = int(rng.integers(0, len(data) - (end - start)))
    other_end = other + end - start
    data[start:end], data[other:other_end] = data[other:other_end], data[start:end]
    return data


def drop_block(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block is missing."""
    start, end = _choose_block(len(data), rng)
    del data[start:end]
    return data


def double_block(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block comes twice."""
    start, end = _choose_block(len(data), rng)
    return data[:end] + data[start:]


def lie_in_the_header(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A number of a header states something else."""
    places = [at + len(mark) for mark in MARKS if (at := data.find(mark)) >= 0]
    start = int(rng.choice(places)) if places else 0
    start += int(rng.integers(0, 48))
    width, lie = int(rng.choice([1, 2, 4])), int(rng.choice(LIES))
    order = "big" if rng.integers(2) else "little"
    data[start : start + width] = (lie % 256**width).to_bytes(width, order)
    return data


def keep(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The file is sound, and only its name lies about what it is."""
    return data


DAMAGES: dict[str, Callable[[bytearray, np.random.Generator], bytearray]] = {
    "cut off": cut_off,
    "bits flipped": flip_bits,
    "noise": fill_with_noise,
    "zeros": fill_with_zeros,
    "blocks swapped": swap_blocks,
    "block missing": drop_block,
    "block doubled": double_block,
    "header lies": lie_in_the_header,
    "wrong suffix": keep,
}
"""Name of each kind of damage -> what it does to a file."""


@dataclass(frozen=True)
class Variant:
    """A damaged file.

    Attributes:
        number: of the variant; with the seed it says everything else.
        kind: of :data:`KINDS`.
        damage: of :data:`DAMAGES`.
        suffix: of its name.
        data: its contents.
    """

    number: int
    kind: str
    damage: str
    suffix: str
    data: bytes


def make_variant(number: int, seed: int) -> Variant:
    """The damaged file of a number: kinds take turns, and damages take turns within each kind."""
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    damage = list(DAMAGES)[number // len(KINDS) % len(DAMAGES)]
    others = [other for other in KINDS if other.split(".")[1] != kind.split(".")[1]]
    named = str(rng.choice(others)) if damage == "wrong suffix" else kind
    data = DAMAGES[damage](bytearray(make_clip(kind)), rng)
    return Variant(number, kind, damage, named.split(".")[1], bytes(data))


# -------------------------------------------------------------------------------------- outcomes

WHOLE, COUNTED, SILENT, OTHER = "whole", "less, and said", "less, silently", "other times"
REFUSED, RAISED, SLOW, DIED = "refused", "raised", "too slow", "died"

OUTCOMES = {
    WHOLE: "every picture at its time",
    COUNTED: "pictures or seconds are missing, and the reader says so",
    SILENT: "pictures or seconds are missing, and the reader does not say so",
    OTHER: "as many pictures or more, at other times",
    REFUSED: "one line says why it cannot be read",
    RAISED: "an error other than ClipError, or a message of several lines",
    SLOW: f"longer than {SECONDS:g} s",
    DIED: f"the process died, or took {MEMORY >> 20} MiB more than it had",
}
"""What can come of a file."""

FAILURES = (RAISED, SLOW, DIED)
"""Outcomes that must not be."""


@dataclass(frozen=True)
class Row:
    """What came of one variant.

    Attributes:
        number, kind, damage: of the variant.
        outcome: of :data:`OUTCOMES`.
        words: what the reader said, or the error.
        pictures: that were read.
        seconds: that it took.
    """

    number: int
    kind: str
    damage: str
    outcome: str
    words: str = ""
    pictures: int = 0
    seconds: float = 0.0


@cache
def read_sound(kind: str) -> tuple[float, ...]:
    """Times of the pictures of the sound clip of a kind."""
    return tuple(time for time, _ in read_frames(make_clip(kind)))


def judge(variant: Variant, read: Callable[[Lost], Iterable[tuple[float, Any]]]) -> Row:
    """What comes of reading a variant.

    Args:
        variant: that is read.
        read: gives its pictures.
    """
    lost, times, begun = Lost(), [], time.perf_counter()

    def say(outcome, words=""):
        about = (variant.number, variant.kind, variant.damage, outcome, words, len(times))
        return Row(*about, round(time.perf_counter() - begun, 3))

    try:
        times.extend(moment for moment, _ in read(lost))
    except ClipError as error:
        return say(RAISED if "\n" in str(error) else REFUSED, str(error))
    except MemoryError as error:
        return say(DIED, repr(error))
    except Exception as error:
        return say(RAISED, repr(error))
    sound = read_sound(variant.kind)
    if len(times) == len(sound) and np.allclose(times, sound, atol=2e-3):
        return say(WHOLE)
    if len(times) < len(sound) or times[-1] < sound[-1] - 2e-3:
        return say(COUNTED if lost else SILENT, lost.describe())
    return say(OTHER, lost.describe())


def read_variant(variant: Variant, folder: Path) -> Row:
    """Read a variant: two of three from a file of their suffix, the third from a file object."""

    def read(lost: Lost) -> Iterator[tuple[float, Any]]:
        clip: Any = io.BytesIO(variant.data)
        if variant.number % 3:
            clip = folder / f"clip.{variant.suffix}"
            clip.write_bytes(variant.data)
        return read_frames(clip, Clock(), lost)

    return judge(variant, read)


# ------------------------------------------------------------------------------------- processes


def _serve(pipe: Any, seed: int, memory: int) -> None:
    """Read the variants whose numbers come through a pipe, within a limit of memory."""
    warnings.simplefilter("ignore")
    statm = Path("/proc/self/statm")
    if statm.exists():  # elsewhere only the time is limited
        held = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))
    with tempfile.TemporaryDirectory() as folder:
        pipe.send(None)
        while (number := pipe.recv()) is not None:
            pipe.send(read_variant(make_variant(number, seed), Path(folder)))


class Reader:
    """A process that reads variants one after the other, started anew after one that ended it.

    Args:
        seed: of the variants.
        seconds, memory: that it may take for one.
    """

    def __init__(self, seed: int, seconds: float = SECONDS, memory: int = MEMORY):
        self.seed, self.seconds, self.memory = seed, seconds, memory
        self._process: Any = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read(self, number: int) -> Row:
        """What comes of the variant of a number."""
        if self._process is None:
            self._start()
        process: Any = self._process
        try:
            self._pipe.send(number)
            if self._pipe.poll(self.seconds):
                return self._pipe.recv()
            outcome, words = SLOW, ""
        except (EOFError, ConnectionError):
            process.join(5)
            outcome, words = DIED, f"exit code {process.exitcode}"
        self._stop()
        variant = make_variant(number, self.seed)
        return Row(number, variant.kind, variant.damage, outcome, words)

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(end, self.seed, self.memory), daemon=True
        )
        self._process.start()
        end.close()
        self._pipe.recv()

    def _stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def read_all(numbers: Iterable[int], seed: int, kept: Path | None = None) -> Iterator[Row]:
    """What comes of variants, in the order of their numbers.

    Args:
        numbers: of the variants.
        seed: of the variants.
        kept: file of the rows that are known already, a JSON line each; new ones are added.
    """
    known = {row.number: row for row in _read_kept(kept, seed)} if kept else {}
    with Reader(seed) as reader:
        for number in numbers:
            row = known.get(number) or reader.read(number)
            if kept and number not in known:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with kept.open("a") as file:
                    file.write(json.dumps({"seed": seed, **asdict(row)}) + "\n")
            yield row


def _read_kept(kept, seed):
    """Rows of a seed that are in a file; a last line that breaks off is none."""
    if not kept.exists():
        return
    for line in kept.read_text().splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if values.pop("seed") == seed:
            yield Row(**values)


def sum_up(rows: list[Row]) -> dict[str, Any]:
    """Outcomes of all rows, by kind of file and by kind of damage, and the rows to look at."""

    def count(some: Iterable[Row]) -> dict[str, int]:
        outcomes = Counter(row.outcome for row in some)
        return {outcome: outcomes[outcome] for outcome in OUTCOMES}

    return {
        "outcomes": count(rows),
        "by_kind": {kind: count(row for row in rows if row.kind == kind) for kind in KINDS},
        "by_damage": {
            damage: count(row for row in rows if row.damage == damage) for damage in DAMAGES
        },
        "longest_seconds": max(row.seconds for row in rows),
        "failures": [asdict(row) for row in rows if row.outcome in FAILURES],
        "silent": [row.number for row in rows if row.outcome == SILENT],
    }
