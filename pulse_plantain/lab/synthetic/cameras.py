"""Light as real cameras see it: what a scene's second recipe adds to the first.

A colour matrix, light that flutters, exposure that hunts, mains flicker, channels with courses of
their own, people who sway and walk: all of it from a random stream of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .draw import Draw
from .signals import TAU, Flutter, Jerks

_WAVES = 8  # of each channel over the picture
_PARTS = (3, 2, 2, 3 * _WAVES, 2)  # courses of CameraLight.at
_SHORT, _LONG = 3.0, 1.0  # strength of short and of long waves
_FACE = 1.5  # head units from the face's middle where the gradients of the flutter end


@dataclass(frozen=True)
class Lamp:
    """Light that keeps an even beat: mains flicker that beats with the frame rate, or a lamp.

    frequency [B] Hz; gain and phase [B, 2] of the fundamental and its octave, gains as relative
    light; colour [B, 3]; bands [B] rad of phase per picture height, as a rolling shutter draws.
    """

    frequency: Tensor
    gain: Tensor
    phase: Tensor
    colour: Tensor
    bands: Tensor

    def turns(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Fundamental [B, 2, T] (sine and cosine) and octave [B, T] at times [B, T] in s."""
        angle = TAU * self.frequency[:, None] * times
        first = angle + self.phase[:, :1]
        both = self.gain[:, :1, None] * torch.stack([first.sin(), first.cos()], 1)
        return both, self.gain[:, 1:] * (2 * angle + self.phase[:, 1:]).sin()


@dataclass(frozen=True)
class Walk:
    """A body that sways, and that leaves the picture and returns.

    sway [B, 5]: size across and down in picture heights, Hz, two phases; away [B, 4]: distance in
    picture heights (0: stays), start, length and period in s.
    """

    sway: Tensor
    away: Tensor

    def at(self, times: Tensor) -> Tensor:
        """Shift [B, 2, T] in picture heights at times [B, T] in s."""
        across, down, rate, first, second = self.sway[..., None].unbind(1)
        angle = TAU * rate * times
        shift = torch.stack([across * (angle + first).sin(), down * (angle + second).sin()], 1)
        distance, start, length, period = self.away[..., None].unbind(1)
        since = (times - start) % period
        gone = ((since - 1) / 0.15).sigmoid() - ((since - 1 - length) / 0.15).sigmoid()
        return shift + torch.stack([distance * gone, 0 * gone], 1)


@dataclass(frozen=True)
class CameraLight:
    """What the second recipe adds to B scenes.

    matrix [B, 3, 3], from the sensor's linear colours to the camera's, rows that sum to one (the
    scene's textures are in the camera's colours); colour [B, 3], of the flutter; flutter, three
    courses: everywhere, across and down the face; hunting, three channels of the logarithm of
    light; mains and lamp, see :class:`Lamp`; waves [B, 3, W, 3]: two wave numbers (rad per head
    unit) and a phase; grain, the courses of the waves, channel by channel, relative to the camera's
    value; walk, of the whole person.
    """

    matrix: Tensor
    colour: Tensor
    flutter: Flutter
    hunting: Jerks
    mains: Lamp
    lamp: Lamp
    waves: Tensor
    grain: Flutter
    walk: Walk

    def at(self, times: Tensor) -> Tensor:
        """All that changes, [B, 33, T] at times [B, T] in s, linear in everything but the walk.

        Logarithms of light: of red, green and blue everywhere, of the gradients across and down,
        of two quadratures of mains flicker; the waves' courses; the person's shift.
        """
        flutter = self.flutter.at(times)
        quadratures, octave = self.mains.turns(times)
        beat, overtone = self.lamp.turns(times)
        everywhere = self.colour[:, :, None] * flutter[:, :1] + self.hunting.at(times)
        everywhere = everywhere + self.mains.colour[:, :, None] * octave[:, None]
        everywhere = everywhere + self.lamp.colour[:, :, None] * (beat[:, 0] + overtone)[:, None]
        parts = (everywhere, flutter[:, 1:], quadratures, self.grain.at(times), self.walk.at(times))
        return torch.cat(parts, 1)

    @staticmethod
    def shift_in(courses: Tensor) -> Tensor:
        """The person's shift [B, 2, T] in picture heights, among the courses of :meth:`at`."""
        return courses[:, -2:]

    def develop(self, root: Tensor, courses: Tensor, points: Tensor, gamma: Tensor) -> Tensor:
        """The camera's values for what stands before it.

        Args:
            root: [B, T, 3, P] square roots of light.
            courses: [B, 33, T] from :meth:`at`.
            points: [B, P, 3]: x and y in head units from the face at rest, y in picture heights.
            gamma: [B] of the response curve.

        Returns:
            [B, T, 3, P] in 0..1.
        """
        everywhere, gradient, mains, grain, _ = courses.split(_PARTS, 1)
        place = points[..., :2].clamp(-_FACE, _FACE).mT
        angle = self.mains.bands[:, None] * points[..., 2]
        bands = torch.stack([angle.cos(), angle.sin()], 1)
        local = gradient.mT @ place + mains.mT @ bands
        light = (everywhere.mT[..., None] + local[:, :, None]).exp_()
        sensor = torch.einsum("bcd,btdp->btcp", self.matrix.inverse(), root.clamp(3e-3).square())
        linear = torch.einsum("bcd,btdp->btcp", self.matrix, sensor.mul_(light))
        value = linear.clamp_(1e-5, 1).pow_(1 / gamma[:, None, None, None])
        return value.mul_(1 + self._ripple(grain, points))

    def colour_pulse(self, colour: Tensor, skin: Tensor) -> Tensor:
        """A pulse's colour [B, 3] after the matrix, green = 1.

        Args:
            colour: [B, 3] on the sensor, relative to the skin's light.
            skin: [B, 3] linear colour of lit skin, in camera units.
        """
        sensor = (self.matrix.inverse() @ skin[..., None]).squeeze(-1)
        seen = (self.matrix @ (colour * sensor)[..., None]).squeeze(-1) / skin
        return (seen / seen[:, 1:2]).clamp(0.02, 2)

    def _ripple(self, grain, points):
        """[B, T, 3, P]: what the channels have of their own, relative to the camera's value."""
        flat = self.waves[..., :2].flatten(1, 2) @ points[..., :2].mT  # [B, 3 W, P]
        shape = (flat.shape[0], 3, _WAVES, -1)
        pattern = (flat + self.waves[..., 2].flatten(1)[..., None]).cos().reshape(shape)
        return torch.einsum("bckp,bckt->btcp", pattern, grain.reshape(shape))


