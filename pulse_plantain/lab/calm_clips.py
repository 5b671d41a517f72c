"""Clips of calm faces, painted as ovals whose colours fluctuate as those of seated people do.

Beside the rendered faces in camera light, which are harder than most recordings, the reading can be
fitted to these, with and without a pulse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pulse_plantain.files import write_files
from pulse_plantain.lab.painted import FPS, GREY, SIZE, paint
from pulse_plantain.lab.synthetic import (
    Recipe,
    draw_course,
    draw_scenes,
    find_skin_colour,
    name_split,
    subject_of,
    write_video,
)
from pulse_plantain.lab.synthetic.draw import Draw
from pulse_plantain.lab.synthetic.frames import describe_heart, list_clips

QUALITIES = (4.0, 12.0)
"""x264's rate factors, of every other clip: nearly without loss, and a fraction of the size: at 14
POS loses the pulse of some of them."""


def render_calm(
    folder: Path, split: str, count: int, pulse: bool, seconds: float, start: int = 0
) -> None:
    """Write painted clips of the calm faces of a split into a folder; skip finished ones.

    Beside ``NAME.mp4`` comes ``NAME.json``, with the keys of
    :func:`pulse_plantain.lab.synthetic.frames.describe_clip` that say something of such a clip.

    Args:
        folder: made where it is missing.
        split: train, validation or test.
        count: of the clips, one subject each.
        pulse: False for clips without one, some of them under a lamp that beats.
        seconds: length.
        start: number of the first clip.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = name_split(split, "camera")
    for number, seed in enumerate(list_clips(name, count, start), start):
        path = folder / f"calm-{name}-{subject_of(seed)}.mp4"
        if not path.with_suffix(".json").exists():
            _write_clip(path, seed, pulse, seconds, QUALITIES[number % len(QUALITIES)])


@torch.no_grad()
def _write_clip(path: Path, seed: int, pulse: bool, seconds: float, quality: float) -> None:
    """One clip and its truth."""
    scene = draw_scenes([seed], webcam=True, kinds=False, light="camera")
    frames = round(FPS * seconds)
    course = draw_course(Draw([seed], stream=8), scene, torch.ones(1) * pulse, frames, seconds)
    colours = (255 * find_skin_colour(scene) * (1 + course.skin[0])).numpy()
    ground = np.array(GREY) * (1 + course.ground[0].numpy())
    truth: dict[str, Any] = {
        "seed": seed,
        "subject": subject_of(seed),
        "bpm": float(scene.heart.bpm(0.0, seconds)) if pulse else 0.0,
        "seconds": seconds,
        "fps": FPS,
        "quality": quality,
        **describe_heart(scene, seconds)[1],
        "strata": {"kind": "calm"},
    }

    def pictures() -> Iterator[tuple[float, np.ndarray]]:
        for number, picture in enumerate(paint(colours, seed, ground)):
            yield number / FPS, picture

    def write_frames(part: Path) -> None:
        write_video(part, pictures(), Recipe((SIZE, SIZE), "h264", quality), FPS)

    truth_path = path.with_suffix(".json")
    write_files({path: write_frames, truth_path: lambda part: part.write_text(json.dumps(truth))})
