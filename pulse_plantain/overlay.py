"""Pictures of a field over the face it was drawn from: one picture, a film, an endless GIF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from PIL import Image

from . import bijection, video


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
    grey = picture @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(scale)
    red, green, blue = np.moveaxis(colours, -1, 0)
    under = grey * (1 - 0.6 * np.maximum(np.maximum(red, green), blue))
    return colours, np.clip(under[..., None] + 0.7 * colours, 0, 1)


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


def overlays(
    clip: Any,
    windows: Sequence[HasTimes],
    field: np.ndarray,
    *,
    clock: video.Clock = video.OWN_CLOCK,
    apart: float = 0.0,
) -> Iterator[tuple[float, np.ndarray]]:
    """(time in s, overlay [H, W, 3] uint8) of the clip's pictures with the pulse's colours on them.

    Each picture takes the field of the window whose middle is nearest.

    Args:
        clip, clock: see :func:`~pulse_plantain.video.read_frames`; a clip that can be read again.
        windows: start, end (s) and crop (pixels) of each, as of a PulseOutput.
        field: [windows, samples, rows, bands] complex.
        apart: s from one picture to the next; 0: every picture.

    Raises:
        ClipError: as :func:`~pulse_plantain.video.read_frames`.
    """
    middles = np.array([(window.start + window.end) / 2 for window in windows])
    due = 0.0
    for time, picture in video.read_frames(clip, clock):
        if time < due - 1e-6:
            continue
        due += apart
        nearest = int(np.abs(middles - time).argmin())
        window = windows[nearest]
        phasors = phasors_at(field[nearest], window.start, window.end, time)
        shown = pulse_overlay(picture, phasors, window.crop)[1]
        yield time, (255 * shown + 0.5).astype(np.uint8)


def write_overlay_video(
    path: str | Path,
    clip: Any,
    windows: Sequence[HasTimes],
    field: np.ndarray,
    clock: video.Clock = video.OWN_CLOCK,
) -> None:
    """Write the clip with the pulse's colours over it, at the clip's own picture times.

    Args:
        path: the H.264 file to write.
        clip, windows, field, clock: see :func:`overlays`.

    Raises:
        ClipError: as :func:`~pulse_plantain.video.read_frames`.
    """
    tick = Fraction(1, 90000)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=90000)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18", "preset": "veryfast"}
        stream.codec_context.time_base = tick
        for time, overlay in overlays(clip, windows, field, clock=clock):
            # Chroma is stored for 2 x 2 pixels: odd sides lose their last line.
            even = overlay[: len(overlay) // 2 * 2, : overlay.shape[1] // 2 * 2]
            if not stream.codec_context.is_open:
                stream.width, stream.height = even.shape[1], even.shape[0]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
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
        clip, windows, field, clock: see :func:`overlays`.
        width: px.
        rate: pictures a second.
    """
    pages = []
    for _, overlay in overlays(clip, windows, field, clock=clock, apart=1 / rate):
        page = Image.fromarray(overlay)
        page = page.resize((width, round(width * page.height / page.width)), Image.Resampling.BOX)
        pages.append(page.quantize(96, dither=Image.Dither.NONE))
    pages[0].save(
        path, "GIF", save_all=True, append_images=pages[1:], duration=round(1000 / rate), loop=0
    )
