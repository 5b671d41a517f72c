"""When a clip's pictures were taken, and what is missing of them.

Here live the clip's error, the clock that a caller gives, and the account of what was lost; no file
is read here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import count, islice
from math import isfinite
from statistics import median
from typing import Any

import numpy as np

LONGEST_PAUSE = 600.0
"""Longest time between two pictures in seconds; more is taken for broken time stamps."""

MOST_FPS = 100_000.0
"""Most pictures a second that a caller may state."""

GAP = 1.75
"""Times of the median interval around it from which an interval is a gap. A camera that halves its
rate in the dark leaves none, because the intervals that follow are as long; one missing picture
does, because it doubles one interval."""

AROUND = 4
"""Intervals before and after one that it is compared with."""


class ClipError(ValueError):
    """A clip that cannot be measured; the message is one line a person can act on."""


def to_number(value: Any, what: str) -> float:
    """A number that a caller gave, as a float: of any type that is one, or text such as "30".

    Args:
        value: number, 0-d array or tensor, or text; text may be a fraction, "30000/1001".
        what: name for the message.

    Raises:
        ClipError: if it is none.
    """
    try:
        if "complex" in str(getattr(value, "dtype", "")):  # NumPy would warn, and drop a half
            raise TypeError(f"{what} is complex")
        return read_number(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ClipError(f"{what} must be a number, got {quote(value)}") from error


def read_number(text: str) -> float:
    """A finite number of its text, "30", "29.97" or "30000/1001".

    A power of ten stays a power: as a fraction, "1e99999999" would be minutes of arithmetic.

    Raises:
        ValueError, ArithmeticError: if it is none.
    """
    number = float(Fraction(text)) if "/" in text else float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def list_numbers(values: Any, what: str, most: int) -> tuple[float, ...]:
    """One number or several as a tuple of floats.

    Args:
        values: see :func:`to_number`, or an iterable of such.
        what: name for the message.
        most: numbers that are taken; an endless iterable is refused at the next one.

    Raises:
        ClipError: if one is no number, or there are more.
    """
    several = isinstance(values, Iterable) and not isinstance(values, (str, bytes))
    if not several or getattr(values, "ndim", 1) == 0:
        return (to_number(values, what),)
    numbers = tuple(to_number(value, what) for value in islice(values, most + 1))
    if len(numbers) > most:
        raise ClipError(f"{what} must be at most {most} numbers, got more")
    return numbers


def quote_name(path: Any) -> str:
    """A file's name as a message shows it: one line, whatever is in the name."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def quote(value: Any) -> str:
    """A value as a message shows it: one short line."""
    shape = getattr(value, "shape", None)
    if shape is not None and tuple(shape):
        return f"an array of shape {tuple(shape)}"
    try:
        text = repr(value).replace("\n", " ")
    except ValueError:  # Python writes no whole number of thousands of digits
        text = f"an {type(value).__name__} of too many digits"
    return shorten(text)