def draw_camera_light(
    draw: Draw, skin: Tensor, half_face: Tensor, aspect: Tensor, fps: Tensor, lit: Tensor
) -> CameraLight:
    """Draw what the second recipe adds.

    Args:
        draw: random numbers of the clips, of a stream that nothing else reads.
        skin: [B, 3] linear colour of lit skin, in camera units.
        half_face, aspect: [B], see scene.View.
        fps: [B] frame rate in Hz.
        lit: [B], 1 where a lamp beats evenly over the whole picture, else 0.
    """
    size = 3e-4 * (2e-2 / 3e-4) ** draw.uniform() ** 2.3  # mostly small
    gradients = size[:, None] * draw.uniform(0, 0.5, 2)
    flutter = _draw_flutter(draw, torch.cat([size[:, None], gradients], 1))
    waves, grain = _draw_grain(draw)
    return CameraLight(
        matrix=_draw_matrix(draw),
        colour=_draw_colour(draw, skin),
        flutter=flutter,
        hunting=_draw_hunting(draw),
        mains=_draw_mains(draw, fps),
        lamp=_draw_lamp(draw, lit),
        waves=waves,
        grain=grain,
        walk=_draw_walk(draw, half_face, aspect),
    )


def _draw_matrix(draw):
    """[B, 3, 3] for four clips of five, else the identity."""
    used = draw.coin(0.8)
    from_red, from_red_blue = draw.uniform(0.5, 0.9), draw.uniform(0.0, 0.3)
    green_red, green_blue = draw.uniform(0.0, 0.15), draw.uniform(0.0, 0.4)
    blue_red, from_blue = draw.uniform(-0.1, 0.1), draw.uniform(0.0, 0.7)
    zero = torch.zeros_like(used)
    rows = (
        (zero, -from_red, -from_red_blue),
        (-green_red, zero, -green_blue),
        (-blue_red, -from_blue, zero),
    )
    off = used[:, None, None] * torch.stack([torch.stack(row, -1) for row in rows], 1)
    return off + torch.diag_embed(1 - off.sum(-1))


def _draw_colour(draw, skin):
    """Colour [B, 3] of the flutter: between the light's own and that of gloss on skin.

    Gloss and flare add the same light to all channels, and so the least to red, relative to what
    is there.
    """
    gloss = (skin[:, 1:2] / skin).clamp(0.3, 2.5) ** draw.uniform(0, 0.8)[:, None]
    return gloss * (1 + 0.1 * draw.normal(3).clamp(-2, 2))


def _draw_flutter(draw, size):
    """Courses with a spectrum of 1/f^0 to 1/f^1.5 and given rms sizes [B, C]."""
    draw.uniform(0, 1, 20)  # of no use since the spectrum is continuous; what follows keeps its own
    return Flutter.draw(draw, size, draw.uniform(0, 1.5))


