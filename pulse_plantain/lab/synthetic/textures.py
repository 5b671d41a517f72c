"""Textures of tone, torso and room, drawn for a batch of clips; the head's is in head.py.

Channels come first. Colours are square roots of linear reflectance, premultiplied by coverage;
nothing here moves or pulses. The root is close to a camera's response, so area means of a texture
are area means of what the camera sees, and layers are blended as they are, up to a mild curve.
"""

import torch
from torch import Tensor

from .brush import SIZE, Box, colour_noise, fill_inside, fill_spot, make_grid, paint
from .draw import Draw
from .skin import FITZPATRICK_MELANIN, skin_reflectance

TORSO_BOX: Box = (-3.2, 0.2, 3.2, 6.6)
"""What the torso texture covers, in the head's units around the head's origin."""


def draw_tone(draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Skin of B subjects: type [B] in 1..6, melanin [B], and linear colour [B, 3]."""
    borders = torch.tensor(FITZPATRICK_MELANIN)
    position = draw.uniform(0, 6)
    kind = position.long().clamp(0, 5)
    melanin = borders[kind] * (borders[kind + 1] / borders[kind]) ** (position - kind)
    return kind + 1, melanin, skin_reflectance(melanin, draw.uniform(0.008, 0.018))


def draw_torso(draw: Draw, skin: Tensor) -> Tensor:
    """Neck, shoulders and clothes of B clips.

    Args:
        draw: random numbers of the clips.
        skin: [B, 3] linear skin colour.

    Returns:
        [B, 5, SIZE, SIZE]: red, green, blue (roots), coverage, blood (as in head.draw_head).
    """
    x, y = make_grid(TORSO_BOX)
    neck_width, collar = draw.uniform_map(0.38, 0.52), draw.uniform_map(1.2, 1.55)
    shoulders = draw.uniform_map(1.7, 2.5)
    neck = fill_inside(x.abs() - neck_width - 0.25 * (y - 1.1).clamp(0) ** 2, 0.08)
    # The neck ends behind head and collar.
    neck = neck * fill_inside(0.55 - y, 0.2) * fill_inside(y - 2.2, 0.3)
    slope = collar + 0.15 + draw.uniform_map(0.3, 0.8) * (x.abs() / shoulders) ** 2.5
    body = fill_inside(slope - y, 0.1) * fill_inside(x.abs() - shoulders, 0.15)
    opening = draw.uniform_map(0.0, 0.5) * (1 - (x / (1.3 * neck_width)) ** 2)
    neckline = fill_inside(y - collar - opening, 0.08)
    bare = torch.maximum(neck * fill_inside(y - collar - 0.5, 0.3), body) * neckline
    cover = torch.maximum(neck, body)

    noise = colour_noise(draw.noise(1, SIZE, SIZE), draw.uniform_map(0.5, 1.8)[:, None])[:, 0]
    clothes = _draw_clothes(draw, x, y, noise)
    shadow = 1 - 0.5 * fill_spot(x, (y - 1.0) / 0.6, 0, 0, 0.5)
    flesh = skin[:, :, None, None] * (shadow * (1 + 0.03 * noise))[:, None]
    picture = torch.lerp(clothes, flesh, bare[:, None])
    picture = picture.clamp(0.002, 1.0).sqrt() * cover[:, None]
    blood = picture[:, 1] * bare * draw.uniform_map(0.15, 0.6)
    return torch.cat([picture, cover[:, None], blood[:, None]], 1)


def _draw_clothes(draw, x, y, noise):
    """Linear colour [B, 3, SIZE, SIZE] of fabrics, some of them striped."""
    angle, period = draw.uniform_map(0, 3.1416), draw.log_uniform_map(0.12, 1.0)
    stripe = torch.sin(6.2832 * (x * angle.cos() + y * angle.sin()) / period)
    stripe = stripe * draw.coin_map(0.4) * draw.uniform_map(0.05, 0.6)
    colour = draw.log_uniform(0.01, 0.7)[:, None] * draw.uniform(0.4, 1.0, 3)
    weave = (1 + stripe + draw.uniform_map(0.03, 0.2) * noise).clamp(0.1)
    return colour[:, :, None, None] * weave[:, None]


def draw_room(draw: Draw, skin: Tensor) -> Tensor:
    """Room behind the head, over the whole picture and a margin.

    Args:
        draw: random numbers of the clips.
        skin: [B, 3] linear skin colour; a quarter of the rooms has walls of about that colour.

    Returns:
        [B, 3, SIZE, SIZE]: red, green, blue (roots).
    """
    x, y = make_grid((0, 0, 1, 1))
    noise = colour_noise(draw.noise(2, SIZE, SIZE), draw.uniform(0.6, 2.0, 2, 1, 1))
    wall = draw.log_uniform(0.03, 0.8)[:, None] * draw.uniform(0.5, 1.0, 3)
    alike = draw.coin(0.25)[:, None]
    wall = torch.lerp(wall, skin * draw.uniform(0.6, 1.5)[:, None], alike)
    angle = draw.uniform_map(0, 6.2832)
    away = (x - 0.5) * angle.cos() + (y - 0.5) * angle.sin()
    ramp = 1 + draw.uniform_map(0, 0.5) * away
    contrast = draw.log_uniform_map(0.02, 0.5)
    picture = wall[:, :, None, None] * (ramp * (1 + contrast * noise[:, 0]).clamp(0.1))[:, None]
    tint = draw.normal(3)[:, :, None, None] * draw.uniform(0, 0.2)[:, None, None, None]
    picture = picture * (1 + tint * noise[:, 1:2])
    for _ in range(4):
        picture = _paint_thing(draw, picture, x, y)
    return picture.clamp(0.002, 1.0).sqrt()


def _paint_thing(draw, picture, x, y):
    """The picture with a rectangle in some rooms: furniture, a frame, a window."""
    cx, cy = draw.uniform_map(0, 1), draw.uniform_map(0, 1)
    rx, ry = draw.uniform_map(0.03, 0.3), draw.uniform_map(0.03, 0.4)
    edge = torch.maximum((x - cx).abs() - rx, (y - cy).abs() - ry)
    colour = draw.log_uniform(0.02, 0.9)[:, None] * draw.uniform(0.3, 1.0, 3)
    return paint(picture, colour, fill_inside(edge, 0.015) * draw.coin_map(0.6))
