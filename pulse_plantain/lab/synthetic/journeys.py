"""What happens in long clips: the rate moves, pictures are missing, the person walks away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from .draw import Draw
from .scene import Scenes

Span = tuple[float, float]
"""(start, end) in s."""

_STREAM = 7


@dataclass(frozen=True)
class Journey:
    """What happens in a long clip.

    Attributes:
        seconds: length of the clip.
        rise: bpm by which the heart's rate moves from the start to the end, up or down.
        gap: span without pictures.
        away: span in which the person is out of the picture.
    """

    seconds: float
    rise: float
    gap: Span
    away: Span

    @classmethod
    def draw(cls, seed: int, seconds: float) -> Journey:
        """A rate that moves by 20 bpm, a gap of 0.6 to 2 s, and 8 to 15 s of absence.

        The gap lies in the first and the absence in the second half, or the other way round.

        Raises:
            ValueError: for a clip under 40 s, in which there is no room for all that.
        """
        if seconds < 40:
            raise ValueError(f"a journey takes at least 40 s, got {seconds:g}")
        draw = Draw([seed], stream=_STREAM)
        half, first = seconds / 2, float(draw.coin(0.5))
        length, missing = float(draw.uniform(8, 15)), float(draw.uniform(0.6, 2))
        away = first * half + float(draw.uniform(2, half - length - 2))
        gap = (1 - first) * half + float(draw.uniform(2, half - missing - 2))
        rise = 20.0 * float(2 * draw.coin(0.5) - 1)
        return cls(seconds, rise, (gap, gap + missing), (away, away + length))

    def take(self, scenes: Scenes) -> Scenes:
        """The scenes of one clip in camera light with the rate and the walk of the journey."""
        heart, light = scenes.heart, scenes.camera_light
        if light is None:
            raise ValueError("a journey needs camera light, in which people walk")
        depth, nu, start = (value.clone() for value in (heart.depth, heart.nu, heart.start))
        depth[:, 0] = self.rise / 2 / (60 * heart.rate)
        nu[:, 0], start[:, 0] = 0.5 / self.seconds, torch.pi  # half a turn, from the lowest
        distance = scenes.view.aspect + 3 * scenes.view.half_face
        since, length = self.away[0] - 1, self.away[1] - self.away[0]  # Walk.at begins a second in
        rest = [torch.full_like(distance, value) for value in (since, length, 10 * self.seconds)]
        away = torch.stack([distance, *rest], -1)
        return replace(
            scenes,
            heart=replace(heart, depth=depth, nu=nu, start=start),
            camera_light=replace(light, walk=replace(light.walk, away=away)),
        )

    def misses(self, time: float) -> bool:
        """Whether there is no picture of a time in s."""
        return self.gap[0] <= time < self.gap[1]

    def describe(self) -> dict[str, Any]:
        """What is known of it, for a clip's ground truth."""
        return {"gap": list(self.gap), "away": list(self.away)}
