"""From drawn sheets to witnesses: fields of phasors, their traces, and what they say of the rate.

What the witnesses say together is found in posterior.py. Nothing here knows of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from . import bijection, cells, face_finder, heart_rate, posterior, sheet, upheaval
from . import windows as windowing

LARGEST_AMPLITUDE = 0.05
"""Pulsatile AC/DC to which a cell is cut down; skin reaches 0.015, a cell of pure red means 12."""


OFF_PALETTE = 0.1
"""Distance from the palette (RGB units) at which a pixel counts half."""


LONGEST_HOLE = 0.5
"""Seconds without a new picture above which a window is no witness: up to a beat is missing."""


FAINTEST = 1e-6
"""Amplitude (AC/DC) below which nothing is drawn."""


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


RED_RANGE = (-0.5, 1.5)
"""Bounds to which red over green is cut, where green hardly follows what was drawn."""


@dataclass(frozen=True)
class Glance:
    """A part of a window that is to be drawn.

    Attributes:
        window: as the model sees it.
        place: name of the part, the same for windows of other times that show it.
        around: [samples, parts] green of parts of the whole picture (:func:`divide_picture`); None
            where there is none.
        fine: the finely divided window of the whole picture that it was cut from; None where there
            is none.
    """

    window: windowing.ClipWindow
    place: Any
    around: np.ndarray | None = None
    fine: windowing.ClipWindow | None = None


@dataclass(frozen=True)
class Drawn:
    """What was drawn of a glance.

    Attributes:
        window: that was drawn, without its motion and with one colour a cell as its appearance,
            for a long clip keeps hundreds.
        place: of the glance.
        members: [ensemble, samples, rows, bands] complex, the fields drawn.
        weights: [samples, rows, bands], how much of each cell is on the palette.
        sheet: [H, W, 3] in 0...1, or None where it was not asked for.
        trace: [samples] complex, the pulse of the mean field.
        level: [samples], relative change of green in the cells that carry the trace; 0 throughout
            of a sheet without its clip.
        witness: what it says of the heart rate.
        upheavals: times in s at which what is in the window changes altogether.
    """

    window: windowing.ClipWindow
    place: Any
    members: np.ndarray
    weights: np.ndarray
    sheet: np.ndarray | None
    trace: np.ndarray
    level: np.ndarray
    witness: posterior.Witness
    upheavals: tuple[float, ...] = ()

    @property
    def field(self) -> np.ndarray:
        """Mean phasors over the ensemble, [samples, rows, bands]."""
        return self.members.mean(0)

    @property
    def counts(self) -> bool:
        """Whether its window shows one thing all along, and no beat can be missing in it."""
        return self.window.longest_gap <= LONGEST_HOLE and not self.upheavals


def turn_back(values: np.ndarray, sampling_rate: float, rates: np.ndarray) -> np.ndarray:
    """Lock-in amplitudes of real courses at some rates, under a Hann taper.

    Args:
        values: [samples, ...].
        sampling_rate: Hz.
        rates: [R] bpm.

    Returns:
        [R, ...] complex.
    """
    taper = _taper(len(values))
    moments = np.arange(len(values)) / sampling_rate
    turns = np.exp(-2j * np.pi * np.outer(rates / 60, moments)) * taper
    flat = values.reshape(len(values), -1)
    parts = np.concatenate([turns.real, turns.imag, taper[None]]).astype(flat.dtype) @ flat
    real, imaginary, mean = parts[: len(rates)], parts[len(rates) : -1], parts[-1]
    amplitudes = real + 1j * imaginary - turns.sum(1, keepdims=True) * mean
    return amplitudes.reshape(len(rates), *values.shape[1:])


def _taper(samples):
    """Hann's taper [samples], which sums to 1."""
    taper = np.hanning(samples + 2)[1:-1]
    return taper / taper.sum()


