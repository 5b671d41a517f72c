"""The texture of a head, painted part by part from skin to glasses for a batch of subjects.

Nothing here moves or pulses; how strongly each place would pulse is one of the texture's channels.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from .brush import (
    SIZE,
    Box,
    colour_noise,
    fill_ellipse,
    fill_inside,
    fill_spot,
    make_grid,
    paint,
    power_norm,
)
from .draw import Draw

HEAD_BOX: Box = (-1.6, -1.6, 1.6, 1.6)
"""What the head texture covers in head units (half a face height, chin at +1)."""


class _Grid(NamedTuple):
    """Texels in head units: u [1, 1, SIZE], v [1, SIZE, 1], and |u|, as both halves are alike."""

    u: Tensor
    v: Tensor
    aside: Tensor


@cache
def _make_grid(device):
    with device:
        u, v = make_grid(HEAD_BOX)
    return _Grid(u, v, u.abs())


def _on_head():
    return _make_grid(torch.get_default_device())


_HAIR = torch.tensor(
    [[0.01, 0.008, 0.007], [0.03, 0.016, 0.01], [0.09, 0.045, 0.02], [0.35, 0.24, 0.11],
     [0.22, 0.07, 0.02], [0.35, 0.34, 0.33]]
)  # black, dark brown, brown, blond, red, grey  # fmt: skip


@dataclass(frozen=True)
class _Noise:
    """Unit-variance noise [B, SIZE, SIZE]: fine and broad mottle of skin, strands of hair."""

    fine: Tensor
    broad: Tensor
    strands: Tensor


@dataclass(frozen=True)
class _Outline:
    """Half width [B, 1, 1], half width by height [B, SIZE, 1], coverage of face and ears."""

    half_width: Tensor
    width: Tensor
    face: Tensor
    ears: Tensor


@dataclass(frozen=True)
class _Features:
    """Places [B, 1, 1] of eyes, nose and mouth in head units, and the nose as a soft spot."""

    nose_y: Tensor
    nose: Tensor
    eye_x: Tensor
    eye_y: Tensor
    mouth_y: Tensor
    mouth_width: Tensor


@dataclass(frozen=True)
class _Covers:
    """What hides the skin, each a coverage [B, SIZE, SIZE]."""

    slit: Tensor
    beard: Tensor
    brows: Tensor
    eyes: Tensor
    hair: Tensor
    glasses: Tensor


def draw_head(draw: Draw, skin: Tensor, melanin: Tensor) -> Tensor:
    """Head texture of B subjects.

    Args:
        draw: random numbers of the subjects.
        skin: [B, 3] linear skin colour.
        melanin: [B] melanosome fraction.

    Returns:
        [B, 8, SIZE, SIZE]: red, green, blue (roots), coverage; blood = green * pulse strength
        (0..1); specular map; eye opening (what a closing lid covers) and the mean colour there.
    """
    noise = _draw_noise(draw)
    outline = _draw_outline(draw)
    features, shade = _draw_relief(draw, outline, noise)
    picture = skin[:, :, None, None] * shade[:, None]
    picture = _tint_skin(draw, picture, outline, features, noise)
    picture, lips, slit = _paint_mouth(draw, picture, skin, features)
    beard = _draw_beard(draw, features, lips, noise)
    hair_colour = _draw_hair_colour(draw, melanin)
    picture = paint(picture, hair_colour, beard)
    picture, brows = _paint_brows(draw, picture, hair_colour, features)
    picture, eyes = _paint_eyes(draw, picture, hair_colour, features)
    picture, hair = _paint_hair(draw, picture, hair_colour, outline, noise)
    picture, glasses = _paint_glasses(draw, picture, features)
    covers = _Covers(slit, beard, brows, eyes, hair, glasses)

    head = torch.maximum(torch.maximum(outline.face, outline.ears), hair)
    bare = _find_bare_skin(covers)
    strength = _grade_pulse(bare, outline, noise)
    gloss = _draw_gloss(draw, features, noise) * (bare * outline.face + 0.2 * hair)
    picture = picture.clamp(0.002, 1.0).sqrt() * head[:, None]
    seen = eyes * picture.mean(1)
    extra = [head, picture[:, 1] * strength, gloss * head, eyes * head, seen]
    return torch.cat([picture, torch.stack(extra, 1)], 1)


def _draw_noise(draw):
    white = draw.noise(2, SIZE, SIZE)
    exponents = torch.stack([draw.uniform_map(0.4, 1.0), draw.uniform_map(1.4, 2.2)], 1)
    mottle = colour_noise(white, exponents)
    return _Noise(mottle[:, 0], mottle[:, 1], colour_noise(white[:, 0], 0.7, 8.0))


def _draw_outline(draw):
    u, v, aside = _on_head()
    half_width, jaw = draw.uniform_map(0.64, 0.76), draw.uniform_map(0.12, 0.4)
    narrowing = 1 - jaw * v.clamp(min=0) ** 2.2 - 0.06 * (v + 0.1).clamp(max=0).abs()
    width = half_width * narrowing
    skull = 2.0 + 0.5 * (v < 0)  # rounder above than an ellipse
    face = fill_inside((power_norm(u / width, v, skull, 1e-9) - 1) * half_width, 0.05)
    ear_y = draw.uniform_map(-0.05, 0.1)
    ears = fill_ellipse(aside, v, half_width + 0.02, ear_y, 0.09, 0.2)
    return _Outline(half_width, width, face, ears)


def _draw_relief(draw, outline, noise):
    """Where the features are, and the light and dark [B, SIZE, SIZE] that they and pores make."""
    u, v, aside = _on_head()
    shade = 1.05 - draw.uniform_map(0.1, 0.4) * (u / outline.width) ** 2
    shade = shade - draw.uniform_map(-0.05, 0.15) * v
    nose_y = draw.uniform_map(0.18, 0.3)
    nose = fill_spot(u, (v - nose_y) / 2.2, 0, 0, 0.07)
    shade = shade + 0.12 * nose - 0.14 * fill_spot(aside, (v - nose_y) / 1.6, 0.14, 0, 0.05)
    shade = shade - 0.2 * fill_spot(u, (v - nose_y - 0.17) / 0.35, 0, 0, 0.13)
    eye_x, eye_y = draw.uniform_map(0.24, 0.33), draw.uniform_map(-0.16, -0.04)
    sockets = fill_spot(aside, (v - eye_y + 0.02) / 0.7, eye_x, 0, 0.12)
    mouth_y, mouth_width = draw.uniform_map(0.5, 0.62), draw.uniform_map(0.17, 0.28)
    shade = shade - draw.uniform_map(0.05, 0.22) * sockets
    shade = shade - 0.1 * fill_spot(u, (v - mouth_y - 0.16) / 0.5, 0, 0, 0.12)
    pores = 1 + draw.uniform_map(0.008, 0.03) * noise.fine
    shade = shade * (pores + draw.uniform_map(0.01, 0.07) * noise.broad)
    return _Features(nose_y, nose, eye_x, eye_y, mouth_y, mouth_width), shade


def _tint_skin(draw, picture, outline, features, noise):
    """The picture with flushed cheeks, nose and ears, and with freckles on some subjects."""
    u, v, aside = _on_head()
    flush = (
        draw.uniform_map(0.0, 0.25) * fill_spot(aside, v, 0.36, 0.24, 0.15)
        + draw.uniform_map(0, 0.2) * features.nose
        + 0.06 * noise.broad
        + draw.uniform_map(0.0, 0.3) * outline.ears
    )
    picture = picture * torch.stack([1 + 0 * flush, 1 - 0.5 * flush, 1 - 0.4 * flush], 1)
    freckles = draw.coin_map(0.25) * (noise.fine > 1.6).float() * fill_spot(u, v, 0, 0.1, 0.4)
    return picture * (1 - freckles[:, None] * torch.tensor([0.2, 0.35, 0.4])[:, None, None])


def _paint_mouth(draw, picture, skin, features):
    """The picture with a mouth, the lips' coverage and that of the slit between them."""
    u, v, _ = _on_head()
    colour = skin * torch.tensor([0.85, 0.5, 0.55])
    curve = draw.uniform_map(-0.06, 0.04) * (1 - (u / features.mouth_width) ** 2)
    middle, width = features.mouth_y - curve, features.mouth_width
    lips = fill_ellipse(u, v, 0, middle, width, draw.uniform_map(0.05, 0.09))
    picture = paint(picture, colour, lips * draw.uniform_map(0.4, 1.0))
    slit = fill_ellipse(u, v, 0, middle, width * 0.95, 0.018, 0.03)
    return paint(picture, skin * 0.12, 0.8 * slit), lips, slit


