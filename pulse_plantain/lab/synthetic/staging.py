"""Scenes drawn from seeds: who is there, how they move, the light, the room and the camera.

The order in which numbers are drawn is part of what a seed means. Some parts of motion, light,
room and camera are drawn after everything else; their functions return what is drawn first as a
``partial`` of the class, and :func:`draw_scenes` completes it.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from .cameras import draw_camera_light
from .draw import LIGHTS, Draw, subject_of
from .head import draw_head
from .scene import KINDS, Camera, Layers, Light, Motion, Pulse, Room, Scenes, Subject, View
from .signals import TAU, Drift, FrameClock, Heart, Jerks, Rhythm
from .skin import PULSE_COLOUR
from .textures import draw_room, draw_tone, draw_torso

_SHARES = (0.80, 0.07, 0.06, 0.025, 0.025, 0.02)  # of the kinds

_SMALLER = (0.35, 1.1)  # factor of the pulses before real cameras
_LESS_RED = (0.5, 1.0)  # factor of the pulse that the sensor's red sees
_CALMER = 0.25  # factor of the first recipe's moving light and of its movements
_LAMPS = {"no pulse": 0.3, "no face": 0.3, "periodic light": 0.6, "periodic motion": 0.1}

# Shares of the liveliness in the channels of a pose; shake has its own.
_POSE_SCALE = (1.0, 0.7, 0.3, 0.25, 0.5, 0.4, 0.0, 0.0)


def draw_scenes(
    seeds: Iterable[int],
    webcam: bool = False,
    kinds: bool = True,
    crops: bool = False,
    resting: float = 0.6,
    light: str = "plain",
) -> Scenes:
    """Draw one scene per seed.

    Args:
        seeds: B integers >= 0 (see draw.SEEDS).
        webcam: usual webcam framing and gentler extremes (for full frames), else any framing.
        kinds: also draw clips without a pulse (about a fifth); else every clip has one.
        crops: see most clips through a crop round the face; else always whole pictures.
        resting: share of the hearts near rest, see :meth:`Heart.draw`.
        light: one of draw.LIGHTS; all but "plain" change the scenes of the same seeds.

    Raises:
        ValueError: if the light is unknown.
    """
    scenes = _draw_plain_scenes(seeds, webcam, kinds, crops, resting)
    if light not in LIGHTS:
        raise ValueError(f"light must be one of {', '.join(LIGHTS)}, got {light!r}")
    return scenes if light == LIGHTS[0] else _put_before_camera(scenes, light)


def _draw_plain_scenes(seeds, webcam, kinds, crops, resting):
    """The scenes of :func:`draw_scenes` in plain light."""
    seeds = [int(seed) for seed in seeds]
    draw = Draw(seeds, stream=2)
    cast = _choose_kinds(draw, kinds)
    subject, head = _draw_people(seeds)
    textures = _draw_textures(draw, cast, subject, head)
    heart = Heart.draw(draw, resting)
    pulse = _draw_pulse(draw, cast, subject, webcam)
    aspect, half_face, centre = _place_face(draw, webcam)
    motion = _draw_motion(draw, cast, half_face, webcam)
    ambient, side = _draw_lamps(draw)
    light = _draw_light(draw, cast, ambient, side, webcam)
    room = _draw_things(draw, cast, aspect)
    camera = _draw_camera(draw, cast, textures.room, subject.skin, ambient + 0.5 * side)

    motion = motion(
        drift=Drift.draw(draw, 8, 0.03, 1.0),
        jerks=Jerks.draw(draw, 8),
        torso_share=draw.uniform(0.1, 0.6),
    )
    light = light(
        side_angle=draw.uniform(0, TAU),
        gradient=draw.normal(2) * 0.25,
        drift=Drift.draw(draw, 8, 0.03, 1.5),
        jerks=Jerks.draw(draw, 8),
    )
    room = room(drift=Drift.draw(draw, 2, 0.05, 1.0), rhythm=Rhythm.draw(draw, 3, 0.2, 3.0))
    rows, clock = draw.log_uniform(120, 960).round(), FrameClock.draw(draw)
    whole = torch.stack([0 * aspect, 0 * aspect, aspect, 1 + 0 * aspect], -1)
    box = _draw_crop(draw, whole, half_face, centre) if crops else whole
    camera = camera(clock=clock, codec=_draw_codec(draw))
    view = View(aspect, half_face, centre, rows, box)
    return Scenes(seeds, cast, subject, textures, heart, pulse, view, motion, light, room, camera)


def _put_before_camera(scenes, light):
    """The scenes with smaller pulses of more shapes and what cameras.py adds, from streams of
    their own."""
    draw = Draw(scenes.seeds, stream=5)
    plain, pulse, view = scenes.light, scenes.pulse, scenes.view
    smaller, lit = draw.log_uniform(*_SMALLER), _choose_lamps(draw, scenes.kinds, light)
    skin = scenes.camera.exposure * (plain.ambient + 0.5 * plain.side) * scenes.subject.skin
    fps = scenes.camera.clock.fps
    added = draw_camera_light(draw, skin, view.half_face, view.aspect, fps, lit)
    colour = pulse.colour.clone()
    colour[:, 0] *= draw.uniform(*_LESS_RED)
    shares = _CALMER * plain.shares
    shares[:, :, 2] *= 1 - lit[:, None]  # the lamp's rhythm takes the place of the other one
    kinds, heart, amplitude = scenes.kinds, scenes.heart, pulse.amplitude * smaller
    if light == "lamp":
        kinds = [KINDS[1] if kind == KINDS[0] else kind for kind in kinds]
        amplitude = 0 * amplitude
    else:
        heart = heart.vary(Draw(scenes.seeds, stream=9))
    return replace(
        scenes,
        kinds=kinds,
        heart=heart,
        pulse=replace(pulse, amplitude=amplitude, colour=added.colour_pulse(colour, skin)),
        light=replace(plain, shares=shares),
        motion=replace(scenes.motion, shares=_CALMER * scenes.motion.shares),
        camera_light=added,
    )


def _choose_lamps(draw, cast, light):
    """float32 [B]: 1 where a lamp beats evenly over the whole picture, else 0."""
    chance = torch.tensor([0.5 if light == "lamp" else _LAMPS.get(kind, 0.0) for kind in cast])
    return (draw.uniform() < chance).float()


def _choose_kinds(draw, all_kinds):
    """Names of KINDS, one a clip."""
    chance = draw.uniform()
    borders = torch.tensor(_SHARES).cumsum(0)[:-1]
    index = torch.bucketize(chance, borders)
    return [KINDS[i] if all_kinds else KINDS[0] for i in index.tolist()]


def _mark(cast, *kinds):
    """float32 [B]: 1 where the clip is of one of these kinds, else 0."""
    return torch.tensor([float(kind in kinds) for kind in cast])


def _draw_people(seeds):
    """The subjects and their head textures; seeds of one subject get the same."""
    people = [subject_of(seed) for seed in seeds]
    unique = sorted(set(people))
    draw = Draw(unique, stream=1)
    skin_type, melanin, skin = draw_tone(draw)
    head = draw_head(draw, skin, melanin)
    who = torch.tensor([unique.index(person) for person in people])
    return Subject(skin_type[who], melanin[who], skin[who]), head[who]


def _draw_textures(draw, cast, subject, head):
    """The head that is given, a torso and a room; nobody is there where there is no face."""
    torso = draw_torso(draw, subject.skin)
    room = draw_room(draw, subject.skin)
    present = 1 - _mark(cast, "no face", "noise")[:, None, None, None]
    return Layers(head * present, torso * present, room)


def _draw_pulse(draw, cast, subject, webcam):
    """How the heart is seen: weaker the darker the skin, and not at all in some kinds of clips."""
    low, high = (0.008, 0.04) if webcam else (0.002, 0.04)
    amplitude = draw.log_uniform(low, high) * (1 - 0.8 * subject.melanin) * _mark(cast, "pulse")
    colour = torch.tensor(PULSE_COLOUR) * (1 + 0.12 * draw.normal(3).clamp(-2, 2))
    return Pulse(amplitude, colour / colour[:, 1:2], draw.uniform(-0.015, 0.015, 2))


def _place_face(draw, webcam):
    """Where the face is: (aspect [B], half face height [B], centre [B, 2])."""
    aspect = torch.tensor([4 / 3, 4 / 3, 16 / 9, 0.75, 1.0])[draw.uniform(0, 4.999).long()]
    size, across, down = draw.uniform(0, 1, 3).unbind(-1)
    if webcam:
        half = 0.5 * (0.38 + 0.37 * size)
        return aspect, half, torch.stack([aspect * (0.4 + 0.2 * across), 0.42 + 0.14 * down], -1)
    half = 0.5 * 0.2 * 5**size
    spread_x, spread_y = (aspect - half).clamp(min=0.1), (1 - half).clamp(min=0.1)
    x, y = aspect / 2 + spread_x * (across - 0.5), 0.5 + spread_y * (down - 0.5)
    return aspect, half, torch.stack([x, y], -1)


def _draw_motion(draw, cast, half_face, webcam) -> partial[Motion]:
    """All of the motion but drift, jerks and the torso's share."""
    rest_pose = draw.normal(8).clamp(-2, 2) * torch.tensor([0, 0, 0.07, 0, 0.08, 0.06, 0, 0])
    shares, scale = _draw_motion_shares(draw, cast, half_face, webcam)
    rhythm = _draw_rhythm(draw, 0.2, 4.0, _mark(cast, "periodic motion"))
    beats = draw.coin(0.5) * _mark(cast, "pulse", "no pulse") * draw.log_uniform(0.0003, 0.004)
    still = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0])  # no camera shakes with the heart
    cardiac = beats[:, None, None] * draw.normal(8, 2) * (scale * still)[..., None]
    return partial(
        Motion,
        rest_pose=rest_pose,
        shares=shares,
        rhythm=rhythm,
        cardiac=cardiac,
        blinks=torch.stack([draw.uniform(0, 20, 4), draw.log_uniform(4, 40, 4)], -1),
        talk=Rhythm.draw(draw, 1, 1.0, 3.0),
        talk_size=draw.coin(0.35) * draw.uniform(0.01, 0.07),
    )


