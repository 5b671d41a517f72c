"""Pulse sheets that were drawn before, here or elsewhere, are checked before they are read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging
from PIL import Image

from . import clock, output, sheet, video, windows

logger = logging.get_logger(__name__)


def is_sheet(image: Image.Image, geometry: sheet.SheetGeometry) -> bool:
    """Whether a still picture is pulse sheets: by its size, or by the times that it brings.

    Several sheets without their times may as well be a contact sheet.
    """
    return image.size == tuple(geometry.size) or output.SHEET_KEY in image.info


def check_sheets(
    image: Any,
    geometry: sheet.SheetGeometry,
    spans: Any,
    window: Any,
    stride: Any,
    default: float,
) -> tuple[np.ndarray, output.Spans]:
    """Pulse sheets as numbers, and the times that they cover.

    Args:
        image: PIL image, array or tensor [H, W, 3], sheets one below the other.
        geometry: of each.
        spans: (start, end) in s of each, as any iterable of pairs or array [n, 2]; without them
            those that the picture brings, or ``window`` seconds each, ``stride`` (default half a
            window) apart.
        window, stride: s; the picture's own times are not asked for where either is given.
        default: s, what a sheet covers where nothing says it.

    Returns:
        (pixels [H, W, 3] float in [0, 1], spans).

    Raises:
        ClipError: if the picture is none or has another size, or no clip has such windows.
    """
    width, height = geometry.size
    wanted = f"a sheet must be a picture [H, W, 3] of {width} x {height} pixels"
    pixels = _read_pixels(image, wanted)
    count = max(1, len(pixels) // height)
    if spans is None and window is None and stride is None:
        spans = output.find_times(image)
    if spans is None:
        if window is None:
            window = default
            logger.warning(f"nothing says what each sheet covers: {default:g} s are assumed")
        (length,) = windows.window_lengths(window)[:1] or (0.0,)
        stride = windows.check_windows((length,), stride)
        spans = output.space_evenly(count, length, stride)
    else:
        spans = _list_spans(spans, count)
    _check_spans(spans)
    if pixels.shape != (height * len(spans), width, 3):
        raise video.ClipError(
            f"the sheets of this adapter are {width} x {height} pixels, one below the other; "
            f"the picture is {' x '.join(map(str, pixels.shape[1::-1]))} for {len(spans)}"
        )
    if pixels.dtype in (np.uint8, np.uint16):
        pixels = pixels / np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype.kind != "f" or not (pixels.min() >= -0.01 and pixels.max() <= 1.01):
        raise video.ClipError("a sheet must be uint8, uint16 or float in [0, 1]")
    return pixels, spans


def _read_pixels(image, wanted):
    """A picture [H, W, 3] as an array of whatever numbers; ClipError where it is none."""
    try:
        if isinstance(image, Image.Image):
            image = video.convert_picture(image, "the sheet")
        elif isinstance(image, torch.Tensor):
            image = video.to_array(image, "the sheet")
        pixels = np.asarray(image)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, video.ClipError):
            raise
        raise video.ClipError(f"{wanted}, got {clock.quote(image)}") from error
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise video.ClipError(f"{wanted}, got {clock.quote(image)}")
    return pixels


def _list_spans(spans, count):
    """Pairs of numbers, as many as there are sheets; ClipError where they are none, or more."""
    words = "spans must be (start, end) in seconds of each sheet"
    if not isinstance(spans, Iterable) or getattr(spans, "ndim", 2) != 2:
        raise video.ClipError(f"{words}, got {clock.quote(spans)}")
    pairs = []
    for span in islice(spans, count + 1):
        try:
            start, end = clock.list_numbers(span, "a span", 2)
        except ValueError as error:
            raise video.ClipError(f"{words}, got {clock.quote(span)} for one") from error
        pairs.append((start, end))
    if len(pairs) > count:
        number = f"{count} sheet" if count == 1 else f"{count} sheets"
        raise video.ClipError(f"{words}, got more than the picture's {number}")
    return pairs


def _check_spans(spans: output.Spans) -> None:
    """ClipError unless a clip can have windows at these times."""
    pause, earlier = windows.MAX_SECONDS + clock.LONGEST_PAUSE, None
    for start, end in spans:
        # A clip of 5 s may lack half the time to its next picture.
        whole = windows.MIN_SECONDS - 0.5 / windows.MIN_FPS <= end - start <= windows.MAX_SECONDS
        near = earlier is None or abs(start - earlier) <= pause
        if not (whole and near and abs(start) < 1e9):
            raise video.ClipError(
                f"a sheet must cover {windows.MIN_SECONDS:g} to {windows.MAX_SECONDS:g} s, and "
                f"begin near the one before, got {start:g} to {end:g} s"
            )
        earlier = start
    if not spans:
        raise video.ClipError("the picture holds no sheets")
