"""What a scene of a face before a camera is, and the one function that shades it.

Both renderers (frames.py: every pixel and frame; fast.py: a coarse grid) call :meth:`Scenes.shade`.

Units. Picture coordinates are in picture heights, x right, y down, origin top left. Head units are
half a face height, origin between the eyes and the nose, chin at +1. Light is linear; what
``shade`` returns is the camera's value in 0..1, after its response curve. Textures hold square
roots of reflectance, and layers are blended in them (see textures.py).

Model. Dichromatic reflection (Shafer 1985; Wang et al., "Algorithmic Principles of Remote PPG",
2017): C = I (diffuse (1 - A s p(t) u) + specular), with p the pulse, s <= 1 the place's strength
and u the pulse's relative strength in red, green and blue, green = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .brush import SIZE, average_boxes
from .cameras import CameraLight
from .head import HEAD_BOX
from .signals import Drift, FrameClock, Heart, Jerks, Rhythm, mix
from .textures import TORSO_BOX

KINDS = ("pulse", "no pulse", "no face", "periodic light", "periodic motion", "noise")
"""What a clip can be; all but the first have no pulse at all."""

_MARGIN = 0.2  # of the room's texture around the picture, picture heights


@dataclass(frozen=True)
class Layers:
    """Textures: head [B, 8, n, n], torso [B, 5, n, n], room [B, 3, n, n].

    For shading, head or torso is None where no point is on it.
    """

    head: Tensor | None
    torso: Tensor | None
    room: Tensor


@dataclass(frozen=True)
class Subject:
    """Who is seen: Fitzpatrick type [B] in 1..6, melanosome fraction [B], linear colour [B, 3]."""

    skin_type: Tensor
    melanin: Tensor
    skin: Tensor


@dataclass(frozen=True)
class Pulse:
    """How the heart is seen.

    amplitude [B], AC/DC of green at the best skin in linear light; colour [B, 3], the relative
    strength of red, green and blue, green = 1; lag [B, 2], transit delay along u and v in s per
    head unit.
    """

    amplitude: Tensor
    colour: Tensor
    lag: Tensor


@dataclass(frozen=True)
class View:
    """Where the face is in the picture, and how the picture is cut.

    aspect [B], width / height; half_face [B] in picture heights; centre [B, 2]; rows [B], sensor
    rows in the picture; box [B, 4], what a sheet is made of: left, top, right, bottom.
    """

    aspect: Tensor
    half_face: Tensor
    centre: Tensor
    rows: Tensor
    box: Tensor

    def on_sensor(self, width: int, height: int) -> View:
        """The same view as a whole picture of ``width`` x ``height`` pixels."""
        aspect = torch.full_like(self.aspect, width / height)
        centre = self.centre * torch.stack([aspect / self.aspect, torch.ones_like(aspect)], -1)
        rows = torch.full_like(self.rows, height)
        box = torch.stack([0 * aspect, 0 * aspect, aspect, torch.ones_like(aspect)], -1)
        return View(aspect, self.half_face, centre, rows, box)

    def place_points(self, columns: int, rows: int) -> Tensor:
        """Centres [B, rows * columns, 2] of an even grid over the boxes, row by row."""
        x = (torch.arange(columns) + 0.5) / columns
        y = (torch.arange(rows) + 0.5) / rows
        unit = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
        return self.box[:, None, :2] + unit * (self.box[:, 2:] - self.box[:, :2])[:, None]


@dataclass(frozen=True)
class Motion:
    """How the person moves.

    rest_pose [B, 8] and the channels of all movements are those of Moment.pose; shares [B, 8, 3]
    of drift, jerks and rhythm; cardiac [B, 8, 2], cosine and sine of the cardiac phase;
    torso_share [B], how much of the head's movement the torso follows; blinks [B, 4, 2], time and
    period in s; talk, the mouth's rhythm, and its size [B].
    """

    rest_pose: Tensor
    shares: Tensor
    drift: Drift
    jerks: Jerks
    rhythm: Rhythm
    cardiac: Tensor
    torso_share: Tensor
    blinks: Tensor
    talk: Rhythm
    talk_size: Tensor

    def pose_at(self, times: Tensor, heart: Heart) -> Tensor:
        """Moment.pose [B, 8, T] at times [B, T] in s."""
        pose = mix(self.shares, (self.drift, self.jerks, self.rhythm), times)
        phase = heart.phase(times)
        turning = torch.stack([phase.cos(), phase.sin()], 1).float()
        pose = pose + self.rest_pose[..., None] + self.cardiac @ turning
        pose[:, 4:6] = 0.25 * (pose[:, 4:6] / 0.25).tanh()  # a feature stays inside the outline
        return pose

    def lid_at(self, times: Tensor) -> Tensor:
        """How far the lids are closed, [B, T] in 0..1, at times [B, T] in s."""
        start, period = self.blinks.unbind(-1)
        since = (times[:, None] - start[..., None]) % period[..., None]
        return torch.exp(-(((since - 0.5) / 0.09) ** 2)).sum(1).clamp(max=1)

    def jaw_at(self, times: Tensor) -> Tensor:
        """How far the chin is down, [B, T] in head units, at times [B, T] in s."""
        return (self.talk_size[:, None] * self.talk.at(times)[:, 0].abs()).clamp(max=0.12)


@dataclass(frozen=True)
class Light:
    """Ambient light and a lamp at the side.

    ambient and side [B, 3]; side_angle [B] in rad; gradient [B, 2], relative change of the ambient
    light per picture height; specular [B], how much skin shines; shares [B, 8, 3] of drift, jerks
    and rhythm in the channels of Moment.light.
    """

    ambient: Tensor
    side: Tensor
    side_angle: Tensor
    gradient: Tensor
    specular: Tensor
    shares: Tensor
    drift: Drift
    jerks: Jerks
    rhythm: Rhythm

    def at(self, times: Tensor) -> Tensor:
        """Moment.light [B, 8, T] at times [B, T] in s."""
        return mix(self.shares, (self.drift, self.jerks, self.rhythm), times)


@dataclass(frozen=True)
class Room:
    """What moves behind the person.

    size [B, 4] of the movements of Moment.room; object [B, 7]: centre x, y, radius, red, green,
    blue, opacity.
    """

    drift: Drift
    rhythm: Rhythm
    size: Tensor
    object: Tensor

    def at(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Moment.room [B, 4, T] and Moment.glow [B, T] at times [B, T] in s."""
        rhythm = self.rhythm.at(times)
        room = self.size[..., None] * torch.cat([rhythm[:, :2], self.drift.at(times)], 1)
        return room, 1 + 0.5 * rhythm[:, 2]