def _draw_beard(draw, features, lips, noise):
    _, v, aside = _on_head()
    beard = draw.coin_map(0.22) * draw.uniform_map(0.3, 0.95)
    beard = beard * fill_inside(features.mouth_y - 0.2 - v + 0.25 * (aside < 0.1), 0.2)
    return (beard * (1 - lips) * (1 + 0.3 * noise.fine).clamp(0, 1)).clamp(0, 1)


def _draw_hair_colour(draw, melanin):
    """Linear colours [B, 3]; dark skin gets no blond or red hair."""
    kind = draw.uniform(0, 5.999).long()
    dark = (melanin > 0.1) & (kind > 2) & (kind < 5)
    return _HAIR.to(kind.device)[torch.where(dark, 0, kind)] * draw.uniform(0.6, 1.5)[:, None]


def _paint_brows(draw, picture, hair_colour, features):
    _, v, aside = _on_head()
    brow_y = features.eye_y - draw.uniform_map(0.13, 0.2)
    arch = draw.uniform_map(0.0, 0.06) * ((aside - features.eye_x) / 0.15) ** 2
    radii = draw.uniform_map(0.13, 0.19), draw.uniform_map(0.02, 0.04)
    brows = fill_ellipse(aside, v - arch, features.eye_x, brow_y, *radii)
    return paint(picture, hair_colour * 0.7, brows * draw.uniform_map(0.4, 0.95)), brows


