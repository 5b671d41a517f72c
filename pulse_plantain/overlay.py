"""Pictures of a field over the face it was drawn from: one picture, a film, an endless GIF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from PIL import Image

from . import bijection, video

FADE, TINT = 0.6, 0.7
"""How much of the grey goes under a full colour, and how much of the colour lies over it."""

GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""Luma of red, green and blue (ITU-R BT.601)."""

BT601 = np.array(
    [219 * GREY, 112 * ([0, 0, 1] - GREY) / (1 - 0.114), 112 * ([1, 0, 0] - GREY) / (1 - 0.299)],
    np.float32,
)
"""Y', Cb and Cr of red, green and blue in 0...1, in levels from those of black."""

BARE = [round(16 + 219 / 255 * grey) for grey in range(256)]
"""Y' of a grey value without colours over it."""

FINE = 8
"""Points of a film's colours along each side of a cell of the field."""


class HasTimes(Protocol):
    """A window with its times in s and its crop in pixels; a PulseWindow is one."""

    start: float
    end: float
    crop: tuple[float, float, float, float]


def pulse_overlay(
    picture: np.ndarray, phasors: np.ndarray, crop: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The pulse's colours at one moment, alone and over the face.

    Args:
        picture: [H, W, 3] uint8 or float in [0, 1].
        phasors: [rows, bands] complex, a exp(i phase), amplitude as a fraction (AC/DC).
        crop: (left, top, right, bottom) of the field in the picture's pixels.

    Returns:
        (colours [H, W, 3], overlay [H, W, 3]) float32 in [0, 1]: the smoothly enlarged field in
        the bijection's colours, black outside the crop; the picture in grey under them.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = crop
    x = (np.arange(width) + 0.5 - left) / (right - left)
    y = (np.arange(height) + 0.5 - top) / (bottom - top)
    columns, rows = (x > 0) & (x < 1), (y > 0) & (y < 1)
    smooth = _between_cells(y[rows], phasors.shape[0]) @ phasors
    smooth = smooth @ _between_cells(x[columns], phasors.shape[1]).T
    colours = np.zeros((height, width, 3), np.float32)
    colours[np.ix_(rows, columns)] = bijection.encode_phasor(smooth.astype(np.complex64))
    scale = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
    grey = picture @ GREY / np.float32(scale)
    red, green, blue = np.moveaxis(colours, -1, 0)
    under = grey * (1 - FADE * np.maximum(np.maximum(red, green), blue))
    return colours, np.clip(under[..., None] + TINT * colours, 0, 1)


def _between_cells(positions, cells):
    """Weights [n, cells] of linear interpolation between cell centres, positions in (0, 1)."""
    at = np.clip(positions * cells - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))


def phasors_at(field: np.ndarray, start: float, end: float, time: float) -> np.ndarray:
    """Phasors of a window's field at one moment, on the arc between the two nearest samples.

    Args:
        field: [samples, rows, bands] complex of the window from start to end (s).
        start, end, time: in seconds; a time outside takes the first or the last sample.

    Returns:
        [rows, bands] complex; along a chord instead, a fast pulse would flicker.
    """
    at = np.clip((time - start) / (end - start) * len(field) - 0.5, 0, len(field) - 1)
    before = min(int(at), len(field) - 2)
    first, second = field[before], field[before + 1]
    turn = np.angle(second * np.conj(first))
    length = (1 - at + before) * abs(first) + (at - before) * abs(second)
    return length * np.exp(1j * (np.angle(first) + (at - before) * turn))


@dataclass(frozen=True)
class Film:
    """How large and how fast a film of the pulse's colours is at most.

    Args:
        side: longest side in pixels; larger pictures are made smaller.
        rate: pictures a second; more are left out.
        crf: of H.264, from 0 (lossless) to 51.
    """

    side: int = 960
    rate: float = 30.0
    crf: int = 20


WHOLE_FILM = Film()
"""A film to keep: nothing is lost of a webcam's clip."""


@dataclass(frozen=True)
class Coat:
    """The pulse's colours at one moment, as what they do to a grey picture in Y'CbCr.

    Args:
        dim: [h, w] uint8, by how much a grey value (0 to 255) is multiplied, in 256ths.
        luma: [h, w] uint8, what is then added for Y'.
        chroma: [2, h, w] uint8, Cb and Cr.
    """

    dim: np.ndarray
    luma: np.ndarray
    chroma: np.ndarray


def mix_coat(phasors: np.ndarray) -> Coat:
    """The colours of a field as a coat, on a grid of :data:`FINE` points a cell.

    Args:
        phasors: [rows, bands] complex.
    """
    rows, bands = phasors.shape
    smooth = _between_points(rows) @ phasors @ _between_points(bands).T
    colours = bijection.encode_phasor(smooth.astype(np.complex64))
    dim = 256 * 219 / 255 * (1 - FADE * colours.max(-1))
    planes = dim, *np.moveaxis(TINT * colours @ BT601.T + (16, 128, 128), -1, 0)
    dim, luma, blue, red = (np.clip(plane + 0.5, 0, 255).astype(np.uint8) for plane in planes)
    return Coat(dim, luma, np.stack([blue, red]))


@cache
def _between_points(cells):
    """Weights [FINE * cells, cells] of the fine grid's points between cell centres."""
    return _between_cells((np.arange(FINE * cells) + 0.5) / (FINE * cells), cells)


