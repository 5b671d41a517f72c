"""What a measurement gives: PulseOutput and its forms (dict, text, sheet PNG, beats, HRV)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from . import colours, heart_rate, posterior, regions, respiration, search, video
from . import parts as parting
from . import reading as reader

SHEET_KEY = "pulse_windows"
"""PNG text of a saved sheet: JSON list of the windows' [start, end] in s, one sheet each."""

VERSION = 1
"""Of the form of ``to_dict``; it goes up when something in it changes its meaning or goes."""

UNITS = {
    "bpm": "beats per minute",
    "bpm_uncertainty": "beats per minute",
    "confidence": "probability",
    "sampling_rate": "Hz",
    "bvp": "AC/DC as a fraction",
    "times": "s",
    "crop": "pixels",
    "beats": "s",
    "hrv": "ms; pnn50 in percent",
    "respiration": "breaths per minute; agreement as a fraction",
}
"""Units of the numbers in ``to_dict``, wherever their names stand in it."""

WINDOW_FIGURES = ("start", "end", "bpm", "bpm_uncertainty", "confidence")
"""Figures of a window, in the order of its table."""

Spans = list[tuple[float, float]]
"""(start, end) of each window in seconds."""


@dataclass
class PulseWindow(BaseOutput):
    """One window of the clip, and what the whole clip says of its seconds.

    Args:
        start, end (`float`):
            Seconds after the clip's first picture.
        bpm (`float`):
            Heart rate of these seconds whatever its confidence; NaN where there is none.
        confidence (`float`):
            Chance that there is a pulse and its rate within 3 bpm of `bpm`.
        crop (`tuple[float, float, float, float]`):
            (left, top, right, bottom) in pixels that this window was read in.
        bpm_uncertainty (`float`):
            Half of the central 68 % of the posterior of these seconds, in bpm.
    """

    start: float
    end: float
    bpm: float
    confidence: float
    crop: tuple[float, float, float, float]
    bpm_uncertainty: float = np.nan


@dataclass
class RateCurve(BaseOutput):
    """The heart rate second by second, as the posterior of the whole clip has it.

    Args:
        times (`[S]` float):
            Seconds after the clip's first picture.
        bpm (`[S]` float):
            Median of the posterior, whatever its confidence; NaN where there is none.
        low, high (`[S]` float):
            Ends of its central 68 %, in bpm.
        confidence (`[S]` float):
            Chance that there is a pulse and its rate within 3 bpm of `bpm`.
    """

    times: np.ndarray
    bpm: np.ndarray
    low: np.ndarray
    high: np.ndarray
    confidence: np.ndarray