def _paint_eyes(draw, picture, hair_colour, features):
    """The picture with eyes, irises and lashes, and the coverage of the opening between lids."""
    u, v, aside = _on_head()
    x, y = features.eye_x, features.eye_y
    width, height = draw.uniform_map(0.1, 0.135), draw.uniform_map(0.04, 0.065)
    eyes = fill_ellipse(aside, v, x, y, width, height, 0.03)
    white = torch.tensor([[0.5, 0.48, 0.46]]).expand_as(hair_colour)
    picture = paint(picture, white, eyes)
    iris_colour = draw.uniform(0.01, 0.12, 3) * torch.tensor([1.0, 0.8, 0.7])
    gaze = draw.uniform_map(-0.03, 0.03)
    side = torch.where(u < 0, -1.0, 1.0)
    iris = fill_ellipse(u, v, side * x + gaze, y, 0.055, 0.055, 0.03)
    picture = paint(picture, iris_colour, iris * eyes)
    lashes = fill_ellipse(aside, v, x, y - 0.9 * height, width, 0.016, 0.03)
    return paint(picture, hair_colour * 0.4, 0.8 * lashes), eyes


def _paint_hair(draw, picture, hair_colour, outline, noise):
    """The picture with a cap of hair over a fringe, some with long locks; some heads are bald."""
    u, v, aside = _on_head()
    half = outline.half_width
    hairline, swept = draw.uniform_map(-0.72, -0.45), draw.uniform_map(-0.25, 0.35)
    length = draw.uniform_map(-0.3, 1.5)
    cap_width, cap_height = half * draw.uniform_map(1.06, 1.2), draw.uniform_map(1.0, 1.12)
    cap_radius = power_norm(u / cap_width, (v + 0.06) / cap_height, 2.6)
    cap = fill_inside((cap_radius - 1) * half, 0.06)
    fringe = hairline + draw.uniform_map(0.1, 0.6) * u**2 / half**2 + swept * u * 0.3
    radii = half * draw.uniform_map(1.05, 1.4), draw.uniform_map(1.1, 1.35)
    locks = fill_ellipse(u, v, 0, 0.2, *radii, 0.06)
    temples = fill_inside(half * draw.uniform_map(0.86, 0.98) - aside, 0.1)
    temples = temples * fill_inside(v - length, 0.2)
    hair = torch.maximum(cap * fill_inside(v - fringe - 0.03 * noise.strands, 0.08), cap * temples)
    long = draw.coin_map(0.35) * locks * temples * fill_inside(-v - 0.2, 0.2)
    hair = torch.maximum(hair, long) * (1 - draw.coin_map(0.12))
    mane = hair_colour[:, :, None, None] * (1 + 0.35 * noise.strands[:, None]).clamp(min=0.2)
    return torch.lerp(picture, mane, hair[:, None]), hair


def _paint_glasses(draw, picture, features):
    _, v, aside = _on_head()
    x, y = (aside - features.eye_x) / 0.19, (v - features.eye_y - 0.02) / 0.15
    rim = fill_inside((power_norm(x, y, 3) - 1).abs() * 0.15 - 0.012, 0.03)
    bridge = (aside < 0.1).float() * fill_inside((v - features.eye_y).abs() - 0.015, 0.03)
    glasses = draw.coin_map(0.2) * torch.maximum(rim, bridge)
    return paint(picture, draw.uniform(0, 0.15, 3), glasses), glasses


def _find_bare_skin(covers):
    """Share [B, SIZE, SIZE] of the skin that nothing covers."""
    bare = (1 - covers.hair) * (1 - covers.eyes) * (1 - 0.9 * covers.slit)
    return bare * (1 - 0.85 * covers.beard) * (1 - 0.7 * covers.brows) * (1 - covers.glasses)


def _grade_pulse(bare, outline, noise):
    """Pulse strength [B, SIZE, SIZE] in 0..1: most on cheeks and forehead, least on the ears."""
    u, v, aside = _on_head()
    strength = 0.62 + 0.12 * noise.broad + 0.3 * fill_spot(aside, v, 0.34, 0.28, 0.2)
    strength = strength + 0.28 * fill_spot(u, (v + 0.5) / 0.6, 0, 0, 0.35) - 0.3 * outline.ears
    strength = strength.clamp(0.15) * bare * (outline.face + 0.5 * outline.ears).clamp(max=1)
    return strength / strength.amax((1, 2), keepdim=True)


def _draw_gloss(draw, features, noise):
    """How strongly [B, SIZE, SIZE] forehead, nose and cheekbones shine."""
    u, v, aside = _on_head()
    gloss = (
        fill_spot(u, (v + 0.45) / 0.8, draw.uniform_map(-0.2, 0.2), 0, 0.16)
        + 0.9 * fill_spot(u, (v - features.nose_y) / 2, 0, 0, 0.05)
        + 0.7 * fill_spot(aside, v, 0.36, 0.12, 0.1)
        + 0.15
    )
    return (gloss * (1 + 0.15 * noise.fine)).clamp(0)
