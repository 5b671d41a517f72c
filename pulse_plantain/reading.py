"""From drawn sheets to a reading: fields of phasors, their heart rate, and how sure it is.

Every threshold of the reading stands here. Nothing here knows of clips or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import bijection, heart_rate, sheet

LARGEST_AMPLITUDE = 0.05
"""Pulsatile AC/DC to which a cell is cut down; skin reaches 0.015, a cell of pure red means 12."""


SAME_RATE = 6.0
"""Difference in bpm up to which two readings of a clip may be of one pulse."""


OFF_PALETTE = 0.1
"""Distance from the palette (RGB units) at which a pixel counts half."""


FEWEST_BEATS = 6.0
"""Beats on a sheet below which a pulse is seldom read right."""


SHORTEST_BEAT = 9.6
"""Pixels a beat must have on a sheet: a VAE that shrinks by 8 is blind to stripes of 8 pixels."""


FAINTEST_PULSE = 8e-4
"""Amplitude (AC/DC, rms over the skin) at which a drawn pulse is half believed: what is drawn of
clips without a pulse lies mostly below it (0.0003 to 0.0009 on rendered validation clips)."""


LONGEST_HOLE = 0.5
"""Seconds without a new picture above which no heart rate is given: up to a beat is missing."""


def average_brightness(
    images: torch.Tensor, geometry: sheet.SheetGeometry
) -> tuple[torch.Tensor, torch.Tensor]:
    """Brightness phasors f(a) exp(i phase) of drawn pulse sheets, cell by cell; differentiable.

    Every pixel is decoded to brightness and phase, and brightness * exp(i phase) is averaged over
    each cell's pixels: brightness is bounded, so no pixel can outshout its cell. Pixels off the
    palette (greyish ones, which no pulse has) count less, by 1 / (1 + (residual / OFF_PALETTE)^2).

    Args:
        images: [B, 3, H, W] in [-1, 1], as the VAE draws them.
        geometry: SheetGeometry.

    Returns:
        (phasors [B, samples, rows, bands] complex64 of modulus 0...1, weights of the same shape in
        0...1: how much of each cell is on the palette).
    """
    phase, amplitude, residual = bijection.decode(images.movedim(1, -1).float() / 2 + 0.5)
    weight = 1 / (1 + (residual / OFF_PALETTE) ** 2)
    brightness = weight * bijection.power_transform(amplitude, bijection.AMPLITUDE_SCALE)
    sums = torch.stack([brightness * phase.cos(), brightness * phase.sin(), weight], -1)
    real, imaginary, weight = sheet.sheet_to_field(sums, geometry).unbind(-1)
    return torch.complex(real, imaginary) / weight, weight


def decode_field(
    images: torch.Tensor, geometry: sheet.SheetGeometry
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pulse field of drawn pulse sheets: :func:`average_brightness` with brightness made amplitude.

    Args:
        images: [B, 3, H, W] in [-1, 1], as the VAE draws them.
        geometry: SheetGeometry.

    Returns:
        (field [B, samples, rows, bands] complex64 of modulus AC/DC, weights of the same shape).
    """
    mean, weight = average_brightness(images, geometry)
    amplitude = bijection.inverse_power_transform(mean.abs(), bijection.AMPLITUDE_SCALE)
    return torch.polar(amplitude.clamp(max=LARGEST_AMPLITUDE), mean.angle()), weight


@dataclass(frozen=True)
class PulseReading:
    """What a run of windows' fields says.

    Attributes:
        bpm: of the joined trace, NaN without a spectral line; not yet judged by its confidence.
        confidence: 0...1, mean of the windows' confidences weighted by themselves, as the trace is.
        times: [N] s.
        trace: [N] complex, the windows' traces joined on one clock.
        window_bpm, window_confidence: [windows].
        shares: [rows, bands], sum 1: how much of the pulse each cell carries over all windows.
    """

    bpm: float
    confidence: float
    times: np.ndarray
    trace: np.ndarray
    window_bpm: list[float]
    window_confidence: list[float]
    shares: np.ndarray


def pulse_confidence(
    field: np.ndarray, trace: np.ndarray, shares: np.ndarray, sampling_rate: float
) -> float:
    """How surely a field is one pulse, from the field alone.

    The share of its trace's power in one spectral line (an even phase ramp has 1, noise about
    0.06), times a^2 / (a^2 + FAINTEST_PULSE^2) with a the rms amplitude of the cells that carry the
    trace: evidence that anything was drawn.

    Args:
        field: [samples, rows, bands] complex, AC/DC as a fraction.
        trace, shares: of :func:`pulse_from_field`.
        sampling_rate: Hz.

    Returns:
        0...1.
    """
    power = float((shares * np.mean(np.abs(field) ** 2, 0)).sum())
    drawn = power / (power + FAINTEST_PULSE**2)
    return heart_rate.spectral_concentration(trace, sampling_rate) * drawn