def _draw_motion_shares(draw, cast, half_face, webcam):
    """Shares [B, 8, 3] of drift, jerks and rhythm in the pose, and its channels' scales [B, 8]."""
    rhythmic = _mark(cast, "periodic motion")
    low, high = (0.008, 0.15) if webcam else (0.003, 0.3)
    liveliness = draw.log_uniform(low, high)
    liveliness = torch.where(rhythmic > 0, draw.log_uniform(0.03, 0.3), liveliness)
    shares = draw.uniform(0, 1, 3) ** 2
    always = torch.ones_like(liveliness)
    shares = shares * torch.stack([always, draw.coin(0.7), draw.coin(0.5)], -1)
    mostly_rhythm = torch.tensor([[0.05, 0.05, 1.0]]).expand_as(shares)
    shares = torch.lerp(shares, mostly_rhythm, rhythmic[:, None])
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=0.2)
    scale = torch.tensor(_POSE_SCALE) * torch.exp(0.5 * draw.normal(8))
    shake = draw.coin(0.25)[:, None] * half_face[:, None] * draw.uniform(0.05, 0.5, 2)
    scale = torch.cat([scale[:, :6], shake], 1)
    return liveliness[:, None, None] * scale[:, :, None] * shares[:, None], scale


def _draw_rhythm(draw, low, high, periodic):
    """Rhythm of 8 channels, at a pulse's own rates (0.7 to 3 Hz) where ``periodic`` [B] is 1."""
    rhythm = Rhythm.draw(draw, 8, low, high)
    frequency = torch.where(periodic > 0, draw.log_uniform(0.7, 3.0), rhythm.frequency)
    return replace(rhythm, frequency=frequency)