def _draw_grain(draw):
    """Waves [B, 3, W, 3] and their courses: blue two to three times as large as green, red half."""
    size = draw.log_uniform(4e-4, 3.5e-3)[:, None] * torch.exp(0.3 * draw.normal(3))
    size = size * torch.stack([draw.uniform(0.4, 0.8), 1 + 0 * size[:, 0], draw.uniform(2, 3)], -1)
    strength = torch.tensor([_SHORT, _LONG]).repeat_interleave(_WAVES // 2)
    spread = (0.4 + draw.uniform(0, 1, 3, _WAVES)) * strength
    share = spread / spread[..., _WAVES // 2 :].square().sum(-1, keepdim=True).sqrt()
    length = torch.cat(
        [draw.log_uniform(0.8, 2.5, 3, _WAVES // 2), draw.log_uniform(2.5, 10, 3, _WAVES // 2)], -1
    )
    number = TAU / length
    angle = draw.uniform(0, TAU, 3, _WAVES)
    across, down = number * angle.cos(), number * angle.sin()
    waves = torch.stack([across, down, draw.uniform(0, TAU, 3, _WAVES)], -1)
    courses = math.sqrt(2) * size[..., None] * share
    grain = _draw_flutter(draw, courses.flatten(1))
    cosine, sine = (part.unflatten(1, (3, _WAVES)).clone() for part in (grain.cosine, grain.sine))
    # Red has no course of its own: demosaicing moves it with blue, errors of luma with green.
    for other, half in ((2, slice(0, None, 2)), (1, slice(1, None, 2))):
        waves[:, 0, half] = waves[:, other, half]
        ratio = (courses[:, 0, half] / courses[:, other, half])[..., None]
        for part in (cosine, sine):
            part[:, 0, half] = part[:, other, half] * ratio
    return waves, Flutter(cosine.flatten(1, 2), sine.flatten(1, 2))


def _draw_hunting(draw):
    """Exposure and white balance in a third of the clips: ramps and steps of up to two seconds."""
    jerks = Jerks.draw(draw, 3)
    exposure = draw.coin(0.35) * draw.log_uniform(0.003, 0.06)
    balance = draw.coin(0.3) * draw.log_uniform(0.002, 0.03)
    grey, red, blue = jerks.size.split(1, 1)
    tint = torch.cat([red, torch.zeros_like(red), blue], 1)
    size = exposure[:, None, None] * grey + balance[:, None, None] * tint
    return replace(jerks, size=size, rise=draw.log_uniform(0.05, 0.45, 1, 3))


def _draw_mains(draw, fps):
    """Flicker at twice the mains frequency, beaten by the frame rate, in a quarter of clips."""
    mains = 100 + 20 * draw.coin(0.5) + 0.05 * draw.normal()
    rate = fps * (1 + 1e-3 * draw.normal())
    beat = (mains - (mains / rate).round() * rate).abs()
    frequency = torch.where(draw.coin(0.5) > 0, draw.log_uniform(0.05, 6.0), beat)
    gain = draw.coin(0.25) * draw.log_uniform(3e-4, 1e-2)
    gain = gain[:, None] * torch.stack([torch.ones_like(gain), draw.uniform(0, 0.2)], -1)
    colour = 1 + 0.15 * draw.normal(3).clamp(-2, 2)
    bands = draw.coin(0.7) * draw.uniform(0, 15)
    return Lamp(frequency, gain, draw.uniform(0, TAU, 2), colour, bands)


def _draw_lamp(draw, lit):
    """A lamp that beats evenly at a pulse's rates over the whole picture, where it is lit."""
    frequency = draw.log_uniform(0.7, 3.0)
    gain = lit * draw.log_uniform(1e-3, 3e-2)
    gain = gain[:, None] * torch.stack([torch.ones_like(gain), draw.uniform(0, 0.4)], -1)
    colour = 1 + 0.1 * draw.normal(3).clamp(-2, 2)
    return Lamp(frequency, gain, draw.uniform(0, TAU, 2), colour, torch.zeros_like(frequency))


def _draw_walk(draw, half_face, aspect):
    """A sway by 3 to 6 % of a face in a fifth of the clips; in a twentieth the person walks."""
    sway = draw.coin(0.2) * 2 * half_face * draw.uniform(0.03, 0.06)
    down = sway * draw.uniform(0, 0.4)
    rate, phases = draw.log_uniform(0.2, 0.7), draw.uniform(0, TAU, 2)
    side = 2 * draw.coin(0.5) - 1
    distance = draw.coin(0.05) * side * (aspect + 3 * half_face)
    length, period = draw.uniform(2, 8), draw.uniform(15, 60)
    away = torch.stack([distance, draw.uniform(-3, 8), length, period], -1)
    return Walk(torch.cat([torch.stack([sway, down, rate], -1), phases], 1), away)