def lay_coat(grey: Image.Image, coat: Coat, crop: Sequence[float]) -> np.ndarray:
    """Lay a coat over a grey picture.

    Args:
        grey: of mode L, with even sides W and H.
        coat: its colours.
        crop: (left, top, right, bottom) of the coat in the picture's pixels.

    Returns:
        [3 / 2 H, W] uint8, yuv420p: Y' and below it Cb and Cr of half the size.
    """
    width, height = grey.size
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = np.asarray(grey.point(BARE))
    place, box = _find_place(crop, (height, width), coat.dim.shape)
    under = np.asarray(grey)[place].astype(np.uint16)
    under *= _enlarge(coat.dim, under.shape, box)
    under += 128
    under >>= 8
    under += _enlarge(coat.luma, under.shape, box)
    planes[:height][place] = np.minimum(under, 255)
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    place, box = _find_place([side / 2 for side in crop], chroma.shape[1:], coat.dim.shape)
    for plane, colours in zip(chroma, coat.chroma, strict=True):
        plane[place] = _enlarge(colours, plane[place].shape, box)
    return planes


def _find_place(crop, size, grid):
    """(the pixels whose centres lie in a crop, as slices, the grid's box that they show)."""
    slices, box = [], []
    for first, last, pixels, points in zip(crop[1::-1], crop[:1:-1], size, grid, strict=True):
        start, stop = (int(np.clip(np.ceil(end - 0.5), 0, pixels)) for end in (first, last))
        slices.append(slice(start, stop))
        box.append(np.clip((np.array([start, stop]) - first) / (last - first), 0, 1) * points)
    (top, bottom), (left, right) = box
    return tuple(slices), (left, top, right, bottom)


def _enlarge(plane, size, box):
    if 0 in size:
        return np.empty(size, np.uint8)
    image = Image.fromarray(plane)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR, box))


def film_overlays(
    clip: Any,
    windows: Sequence[HasTimes],
    field: np.ndarray,
    *,
    clock: video.Clock = video.OWN_CLOCK,
    film: Film = WHOLE_FILM,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The clip's pictures in grey with the pulse's colours on them, as frames of a film.

    What :func:`pulse_overlay` shows, but the colours are mixed on a small grid and enlarged, and
    both are in Y'CbCr, where a grey picture's colour is the coat's own. Each picture takes the
    field of the window whose middle is nearest.

    Args:
        clip, clock: see :func:`~pulse_plantain.video.read_frames`; a clip that can be read again.
        windows: start, end (s) and crop (pixels) of each, as of a PulseOutput.
        field: [windows, samples, rows, bands] complex.
        film: its largest size and rate.

    Yields:
        (time in s, frame in yuv420p with even sides; a picture's odd last line is left out).

    Raises:
        ClipError: as :func:`~pulse_plantain.video.read_frames`.
    """
    middles = np.array([(window.start + window.end) / 2 for window in windows])
    apart, due = 1 / film.rate, 0.0
    for time, picture in video.read_frames(clip, clock):
        if time < due - apart / 4:  # time stamps are rounded
            continue
        due = max(due + apart, time)
        nearest = int(np.abs(middles - time).argmin())
        window = windows[nearest]
        phasors = phasors_at(field[nearest], window.start, window.end, time)
        grey, scale = _draw_grey(picture, film.side)
        planes = lay_coat(grey, mix_coat(phasors), [scale * side for side in window.crop])
        yield time, av.VideoFrame.from_ndarray(planes, format="yuv420p")


def _draw_grey(picture, side):
    """(a picture in grey, of even sides that are at most so long, its scale)."""
    grey = Image.fromarray(np.ascontiguousarray(_to_bytes(picture))).convert("L")
    scale = min(1.0, side / max(grey.size))
    if scale < 1:
        grey = grey.resize([round(scale * side) for side in grey.size], Image.Resampling.BILINEAR)
    width, height = (max(2, side // 2 * 2) for side in grey.size)  # chroma is for 2 x 2 pixels
    return grey.crop((0, 0, width, height)), scale


def _to_bytes(picture):
    """A picture of whole numbers, or of floats in [0, 1], as uint8."""
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return (picture >> 8).astype(np.uint8)
    return (255 * np.clip(picture, 0, 1) + 0.5).astype(np.uint8)


def write_overlay_video(
    path: str | Path,
    clip: Any,
    windows: Sequence[HasTimes],
    field: np.ndarray,
    clock: video.Clock = video.OWN_CLOCK,
    film: Film = WHOLE_FILM,
) -> None:
    """Write the clip with the pulse's colours over it, at the clip's own picture times.

    Args:
        path: the H.264 file to write.
        clip, windows, field, clock, film: see :func:`film_overlays`.

    Raises:
        ClipError: as :func:`~pulse_plantain.video.read_frames`.
    """
    tick = Fraction(1, 90000)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=90000)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(film.crf), "preset": "superfast"}
        stream.codec_context.time_base = tick
        for time, frame in film_overlays(clip, windows, field, clock=clock, film=film):
            if not stream.codec_context.is_open:
                stream.width, stream.height = frame.width, frame.height
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_overlay_gif(
    path: str | Path,
    clip: Any,
    windows: Sequence[HasTimes],
    field: np.ndarray,
    clock: video.Clock = video.OWN_CLOCK,
    width: int = 320,
    rate: float = 10.0,
) -> None:
    """The clip with the pulse's colours over it as an endless GIF of ``rate`` pictures a second.

    Args:
        path: file to write.
        clip, windows, field, clock: see :func:`film_overlays`.
        width: px.
        rate: pictures a second.
    """
    pages = []
    film = Film(side=1920, rate=rate)
    for _, frame in film_overlays(clip, windows, field, clock=clock, film=film):
        page = frame.to_image()
        page = page.resize((width, round(width * page.height / page.width)), Image.Resampling.BOX)
        pages.append(page.quantize(96, dither=Image.Dither.NONE))
    pages[0].save(
        path, "GIF", save_all=True, append_images=pages[1:], duration=round(1000 / rate), loop=0
    )