def _draw_lamps(draw) -> tuple[Tensor, Tensor]:
    """Ambient and side light, each [B, 3]."""
    ambient = draw.uniform(0.6, 1.0)[:, None] * torch.exp(0.15 * draw.normal(3))
    side = draw.coin(0.7)[:, None] * draw.uniform(0.1, 1.2)[:, None]
    return ambient, side * ambient * torch.exp(0.2 * draw.normal(3))


def _draw_light(draw, cast, ambient, side, webcam) -> partial[Light]:
    """All of the light but the side's angle, the gradient, drift and jerks."""
    periodic = _mark(cast, "periodic light")
    drift = draw.log_uniform(0.001, 0.06, 8)
    jerks = draw.coin(0.35)[:, None] * draw.log_uniform(0.001, 0.06, 8)
    flickers = torch.maximum(draw.coin(0.3), periodic)
    strong, weak = draw.log_uniform(0.002, 0.05), draw.log_uniform(0.0003, 0.008)
    rhythm = (flickers * torch.where(periodic > 0, strong, weak))[:, None].expand(-1, 8)
    shares = torch.stack([drift, jerks, rhythm], -1)
    tinted = torch.tensor([1, 0.25, 0.25, 0.25, 1, 0.4, 0.4, 0.4])
    return partial(
        Light,
        ambient=ambient,
        side=side,
        shares=shares * tinted[:, None] * (0.6 if webcam else 1),
        rhythm=_draw_rhythm(draw, 0.1, 5.0, periodic),
        specular=draw.uniform(0.0, 0.12),
    )