@dataclass
class PulseOutput(BaseOutput):
    """Output of [`PulsePipeline`]; arrays are tensors with `output_type="pt"`, but for the curve's.

    Args:
        bpm (`float`):
            Heart rate in beats per minute, the mean over the clip (median of the posterior); NaN
            where no pulse was found.
        bpm_uncertainty (`float`):
            Half of the central 68 % of the posterior in bpm, one standard deviation where it is a
            normal distribution. NaN where `bpm` is NaN.
        confidence (`float`):
            Chance that there is a pulse and its rate within 3 bpm of the posterior's median; `bpm`
            is given from `min_confidence` of the config upwards.
        reason (`str`, *optional*):
            Why there is no `bpm`, in words; `None` where there is one.
        bvp (`[N]` float):
            Blood volume pulse, the mean over the skin: AC/DC as a fraction, upright (more blood is
            higher), fundamental only. Given even where `bpm` is NaN.
        sampling_rate (`float`):
            Samples a second (Hz) of `bvp` and `field`.
        times (`[N]` float):
            Seconds after the clip's first picture of each sample of `bvp`.
        field (`[windows, samples, rows, bands]` complex):
            Pulse of every cell: its modulus is AC/DC as a fraction of the cell's mean brightness,
            its angle the phase, 0 at the systolic peak, growing with time.
        sheet (`[windows, H, W, 3]` float, *optional*):
            Pulse sheets in 0...1; of the mean field with an ensemble. `None` unless `output_sheet`.
        windows (`list[PulseWindow]`):
            Start, end, heart rate, confidence and crop of each window of `field`: those of the
            length, and for each time the part of the picture, that show the pulse best.
        curve (`RateCurve`):
            Heart rate second by second.
        field_uncertainty (`[windows, samples, rows, bands]` float, *optional*):
            Standard deviation of the phasors over the ensemble, unit of `field`. `None` unless
            `output_uncertainty`.
        lost (`Lost`):
            What the clip should have and has not: damaged and disordered pictures, gaps between
            pictures, seconds missing at its ends. It is false where nothing was lost.
        baseline (`[N]` float, *optional*):
            Green brightness of the skin at `times`, the pulse included, as a fraction of its mean:
            the level that the pulse rides on. `None` for sheets that were read back.
        parts (`list[parts.Part]`):
            Two parts of the picture that clearly carry two heart rates, from left to right; empty
            where there are no such parts. `bpm` is then that of one of them, or of neither.
        guess (`float`):
            Median of the posterior in bpm, which `confidence` is the chance of, whatever that is:
            for measuring methods beside each other, not for people. The same as `bpm` where that
            is given.
    """

    bpm: float
    bpm_uncertainty: float
    confidence: float
    reason: str | None
    bvp: np.ndarray | torch.Tensor
    sampling_rate: float
    times: np.ndarray | torch.Tensor
    field: np.ndarray | torch.Tensor
    sheet: np.ndarray | torch.Tensor | None
    windows: list[PulseWindow]
    curve: RateCurve
    field_uncertainty: np.ndarray | torch.Tensor | None = None
    lost: video.Lost = dataclasses.field(default_factory=video.Lost)
    baseline: np.ndarray | torch.Tensor | None = None
    parts: list[parting.Part] = dataclasses.field(default_factory=list)
    guess: float = np.nan

    def __repr__(self) -> str:
        """Two lines: what was found, and in how much."""
        if self.found:
            spread = f" ± {self.bpm_uncertainty:.1f}" if np.isfinite(self.bpm_uncertainty) else ""
            first = f"PulseOutput: {self.bpm:.1f}{spread} bpm, confidence {self.confidence:.2f}"
        else:
            first = f"PulseOutput: no pulse found, {self.short_reason}"
        start, end = self._span()
        count = len(self.windows)
        windows = f"{count} window{'s' if count != 1 else ''} of {start:.1f} to {end:.1f} s"
        trace = f"{len(self.bvp)} samples at {self.sampling_rate:g} Hz"
        return f"{first}\n  {windows}, {trace}, field {tuple(self.field.shape)}"

    def _span(self) -> tuple[float, float]:
        """(start, end) in s of the time that the windows cover."""
        return min(w.start for w in self.windows), max(w.end for w in self.windows)

    @property
    def found(self) -> bool:
        """Whether a heart rate is given."""
        return self.reason is None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file; what is not a number is None.

        The one form of the command line, the page and the endpoint, described in
        ``docs/schema/pulse.json`` (JSON Schema).
        """
        variability, breath = self.hrv(), self.respiration()
        return {
            "version": VERSION,
            "units": dict(UNITS),
            "bpm": _number(self.bpm),
            "bpm_uncertainty": _number(self.bpm_uncertainty),
            "confidence": _number(self.confidence),
            "reason": self.reason,
            "sampling_rate": _number(self.sampling_rate),
            "bvp": [_number(value) for value in self.bvp],
            "times": [_number(value) for value in self.times],
            "windows": [
                {
                    **{name: _number(window[name]) for name in WINDOW_FIGURES},
                    "crop": [_number(side) for side in window.crop],
                }
                for window in self.windows
            ],
            "curve": {
                key: [_number(value) for value in values] for key, values in self.curve.items()
            },
            "lost": asdict(self.lost),
            "beats": [_number(time) for time in self.beats],
            "hrv": _plain(variability),
            "respiration": _plain(breath),
            "parts": [
                {
                    **{name: _number(getattr(part, name)) for name in WINDOW_FIGURES},
                    "crop": [_number(side) for side in part.crop],
                }
                for part in self.parts
            ],
        }

    def windows_table(self) -> list[dict[str, Any]]:
        """A row for each window; ``pandas.DataFrame(pulse.windows_table())`` is a table.

        Returns:
            list of dicts of `start`, `end` (s), `bpm`, `bpm_uncertainty` (1/min), `confidence`, and
            `left`, `top`, `right`, `bottom` of the crop (pixels). A window's `bpm` is given
            whatever its confidence; NaN where there is none.
        """
        sides = ("left", "top", "right", "bottom")
        return [
            {
                **{name: float(window[name]) for name in WINDOW_FIGURES},
                **dict(zip(sides, map(float, window.crop), strict=True)),
            }
            for window in self.windows
        ]

    def to_text(self) -> str:
        """The rate, its confidence and a line for each window, for a person to read."""
        if self.found:
            known = np.isfinite(self.bpm_uncertainty)
            spread = f" ± {self.bpm_uncertainty:.1f}" if known else ""
            lines = [f"heart rate  {self.bpm:.1f} bpm{spread}"]
        else:
            lines = [f"no pulse found: {self.short_reason}"]
        lines += [f"confidence  {self.confidence:.2f}"]
        lines += self.list_notes()
        lines += ["", "window (s)        bpm  confidence"]
        for w in self.windows:
            rate = f"{w.bpm:.1f}" if np.isfinite(w.bpm) else "-"
            lines.append(f"{w.start:5.1f} - {w.end:5.1f}  {rate:>7}        {w.confidence:.2f}")
        return "\n".join(lines)

    def list_notes(self) -> list[str]:
        """What is to be known beside the rate, a line each: what was lost, and two rates."""
        lost = [f"the clip lost {self.lost.describe()}"] if self.lost else []
        return lost + [words for words in [self.describe_parts()] if words]

    def describe_parts(self) -> str | None:
        """That two parts of the picture carry two rates, in words; None where they do not."""
        if not self.parts:
            return None
        each = " and ".join(
            f"{part.bpm:.1f} bpm at {', '.join(f'{side:.0f}' for side in part.crop)}"
            for part in self.parts
        )
        return f"two parts of the picture carry two rates: {each} (left, top, right, bottom)"

    @property
    def short_reason(self) -> str:
        """`reason` without the words "no pulse found", for a line that begins with them."""
        return (self.reason or "").removeprefix("no pulse found: ")

    def save_sheet(self, path: str | Path) -> None:
        """Write the pulse sheets of all windows as a PNG, one below the other, with their times.

        Raises:
            ValueError: if the sheets were not asked for with `output_sheet`.
        """
        write_png(self.sheet_image(), path)

    def sheet_image(self) -> Image.Image:
        """The pulse sheets of all windows as one picture, one below the other, with their times.

        Raises:
            ValueError: if the sheets were not asked for with `output_sheet`.
        """
        if self.sheet is None:
            raise ValueError(
                "this output holds no sheets: call the pipeline with output_sheet=True"
            )
        stacked = np.concatenate([np.asarray(sheet) for sheet in self.sheet])
        image = Image.fromarray((stacked.clip(0, 1) * 255 + 0.5).astype(np.uint8))
        image.info[SHEET_KEY] = json.dumps([[w.start, w.end] for w in self.windows])
        return image

    @property
    def images(self) -> list[Image.Image]:
        """What was drawn, as image-to-image pipelines give it: [`sheet_image`] as a list of one."""
        return [self.sheet_image()]

    def rate(self, method: Literal["cycles", "fft", "peaks", "phase"] = "cycles") -> float:
        """Heart rate of `bvp` by one of four estimators, whatever the confidence.

        Args:
            method: "cycles" (whole cycles of the trace, [`heart_rate.mean_rate`]), "fft" (highest
                spectral peak), "peaks" (beats counted) or "phase" (slope of the phase).

        Returns:
            bpm; NaN where the trace has none.
        """
        estimators = {
            "cycles": heart_rate.mean_rate,
            "fft": heart_rate.fft_rate,
            "peaks": heart_rate.peak_rate,
            "phase": heart_rate.phase_slope_rate,
        }
        if method not in estimators:
            raise ValueError(f"method must be one of {', '.join(estimators)}, got {method!r}")
        return float(estimators[method](np.asarray(self.bvp), self.sampling_rate))

    @property
    def beats(self) -> np.ndarray:
        """[beats] seconds of the systolic peaks after the first picture; none without a pulse.

        See [`heart_rate.beat_times`].
        """
        if not self.found:
            return np.empty(0)
        first = float(self.times[0])
        return first + heart_rate.beat_times(np.asarray(self.bvp), self.sampling_rate)

    def hrv(self) -> heart_rate.HeartRateVariability:
        """Time-domain HRV of the beats; figures that the clip is too short for are refused.

        The trace holds the fundamental only, so a beat's time is that of its phase, not of its
        foot; see [`heart_rate.heart_rate_variability`] for the shortest recordings.
        """
        return heart_rate.heart_rate_variability(np.diff(self.beats))

    def respiration(self) -> respiration.Respiration:
        """The breath in the pulse's amplitude, baseline and intervals, of a minute or more.

        Refused with a reason below a minute, without a pulse, for sheets that were read back (they
        have no baseline) and where the three disagree; see [`respiration.respiratory_rate`].
        """
        if not self.found:
            return respiration.Respiration.refuse("there is no pulse")
        if self.baseline is None:
            return respiration.Respiration.refuse("a sheet without its clip has no baseline")
        return respiration.respiratory_rate(
            np.asarray(self.bvp), self.sampling_rate, np.asarray(self.baseline)
        )

    @property
    def regions(self) -> regions.Regions:
        """Rate, agreement and arrival of the pulse by band and row, in the surest window.

        See [`regions.read_regions`]; `plots.plot_regions` draws it.
        """
        number = int(np.argmax([window.confidence for window in self.windows]))
        window, field = self.windows[number], np.asarray(self.field[number])
        return regions.read_regions(field, self.sampling_rate, window.crop)

    @property
    def respiratory_rate(self) -> float:
        """Breaths a minute by [`PulseOutput.respiration`]; NaN where it gives none."""
        return self.respiration().rate


def _number(value: Any) -> float | None:
    """A float for JSON, None for NaN."""
    return None if np.isnan(value) else float(value)


def _plain(figures: Any) -> dict[str, Any]:
    """The figures of a dataclass for JSON; its words stay."""
    return {
        name: value if value is None or isinstance(value, str) else _number(value)
        for name, value in vars(figures).items()
    }


@dataclass(frozen=True)
class Form:
    """In what form a measurement is given.

    Args:
        min_confidence: confidence below which no heart rate is given.
        tensors: torch tensors in place of arrays.
        uncertainty: also the spread of the field over the ensemble.
    """

    min_confidence: float
    tensors: bool = False
    uncertainty: bool = False


def wants_tensors(output_type: Any) -> bool:
    """Whether an output is to hold tensors, "pt", and not arrays, "np".

    Raises:
        ValueError: for another type of output.
    """
    if not isinstance(output_type, str) or output_type not in ("np", "pt"):
        raise ValueError(f'output_type must be "np" or "pt", got {output_type!r}')
    return output_type == "pt"


def assemble_output(
    drawn: list[reader.Drawn],
    read: posterior.Posterior,
    form: Form,
    interrupted: bool = False,
    span: tuple[float, float] = (-np.inf, np.inf),
    parts: Sequence[parting.Part] = (),
) -> PulseOutput:
    """Judge what was drawn by its posterior and put it into the output's form.

    Args:
        drawn: of a clip.
        read: what it says.
        form: of the output.
        interrupted: whether some of it was not drawn to the end.
        span: (start, end) in s of the time that is asked for.
        parts: that carry two rates.
    """
    course = search.choose_course(drawn, read, span)
    if not np.isfinite(span[0]):  # whoever watches a stream is not told every second
        colours.warn_of_swap(course)
    estimate = read.read_clip(*span)
    reason = explain_silence(course, estimate, form.min_confidence, interrupted)
    moments = [
        read.read_span(max(one.window.start, span[0]), min(one.window.end, span[1]))
        for one in course
    ]
    confidences = np.array([part.confidence for part in moments])
    sampling_rate, starts = course[0].window.sampling_rate, [one.window.start for one in course]
    times, trace = heart_rate.stitch(
        [one.trace for one in course], starts, sampling_rate, confidences
    )
    return PulseOutput(
        bpm=estimate.bpm if reason is None else np.nan,
        bpm_uncertainty=estimate.uncertainty if reason is None else np.nan,
        confidence=estimate.confidence,
        reason=reason,
        sampling_rate=sampling_rate,
        windows=[
            PulseWindow(
                w.start, w.end, part.bpm, part.confidence, _to_floats(w.crop), part.uncertainty
            )
            for w, part in ((one.window, part) for one, part in zip(course, moments, strict=True))
        ],
        curve=_draw_curve(read),
        parts=list(parts),
        guess=estimate.bpm,
        **_collect_arrays(course, form, times, np.real(trace)),
    )


def _draw_baseline(course: list[reader.Drawn]) -> np.ndarray | None:
    """Green brightness of the cells that carry the pulse, [samples]; None without a clip."""
    levels = [one.level for one in course]
    if not any(level.any() for level in levels):
        return None
    starts = [one.window.start for one in course]
    return respiration.stitch_levels(levels, starts, course[0].window.sampling_rate)


def _collect_arrays(course, form, times, bvp) -> dict[str, Any]:
    """The arrays of an output, by name."""
    members = np.stack([one.members for one in course], 1)
    sheets = [one.sheet for one in course]
    spread = None
    if form.uncertainty:
        deviation = np.abs(members - members.mean(0)) ** 2
        spread = np.sqrt(deviation.sum(0) / (len(members) - 1))
    arrays: dict[str, Any] = {
        "bvp": bvp,
        "times": times,
        "field": members.mean(0),
        "sheet": None if sheets[0] is None else np.stack(sheets),
        "field_uncertainty": spread,
        "baseline": _draw_baseline(course),
    }
    if not form.tensors:
        return arrays
    return {
        name: None if array is None else torch.from_numpy(np.ascontiguousarray(array))
        for name, array in arrays.items()
    }


def _draw_curve(read):
    """RateCurve of a posterior."""
    instants = read.find_instants()
    rows = {
        name: np.array([getattr(one, name) for one in instants])
        for name in ("bpm", "low", "high", "confidence")
    }
    return RateCurve(times=read.times, **rows)


def _to_floats(crop: search.Box) -> search.Box:
    left, top, right, bottom = crop
    return float(left), float(top), float(right), float(bottom)


def give(output: PulseOutput, return_dict: bool) -> PulseOutput | tuple:
    """An output as the caller wants it: itself, or a plain tuple of its values."""
    return output if return_dict else tuple(getattr(output, f.name) for f in fields(output))


def explain_silence(
    course: list[reader.Drawn],
    estimate: posterior.Estimate,
    min_confidence: float,
    interrupted: bool,
) -> str | None:
    """Why no heart rate is given, None where one is."""
    if interrupted:
        return "interrupted before every window was drawn"
    if not any(one.counts for one in course):
        return _explain_no_witness(course)
    if not any(one.trace.any() for one in course):
        slowest, fastest = (60 * frequency for frequency in heart_rate.BAND)
        return f"no periodic pulse between {slowest:.0f} and {fastest:.0f} bpm"
    if estimate.confidence >= min_confidence:
        return None
    why = f"no pulse found: confidence {estimate.confidence:.2f} is below {min_confidence:.2f}"
    if estimate.present < 0.5:
        return f"{why}; what moves in the picture does not look like a pulse"
    return f"{why}; it may be anything from {estimate.low:.0f} to {estimate.high:.0f} bpm"


def _explain_no_witness(course: list[reader.Drawn]) -> str:
    """Why no window of a course counts."""
    if all(one.upheavals for one in course):
        seconds = list(dict.fromkeys(f"{time:.0f}" for time in search.list_upheavals(course)))
        listed = ", ".join(seconds[:5]) + (" s and later" if len(seconds) > 5 else " s")
        return f"no window shows one thing all along: the picture changes altogether at {listed}"
    holey = max((one.window for one in course), key=lambda window: window.longest_gap)
    return (
        f"no new picture for {holey.longest_gap:.1f} s between {holey.start:.1f} and "
        f"{holey.end:.1f} s; at most {reader.LONGEST_HOLE:g} s can be bridged"
    )


def write_png(image: Image.Image, file: Any) -> None:
    """Write a picture as PNG, pulse sheets with their windows' times.

    Args:
        image: any, or that of :meth:`PulseOutput.sheet_image`.
        file: path or binary file object.
    """
    text = PngInfo()
    if SHEET_KEY in image.info:
        text.add_text(SHEET_KEY, image.info[SHEET_KEY])
    image.save(file, format="PNG", pnginfo=text)


def read_sheet(path: str | Path) -> tuple[Image.Image, Spans | None]:
    """A picture of :meth:`PulseOutput.save_sheet`, or one that another tool drew.

    Returns:
        (the picture in RGB, the windows' times where the file says them).

    Raises:
        ClipError: if it is no picture that can be read.
    """
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except Exception as error:  # whatever Pillow raises
        raise video.ClipError(f"{path}: no picture that can be read") from error
    try:
        return picture, find_times(picture)
    except video.ClipError as error:
        raise video.ClipError(f"{path}: {error}") from error


def find_times(image: Any) -> Spans | None:
    """The windows' times that a picture of pulse sheets brings with it.

    Args:
        image: PIL image of :meth:`PulseOutput.sheet_image` or its file; anything else has none.

    Raises:
        ClipError: if they are no pairs of seconds.
    """
    text = getattr(image, "info", {}).get(SHEET_KEY, "null")
    try:
        spans = json.loads(text)
        return spans and [(float(start), float(end)) for start, end in spans]
    except (TypeError, ValueError, RecursionError) as error:
        raise video.ClipError("the times of its sheets cannot be read") from error


def space_evenly(count: int, window: float, stride: float | None) -> Spans:
    """Times of ``count`` sheets of ``window`` seconds, ``stride`` (default half a window) apart."""
    apart = stride or window / 2
    return [(number * apart, number * apart + window) for number in range(count)]
