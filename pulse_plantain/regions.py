"""The pulse of a face by regions: its rate, how far it is the whole face's, and when it arrives.

NumPy only; no face is found here. The forehead and the cheeks are parts of the cells that carry the
pulse, where they are in an upright face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import heart_rate

CARRIES = 0.25
"""Share of the pulse, of the strongest cell's, from which a cell belongs to the face."""


@dataclass(frozen=True)
class Region:
    """A part of the face, read by itself.

    Attributes:
        name: "forehead", "left cheek" or "right cheek", left and right as in the picture.
        crop: (left, top, right, bottom) in pixels.
        bpm: heart rate of its trace, NaN where there is none.
        agreement: how far its pulse is that of the whole face, 0...1 (coherence).
        delay: s by which its pulse arrives after that of the whole face; negative if before.
        amplitude: AC/DC, root mean square, as a fraction.
    """

    name: str
    crop: tuple[float, float, float, float]
    bpm: float
    agreement: float
    delay: float
    amplitude: float


@dataclass(frozen=True)
class Regions:
    """The cells of one window, row by row from the top and band by band from the left.

    Attributes:
        bpm: [rows, bands] heart rate of each cell, NaN where there is none.
        agreement: [rows, bands] how far its pulse is that of the whole face, 0...1 (coherence).
        delay: [rows, bands] s by which its pulse arrives after that of the whole face, NaN in black
            cells.
        amplitude: [rows, bands] AC/DC, root mean square, as a fraction.
        crop: (left, top, right, bottom) in pixels that the cells divide evenly.
        named: forehead, left cheek and right cheek; none without a pulse.
    """

    bpm: np.ndarray
    agreement: np.ndarray
    delay: np.ndarray
    amplitude: np.ndarray
    crop: tuple[float, float, float, float]
    named: list[Region]


def read_regions(
    field: np.ndarray, sampling_rate: float, crop: tuple[float, float, float, float]
) -> Regions:
    """Read every cell of a field beside the pulse of the whole.

    Args:
        field: [samples, rows, bands] complex, a exp(i phase), a as a fraction (AC/DC).
        sampling_rate: Hz.
        crop: of the field in pixels.
    """
    whole, shares = heart_rate.pulse_from_field(field)
    rate = heart_rate.mean_rate(whole, sampling_rate)
    rows, bands = field.shape[1:]
    cells = [
        _compare(field[:, row, band], whole, sampling_rate, rate)
        for row in range(rows)
        for band in range(bands)
    ]
    figures = np.array(cells).reshape(rows, bands, 4)
    return Regions(
        *np.moveaxis(figures, -1, 0),
        crop=crop,
        named=_read_named(field, whole, shares, sampling_rate, crop) if whole.any() else [],
    )


def _read_named(field, whole, shares, sampling_rate, crop):
    """Forehead and cheeks: thirds and halves of the box of the cells that carry the pulse."""
    rate = heart_rate.mean_rate(whole, sampling_rate)
    carrying = shares >= CARRIES * shares.max()
    (top, bottom), (left, right) = (
        (np.flatnonzero(carrying.any(axis))[0], np.flatnonzero(carrying.any(axis))[-1] + 1)
        for axis in (1, 0)
    )
    third, middle = max(1, round((bottom - top) / 3)), (left + right) / 2
    lower = (min(top + third, bottom - 1), min(top + 2 * third, bottom))
    boxes = {
        "forehead": (left, top, right, top + third),
        "left cheek": (left, lower[0], max(left + 1, int(middle)), lower[1]),
        "right cheek": (min(right - 1, int(np.ceil(middle))), lower[0], right, lower[1]),
    }
    across = (crop[2] - crop[0]) / field.shape[2]
    down = (crop[3] - crop[1]) / field.shape[1]
    named = []
    for name, (x, y, end, low) in boxes.items():
        part, _ = heart_rate.pulse_from_field(field[:, y:low, x:end])
        pixels = (
            crop[0] + x * across,
            crop[1] + y * down,
            crop[0] + end * across,
            crop[1] + low * down,
        )
        place = (float(pixels[0]), float(pixels[1]), float(pixels[2]), float(pixels[3]))
        named.append(Region(name, place, *_compare(part, whole, sampling_rate, rate)))
    return named


def _compare(own, whole, sampling_rate, rate) -> tuple[float, float, float, float]:
    """(bpm, agreement, delay in s, amplitude) of a trace beside that of the whole face.

    Phases grow with time, so what comes later is behind: its phase is less.
    """
    power = float(np.mean(np.abs(own) ** 2))
    if not power > 0:
        return np.nan, 0.0, np.nan, 0.0
    cross = np.mean(own * np.conj(whole))
    agreement = abs(cross) / np.sqrt(power * max(np.mean(np.abs(whole) ** 2), 1e-300))
    delay = -np.angle(cross) / (2 * np.pi * rate / 60)
    bpm = heart_rate.mean_rate(own, sampling_rate)
    return float(bpm), float(min(1.0, agreement)), float(delay), float(np.sqrt(power))
