"""Faces of many clips at once, as small pictures, for networks that look at every picture.

The scenes and their recording are those of the fast path; only the cells are many and small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from .fast import Grid, draw_training_scenes
from .scene import Scenes


@dataclass(frozen=True)
class SyntheticFaces:
    """Faces of B clips.

    Attributes:
        frames: [B, samples, side, side, 3], camera values above 0.
        bvp: [B, samples], in amplitudes of its fundamental; 0 where there is no pulse.
        bpm: [B], mean rate over the window (also drawn for clips without a pulse: see bvp).
    """

    frames: Tensor
    bvp: Tensor
    bpm: Tensor


def simulate_faces(
    scenes: Scenes, side: int, sampling_rate: float, window: float, widen: float = 1.0
) -> SyntheticFaces:
    """Render the faces of scenes, each pixel of one shaded point.

    Args:
        scenes: B clips.
        side: of the pictures in pixels.
        sampling_rate: pictures a second, on an even clock.
        window: s, from the start of each scene.
        widen: side of what is cut out over that of the face at rest.
    """
    view, samples = scenes.view, round(window * sampling_rate)
    half = widen * view.half_face[:, None] * torch.tensor([0.75, 1.0])  # as in frames._find_face
    box = torch.cat([view.centre - half, view.centre + half], -1).clamp(min=0)
    whole = torch.stack([view.aspect, torch.ones_like(view.aspect)] * 2, -1)
    scenes = replace(scenes, view=replace(view, box=box.minimum(whole)))
    frames, moment = Grid.over(scenes, side, side, side=1).record(scenes, samples, window)
    beating = (scenes.pulse.amplitude > 0).float()
    return SyntheticFaces(
        frames=frames.clamp(min=1 / 255),
        bvp=beating[:, None] * moment.pulse,
        bpm=scenes.heart.bpm(0.0, window),
    )


@torch.no_grad()
def simulate_training_faces(
    seeds: Iterable[int],
    side: int,
    sampling_rate: float,
    window: float,
    widen: float,
    light: str = "plain",
) -> SyntheticFaces:
    """The faces of training clips, one a seed: those that :func:`.fast.simulate_batch` renders.

    Args:
        seeds: B integers >= 0.
        side, sampling_rate, window, widen: see :func:`simulate_faces`.
        light: one of draw.LIGHTS.
    """
    order, parts = [], []
    for places, scenes in draw_training_scenes(seeds, light):
        order += places
        parts.append(simulate_faces(scenes, side, sampling_rate, window, widen))
    back = torch.tensor(order).argsort()
    names = [field.name for field in fields(SyntheticFaces)]
    return SyntheticFaces(
        *(torch.cat([getattr(part, name) for part in parts])[back] for name in names)
    )
