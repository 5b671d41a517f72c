"""Courses of the colours of calm skin: a seated face whose parts all say the same.

The shaded scenes differ from place to place, and that difference tells light from blood. The mean
colour of a calm face that is painted as an oval has one course, and only its three colours differ.
Medians and ranges of the courses are those of nine recordings of seated people (see
lab/light_measuring.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .draw import Draw
from .scene import Scenes
from .signals import TAU, Drift, Jerks

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
    """

    skin: Tensor
    ground: Tensor


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
    return Course(_average(skin), followed[:, None, None] * _average(light))


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
