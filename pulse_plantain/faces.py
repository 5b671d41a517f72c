"""Several faces in one clip: a reading for each box that is given, in one pass over the clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from . import output as outputs
from . import search, video, windows
from .drawing import Drawing
from .pipeline import PulsePipeline


@torch.no_grad()
def measure_faces(
    pipe: PulsePipeline,
    clip: Any,
    faces: Sequence[tuple[float, float, float, float]],
    fps: float | None = None,
    timestamps: Any = None,
    window: float | Sequence[float] | None = None,
    stride: float | None = None,
) -> list[outputs.PulseOutput]:
    """Measure several faces of a clip.

    The clip is read once, on a grid of 64 x 64 cells, and each box is cut from it; inside a cell
    the light is taken for even.

    Args:
        pipe: with its adapter.
        clip: as for the pipeline's call.
        faces: (left, top, right, bottom) in pixels of each face, from any detector; a face that
            moves wants a box that it stays in.
        fps, timestamps, window, stride: as for the pipeline's call.

    Returns:
        list of [`PulseOutput`] with their sheets, in the order of ``faces``.

    Raises:
        ClipError: (a ValueError) if there is no box, one is not inside the picture or smaller than
            24 pixels, or nothing can be measured from the clip.
    """
    if not len(faces):
        raise video.ClipError("faces must be a list of at least one box in pixels, got none")
    config = pipe.config
    lengths = windows.window_lengths(config.default_windows if window is None else window)
    stride, lost = windows.check_windows(lengths, stride), video.Lost()
    drawing = Drawing(
        num_inference_steps=config.default_num_inference_steps,
        prompt_embeds=pipe._resolve_prompt_embeds(None, pipe._execution_device),
        keep_sheets=True,
    )
    searches = [pipe.start_search(lengths, drawing, face) for face in faces]
    boxes: list[search.Box] = []
    fine = pipe.encode_clip(clip, video.Clock(fps, timestamps), lengths, stride, None, lost)
    for group in search.divide_by_ticks(fine, max(lengths), search.TICK):
        boxes = boxes or [to_fractions(face, group[0].picture_size) for face in faces]
        for box, looking in zip(boxes, searches, strict=True):
            looking.look_at(box, group)
    if not boxes:
        raise video.ClipError("no picture of the clip differs from the one before it")
    form = outputs.Form(config.min_confidence)
    found = [outputs.assemble_output(one.drawn, one.read(), form) for one in searches]
    for one in found:
        one.lost = lost
    pipe.maybe_free_model_hooks()
    return found


def to_fractions(face: Sequence[float], picture_size: tuple[int, int]) -> search.Box:
    """A box in pixels as one in fractions of the picture.

    Raises:
        ClipError: if it is not inside the picture, or too small.
    """
    width, height = picture_size
    left, top, right, bottom = windows.fit_crop(windows.check_crop(face), picture_size)
    box = (left / width, top / height, right / width, bottom / height)
    if not search.is_large(box, picture_size):
        raise video.ClipError(
            f"a face must be at least {search.SMALLEST_BOX} pixels a side, got {tuple(face)}"
        )
    return box
