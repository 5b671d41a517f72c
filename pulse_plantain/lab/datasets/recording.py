"""One recording of any data set: pictures, a reference pulse, and both their clocks.

Here lives what all data sets share; their file formats are in the modules beside this one.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import ArrayLike

from pulse_plantain import heart_rate
from pulse_plantain.video import ClipError, Clock, read_frames

LONGEST_GAP = 0.15
"""s between two samples of a reference pulse above which the gap is reported."""

LENGTH_TOLERANCE = 0.5
"""s by which video and label may differ in length before it is reported."""

RENDERED = "rendered.json"
"""File that marks what lies beside it as rendered, in whichever data set's layout it lies."""

DEVICE_BPM = (30.0, 220.0)
"""Range outside of which an oximeter's own rate is taken for damage (1 to 4 bpm in UBFC-rPPG)."""

_REFERENCE_RATE = 64.0  # Hz of the even clock a reference pulse is put on


@dataclass(frozen=True)
class Recording:
    """A clip with what is known of it.

    Pictures and reference pulse meet on one clock, seconds after the first picture, and are never
    matched by index.

    Attributes:
        name: unique in its data set.
        path: file or folder that holds the pictures.
        subject: label; a subject is never on both sides of a split, and a subject's recordings
            are resampled together.
        bpm: mean reference heart rate of the whole clip; NaN where unknown, 0 where the clip is
            known to hold no pulse.
        mask: picture file whose bright pixels are skin; None = not known.
        bvp, bvp_times: [n] reference pulse and its own clock in s; empty where unknown.
        timestamps: [frames] s, where the pictures' clock is not in ``path`` itself.
        fps: pictures a second, where there are no time stamps at all.
        pictures: for formats that FFmpeg does not read: function that returns an iterable of
            pictures [H, W, 3].
        task: what the subject was asked to do, in the data set's words.
        strata: what the figures can be split by (motion, light, skin_type, codec, ...).
        problems: damage found in the files, a sentence each.
        rendered: whether it comes from the renderer, in whichever layout it lies.
    """

    name: str
    path: Path
    subject: str
    bpm: float = np.nan
    mask: Path | None = None
    bvp: np.ndarray = field(default_factory=lambda: np.empty(0))
    bvp_times: np.ndarray = field(default_factory=lambda: np.empty(0))
    timestamps: np.ndarray | None = None
    fps: float | None = None
    pictures: Callable[[], Iterable[np.ndarray]] | None = None
    task: str = ""
    strata: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    rendered: bool = False

    def open_clip(self) -> Path | Iterable[np.ndarray]:
        """The clip as :func:`~pulse_plantain.video.read_frames` takes it."""
        return self.pictures() if self.pictures else self.path

    def source(self) -> dict[str, Any]:
        """Keywords of the pipeline: ``clip`` and, where needed, ``fps`` or ``timestamps``."""
        clocks = {"fps": self.fps, "timestamps": self.timestamps}
        known = {name: clock for name, clock in clocks.items() if clock is not None}
        return {"clip": self.open_clip()} | known

    @property
    def clock(self) -> Clock:
        """The pictures' times, where the file does not say them."""
        return Clock(self.fps, self.timestamps)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Iterator of (s after the first picture, picture [H, W, 3]), one picture in memory."""
        return read_frames(self.open_clip(), self.clock)


Opener = Callable[[], Recording]
"""Opens one recording; raises ClipError or OSError where it is damaged."""


def reference_rate(
    bvp: ArrayLike, bvp_times: ArrayLike, start: float = -np.inf, end: float = np.inf
) -> float:
    """Mean heart rate (bpm) of a reference pulse between two times, from the pulse alone.

    What a device displays is not used: it lags by seconds and breaks off to 1-4 bpm in UBFC-rPPG.

    Args:
        bvp, bvp_times: [n], own clock in s.
        start, end: s on that clock.

    Returns:
        bpm (:func:`heart_rate.mean_rate`), NaN where nothing beats.

    Raises:
        ClipError: if there is no pulse, as :func:`resample_pulse`.
    """
    times, trace = resample_pulse(bvp, bvp_times)
    inside = (times >= start) & (times <= end)
    if inside.sum() < 2 * _REFERENCE_RATE:
        return np.nan
    return float(heart_rate.mean_rate(trace[inside], _REFERENCE_RATE))


def resample_pulse(bvp: ArrayLike, bvp_times: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """A reference pulse on an even clock of 64 Hz.

    Straight lines run between its own stamps; of samples with one stamp the first counts.

    Args:
        bvp, bvp_times: [n], own clock in s.

    Returns:
        (times [m] in s, trace [m]).

    Raises:
        ClipError: if the two differ in length, are not finite, or cover less than 2 s.
    """
    values, own_times = np.asarray(bvp, float), np.asarray(bvp_times, float)
    if values.shape != own_times.shape or values.ndim != 1:
        raise ClipError(f"{values.shape} pulse samples but {own_times.shape} time stamps")
    if not (np.isfinite(values).all() and np.isfinite(own_times).all()):
        raise ClipError("the reference pulse or its time stamps hold NaN")
    stamps, first = np.unique(own_times, return_index=True)
    if len(stamps) < 2 or stamps[-1] - stamps[0] < 2:
        raise ClipError("the reference pulse covers less than 2 s")
    times = np.arange(stamps[0], stamps[-1] + 1e-9, 1 / _REFERENCE_RATE)
    return times, np.interp(times, stamps, values[first])


def inspect_label(
    recording: Recording, seconds: float | None = None, device_bpm: ArrayLike = ()
) -> Recording:
    """The recording with its reference rate filled in and the damage of its label reported.

    Args:
        recording: with ``bvp`` and ``bvp_times``.
        seconds: length of the video, where it is known without decoding it.
        device_bpm: [n] the rate the device displayed, sample by sample; empty where unknown.

    Raises:
        ClipError: if the label cannot be used at all; the message names the recording.
    """
    stamps = recording.bvp_times
    try:
        bpm = reference_rate(recording.bvp, stamps)
    except ClipError as error:
        raise ClipError(f"{recording.name}: {error}") from error
    problems = [*recording.problems, *_find_clock_problems(stamps)]
    if seconds is not None and abs(seconds - stamps[-1]) > LENGTH_TOLERANCE:
        problems.append(f"the video lasts {seconds:.1f} s, the label {stamps[-1]:.1f} s")
    shown = np.asarray(device_bpm, float)
    off = (shown < DEVICE_BPM[0]) | (shown > DEVICE_BPM[1])
    if off.any():
        problems.append(
            f"the device displays {shown[off].min():g} to {shown[off].max():g} bpm "
            f"in {off.mean():.0%} of the label (not used)"
        )
    if not np.isfinite(bpm):
        problems.append("no periodic pulse in the label")
    return replace(recording, bpm=bpm, problems=tuple(problems))


def _find_clock_problems(stamps):
    """What is wrong with the time stamps [n] of a label, a sentence each."""
    problems, steps = [], np.diff(stamps)
    if (steps < 0).any():
        problems.append(f"{int((steps < 0).sum())} time stamps of the label go back")
    if (steps == 0).any():
        problems.append(f"{int((steps == 0).sum())} time stamps of the label are repeated")
    if (steps > LONGEST_GAP).any():
        gaps = steps[steps > LONGEST_GAP]
        problems.append(f"{len(gaps)} gaps in the label, up to {gaps.max():.2f} s")
    return problems


def read_video_length(video: Path) -> tuple[int, float]:
    """(number of pictures, seconds) as a video's header says.

    Raises:
        ClipError: if there is no such header.
    """
    frames, rate = 0, None
    with suppress(FFmpegError, IndexError), av.open(str(video)) as container:
        stream = container.streams.video[0]
        frames, rate = stream.frames, stream.average_rate
    if not rate:
        raise ClipError(f"{video}: not a video that can be read")
    return frames, float(frames / rate)


def mark_rendered(recording: Recording, root: Path) -> Recording:
    """The recording, marked where :data:`RENDERED` lies in a folder between it and the root."""
    places = [recording.path, *recording.path.parents]
    inside = [place for place in places if place.is_relative_to(root)]
    rendered = recording.rendered or any((place / RENDERED).is_file() for place in inside)
    return replace(recording, rendered=rendered)


def mark_duplicates(recordings: Sequence[Recording]) -> list[Recording]:
    """Mark recordings whose video files are alike, as 7-gt and 12-gt of UBFC-rPPG are.

    Files of one size are compared by sixteen blocks of 64 KiB; folders are not compared.

    Returns:
        The recordings, with a sentence under ``problems`` in every later one of a pair.
    """
    sizes = Counter(r.path.stat().st_size for r in recordings if r.path.is_file())
    seen: dict[str, str] = {}
    return [_mark_if_seen(recording, sizes, seen) for recording in recordings]


def _mark_if_seen(recording, sizes, seen):
    """The recording, marked where ``seen`` has its video under another name."""
    path = recording.path
    if not path.is_file() or sizes[path.stat().st_size] < 2:
        return recording
    first = seen.setdefault(_digest_blocks(path), recording.name)
    if first == recording.name:
        return recording
    return replace(recording, problems=(*recording.problems, f"the same video as {first}"))


def _digest_blocks(path, count=16, length=65536):
    """Digest of a file's size and of blocks spread evenly over it."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, size - length), count).astype(int):
            file.seek(int(start))
            digest.update(file.read(length))
    return digest.hexdigest()
