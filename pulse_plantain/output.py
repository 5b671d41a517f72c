"""What a measurement gives: PulseOutput and its forms (dict, text, sheet PNG, beats, HRV)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from . import heart_rate, search, video
from . import reading as reader

SHEET_KEY = "pulse_windows"
"""PNG text of a saved sheet: JSON list of the windows' [start, end] in s, one sheet each."""

Spans = list[tuple[float, float]]
"""(start, end) of each window in seconds."""


@dataclass
class PulseWindow(BaseOutput):
    """One window of the clip, read on its own.

    Args:
        start, end (`float`):
            Seconds after the clip's first picture.
        bpm (`float`):
            Heart rate of this window whatever its confidence; NaN without a spectral line.
        confidence (`float`):
            0...1, see [`pulse_confidence`].
        crop (`tuple[float, float, float, float]`):
            (left, top, right, bottom) in pixels that this window was read in.
    """

    start: float
    end: float
    bpm: float
    confidence: float
    crop: tuple[float, float, float, float]


@dataclass
class PulseOutput(BaseOutput):
    """Output of [`PulsePipeline`]; arrays are tensors with `output_type="pt"`.

    Args:
        bpm (`float`):
            Heart rate in beats per minute over the whole clip; NaN where no pulse was found.
        bpm_uncertainty (`float`):
            One standard deviation in bpm. Over the members of an ensemble where there is one, else
            the jackknife over the bands of the field ([`jackknife_uncertainty`]): how far the
            figure depends on which part of the skin is read. Errors that all parts or members
            share are not in it. NaN where `bpm` is NaN.
        confidence (`float`):
            0...1, of the clip; `bpm` is given from `min_confidence` of the config upwards. It is a
            property of the drawn field (concentration in one spectral line, and that anything was
            drawn at all), not a probability.
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
            Start, end, heart rate, confidence and crop of each window.
        field_uncertainty (`[windows, samples, rows, bands]` float, *optional*):
            Standard deviation of the phasors over the ensemble, unit of `field`. `None` unless
            `output_uncertainty`.
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
    field_uncertainty: np.ndarray | torch.Tensor | None = None

    @property
    def found(self) -> bool:
        """Whether a heart rate is given."""
        return self.reason is None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file; what is not a number is None.

        Returns:
            dict of `bpm`, `confidence`, `reason`, `sampling_rate` (Hz), `bvp` (AC/DC), `times` (s)
            and `windows`, each of `start`, `end` (s), `bpm` and `confidence`.
        """
        return {
            "bpm": _number(self.bpm),
            "confidence": _number(self.confidence),
            "reason": self.reason,
            "sampling_rate": _number(self.sampling_rate),
            "bvp": [_number(value) for value in self.bvp],
            "times": [_number(value) for value in self.times],
            "windows": [
                {key: _number(window[key]) for key in ("start", "end", "bpm", "confidence")}
                for window in self.windows
            ],
        }

    def to_text(self) -> str:
        """The rate, its confidence and a line for each window, for a person to read."""
        if self.found:
            known = np.isfinite(self.bpm_uncertainty)
            spread = f" ± {self.bpm_uncertainty:.1f}" if known else ""
            lines = [f"heart rate  {self.bpm:.1f} bpm{spread}"]
        else:
            lines = [f"no pulse found: {self.short_reason}"]
        lines += [f"confidence  {self.confidence:.2f}", "", "window (s)        bpm  confidence"]
        for w in self.windows:
            rate = f"{w.bpm:.1f}" if np.isfinite(w.bpm) else "-"
            lines.append(f"{w.start:5.1f} - {w.end:5.1f}  {rate:>7}        {w.confidence:.2f}")
        return "\n".join(lines)

    @property
    def short_reason(self) -> str:
        """`reason` without the words "no pulse found", for a line that begins with them."""
        return (self.reason or "").removeprefix("no pulse found: ")

    def save_sheet(self, path: str | Path) -> None:
        """Write the pulse sheets of all windows as a PNG, one below the other, with their times.

        Raises:
            ValueError: if the sheets were not asked for with `output_sheet`.
        """
        text = PngInfo()
        text.add_text(SHEET_KEY, json.dumps([[w.start, w.end] for w in self.windows]))
        self.sheet_image().save(path, format="PNG", pnginfo=text)

    def sheet_image(self) -> Image.Image:
        """The pulse sheets of all windows as one picture, one below the other.

        Raises:
            ValueError: if the sheets were not asked for with `output_sheet`.
        """
        if self.sheet is None:
            raise ValueError(
                "this output holds no sheets: call the pipeline with output_sheet=True"
            )
        stacked = np.concatenate([np.asarray(sheet) for sheet in self.sheet])
        return Image.fromarray((stacked.clip(0, 1) * 255 + 0.5).astype(np.uint8))

    def rate(self, method: Literal["cycles", "fft", "peaks", "phase"] = "cycles") -> float:
        """Heart rate of `bvp` by one of four estimators, whatever the confidence.

        Args:
            method: "cycles" ([`heart_rate.mean_rate`], the pipeline's own), "fft" (highest
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

    def rate_curve(self, span: float = 6.0) -> np.ndarray:
        """[N] bpm at `times`, each of `span` seconds around it ([`heart_rate.instantaneous_rate`]).

        NaN where the trace has no spectral peak, and throughout where no pulse was found.
        """
        if not self.found:
            return np.full(len(self.bvp), np.nan)
        return heart_rate.instantaneous_rate(np.asarray(self.bvp), self.sampling_rate, span)

    def hrv(self) -> heart_rate.HeartRateVariability:
        """Time-domain HRV of the beats; figures that the clip is too short for are refused.

        The trace holds the fundamental only, so a beat's time is that of its phase, not of its
        foot; see [`heart_rate.heart_rate_variability`] for the shortest recordings.
        """
        return heart_rate.heart_rate_variability(np.diff(self.beats))


def _number(value: Any) -> float | None:
    """A float for JSON, None for NaN."""
    return None if np.isnan(value) else float(value)


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


def assemble_output(look: search.Look, form: Form, interrupted: bool = False) -> PulseOutput:
    """Judge a look by its confidence and put it into the output's form.

    Args:
        look: the pass over the clip that stands.
        form: of the output.
        interrupted: whether some of its windows were not drawn to the end.
    """
    reading = look.reading
    reason = explain_silence(look, form.min_confidence, interrupted)
    spread = None
    if form.uncertainty:
        deviation = np.abs(look.members - look.field) ** 2
        spread = np.sqrt(deviation.sum(0) / (len(look.members) - 1))
    arrays: dict[str, Any] = {
        "bvp": np.real(reading.trace),
        "times": reading.times,
        "field": look.field,
        "sheet": look.sheets,
        "field_uncertainty": spread,
    }
    if form.tensors:
        arrays = {
            name: None if array is None else torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
        }
    read = zip(look.windows, reading.window_bpm, reading.window_confidence, strict=True)
    return PulseOutput(
        bpm=reading.bpm if reason is None else np.nan,
        bpm_uncertainty=_uncertainty(look) if reason is None else np.nan,
        confidence=reading.confidence,
        reason=reason,
        sampling_rate=look.windows[0].sampling_rate,
        windows=[
            PulseWindow(w.start, w.end, bpm, confidence, _to_floats(w.crop))
            for w, bpm, confidence in read
        ],
        **arrays,
    )


def _to_floats(crop: search.Box) -> search.Box:
    left, top, right, bottom = crop
    return float(left), float(top), float(right), float(bottom)


def explain_silence(look: search.Look, min_confidence: float, interrupted: bool) -> str | None:
    """Why no heart rate is given, None where one is."""
    if interrupted:
        return "interrupted before every window was drawn"
    holey = max(look.windows, key=lambda window: window.longest_gap)
    if holey.longest_gap > reader.LONGEST_HOLE:
        return (
            f"no new picture for {holey.longest_gap:.1f} s between {holey.start:.1f} and "
            f"{holey.end:.1f} s; at most {reader.LONGEST_HOLE:g} s can be bridged"
        )
    if np.isnan(look.reading.bpm):
        slowest, fastest = (60 * frequency for frequency in heart_rate.BAND)
        return f"no periodic pulse between {slowest:.0f} and {fastest:.0f} bpm"
    if look.reading.confidence < min_confidence:
        return (
            f"no pulse found: confidence {look.reading.confidence:.2f} is below "
            f"{min_confidence:.2f}"
        )
    return None


def _uncertainty(look: search.Look) -> float:
    """Spread of the rate over the ensemble, or over the bands where there is one drawing."""
    starts = [window.start for window in look.windows]
    rate = look.windows[0].sampling_rate
    if len(look.members) == 1:
        return reader.jackknife_uncertainty(look.members[0], look.weights, starts, rate)
    rates = [reader.read_fields(one, look.weights, starts, rate).bpm for one in look.members]
    return float(np.std(rates, ddof=1))


def read_sheet(path: str | Path) -> tuple[Image.Image, Spans | None]:
    """A picture of :meth:`PulseOutput.save_sheet`, or one that another tool drew.

    Returns:
        (the picture in RGB, the windows' times where the file says them).

    Raises:
        ClipError: if it is no picture that can be read.
    """
    try:
        with Image.open(path) as image:
            spans = json.loads(image.info.get(SHEET_KEY, "null"))
            return image.convert("RGB"), spans and [(start, end) for start, end in spans]
    except (OSError, SyntaxError) as error:
        raise video.ClipError(f"{path}: no picture that can be read") from error


def space_evenly(count: int, window: float, stride: float | None) -> Spans:
    """Times of ``count`` sheets of ``window`` seconds, ``stride`` (default half a window) apart."""
    apart = stride or window / 2
    return [(number * apart, number * apart + window) for number in range(count)]
