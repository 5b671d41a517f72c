"""Calm skin of one course: what a sheet holds of a seated face whose parts all say the same.

The shaded scenes differ from place to place, and that difference tells light from blood. A calm
face, or the mean colour of one that is painted as an oval, has the same course in all of its cells,
and only its three colours differ. Medians and ranges of the courses are those of nine recordings of
seated people (see lab/light_measuring.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pulse_plantain.sheet import Layout

from .draw import Draw
from .scene import Scenes
from .signals import TAU, Drift, Jerks

if TYPE_CHECKING:
    from .fast import SyntheticBatch

_FINE = 4  # times at which a course is known within a sample
_PERIOD, _TONES, _SLOWEST = 20.0, 160, 0.08  # s, number and Hz of the fluctuations' spectrum
_BAND = (0.7, 3.0)  # Hz in which their sizes are told

_AMPLITUDE, _AMPLITUDE_SPREAD = 1.75e-3, 0.45
_COLOUR, _COLOUR_SPREAD = (0.15, 1.0, 0.4), (0.12, 0.0, 0.25)
_SHARED, _OWN = (1.05e-3, 1.35e-3, 1.55e-3), (0.4e-3, 0.6e-3, 2.5e-3)  # rms in the band
_DRIFT = (3e-4, 6e-3)  # of each channel, slower than a pulse
_LAMPS = 0.4  # of the clips without a pulse


@dataclass(frozen=True)
class Course:
    """How skin and ground of B clips change, relative to their means.

    Attributes:
        skin: [B, T, 3], with the pulse.
        ground: [B, T, 3], as far as what is behind stands in the same light.
        amplitude: [B], AC/DC of green's fundamental.
    """

    skin: Tensor
    ground: Tensor
    amplitude: Tensor


@dataclass(frozen=True)
class Place:
    """Where skin is in the sheets of B clips.

    Attributes:
        share: [B, rows, bands, 3], of each cell's light.
        picture: [B, h, w, 3] in 0..1, the appearance.
    """

    share: Tensor
    picture: Tensor


def calm_some(
    batch: SyntheticBatch, scenes: Scenes, layout: Layout, window: float, share: float
) -> SyntheticBatch:
    """The batch with a calm face in place of what moves in some of its clips.

    Half of these with a pulse keep their picture, and where its pulse is stronger, the course is;
    all others become an oval of one colour on another one. A clip without a pulse stays without.

    Args:
        batch: of the scenes.
        scenes: B clips.
        layout, window: of the batch.
        share: of the clips that are changed.
    """
    draw = Draw(scenes.seeds, stream=8)
    chosen, painted = draw.coin(share) > 0, draw.coin(0.5) > 0
    strongest = batch.amplitude.amax((1, 2))
    beats = (strongest > 0).float()
    course = draw_course(draw, scenes, beats, batch.motion.shape[1], window)
    oval = _paint_oval(draw, scenes, layout)
    faces = batch.amplitude / strongest.clamp(min=1e-9)[:, None, None]
    kept = ((beats > 0) & ~painted)[:, None, None, None]
    skin = torch.where(kept, faces[..., None].expand_as(oval.share), oval.share)
    motion = _mix(draw, course, skin)
    amplitude = course.amplitude[:, None, None] * skin[..., 1]

    def put(new, old):
        return torch.where(chosen.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return replace(
        batch,
        motion=put(motion, batch.motion),
        appearance=put(torch.where(kept, batch.appearance, oval.picture), batch.appearance),
        amplitude=put(amplitude, batch.amplitude),
        phase_lag=put(torch.zeros_like(batch.phase_lag), batch.phase_lag),
    )


def find_skin_colour(scenes: Scenes) -> Tensor:
    """The skin of the scenes as their cameras see it in even light, [B, 3] in 0..1."""
    lit = scenes.light.ambient + 0.5 * scenes.light.side
    skin = (scenes.camera.exposure * lit * scenes.subject.skin).clamp(1e-3, 1)
    return skin ** (1 / scenes.camera.gamma[:, None])


def draw_course(draw: Draw, scenes: Scenes, beats: Tensor, samples: int, window: float) -> Course:
    """Fluctuations of what all channels share and of what each has of its own, and the pulse.

    Of the courses without a pulse some are under a lamp that beats evenly.

    Args:
        draw: random numbers of the clips.
        scenes: whose hearts beat.
        beats: [B], 1 with a pulse, else 0.
        samples: means that the window is divided into.
        window: s.
    """
    amplitude = beats * _AMPLITUDE * torch.exp(_AMPLITUDE_SPREAD * draw.normal())
    colour = torch.tensor(_COLOUR) + torch.tensor(_COLOUR_SPREAD) * draw.normal(3).clamp(-2, 2)
    slopes = torch.cat([draw.uniform(1, 2.5, 1), draw.uniform(0.3, 1.6, 3)], 1)
    shared = torch.tensor(_SHARED) * torch.exp(0.12 * draw.normal(3))
    shared = shared * torch.exp(0.4 * draw.normal(1))
    own = torch.tensor(_OWN) * torch.exp(0.3 * draw.normal(3)) * torch.exp(0.3 * draw.normal(1))
    drift = Drift.draw(draw, 3, 0.03, 0.5)
    drifted = draw.log_uniform(*_DRIFT, 1) * draw.uniform(0, 1, 3)
    jerks, jerked = Jerks.draw(draw, 1), draw.coin(0.25) * draw.log_uniform(2e-3, 3e-2)
    lamp = (1 - beats) * draw.coin(_LAMPS) * draw.log_uniform(5e-4, 1e-2)
    beat, start = draw.log_uniform(*_BAND, 1), draw.uniform(0, TAU, 1)
    tint = 1 + 0.1 * draw.normal(3).clamp(-2, 2)
    followed = torch.maximum(draw.coin(0.4) * draw.uniform(), (lamp > 0) * draw.coin(0.7))

    times = (torch.arange(samples * _FINE) + 0.5) * (window / samples / _FINE)
    times = times.expand(len(amplitude), -1)
    noise = _draw_fluctuations(draw, slopes, times[0])
    steps = jerked[:, None] * jerks.at(times)[:, 0]
    light = shared[:, None] * noise[:, 0, :, None] + steps[..., None]
    light = light + (lamp[:, None] * (TAU * beat * times + start).sin())[..., None] * tint[:, None]
    pulse, _ = scenes.heart.pulse(times)
    blood = (amplitude[:, None] * pulse)[..., None] * colour[:, None]
    slow = drifted[:, None] * drift.at(times).mT
    skin = light + slow + own[:, None] * noise[:, 1:].mT - blood
    return Course(_average(skin), followed[:, None, None] * _average(light), amplitude)


def _draw_fluctuations(draw, slopes, times):
    """[B, C, T] courses with a continuous spectrum of 1/f^slope and an rms of 1 in the band."""
    frequency = (torch.arange(_TONES) + 1) / _PERIOD
    gain = frequency.clamp(min=_SLOWEST) ** (-slopes[..., None] / 2)
    within = (frequency > _BAND[0]) & (frequency < _BAND[1])
    gain = gain / (gain * within).square().sum(-1, keepdim=True).sqrt()
    dice = draw.noise(2, slopes.shape[1], _TONES) * gain[:, None]
    angle = TAU * frequency[:, None] * times
    return dice[:, 0] @ angle.cos() + dice[:, 1] @ angle.sin()


def _average(course):
    """Means [B, T, 3] of the fine times in each sample."""
    return course.unflatten(1, (-1, _FINE)).mean(2)


def _paint_oval(draw, scenes, layout):
    """An oval of the scene's skin on a ground of one colour; a large one fills the picture."""
    width, height = layout.appearance_size
    middle, half = draw.uniform(0.3, 0.7, 2), draw.log_uniform(0.25, 1.5, 1)
    half = half * torch.exp(draw.uniform(-0.35, 0.35, 2))
    ground = (draw.uniform(0.05, 0.9, 1) + 0.06 * draw.normal(3)).clamp(0.02, 0.98)
    skin = find_skin_colour(scenes).clamp(0.02, 0.98)
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    across = ((x - middle[:, :1]) / half[:, :1]).square()
    down = ((y - middle[:, 1:]) / half[:, 1:]).square()
    inside = (across[:, None] + down[..., None] <= 1).float()
    cells = F.adaptive_avg_pool2d(inside, (layout.geometry.rows, layout.geometry.bands))[..., None]
    bright = cells * skin[:, None, None]
    share = bright / (bright + (1 - cells) * ground[:, None, None])
    picture = torch.where(inside[..., None] > 0, skin[:, None, None], ground[:, None, None])
    return Place(share, picture)


def _mix(draw, course, share):
    """[B, T, rows, bands, 3]: the cells' courses about their means, with noise of each cell."""
    samples = course.skin.shape[1]
    skin, ground = course.skin[:, :, None, None], course.ground[:, :, None, None]
    size = draw.log_uniform(3e-5, 1.5e-3)[:, None, None, None, None]
    motion = torch.lerp(ground, skin, share[:, None])
    motion = motion + size * draw.noise(samples, *share.shape[1:])
    return motion - motion.mean(1, keepdim=True)