def shorten(text: str) -> str:
    """The text, cut off where it is too long for a message."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_seconds(seconds: float) -> str:
    """A time as a message shows it: hundredths of a second, or a power of ten where it is none."""
    return f"{seconds:.2f}" if abs(seconds) < 1e9 else f"{seconds:.3g}"


@dataclass(frozen=True)
class Clock:
    """When a clip's pictures were taken, where the clip has no time stamps or wrong ones.

    Args:
        fps: pictures a second, a number or text such as "30" or "30000/1001"; replaces a file's
            own stamps.
        timestamps: presentation times in place of fps, one a picture: seconds, or moments and
            lengths of time of datetime and NumPy.

    Raises:
        ClipError: if both are given, fps is not above 0 and at most :data:`MOST_FPS`, or the
            timestamps are not one a picture.
    """

    fps: float | None = None
    timestamps: Iterable[Any] | None = None

    def __post_init__(self):
        if self.fps is not None and self.timestamps is not None:
            raise ClipError("give fps or timestamps, not both")
        if self.fps is not None:
            fps = to_number(self.fps, "fps")
            if not 0 < fps <= MOST_FPS:
                raise ClipError(
                    f"fps must be a number above 0 and at most {MOST_FPS:g}, "
                    f"got {shorten(str(self.fps))}"
                )
            object.__setattr__(self, "fps", fps)
        if self.timestamps is not None and (
            not isinstance(self.timestamps, Iterable)
            or isinstance(self.timestamps, (str, bytes))
            or getattr(self.timestamps, "ndim", 1) != 1
        ):
            raise ClipError(f"timestamps must be one time a picture, got {quote(self.timestamps)}")

    def stamps(self) -> Iterator[float] | None:
        """The pictures' times in seconds, None where the clip's own stand.

        Raises:
            ClipError: while it goes, at a time that is none.
        """
        if self.fps is not None:
            fps = self.fps
            return (index / fps for index in count())
        return None if self.timestamps is None else _read_stamps(self.timestamps)


OWN_CLOCK = Clock()
"""The time stamps that the clip itself has."""


def _read_stamps(timestamps: Iterable[Any]) -> Iterator[float]:
    """Times as seconds; moments are counted from the first one."""
    first = None
    for index, stamp in enumerate(timestamps):
        what = f"the time stamp of picture {index}"
        if isinstance(stamp, (date, timedelta, np.datetime64, np.timedelta64)):
            first = stamp if first is None else first
            yield _count_seconds(first, stamp, what)
        else:
            yield to_number(stamp, what)


def _count_seconds(first: Any, stamp: Any, what: str) -> float:
    """Seconds from one moment to another of the same type."""
    try:
        if isinstance(stamp, (np.datetime64, np.timedelta64)):
            return float((stamp - first) / np.timedelta64(1, "s"))
        if isinstance(stamp, (datetime, timedelta)):
            return (stamp - first) / timedelta(seconds=1)
    except (TypeError, ValueError) as error:
        raise ClipError(f"{what} is {stamp}, the first one {first}: no common clock") from error
    raise ClipError(f"{what} must be a time, got the day {stamp}")


@dataclass
class Lost:
    """What a clip should have and has not; a reader adds to it while it reads.

    What a gap hides is for the reading to judge: no clip is refused for what stands here.

    Args:
        pictures: pictures that are damaged, and left out.
        disordered: pictures whose time is not later than that of the one before, left out.
        gaps: times between two pictures that are at least :data:`GAP` times those around them.
        gap_seconds: seconds by which they are too long, all together.
        end_seconds: seconds that the file promises before its first and after its last picture.
    """

    pictures: int = 0
    disordered: int = 0
    gaps: int = 0
    gap_seconds: float = 0.0
    end_seconds: float = 0.0

    def __bool__(self) -> bool:
        return any((self.pictures, self.disordered, self.gaps, self.end_seconds))

    def describe(self) -> str:
        """What was lost in words, "nothing" where nothing was."""
        parts = [
            (self.pictures, f"{self.pictures} damaged {_name(self.pictures)}"),
            (self.disordered, f"{self.disordered} {_name(self.disordered)} out of order"),
            (self.gaps, f"{self.gap_seconds:.2f} s in {_name(self.gaps, 'gap', count=True)}"),
            (self.end_seconds, f"{self.end_seconds:.2f} s at the ends"),
        ]
        return ", ".join(words for number, words in parts if number) or "nothing"


def _name(number: int, noun: str = "picture", count: bool = False) -> str:
    """A noun in its number, behind the number itself where asked for."""
    noun = noun if number == 1 else f"{noun}s"
    return f"{number} {noun}" if count else noun


class GapCounter:
    """Counts gaps between pictures, each interval compared with :data:`AROUND` on either side.

    Args:
        lost: where they are added.
    """

    def __init__(self, lost: Lost):
        self.lost = lost
        self._around: deque[float] = deque(maxlen=2 * AROUND + 1)

    def add(self, interval: float) -> None:
        """Take the next interval (s), and judge the one :data:`AROUND` before it."""
        self._around.append(interval)
        if len(self._around) > AROUND:
            self._judge(self._around[-1 - AROUND])

    def close(self) -> None:
        """Judge the last intervals, which have fewer behind them."""
        for interval in list(self._around)[-AROUND:]:
            self._judge(interval)

    def _judge(self, interval: float) -> None:
        usual = median(self._around)
        if interval >= GAP * usual:
            self.lost.gaps += 1
            self.lost.gap_seconds += float(interval - usual)