def divide_picture(window: windowing.ClipWindow, blocks: int = 8) -> np.ndarray:
    """How parts of a whole picture change, in green, by which they are compared.

    Args:
        window: of the whole picture, its rows and bands multiples of ``blocks``.
        blocks: parts along each side.

    Returns:
        [samples, blocks^2].
    """
    samples, rows = window.motion.shape[:2]
    green = window.motion[..., 1].reshape(samples, blocks, rows // blocks, blocks, -1)
    return green.mean((2, 4)).reshape(samples, -1)


def lock_in(courses: np.ndarray, trace: np.ndarray) -> np.ndarray:
    """Amplitudes of real courses that follow a trace, under a Hann taper.

    Args:
        courses: [samples, ...].
        trace: [samples] complex, of any size; 0 at all times gives 0.

    Returns:
        [...] complex, of the size of the courses.
    """
    taper = _taper(len(trace))
    turns = trace - taper @ trace
    size = np.sqrt(taper @ np.square(np.abs(turns)))
    turns = taper * turns.conj() / max(size, np.finfo(float).tiny)
    return np.tensordot(turns, courses - np.tensordot(taper, courses, 1), 1)


def compare_background(
    around: np.ndarray, box: cells.Box, course: np.ndarray, trace: np.ndarray
) -> tuple[float, float]:
    """How strongly the picture beside a box follows what was drawn of the box.

    A pulse is in skin alone; light that wavers is in the room, too. Where the room is as noisy as a
    face is faint, both follow the trace alike, and it is the share of the room's changes that tells
    such noise from a light.

    Args:
        around: [samples, parts] of :func:`divide_picture`.
        box: (left, top, right, bottom), fractions of the picture. Where it leaves less than a
            quarter of the parts untouched, all of them are compared.
        course: [samples] of what carries the pulse in the box, in green.
        trace: [samples] complex, the pulse drawn.

    Returns:
        (logarithm of the power of the parts, locked to the trace, over that of the course: of their
        lower quartile, as others may be skin, or dark and noisy; log odds of the share of a part's
        power that follows the trace, of their median)
    """
    blocks = round(around.shape[1] ** 0.5)
    edges = np.arange(blocks + 1) / blocks
    across = (edges[1:] > box[0] + 1e-6) & (edges[:-1] < box[2] - 1e-6)
    down = (edges[1:] > box[1] + 1e-6) & (edges[:-1] < box[3] - 1e-6)
    beside = ~(down[:, None] & across).ravel()
    if beside.mean() < 0.25:
        beside[:] = True
    parts = around[:, beside]
    locked = np.square(np.abs(lock_in(parts, trace)))
    own = np.square(np.abs(lock_in(course, trace)))
    ratio = np.log((np.quantile(locked, 0.25) + FAINTEST**2) / (own + FAINTEST**2))
    return float(ratio), float(np.median(_to_share(locked, parts)))


def find_displacement(fine: windowing.ClipWindow, crop: cells.Box, rate: float) -> float:
    """How far what changes at a heart rate in a part of a picture is the picture being moved.

    Where a picture is moved, light changes where it has edges: in proportion to its slopes across
    and down. The amplitudes of the fine cells, in green, are fitted by the light itself, as a pulse
    or a lamp scales it, and by its two slopes.

    Args:
        fine: finely divided window of the whole picture.
        crop: (left, top, right, bottom) of the part in pixels.
        rate: bpm.

    Returns:
        log odds of the share of the amplitudes' power that the slopes explain beyond the light, and
        beyond what two slopes explain of noise; NaN for a part of fewer than 5 x 5 cells.
    """
    rows, bands = fine.appearance.shape[:2]
    left, top, right, bottom = fine.crop
    sides = np.array([(crop[0] - left) / (right - left), (crop[2] - left) / (right - left)])
    across = slice(int(sides[0] * bands), int(np.ceil(sides[1] * bands - 1e-6)))
    sides = np.array([(crop[1] - top) / (bottom - top), (crop[3] - top) / (bottom - top)])
    down = slice(int(sides[0] * rows), int(np.ceil(sides[1] * rows - 1e-6)))
    light = fine.appearance[down, across, 1].astype(float)
    if min(light.shape) < 5 or not light.any():
        return float("nan")
    motion = fine.motion[:, down, across, 1].reshape(len(fine.motion), -1)
    amplitude = turn_back(motion, fine.sampling_rate, np.array([rate]))[0] * light.ravel()
    slopes = np.stack([light, *np.gradient(light)], -1).reshape(-1, 3)
    basis, _ = np.linalg.qr(slopes)
    power = np.square(np.abs(amplitude)).sum()
    explained = np.square(np.abs(basis[:, 1:].T @ amplitude)).sum() - 2 * power / len(light.ravel())
    return float(posterior.to_log_odds(explained / max(power, np.finfo(float).tiny)))


def compare_colours(courses: np.ndarray, trace: np.ndarray) -> tuple[float, float]:
    """How the colours of what carries the pulse follow what was drawn.

    Args:
        courses: [samples, 3] of red, green and blue.
        trace: [samples] complex, the pulse drawn.

    Returns:
        (log odds of the share of green's power that follows the trace; red's amplitude along
        green's, over green's: 0.1 to 0.5 of a pulse as cameras see it, near 1 of grey light).
    """
    red, green, _ = lock_in(courses, trace)
    own = abs(green) ** 2
    along = (red * green.conj()).real / max(own, FAINTEST**2)
    return float(_to_share(own, courses[:, 1])), float(np.clip(along, *RED_RANGE))


def _to_share(locked, courses):
    """Log odds of the shares [...] of courses' power [samples, ...] that is locked to a trace."""
    taper = _taper(len(courses))
    power = taper @ np.square(courses - taper @ courses)
    share = 2 * locked / np.maximum(power, FAINTEST**2)  # a real course goes half each way round
    return posterior.to_log_odds(share)


def read_sheets(
    glances: Sequence[Glance],
    sheets: Iterable[torch.Tensor],
    geometry: sheet.SheetGeometry,
    keep_sheets: bool = False,
) -> list[Drawn]:
    """What was drawn of glances, and what it says.

    Args:
        glances: that were drawn.
        sheets: batches [B, 3, H, W] in [-1, 1]; of an ensemble member by member.
        geometry: of the sheets.
        keep_sheets: whether the sheets are kept, those of the mean field with an ensemble.
    """
    pictures, fields, palette = [], [], []
    for images in sheets:
        field, weight = decode_field(images, geometry)
        fields.append(field)
        palette.append(weight)
        if keep_sheets:
            pictures.append(images.movedim(1, -1).float() / 2 + 0.5)
    members = torch.cat(fields).unflatten(0, (-1, len(glances))).numpy()
    weights = torch.cat(palette).unflatten(0, (-1, len(glances))).mean(0).numpy()
    kept: Any = [None] * len(glances)
    if keep_sheets and len(members) == 1:
        kept = torch.cat(pictures).numpy()
    elif keep_sheets:
        kept = sheet.field_to_sheet(bijection.encode_phasor(members.mean(0)), geometry)
    return [
        _read_glance(glance, members[:, number], weights[number], kept[number])
        for number, glance in enumerate(glances)
    ]


def _read_glance(glance, members, weights, kept):
    """:class:`Drawn` of one glance."""
    window, field = glance.window, members.mean(0)
    trace, shares = heart_rate.pulse_from_field(field, weights)
    lines = posterior.find_lines(trace, window.sampling_rate)
    power = float((shares * np.mean(np.abs(field) ** 2, 0)).sum())
    kept_power = np.mean(np.abs(trace) ** 2) / max(power, np.finfo(float).tiny)
    strongest = int(lines.argmax())
    signs = {
        "line": posterior.to_log_odds(lines[strongest]),
        "amplitude": 0.5 * np.log(power + FAINTEST**2),
        "palette": weights.mean(),
        "agreement": posterior.to_log_odds(kept_power),
    }
    courses = np.einsum("srbc,rb->sc", window.motion, shares)
    if courses.any():  # not those of a sheet without its clip
        signs["followed"], signs["red"] = compare_colours(courses, trace)
    if glance.around is not None and glance.fine is not None:
        box = _place_in(glance.fine.crop, window.crop)
        compared = compare_background(glance.around, box, courses[:, 1], trace)
        signs["background"], signs["beside"] = compared
    if glance.fine is not None:
        rate = posterior.RATES[strongest]
        signs["displaced"] = find_displacement(glance.fine, window.crop, rate)
    if window.faces:
        signs["face"] = max(face_finder.compare_boxes(window.crop, face) for face in window.faces)
    row = np.array([signs.get(name, np.nan) for name in posterior.SIGNS], float)
    source = (glance.place, window.seconds)
    witness = posterior.Witness(window.start, window.end, source, lines, row)
    colours = average_cells(window.appearance, shares.shape)
    upheavals: tuple[float, ...] = ()
    if colours.shape[:-1] == shares.shape:  # not those of a sheet without its clip
        upheavals = upheaval.find_upheavals(colours * (1 + window.motion), window.times)
    window = replace(window, motion=window.motion[:0].copy(), appearance=colours, whole=None)
    return Drawn(
        window=window,
        place=glance.place,
        members=members,
        weights=weights,
        sheet=kept,
        trace=trace,
        level=courses[:, 1].copy(),
        witness=witness,
        upheavals=upheavals,
    )


def average_cells(appearance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mean colour of each cell of a picture; the picture itself if the cells do not divide it.

    Args:
        appearance: [h, w, 3].
        shape: (rows, bands) of the cells.

    Returns:
        [rows, bands, 3].
    """
    (rows, bands), (height, width) = shape, appearance.shape[:2]
    if height % rows or width % bands:
        return appearance  # of a sheet without its clip
    return appearance.reshape(rows, height // rows, bands, -1, 3).mean((1, 3))


def _place_in(whole, crop):
    """A crop as fractions of another one that it lies in."""
    corner, size = np.array(whole[:2]), np.subtract(whole[2:], whole[:2])
    return (*(np.array(crop[:2]) - corner) / size, *(np.array(crop[2:]) - corner) / size)