def _draw_things(draw, cast, aspect) -> partial[Room]:
    """All of the room but drift and rhythm. Where there is no face, most rooms sway."""
    swaying = draw.coin(0.8) * draw.log_uniform(0.002, 0.1)
    still = draw.coin(0.05) * 0.01
    sway = torch.where(_mark(cast, "no face") > 0, swaying, still)
    path = draw.coin(0.35) * draw.log_uniform(0.02, 0.6)
    thing = [
        (draw.uniform(0, 1) * aspect)[:, None],
        draw.uniform(0, 1, 1),
        draw.log_uniform(0.04, 0.4)[:, None],
        draw.log_uniform(0.02, 1.0)[:, None] * draw.uniform(0.2, 1, 3),
        draw.coin(0.5)[:, None],
    ]
    size = torch.stack([sway, sway, path, path], -1)
    return partial(Room, size=size, object=torch.cat(thing, -1))


def _draw_camera(draw, cast, room, skin, lit) -> partial[Camera]:
    """All of the camera but clock and codec. It meters walls and faces, where there are any, alike.

    Args:
        draw: random numbers of the clips.
        cast: kinds of the clips.
        room: [B, 3, SIZE, SIZE] texture.
        skin: [B, 3] linear colour.
        lit: [B, 3] light on both.
    """
    gamma = draw.uniform(1.6, 2.4)
    walls = room.mean((2, 3)).square()
    share = 0.5 * (1 - _mark(cast, "no face", "noise")[:, None])
    metered = (torch.lerp(walls, skin, share) * lit).mean(-1)
    level = draw.uniform(0.3, 0.6) ** gamma
    balance = (lit.mean(-1, keepdim=True) / lit) ** draw.uniform(0.4, 1.1)[:, None]
    noise = draw.log_uniform(0.5, 6.0) / 255 * torch.where(_mark(cast, "noise") > 0, 3.0, 1.0)
    bright = draw.uniform(0.2, 0.8)
    return partial(
        Camera,
        exposure=(level / metered)[:, None] * balance,
        gamma=gamma,
        read_noise=noise * (1 - bright).sqrt(),
        shot_noise=noise * bright.sqrt(),
    )


def _draw_crop(draw, whole, half_face, centre):
    """Boxes [B, 4]: for two thirds of the clips a crop round the face, else the whole picture."""
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
    """What fast.compress takes, [B, 5]; a third of the clips has no codec."""
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
