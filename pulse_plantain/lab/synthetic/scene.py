"""Scenes of a face before a camera, drawn from seeds, and the one function that shades them.

Both renderers (frames.py: every pixel and frame; fast.py: a coarse grid) call :meth:`Scenes.shade`.

Units. Picture coordinates are in picture heights, x right, y down, origin top left. Head units are
half a face height, origin between the eyes and the nose, chin at +1. Light is linear; what
``shade`` returns is the camera's value in 0..1, after its response curve. Textures hold square
roots of reflectance, and layers are blended in them (see textures.py).

Model. Dichromatic reflection (Shafer 1985; Wang et al., "Algorithmic Principles of Remote PPG",
2017): C = I (diffuse (1 - A s p(t) u) + specular), with p the pulse, s <= 1 the place's strength
and u the pulse's relative strength in red, green and blue, green = 1.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from . import textures
from .draw import Draw, subject_of
from .signals import TAU, Drift, FrameClock, Heart, Jerks, Rhythm

KINDS = ("pulse", "no pulse", "no face", "periodic light", "periodic motion", "noise")
"""What a clip can be; all but the first have no pulse at all."""

_SHARES = (0.80, 0.07, 0.06, 0.025, 0.025, 0.02)

PULSE_COLOUR = (0.33, 0.77, 0.53)
"""Relative pulsatile strength of red, green and blue (de Haan and van Leest 2014)."""

# Shares of the liveliness; shake has its own.
_POSE_SCALE = torch.tensor([1.0, 0.7, 0.3, 0.25, 0.5, 0.4, 0.0, 0.0])
_MARGIN = 0.2  # of the background texture around the picture, picture heights


@dataclass(frozen=True)
class Layers:
    """Low-passed textures: head [B, 8, n, n], torso [B, 5, ...], room [B, 3, ...]."""

    head: torch.Tensor
    torso: torch.Tensor
    room: torch.Tensor


@dataclass(frozen=True)
class Moment:
    """Everything that changes, at T times: what a shader needs besides the textures.

    pose [B, 8, T] (x, y in head units, roll in rad, logarithm of zoom, yaw and pitch in head units
    of shift, shake x, y in picture heights), light [B, 8, T] (ambient, its red, green, blue; side
    light, the same; logarithms),
    pulse and slope [B, T], lid and jaw [B, T], room [B, 4, T] (sway x, y; object's path x, y),
    glow [B, T] (of the object).
    """

    pose: torch.Tensor
    light: torch.Tensor
    pulse: torch.Tensor
    slope: torch.Tensor
    lid: torch.Tensor
    jaw: torch.Tensor
    room: torch.Tensor
    glow: torch.Tensor

    def stacked(self):
        """All of it as [B, 25, T], for averaging over time."""
        single = torch.stack([self.pulse, self.slope, self.lid, self.jaw, self.glow], 1)
        return torch.cat([self.pose, self.light, self.room, single], 1)

    @classmethod
    def from_stacked(cls, values):
        """Inverse of :meth:`stacked`."""
        pose, light, room, single = values.split([8, 8, 4, 5], 1)
        pulse, slope, lid, jaw, glow = single.unbind(1)
        return cls(pose, light, pulse, slope, lid, jaw, room, glow)


@dataclass(frozen=True)
class Scenes:
    """B scenes; every tensor has B rows. Drawn by :func:`draw_scenes`."""

    seeds: list
    kinds: list
    # subject
    skin_type: torch.Tensor  # [B] Fitzpatrick 1..6
    skin: torch.Tensor  # [B, 3]
    textures: Layers
    # heart
    heart: Heart
    amplitude: torch.Tensor  # [B] AC/DC of green at the best skin, linear light
    pulse_colour: torch.Tensor  # [B, 3], green 1
    lag: torch.Tensor  # [B, 2] s per head unit: transit delay along u, v
    # motion
    centre: torch.Tensor  # [B, 2] picture
    half_face: torch.Tensor  # [B] picture heights
    aspect: torch.Tensor  # [B] picture width / height
    rest_pose: torch.Tensor  # [B, 8]
    liveliness: torch.Tensor  # [B] head units
    motion_mix: torch.Tensor  # [B, 8, 3] drift, jerks, rhythm
    motion_drift: Drift
    motion_jerks: Jerks
    motion_rhythm: Rhythm
    cardiac_motion: torch.Tensor  # [B, 8, 2] cos, sin of the cardiac phase
    torso_share: torch.Tensor  # [B] of the head's movement
    blinks: torch.Tensor  # [B, 4, 2] time s, period s
    talk: Rhythm
    talk_size: torch.Tensor  # [B]
    # light
    ambient: torch.Tensor  # [B, 3]
    side: torch.Tensor  # [B, 3]
    side_angle: torch.Tensor  # [B]
    gradient: torch.Tensor  # [B, 2] relative change of ambient light per picture height
    specular: torch.Tensor  # [B]
    light_mix: torch.Tensor  # [B, 8, 3] drift, jerks, rhythm
    light_drift: Drift
    light_jerks: Jerks
    light_rhythm: Rhythm
    # room
    room_drift: Drift
    room_size: torch.Tensor  # [B, 4]
    room_rhythm: Rhythm
    object: torch.Tensor  # [B, 7] centre x, y, radius, red, green, blue, opacity
    # camera
    exposure: torch.Tensor  # [B, 3] gain and white balance
    gamma: torch.Tensor  # [B]
    read_noise: torch.Tensor  # [B] per-pixel sigma in camera units at black
    shot_noise: torch.Tensor  # [B] per-pixel sigma at white, added in squares
    rows: torch.Tensor  # [B] sensor rows in the picture
    clock: FrameClock
    box: torch.Tensor  # [B, 4] what a sheet is made of: left, top, right, bottom, picture
    codec: torch.Tensor  # [B, 5] see fast.compress

    def __len__(self):
        return len(self.seeds)

    def on_sensor(self, width, height):
        """The same scenes, taken as whole pictures of ``width`` x ``height`` pixels."""
        aspect = torch.full_like(self.aspect, width / height)
        centre = self.centre * torch.stack([aspect / self.aspect, torch.ones_like(aspect)], -1)
        rows = torch.full_like(self.rows, height)
        box = torch.stack([0 * aspect, 0 * aspect, aspect, torch.ones_like(aspect)], -1)
        return replace(self, aspect=aspect, centre=centre, rows=rows, box=box)

    def without_pulse(self):
        """The same clips, frame by frame, with the pulse amplitude set to zero."""
        return replace(self, amplitude=torch.zeros_like(self.amplitude))

    def moment(self, times):
        """:class:`Moment` at times [B, T] (s)."""
        parts = [
            self.motion_drift.at(times),
            self.motion_jerks.at(times),
            self.motion_rhythm.at(times),
        ]
        pose = torch.einsum("bci,ibct->bct", self.motion_mix, torch.stack(parts))
        phase = self.heart.phase(times)
        turning = torch.stack([phase.cos(), phase.sin()], 1).float()
        pose = pose + self.rest_pose[..., None] + self.cardiac_motion @ turning
        pose[:, 4:6] = 0.25 * (pose[:, 4:6] / 0.25).tanh()  # a feature stays inside the outline
        parts = [
            self.light_drift.at(times),
            self.light_jerks.at(times),
            self.light_rhythm.at(times),
        ]
        light = torch.einsum("bci,ibct->bct", self.light_mix, torch.stack(parts))
        pulse, slope = self.heart.pulse(times)
        start, period = self.blinks.unbind(-1)
        since = (times[:, None] - start[..., None]) % period[..., None]
        lid = torch.exp(-(((since - 0.5) / 0.09) ** 2)).sum(1).clamp(max=1)
        jaw = (self.talk_size[:, None] * self.talk.at(times)[:, 0].abs()).clamp(max=0.12)
        rhythm = self.room_rhythm.at(times)
        room = self.room_size[..., None] * torch.cat([rhythm[:, :2], self.room_drift.at(times)], 1)
        glow = 1 + 0.5 * rhythm[:, 2]
        return Moment(pose, light, pulse, slope, lid, jaw, room, glow)

    def layers(self, footprint, size=textures.SIZE):
        """Textures averaged over a footprint [B, 2] (width, height in picture heights)."""
        texel = self.half_face * (textures.HEAD_BOX[2] - textures.HEAD_BOX[0]) / textures.SIZE
        head = textures.box_filter(self.textures.head, *(footprint.T / texel), size)
        texel = self.half_face * (textures.TORSO_BOX[2] - textures.TORSO_BOX[0]) / textures.SIZE
        torso = textures.box_filter(self.textures.torso, *(footprint.T / texel), size)
        across = footprint[:, 0] * textures.SIZE / (self.aspect + 2 * _MARGIN)
        down = footprint[:, 1] * textures.SIZE / (1 + 2 * _MARGIN)
        return Layers(head, torso, textures.box_filter(self.textures.room, across, down, size))

    def shade(self, layers, moment, points):
        """Camera values, without noise.

        Args:
            layers: from :meth:`layers`; ``head`` or ``torso`` is None where no point is on it.
            moment: :class:`Moment` of T times.
            points: [B, P, 2] picture coordinates.

        Returns:
            [B, T, 3, P] in 0..1.
        """
        logs, exposure = moment.light, self.exposure[:, :, None]
        ambient = exposure * self.ambient[:, :, None] * (logs[:, :1] + logs[:, 1:4]).exp()
        side = exposure * self.side[:, :, None] * (logs[:, 4:5] + logs[:, 5:8]).exp()
        side = side.mT[..., None]  # [B, T, 3, 1]
        away = points - self.centre[:, None]
        place = (1 + (away * self.gradient[:, None]).sum(-1)).clamp(min=0.1)
        ambient = ambient.mT[..., None] * place[:, None, None]

        root = self._room(layers.room, moment, points)
        if layers.torso is not None or layers.head is not None:
            u, v = self._head_frame(moment, points, 1.0)
            blush = self._blush(moment, u, v)
        if layers.torso is not None:
            torso = self._torso(layers.torso, moment, points)
            root.mul_(1 - torso[:, :, 3:4]).add_(torso[:, :, :3])
            root.addcmul_(blush, torso[:, :, 4:5], value=-1)
        root.mul_((ambient + 0.5 * side).sqrt_())
        if layers.head is not None:
            yaw, pitch = moment.pose[:, 4, :, None], moment.pose[:, 5, :, None]
            angle = _over(self.side_angle)
            facing = angle.cos() * (u + 2 * yaw) + angle.sin() * (v + 2 * pitch)
            facing = (0.5 + 0.4 * facing).clamp_(0, 1.3)[:, :, None]
            reflected, covered = self._head(layers.head, moment, u, v, blush)
            lit = (ambient + side * facing).mul_(reflected).sqrt_()
            root.mul_(1 - covered).add_(lit)
        return root.clamp_(3e-3, 1).pow_((2 / self.gamma)[:, None, None, None])

    def _blush(self, moment, u, v):
        """[B, T, 3, P]: what the pulse takes from the roots of colour per unit of blood texture."""
        delay = self.lag[:, 0, None, None] * u + self.lag[:, 1, None, None] * v
        wave = _over(self.amplitude) * (_over(moment.pulse) - delay * _over(moment.slope))
        tint = 0.5 * (self.skin / self.skin[:, 1:2]).sqrt() * self.pulse_colour
        return wave[:, :, None] * tint[:, None, :, None]

    def _head_frame(self, moment, points, share):
        """Points in head units [B, T, P] x 2, of what follows a share of the head's movement."""
        x, y, roll, zoom, _, _, shake_x, shake_y = moment.pose[..., None].unbind(1)
        size = _over(self.half_face)
        dx = points[:, None, :, 0] - (self.centre[:, :1, None] + shake_x + share * size * x)
        dy = points[:, None, :, 1] - (self.centre[:, 1:, None] + shake_y + share * size * y)
        scale = size * (share * zoom).exp()
        cos, sin = (share * roll).cos() / scale, (share * roll).sin() / scale
        return cos * dx + sin * dy, cos * dy - sin * dx

    def _head(self, texture, moment, u, v, blush):
        """Reflection [B, T, 3, P] of the head times coverage squared, and coverage [B, T, 1, P].

        Turning the head moves the features inside its outline; opening the mouth moves the chin.
        """
        yaw, pitch = moment.pose[:, 4, :, None], moment.pose[:, 5, :, None]
        bulge = (1 - (u / 0.75) ** 2).clamp(min=0) * (1 - (v / 1.1) ** 2).clamp(min=0)
        fall = ((v - 0.5) / 0.16).clamp(0, 1) * (1 - (u / 0.8) ** 2).clamp(min=0)
        head = _sample(
            texture,
            (u - yaw * bulge) / textures.HEAD_BOX[2],
            (v - pitch * bulge - _over(moment.jaw) * fall) / textures.HEAD_BOX[3],
        )
        lid = (0.85 * self.skin).sqrt()[:, None, :, None] * head[:, :, 6:7] - head[:, :, 7:8]
        diffuse = head[:, :, :3] - blush * head[:, :, 4:5] + _over(moment.lid)[:, :, None] * lid
        gloss = _over(self.specular) * (1 + 3 * (yaw * u + pitch * v)).clamp(0, 3) * head[:, :, 5]
        covered = head[:, :, 3:4]
        return diffuse.square() + covered * gloss[:, :, None], covered

    def _torso(self, texture, moment, points):
        """The torso's texture at points, [B, T, 5, P]."""
        x, y = self._head_frame(moment, points, _over(self.torso_share))
        _, top, right, bottom = textures.TORSO_BOX
        return _sample(texture, x / right, (y - top) / (bottom - top) * 2 - 1)

    def _room(self, texture, moment, points):
        """Root of reflectance [B, T, 3, P] of the room and of the object that moves in it."""
        sway_x, sway_y, path_x, path_y = moment.room[..., None].unbind(1)
        x, y = points[:, None, :, 0], points[:, None, :, 1]
        shake_x, shake_y = moment.pose[:, 6:, :, None].unbind(1)
        room = _sample(
            texture,
            (x - shake_x - sway_x + _MARGIN) / (_over(self.aspect) + 2 * _MARGIN) * 2 - 1,
            (y - shake_y - sway_y + _MARGIN) / (1 + 2 * _MARGIN) * 2 - 1,
        )
        ox, oy, radius, *colour, opacity = self.object[:, :, None, None].unbind(1)
        near = ((x - ox - path_x) ** 2 + (y - oy - path_y) ** 2) / radius**2
        veil = (opacity * (1 - near).clamp_(min=0))[:, :, None]
        if veil.any():
            thing = torch.stack(colour, 2) * _over(moment.glow)[:, :, None]
            room.addcmul_(veil, thing.clamp_(min=0).sqrt_() - room)
        return room


def _over(value):
    """[B] or [B, T] -> [B, 1 or T, 1], to be broadcast over points."""
    return value[:, None, None] if value.ndim == 1 else value[..., None]


def _sample(texture, x, y):
    """Texture [B, C, n, n] at x, y [B, T, P] in -1..1 over its box -> [B, T, C, P]."""
    x, y = torch.broadcast_tensors(x, y)
    grid = torch.stack([x, y], -1)
    picked = F.grid_sample(
        texture, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return picked.transpose(1, 2)


def _choose_kinds(draw, all_kinds):
    chance = draw.uniform()
    borders = torch.tensor(_SHARES).cumsum(0)[:-1]
    index = torch.bucketize(chance, borders)
    return [KINDS[i] if all_kinds else KINDS[0] for i in index.tolist()]


def _frame(draw, webcam):
    """Where the face is: (aspect [B], half face height [B], centre [B, 2])."""
    aspect = torch.tensor([4 / 3, 4 / 3, 16 / 9, 0.75, 1.0])[draw.uniform(0, 4.999).long()]
    chance = draw.uniform(0, 1, 3)
    if webcam:
        half = 0.5 * (0.38 + 0.37 * chance[:, 0])
        centre = torch.stack([aspect * (0.4 + 0.2 * chance[:, 1]), 0.42 + 0.14 * chance[:, 2]], -1)
        return aspect, half, centre
    half = 0.5 * 0.2 * 5 ** chance[:, 0]
    spread_x, spread_y = (aspect - half).clamp(min=0.1), (1 - half).clamp(min=0.1)
    centre = torch.stack(
        [
            aspect / 2 + spread_x * (chance[:, 1] - 0.5),
            0.5 + spread_y * (chance[:, 2] - 0.5),
        ],
        -1,
    )
    return aspect, half, centre


def draw_scenes(seeds, webcam=False, kinds=True, crops=False, resting=0.6):
    """Draws one scene per seed.

    Args:
        seeds: B integers >= 0 (see draw.SEEDS).
        webcam: usual webcam framing and gentler extremes (for full frames), else any framing.
        kinds: also draw clips without a pulse (about a fifth); else every clip has one.
        crops: see most clips through a crop round the face; else always whole pictures.
        resting: share of the hearts near rest, see :meth:`Heart.draw`.

    Returns:
        :class:`Scenes`.
    """
    seeds = [int(s) for s in seeds]
    people = [subject_of(s) for s in seeds]
    unique = sorted(set(people))
    person = Draw(unique, stream=1)
    draw = Draw(seeds, stream=2)
    kind = _choose_kinds(draw, kinds)

    def is_kind(*names):
        return torch.tensor([float(k in names) for k in kind])

    skin_type, melanin, skin = textures.draw_tone(person)
    head = textures.draw_head(person, skin, melanin)
    who = torch.tensor([unique.index(p) for p in people])
    skin_type, melanin, skin, head = skin_type[who], melanin[who], skin[who], head[who]
    torso = textures.draw_torso(draw, skin)
    room = textures.draw_background(draw, skin)
    absent = is_kind("no face", "noise")[:, None, None, None]

    layers = Layers(head * (1 - absent), torso * (1 - absent), room)

    heart = Heart.draw(draw, resting)
    low, high = (0.008, 0.04) if webcam else (0.002, 0.04)
    amplitude = draw.log_uniform(low, high) * (1 - 0.8 * melanin) * is_kind("pulse")
    colour = torch.tensor(PULSE_COLOUR) * (1 + 0.12 * draw.normal(3).clamp(-2, 2))
    colour = colour / colour[:, 1:2]
    lag = draw.uniform(-0.015, 0.015, 2)

    aspect, half_face, centre = _frame(draw, webcam)
    rest = draw.normal(8).clamp(-2, 2) * torch.tensor([0, 0, 0.07, 0, 0.08, 0.06, 0, 0])
    low, high = (0.008, 0.15) if webcam else (0.003, 0.3)
    liveliness = draw.log_uniform(low, high)
    liveliness = torch.where(
        is_kind("periodic motion") > 0, draw.log_uniform(0.03, 0.3), liveliness
    )
    mix = draw.uniform(0, 1, 3) ** 2
    mix = mix * torch.stack([torch.ones_like(liveliness), draw.coin(0.7), draw.coin(0.5)], -1)
    rhythmic = is_kind("periodic motion")[:, None]
    mix = torch.lerp(mix, torch.tensor([[0.05, 0.05, 1.0]]).expand_as(mix), rhythmic)
    mix = mix / mix.sum(-1, keepdim=True).clamp(min=0.2)
    scale = _POSE_SCALE * torch.exp(0.5 * draw.normal(8))
    shake = draw.coin(0.25)[:, None] * half_face[:, None] * draw.uniform(0.05, 0.5, 2)
    scale = torch.cat([scale[:, :6], shake], 1)
    motion_mix = liveliness[:, None, None] * scale[:, :, None] * mix[:, None]
    rhythm = Rhythm.draw(draw, 8, 0.2, 4.0)
    rhythm = replace(rhythm, frequency=_in_band(draw, rhythm.frequency, rhythmic[:, 0]))
    beats = draw.coin(0.5) * is_kind("pulse", "no pulse") * draw.log_uniform(0.0003, 0.004)
    cardiac = (
        beats[:, None, None]
        * draw.normal(8, 2)
        * torch.cat([scale[:, :6], 0 * shake], 1)[..., None]
    )
    blinks = torch.stack([draw.uniform(0, 20, 4), draw.log_uniform(4, 40, 4)], -1)
    talk = Rhythm.draw(draw, 1, 1.0, 3.0)
    talk_size = draw.coin(0.35) * draw.uniform(0.01, 0.07)

    ambient = draw.uniform(0.6, 1.0)[:, None] * torch.exp(0.15 * draw.normal(3))
    side = draw.coin(0.7)[:, None] * draw.uniform(0.1, 1.2)[:, None]
    side = side * ambient * torch.exp(0.2 * draw.normal(3))
    light_mix = torch.stack(
        [
            draw.log_uniform(0.001, 0.06, 8),
            draw.coin(0.35)[:, None] * draw.log_uniform(0.001, 0.06, 8),
            torch.maximum(draw.coin(0.3), is_kind("periodic light"))[:, None]
            * torch.where(
                is_kind("periodic light")[:, None] > 0,
                draw.log_uniform(0.002, 0.05)[:, None],
                draw.log_uniform(0.0003, 0.008)[:, None],
            )
            * torch.ones(8),
        ],
        -1,
    )
    tinted = torch.tensor([1, 0.25, 0.25, 0.25, 1, 0.4, 0.4, 0.4])
    light_mix = light_mix * tinted[:, None] * (0.6 if webcam else 1)
    flicker = Rhythm.draw(draw, 8, 0.1, 5.0)
    flicker = replace(
        flicker, frequency=_in_band(draw, flicker.frequency, is_kind("periodic light"))
    )
    specular = draw.uniform(0.0, 0.12)

    unusual = is_kind("no face")
    sway = torch.where(
        unusual > 0, draw.coin(0.8) * draw.log_uniform(0.002, 0.1), draw.coin(0.05) * 0.01
    )
    path = draw.coin(0.35) * draw.log_uniform(0.02, 0.6)
    room_size = torch.stack([sway, sway, path, path], -1)
    thing = torch.cat(
        [
            (draw.uniform(0, 1) * aspect)[:, None],
            draw.uniform(0, 1, 1),
            draw.log_uniform(0.04, 0.4)[:, None],
            draw.log_uniform(0.02, 1.0)[:, None] * draw.uniform(0.2, 1, 3),
            draw.coin(0.5)[:, None],
        ],
        -1,
    )

    gamma = draw.uniform(1.6, 2.4)
    lit = ambient + 0.5 * side
    walls = room.mean((2, 3)).square()
    share = 0.5 * (1 - absent[:, 0, 0])
    metered = (torch.lerp(walls, skin, share) * lit).mean(-1)
    level = draw.uniform(0.3, 0.6) ** gamma
    balance = (lit.mean(-1, keepdim=True) / lit) ** draw.uniform(0.4, 1.1)[:, None]
    exposure = (level / metered)[:, None] * balance
    total = draw.log_uniform(0.5, 6.0) / 255 * torch.where(is_kind("noise") > 0, 3.0, 1.0)
    bright = draw.uniform(0.2, 0.8)
    return Scenes(
        seeds=seeds,
        kinds=kind,
        skin_type=skin_type,
        skin=skin,
        textures=layers,
        heart=heart,
        amplitude=amplitude,
        pulse_colour=colour,
        lag=lag,
        centre=centre,
        half_face=half_face,
        aspect=aspect,
        rest_pose=rest,
        liveliness=liveliness,
        motion_mix=motion_mix,
        motion_drift=Drift.draw(draw, 8, 0.03, 1.0),
        motion_jerks=Jerks.draw(draw, 8),
        motion_rhythm=rhythm,
        cardiac_motion=cardiac,
        torso_share=draw.uniform(0.1, 0.6),
        blinks=blinks,
        talk=talk,
        talk_size=talk_size,
        ambient=ambient,
        side=side,
        side_angle=draw.uniform(0, TAU),
        gradient=draw.normal(2) * 0.25,
        specular=specular,
        light_mix=light_mix,
        light_drift=Drift.draw(draw, 8, 0.03, 1.5),
        light_jerks=Jerks.draw(draw, 8),
        light_rhythm=flicker,
        room_drift=Drift.draw(draw, 2, 0.05, 1.0),
        room_size=room_size,
        room_rhythm=Rhythm.draw(draw, 3, 0.2, 3.0),
        object=thing,
        exposure=exposure,
        gamma=gamma,
        read_noise=total * (1 - bright).sqrt(),
        shot_noise=total * bright.sqrt(),
        rows=draw.log_uniform(120, 960).round(),
        clock=FrameClock.draw(draw),
        box=_draw_box(draw, aspect, half_face, centre, crops),
        codec=_draw_codec(draw),
    )


def _in_band(draw, frequency, where):
    """``frequency`` [B], but within the pulse's own band (0.7 to 3 Hz) where ``where`` is 1."""
    return torch.where(where > 0, draw.log_uniform(0.7, 3.0), frequency)


def _draw_box(draw, aspect, half_face, centre, crops):
    """[B, 4]: the whole picture, or for two thirds of the clips a crop round the face."""
    whole = torch.stack([0 * aspect, 0 * aspect, aspect, 1 + 0 * aspect], -1)
    if not crops:
        return whole
    height = half_face * draw.uniform(1.3, 3.6)
    width = height * draw.uniform(0.6, 1.15)
    middle = centre + half_face[:, None] * draw.uniform(-0.3, 0.3, 2)
    half = torch.stack([width, height], -1) / 2
    crop = torch.cat([middle - half, middle + half], -1)
    inside = torch.maximum(torch.minimum(crop, whole[:, [2, 3, 2, 3]]), torch.zeros(4))
    usable = ((inside[:, 2:] - inside[:, :2]) > 0.08).all(-1)
    cropped = (draw.coin(0.67) > 0) & usable
    return torch.where(cropped[:, None], inside, whole)


def _draw_codec(draw):
    """[B, 5]: what fast.compress takes; a third of the clips has no codec."""
    coded = draw.coin(0.67)
    return torch.stack(
        [
            coded * draw.coin(0.8) * draw.log_uniform(0.0001, 0.003),
            draw.log_uniform(0.4, 3),
            coded * draw.log_uniform(0.00003, 0.0004),
            draw.log_uniform(0.7, 4),
            draw.uniform(0.5, 10),
        ],
        -1,
    )
