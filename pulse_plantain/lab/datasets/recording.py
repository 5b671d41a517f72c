"""One recording of any data set: pictures, a reference pulse, and both their clocks.

Here is no file format; those are in the modules beside this one.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pulse_plantain import heart_rate
from pulse_plantain.video import ClipError, Clock, read_frames

LONGEST_GAP = 0.15
"""s between two samples of a reference pulse above which the gap is reported."""

LENGTH_TOLERANCE = 0.5
"""s by which video and label may differ in length before it is reported."""

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
    pictures: Callable | None = None
    task: str = ""
    strata: dict = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def source(self):
        """Keywords ``clip`` and, where needed, ``fps`` or ``timestamps`` of read_frames."""
        clip = self.pictures() if self.pictures else self.path
        clocks = {"fps": self.fps, "timestamps": self.timestamps}
        return {"clip": clip} | {name: clock for name, clock in clocks.items() if clock is not None}

    @property
    def clock(self) -> Clock:
        """The pictures' times, where the file does not say them."""
        return Clock(self.fps, self.timestamps)

    def frames(self):
        """Iterator of (s after the first picture, picture [H, W, 3]), one picture in memory."""
        clip = self.pictures() if self.pictures else self.path
        return read_frames(clip, self.clock)


def reference_rate(bvp, bvp_times, start=None, end=None):
    """Mean heart rate (bpm) of a reference pulse between two times, from the pulse alone.

    What a device displays is not used: it lags by seconds and breaks off to 1-4 bpm in UBFC-rPPG.

    Args:
        bvp, bvp_times: [n], own clock in s.
        start, end: s; the whole pulse.

    Returns:
        bpm (:func:`heart_rate.mean_rate`), NaN where nothing beats.
    """
    times, trace = even_pulse(bvp, bvp_times)
    inside = np.ones(len(times), bool)
    if start is not None:
        inside &= times >= start
    if end is not None:
        inside &= times <= end
    if inside.sum() < 2 * _REFERENCE_RATE:
        return np.nan
    return float(heart_rate.mean_rate(trace[inside], _REFERENCE_RATE))


def even_pulse(bvp, bvp_times):
    """(times [m] s, trace [m]) of a reference pulse on an even clock of 64 Hz.

    Straight lines between its own stamps; of samples with one stamp the first counts.

    Raises:
        ClipError: if the two differ in length, are not finite, or cover less than 2 s.
    """
    bvp, bvp_times = np.asarray(bvp, float), np.asarray(bvp_times, float)
    if bvp.shape != bvp_times.shape or bvp.ndim != 1:
        raise ClipError(f"{bvp.shape} pulse samples but {bvp_times.shape} time stamps")
    if not (np.isfinite(bvp).all() and np.isfinite(bvp_times).all()):
        raise ClipError("the reference pulse or its time stamps hold NaN")
    stamps, first = np.unique(bvp_times, return_index=True)
    if len(stamps) < 2 or stamps[-1] - stamps[0] < 2:
        raise ClipError("the reference pulse covers less than 2 s")
    times = np.arange(stamps[0], stamps[-1] + 1e-9, 1 / _REFERENCE_RATE)
    return times, np.interp(times, stamps, bvp[first])


def inspected(recording, seconds=None, device_bpm=None):
    """The recording with its reference rate filled in and the damage of its label reported.

    Args:
        recording: with ``bvp`` and ``bvp_times``.
        seconds: length of the video, where it is known without decoding it.
        device_bpm: the rate the device displayed, sample by sample.

    Raises:
        ClipError: if the label cannot be used at all; the message names the recording.
    """
    problems, stamps = list(recording.problems), recording.bvp_times
    try:
        bpm = reference_rate(recording.bvp, stamps)
    except ClipError as error:
        raise ClipError(f"{recording.name}: {error}") from error
    steps = np.diff(stamps)
    if (steps < 0).any():
        problems.append(f"{int((steps < 0).sum())} time stamps of the label go back")
    if (steps == 0).any():
        problems.append(f"{int((steps == 0).sum())} time stamps of the label are repeated")
    if (steps > LONGEST_GAP).any():
        gaps = steps[steps > LONGEST_GAP]
        problems.append(f"{len(gaps)} gaps in the label, up to {gaps.max():.2f} s")
    if seconds is not None and abs(seconds - stamps[-1]) > LENGTH_TOLERANCE:
        problems.append(f"the video lasts {seconds:.1f} s, the label {stamps[-1]:.1f} s")
    if device_bpm is not None and len(device_bpm):
        device_bpm = np.asarray(device_bpm, float)
        off = (device_bpm < DEVICE_BPM[0]) | (device_bpm > DEVICE_BPM[1])
        if off.any():
            problems.append(
                f"the device displays {device_bpm[off].min():g} to {device_bpm[off].max():g} bpm "
                f"in {off.mean():.0%} of the label (not used)"
            )
    if not np.isfinite(bpm):
        problems.append("no periodic pulse in the label")
    return replace(recording, bpm=bpm, problems=tuple(problems))


def without_duplicates(recordings):
    """Marks recordings whose video files are alike, as 7-gt and 12-gt of UBFC-rPPG are.

    Files of one size are compared by sixteen blocks of 64 KiB; folders are not compared.

    Returns:
        the recordings, with a sentence under ``problems`` in every later one of a pair.
    """
    sizes, seen, result = {}, {}, []
    for recording in recordings:
        if recording.path.is_file():
            sizes.setdefault(recording.path.stat().st_size, []).append(recording.name)
    for recording in recordings:
        path = recording.path
        if path.is_file() and len(sizes[path.stat().st_size]) > 1:
            first = seen.setdefault(_blocks(path), recording.name)
            if first != recording.name:
                problems = (*recording.problems, f"the same video as {first}")
                recording = replace(recording, problems=problems)
        result.append(recording)
    return result


def _blocks(path, count=16, length=65536):
    """Digest of a file's size and of blocks spread evenly over it."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, size - length), count).astype(int):
            file.seek(int(start))
            digest.update(file.read(length))
    return digest.hexdigest()
