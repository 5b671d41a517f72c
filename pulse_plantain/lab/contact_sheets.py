"""How far rates read from contact sheets lie from those of the same seconds of the clips."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pulse_plantain.contact_sheet import SECONDS, frames_from_contact_sheet, make_contact_sheet
from pulse_plantain.lab.datasets import Recording
from pulse_plantain.output import PulseOutput
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.video import read_frames

QUALITY = 90
"""Of the JPEG that a sheet is also sent as."""

JPEG = f"jpeg {QUALITY}"


def measure_sheet(image: Image.Image, pipe: PulsePipeline) -> PulseOutput:
    """The pulse of a contact sheet's frames."""
    frames = frames_from_contact_sheet(image)
    output = pipe(frames, fps=len(frames) / SECONDS)
    assert isinstance(output, PulseOutput)
    return output


def measure_beginning(clip: Path, pipe: PulsePipeline) -> PulseOutput:
    """The pulse of the seconds of a clip that its contact sheet shows."""
    frames = [(time, picture) for time, picture in read_frames(clip) if time < SECONDS]
    times, pictures = zip(*frames, strict=True)
    output = pipe(list(pictures), timestamps=times)
    assert isinstance(output, PulseOutput)
    return output


def compress_picture(image: Image.Image) -> Image.Image:
    """A picture as it comes back from a JPEG of :data:`QUALITY`."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return Image.open(file).convert("RGB")


def compare_recording(recording: Recording, pipe: PulsePipeline) -> dict[str, Any]:
    """A row: the rate and confidence of a clip, and of its contact sheet as PNG and as JPEG."""
    image = make_contact_sheet(recording.path)
    outputs = {
        "clip": measure_beginning(recording.path, pipe),
        "png": measure_sheet(image, pipe),
        JPEG: measure_sheet(compress_picture(image), pipe),
    }
    row = {"recording": recording.name, "reference": float(recording.bpm)}
    return row | {kind: [float(o.bpm), float(o.confidence)] for kind, o in outputs.items()}


def sum_up(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """How many sheets of each kind get a rate where the clip has one, and how far it lies off.

    Args:
        rows: of :func:`compare_recording`.
    """
    rows, figures = list(rows), {}
    for kind in ("png", JPEG):
        both = [r for r in rows if np.isfinite(r["clip"][0]) and np.isfinite(r[kind][0])]
        off = np.array([abs(r[kind][0] - r["clip"][0]) for r in both])
        figures[kind] = {
            "clips": len(rows),
            "clips_answered": sum(bool(np.isfinite(r["clip"][0])) for r in rows),
            "both_answered": len(both),
            "within_2_bpm_of_the_clip": float((off <= 2).mean()) if both else None,
            "mae_bpm_to_the_clip": float(off.mean()) if both else None,
        }
    return figures