def read_fields(
    fields: np.ndarray, weights: np.ndarray, starts: Sequence[float], sampling_rate: float
) -> PulseReading:
    """Read the heart rate of overlapping windows' fields.

    Args:
        fields: [windows, samples, rows, bands] complex.
        weights: same shape, >= 0.
        starts: [windows] s.
        sampling_rate: Hz.

    Returns:
        :class:`PulseReading`.
    """
    pairs = zip(fields, weights, strict=True)
    pulses = [heart_rate.pulse_from_field(field, w) for field, w in pairs]
    traces, shares = zip(*pulses, strict=True)
    confidences = np.array(
        [
            pulse_confidence(*parts, sampling_rate)
            for parts in zip(fields, traces, shares, strict=True)
        ]
    )
    times, joined = heart_rate.stitch(traces, starts, sampling_rate, confidences)
    total = max(confidences.sum(), np.finfo(float).tiny)
    return PulseReading(
        bpm=float(heart_rate.mean_rate(joined, sampling_rate)),
        confidence=float((confidences**2).sum() / total),
        times=times,
        trace=joined,
        window_bpm=[float(heart_rate.mean_rate(trace, sampling_rate)) for trace in traces],
        window_confidence=confidences.tolist(),
        shares=np.average(shares, axis=0, weights=np.maximum(confidences, 1e-6)),
    )


def jackknife_uncertainty(
    fields: np.ndarray, weights: np.ndarray, starts: Sequence[float], sampling_rate: float
) -> float:
    """Standard error (bpm) of the rate by leaving out each band in turn.

    Delete-a-group jackknife, sqrt((g - 1) / g sum (rate_g - mean)^2) over the g bands (Efron,
    "The Jackknife, the Bootstrap and Other Resampling Plans", 1982). Errors that all bands share,
    such as a wrong line drawn over the whole face, stay unseen. NaN with a single band.
    """
    bands = fields.shape[-1]
    if bands < 2:
        return np.nan
    kept = 1 - np.eye(bands)
    rates = [read_fields(fields, weights * k, starts, sampling_rate).bpm for k in kept]
    return float(np.sqrt((bands - 1) * np.var(rates)))


def vote_on_rate(
    rates: Sequence[float],
    confidences: Sequence[float],
    lengths: Sequence[float],
    most_beats: float = np.inf,
    spread: float = SAME_RATE / 3,
) -> float:
    """The rate that most of the readings that could show it agree on.

    A pulse shows at the same rate in every part of the skin and at every length of the window; what
    is drawn of noise does not. But a length shows only some rates: FEWEST_BEATS to ``most_beats``
    on a sheet. So of the modes of the readings' density the one is taken that is highest over the
    share of readings of a length that shows it (at least that of one length): fast hearts, which
    the longer windows cannot show and read as something else, are not outvoted by them, nor slow
    ones by the shorter.

    Args:
        rates: [n] bpm, NaN for a reading without one.
        confidences: [n] >= 0, the weight of each.
        lengths: [n] s of the window of each.
        most_beats: that a sheet can show.
        spread: standard deviation in bpm of the Gaussian that stands for a reading.

    Returns:
        bpm, one of the rates; NaN without a reading of any weight.
    """
    seconds = np.asarray(lengths, float)
    valid = np.isfinite(rates)
    bpm, weights = np.asarray(rates, float)[valid], np.asarray(confidences, float)[valid]
    if not weights.any():
        return np.nan
    apart = np.abs(bpm[:, None] - bpm)
    density = np.exp(-0.5 * (apart / spread) ** 2) @ weights
    is_mode = density >= np.where(apart <= SAME_RATE, density, 0).max(1)
    beats = bpm[:, None] * seconds / 60
    able = np.mean((beats >= FEWEST_BEATS) & (beats <= most_beats), axis=1)
    one_length = np.unique(seconds, return_counts=True)[1].min() / len(seconds)
    return float(bpm[(is_mode * density / np.maximum(able, one_length)).argmax()])


def count_most_beats(geometry: sheet.SheetGeometry) -> float:
    """Beats that a sheet of this geometry can show."""
    return geometry.size[0] / geometry.bands / SHORTEST_BEAT