@dataclass(frozen=True)
class Camera:
    """What records the scene.

    exposure [B, 3], gain and white balance; gamma [B]; read_noise [B], a pixel's sigma at black in
    camera units; shot_noise [B], a pixel's sigma at white, added in squares; clock of the frames;
    codec [B, 5], see fast.compress.
    """

    exposure: Tensor
    gamma: Tensor
    read_noise: Tensor
    shot_noise: Tensor
    clock: FrameClock
    codec: Tensor


@dataclass(frozen=True)
class Moment:
    """Everything that changes, at T times: what a shader needs besides the textures.

    pose [B, 8, T] (x, y in head units, roll in rad, logarithm of zoom, yaw and pitch in head units
    of shift, shake x, y in picture heights), light [B, 8, T] (ambient, its red, green, blue; side
    light, the same; logarithms), pulse and slope [B, T], lid and jaw [B, T], room [B, 4, T] (sway
    x, y; object's path x, y), glow [B, T] (of the object); courses [B, C, T] of the second recipe,
    see cameras.py, or None.
    """

    pose: Tensor
    light: Tensor
    pulse: Tensor
    slope: Tensor
    lid: Tensor
    jaw: Tensor
    room: Tensor
    glow: Tensor
    courses: Tensor | None = None

    def stack(self) -> Tensor:
        """All of it as [B, 25 + C, T], for averaging over time."""
        single = torch.stack([self.pulse, self.slope, self.lid, self.jaw, self.glow], 1)
        courses = () if self.courses is None else (self.courses,)
        return torch.cat([self.pose, self.light, self.room, single, *courses], 1)

    @classmethod
    def unstack(cls, values: Tensor) -> Moment:
        """Inverse of :meth:`stack`."""
        pose, light, room, single, courses = values.split([8, 8, 4, 5, values.shape[1] - 25], 1)
        pulse, slope, lid, jaw, glow = single.unbind(1)
        extra = courses if courses.shape[1] else None
        return cls(pose, light, pulse, slope, lid, jaw, room, glow, extra)

    def thin(self, count: int) -> Moment:
        """About ``count`` of the times (one, if there are fewer), evenly spread."""
        every = max(1, self.pulse.shape[1] // count)
        return Moment.unstack(self.stack()[:, :, every // 2 :: every])

    def split(self, count: int) -> list[Moment]:
        """Moments of ``count`` times each, one after the other; the last may have fewer."""
        return [Moment.unstack(part) for part in self.stack().split(count, 2)]


@dataclass(frozen=True)
class Scenes:
    """B scenes; every tensor in them has B rows. Drawn by :func:`.staging.draw_scenes`.

    ``camera_light`` is what the second recipe adds; None in the first.
    """

    seeds: list[int]
    kinds: list[str]
    subject: Subject
    textures: Layers
    heart: Heart
    pulse: Pulse
    view: View
    motion: Motion
    light: Light
    room: Room
    camera: Camera
    camera_light: CameraLight | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    def on_sensor(self, width: int, height: int) -> Scenes:
        """The same scenes, taken as whole pictures of ``width`` x ``height`` pixels."""
        return replace(self, view=self.view.on_sensor(width, height))

    def with_amplitude(self, amplitude: float) -> Scenes:
        """The same clips with another pulse amplitude (AC/DC of green, fraction)."""
        level = torch.full_like(self.pulse.amplitude, amplitude)
        return replace(self, pulse=replace(self.pulse, amplitude=level))

    def without_pulse(self) -> Scenes:
        """The same clips, frame by frame, with the pulse amplitude set to zero."""
        return self.with_amplitude(0.0)

    def moment(self, times: Tensor) -> Moment:
        """What there is at times [B, T] in s."""
        pose = self.motion.pose_at(times, self.heart)
        pulse, slope = self.heart.pulse(times)
        lid, jaw = self.motion.lid_at(times), self.motion.jaw_at(times)
        room, glow = self.room.at(times)
        courses = self.camera_light.at(times) if self.camera_light else None
        return Moment(pose, self.light.at(times), pulse, slope, lid, jaw, room, glow, courses)

    def layers(self, footprint: Tensor, size: int = SIZE) -> Layers:
        """Textures averaged over a footprint, at ``size`` x ``size`` places.

        Args:
            footprint: [B, 2] width and height in picture heights.
            size: places along each side.
        """
        view, textures = self.view, self.textures
        across = footprint[:, 0] * SIZE / (view.aspect + 2 * _MARGIN)
        down = footprint[:, 1] * SIZE / (1 + 2 * _MARGIN)

        def average(texture, box):
            texel = view.half_face * (box[2] - box[0]) / SIZE
            width, height = footprint.T / texel
            return average_boxes(texture, width, height, size)

        return Layers(
            average(textures.head, HEAD_BOX),
            average(textures.torso, TORSO_BOX),
            average_boxes(textures.room, across, down, size),
        )

    def shade(self, layers: Layers, moment: Moment, points: Tensor) -> Tensor:
        """Camera values, without noise.

        Args:
            layers: from :meth:`layers`; ``head`` or ``torso`` is None where no point is on it.
            moment: T times.
            points: [B, P, 2] picture coordinates.

        Returns:
            [B, T, 3, P] in 0..1.
        """
        ambient, side = self._illuminate(moment, points)
        even = (ambient + 0.5 * side).sqrt_()
        root = self._sample_room(layers.room, moment, points)
        if layers.torso is None and layers.head is None:
            return self._respond(root.mul_(even), moment, points)
        u, v = self._to_head(moment, points, 1.0)
        blush = self._blush(moment, u, v)
        if layers.torso is not None:
            torso = self._sample_torso(layers.torso, moment, points)
            root.mul_(1 - torso[:, :, 3:4]).add_(torso[:, :, :3])
            root.addcmul_(blush, torso[:, :, 4:5], value=-1)
        root.mul_(even)
        if layers.head is not None:
            facing = self._face_lamp(moment, u, v)
            reflected, covered = self._reflect_head(layers.head, moment, u, v, blush)
            lit = (ambient + side * facing).mul_(reflected).sqrt_()
            root.mul_(1 - covered).add_(lit)
        return self._respond(root, moment, points)

    def _respond(self, root, moment, points):
        """The camera's values for square roots of light [B, T, 3, P]."""
        if self.camera_light:
            away = (points - self.view.centre[:, None]) / _over(self.view.half_face)
            places = torch.cat([away, points[..., 1:]], -1)
            return self.camera_light.develop(root, moment.courses, places, self.camera.gamma)
        return root.clamp_(3e-3, 1).pow_((2 / self.camera.gamma)[:, None, None, None])

    def _illuminate(self, moment, points):
        """Ambient light [B, T, 3, P] and side light [B, T, 3, 1], in camera units."""
        light, logs, exposure = self.light, moment.light, self.camera.exposure[:, :, None]
        ambient = exposure * light.ambient[:, :, None] * (logs[:, :1] + logs[:, 1:4]).exp()
        side = exposure * light.side[:, :, None] * (logs[:, 4:5] + logs[:, 5:8]).exp()
        away = points - self.view.centre[:, None]
        place = (1 + (away * light.gradient[:, None]).sum(-1)).clamp(min=0.1)
        return ambient.mT[..., None] * place[:, None, None], side.mT[..., None]

    def _face_lamp(self, moment, u, v):
        """[B, T, 1, P]: how much of the side light each point of the head gets."""
        yaw, pitch = moment.pose[:, 4, :, None], moment.pose[:, 5, :, None]
        angle = _over(self.light.side_angle)
        facing = angle.cos() * (u + 2 * yaw) + angle.sin() * (v + 2 * pitch)
        return (0.5 + 0.4 * facing).clamp_(0, 1.3)[:, :, None]

    def _blush(self, moment, u, v):
        """[B, T, 3, P]: what the pulse takes from the roots of colour per unit of blood texture."""
        pulse, skin = self.pulse, self.subject.skin
        delay = pulse.lag[:, 0, None, None] * u + pulse.lag[:, 1, None, None] * v
        wave = _over(pulse.amplitude) * (_over(moment.pulse) - delay * _over(moment.slope))
        tint = 0.5 * (skin / skin[:, 1:2]).sqrt() * pulse.colour
        return wave[:, :, None] * tint[:, None, :, None]

    def _to_head(self, moment, points, share):
        """Points in head units [B, T, P] x 2, of what follows a share of the head's movement."""
        x, y, roll, zoom, _, _, shake_x, shake_y = moment.pose[..., None].unbind(1)
        size, centre = _over(self.view.half_face), self.view.centre
        if moment.courses is not None:
            shift_x, shift_y = CameraLight.shift_in(moment.courses)[..., None].unbind(1)
            shake_x, shake_y = shake_x + shift_x, shake_y + shift_y
        dx = points[:, None, :, 0] - (centre[:, :1, None] + shake_x + share * size * x)
        dy = points[:, None, :, 1] - (centre[:, 1:, None] + shake_y + share * size * y)
        scale = size * (share * zoom).exp()
        cos, sin = (share * roll).cos() / scale, (share * roll).sin() / scale
        return cos * dx + sin * dy, cos * dy - sin * dx

    def _reflect_head(self, texture, moment, u, v, blush):
        """Reflection [B, T, 3, P] of the head times coverage squared, and coverage [B, T, 1, P].

        Turning the head moves the features inside its outline; opening the mouth moves the chin.
        """
        yaw, pitch = moment.pose[:, 4, :, None], moment.pose[:, 5, :, None]
        bulge = (1 - (u / 0.75) ** 2).clamp(min=0) * (1 - (v / 1.1) ** 2).clamp(min=0)
        fall = ((v - 0.5) / 0.16).clamp(0, 1) * (1 - (u / 0.8) ** 2).clamp(min=0)
        head = _sample(
            texture,
            (u - yaw * bulge) / HEAD_BOX[2],
            (v - pitch * bulge - _over(moment.jaw) * fall) / HEAD_BOX[3],
        )
        skin, specular = (0.85 * self.subject.skin).sqrt(), _over(self.light.specular)
        lid = skin[:, None, :, None] * head[:, :, 6:7] - head[:, :, 7:8]
        diffuse = head[:, :, :3] - blush * head[:, :, 4:5] + _over(moment.lid)[:, :, None] * lid
        gloss = specular * (1 + 3 * (yaw * u + pitch * v)).clamp(0, 3) * head[:, :, 5]
        covered = head[:, :, 3:4]
        return diffuse.square() + covered * gloss[:, :, None], covered

    def _sample_torso(self, texture, moment, points):
        """The torso's texture at points, [B, T, 5, P]."""
        x, y = self._to_head(moment, points, _over(self.motion.torso_share))
        _, top, right, bottom = TORSO_BOX
        return _sample(texture, x / right, (y - top) / (bottom - top) * 2 - 1)

    def _sample_room(self, texture, moment, points):
        """Root of reflectance [B, T, 3, P] of the room and of the object that moves in it."""
        sway_x, sway_y, path_x, path_y = moment.room[..., None].unbind(1)
        x, y = points[:, None, :, 0], points[:, None, :, 1]
        shake_x, shake_y = moment.pose[:, 6:, :, None].unbind(1)
        room = _sample(
            texture,
            (x - shake_x - sway_x + _MARGIN) / (_over(self.view.aspect) + 2 * _MARGIN) * 2 - 1,
            (y - shake_y - sway_y + _MARGIN) / (1 + 2 * _MARGIN) * 2 - 1,
        )
        ox, oy, radius, *colour, opacity = self.room.object[:, :, None, None].unbind(1)
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
