"""Textures of head, torso and background, drawn for a batch of subjects.

Channels first, colours as square roots of linear reflectance, premultiplied by coverage; nothing
here moves or pulses. The root is close to a camera's response, so area means of a texture are area
means of what the camera sees, and layers are blended as they are, up to a mild curve.
"""

import torch

from .skin import FITZPATRICK_MELANIN, skin_reflectance

SIZE = 128
"""Texels along a texture's side."""

HEAD_BOX = (-1.6, -1.6, 1.6, 1.6)
"""(left, top, right, bottom) of the head texture in head units (half a face height, chin at +1)."""

TORSO_BOX = (-3.2, 0.2, 3.2, 6.6)
"""The same of the torso texture, in the same units around the same origin."""

_HAIR = torch.tensor(
    [[0.01, 0.008, 0.007], [0.03, 0.016, 0.01], [0.09, 0.045, 0.02], [0.35, 0.24, 0.11],
     [0.22, 0.07, 0.02], [0.35, 0.34, 0.33]]
)  # black, dark brown, brown, blond, red, grey  # fmt: skip


def box_grid(box, size=SIZE):
    """Texel centres x [1, 1, size], y [1, size, 1] of a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    centres = (torch.arange(size) + 0.5) / size
    x, y = left + (right - left) * centres, top + (bottom - top) * centres
    return x[None, None], y[None, :, None]


def _inside(distance, softness):
    """Coverage 1 where distance << 0 and 0 where >> 0, a smooth step as wide as softness."""
    step = (0.5 - distance / softness).clamp(0, 1)
    return step * step * (3 - 2 * step)


def _ellipse(x, y, cx, cy, rx, ry, softness=0.04):
    """Coverage of an ellipse, its edge about ``softness`` wide."""
    radius = torch.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + 1e-9)
    return _inside((radius - 1) * (ry if softness < 0.1 else rx), softness)


def _power_norm(x, y, power):
    """(|x|^p + |y|^p)^(1/p): 1 on the outline of a superellipse."""
    return (x.abs() ** power + y.abs() ** power + 1e-9) ** (1 / power)


def _spot(x, y, cx, cy, width):
    """Gaussian spot of height 1."""
    return torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))


def coloured_noise(white, exponent, stretch=1.0):
    """White noise [..., H, W] -> unit-variance noise of amplitude spectrum 1 / f^exponent.

    ``exponent`` is broadcast over [..., 1, 1]; ``stretch`` > 1 draws it out along y.
    """
    height, width = white.shape[-2:]
    fy = torch.fft.fftfreq(height)[:, None] * height * stretch
    fx = torch.fft.rfftfreq(width)[None] * width
    gain = (1 + fy**2 + fx**2) ** (-exponent / 2)
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(height, width))
    noise = noise - noise.mean((-2, -1), keepdim=True)
    return noise / noise.std((-2, -1), keepdim=True)


def _paint(picture, colour, coverage):
    """picture [B, 3, H, W] with colour [B, 3] laid over it at coverage [B, H, W]."""
    return torch.lerp(picture, colour[:, :, None, None].expand_as(picture), coverage[:, None])


def draw_tone(draw):
    """Skin of B subjects: type [B] in 1..6, melanin [B], and linear colour [B, 3]."""
    borders = torch.tensor(FITZPATRICK_MELANIN)
    position = draw.uniform(0, 6)
    kind = position.long().clamp(0, 5)
    melanin = borders[kind] * (borders[kind + 1] / borders[kind]) ** (position - kind)
    return kind + 1, melanin, skin_reflectance(melanin, draw.uniform(0.008, 0.018))


def draw_head(draw, skin, melanin):
    """Head texture of B subjects.

    Args:
        draw: a :class:`Draw` of the subjects.
        skin: [B, 3] linear skin colour.
        melanin: [B] melanosome fraction.

    Returns:
        [B, 8, SIZE, SIZE]: red, green, blue (roots), coverage; blood = green * pulse strength
        (0..1); specular map; eye opening (what a closing lid covers) and the mean colour there.
    """
    u, v = box_grid(HEAD_BOX)

    def each(low, high):
        return draw.uniform(low, high)[:, None, None]

    def maybe(probability):
        return draw.coin(probability)[:, None, None]

    noise = draw.noise(2, SIZE, SIZE)
    mottle = coloured_noise(noise, torch.stack([each(0.4, 1.0), each(1.4, 2.2)], 1))
    fine, broad = mottle[:, 0], mottle[:, 1]
    strands = coloured_noise(noise[:, 0], 0.7, 8.0)

    half_width, jaw = each(0.64, 0.76), each(0.12, 0.4)
    width = half_width * (1 - jaw * v.clamp(min=0) ** 2.2 - 0.06 * (v + 0.1).clamp(max=0).abs())
    skull = 2.0 + 0.5 * (v < 0)  # rounder above than an ellipse
    face = _inside((_power_norm(u / width, v, skull) - 1) * half_width, 0.05)
    ear_y = each(-0.05, 0.1)
    ears = _ellipse(u.abs(), v, half_width + 0.02, ear_y, 0.09, 0.2)
    head = torch.maximum(face, ears)

    shade = 1.05 - each(0.1, 0.4) * (u / width) ** 2 - each(-0.05, 0.15) * v
    nose_y = each(0.18, 0.3)
    nose = _spot(u / 1.0, (v - nose_y) / 2.2, 0, 0, 0.07)
    shade = shade + 0.12 * nose - 0.14 * _spot(u.abs(), (v - nose_y) / 1.6, 0.14, 0, 0.05)
    shade = shade - 0.2 * _spot(u, (v - nose_y - 0.17) / 0.35, 0, 0, 0.13)
    eye_x, eye_y = each(0.24, 0.33), each(-0.16, -0.04)
    sockets = _spot(u.abs(), (v - eye_y + 0.02) / 0.7, eye_x, 0, 0.12)
    mouth_y, mouth_width = each(0.5, 0.62), each(0.17, 0.28)
    shade = (
        shade - each(0.05, 0.22) * sockets - 0.1 * _spot(u, (v - mouth_y - 0.16) / 0.5, 0, 0, 0.12)
    )
    shade = shade * (1 + each(0.008, 0.03) * fine + each(0.01, 0.07) * broad)

    picture = skin[:, :, None, None] * shade[:, None]
    flush = (
        each(0.0, 0.25) * _spot(u.abs(), v, 0.36, 0.24, 0.15)
        + each(0, 0.2) * nose
        + 0.06 * broad
        + each(0.0, 0.3) * ears
    )
    picture = picture * torch.stack([1 + 0 * flush, 1 - 0.5 * flush, 1 - 0.4 * flush], 1)
    freckles = maybe(0.25) * (fine > 1.6).float() * _spot(u, v, 0, 0.1, 0.4)
    picture = picture * (1 - freckles[:, None] * torch.tensor([0.2, 0.35, 0.4])[:, None, None])

    strength = 0.62 + 0.12 * broad + 0.3 * _spot(u.abs(), v, 0.34, 0.28, 0.2)
    strength = strength + 0.28 * _spot(u, (v + 0.5) / 0.6, 0, 0, 0.35) - 0.3 * ears
    strength = strength.clamp(0.15)

    lip_colour = skin * torch.tensor([0.85, 0.5, 0.55])
    curve = each(-0.06, 0.04) * (1 - (u / mouth_width) ** 2)
    lips = _ellipse(u, v, 0, mouth_y - curve, mouth_width, each(0.05, 0.09))
    picture = _paint(picture, lip_colour, lips * each(0.4, 1.0))
    slit = _ellipse(u, v, 0, mouth_y - curve, mouth_width * 0.95, 0.018, 0.03)
    picture = _paint(picture, skin * 0.12, 0.8 * slit)

    beard = maybe(0.22) * each(0.3, 0.95) * _inside(mouth_y - 0.2 - v + 0.25 * (u.abs() < 0.1), 0.2)
    beard = beard * (1 - lips) * (1 + 0.3 * fine).clamp(0, 1.05).clamp(max=1)
    hair_kind = draw.uniform(0, 5.999).long()
    dark = (melanin > 0.1) & (hair_kind > 2) & (hair_kind < 5)
    hair_colour = _HAIR[torch.where(dark, 0, hair_kind)] * draw.uniform(0.6, 1.5)[:, None]
    picture = _paint(picture, hair_colour, beard.clamp(0, 1))

    brow_y = eye_y - each(0.13, 0.2)
    arch = each(0.0, 0.06) * ((u.abs() - eye_x) / 0.15) ** 2
    brows = _ellipse(u.abs(), v - arch, eye_x, brow_y, each(0.13, 0.19), each(0.02, 0.04))
    picture = _paint(picture, hair_colour * 0.7, brows * each(0.4, 0.95))
    eye_width, eye_height = each(0.1, 0.135), each(0.04, 0.065)
    eyes = _ellipse(u.abs(), v, eye_x, eye_y, eye_width, eye_height, 0.03)
    picture = _paint(picture, torch.tensor([[0.5, 0.48, 0.46]]).expand_as(skin), eyes)
    iris_colour = draw.uniform(0.01, 0.12, 3) * torch.tensor([1.0, 0.8, 0.7])
    gaze = each(-0.03, 0.03)
    side = torch.where(u < 0, -1.0, 1.0)
    iris = _ellipse(u, v, side * eye_x + gaze, eye_y, 0.055, 0.055, 0.03)
    picture = _paint(picture, iris_colour, iris * eyes)
    lashes = _ellipse(u.abs(), v, eye_x, eye_y - 0.9 * eye_height, eye_width, 0.016, 0.03)
    picture = _paint(picture, hair_colour * 0.4, 0.8 * lashes)

    hairline, swept, length = each(-0.72, -0.45), each(-0.25, 0.35), each(-0.3, 1.5)
    cap_width, cap_height = half_width * each(1.06, 1.2), each(1.0, 1.12)
    cap_radius = ((u / cap_width).abs() ** 2.6 + ((v + 0.06) / cap_height).abs() ** 2.6) ** (
        1 / 2.6
    )
    cap = _inside((cap_radius - 1) * half_width, 0.06)
    fringe = hairline + each(0.1, 0.6) * u**2 / half_width**2 + swept * u * 0.3
    locks = _ellipse(u, v, 0, 0.2, half_width * each(1.05, 1.4), each(1.1, 1.35), 0.06)
    temples = _inside(half_width * each(0.86, 0.98) - u.abs(), 0.1) * _inside(v - length, 0.2)
    hair = torch.maximum(cap * _inside(v - fringe - 0.03 * strands, 0.08), cap * temples)
    hair = torch.maximum(hair, maybe(0.35) * locks * temples * _inside(-v - 0.2, 0.2))
    hair = hair * (1 - maybe(0.12))
    mane = hair_colour[:, :, None, None] * (1 + 0.35 * strands[:, None]).clamp(min=0.2)
    picture = torch.lerp(picture, mane, hair[:, None])

    rim = (((u.abs() - eye_x) / 0.19).abs() ** 3 + ((v - eye_y - 0.02) / 0.15).abs() ** 3) ** (
        1 / 3
    )
    bridge = (u.abs() < 0.1).float() * _inside((v - eye_y).abs() - 0.015, 0.03)
    glasses = maybe(0.2) * torch.maximum(_inside((rim - 1).abs() * 0.15 - 0.012, 0.03), bridge)
    picture = _paint(picture, draw.uniform(0, 0.15, 3), glasses)

    head = torch.maximum(head, hair)
    bare = (1 - hair) * (1 - eyes) * (1 - 0.9 * slit) * (1 - 0.85 * beard.clamp(0, 1))
    bare = bare * (1 - 0.7 * brows) * (1 - glasses)
    strength = strength * bare * (face + 0.5 * ears).clamp(max=1)
    strength = strength / strength.amax((1, 2), keepdim=True)
    specular = (
        _spot(u, (v + 0.45) / 0.8, each(-0.2, 0.2), 0, 0.16)
        + 0.9 * _spot(u, (v - nose_y) / 2, 0, 0, 0.05)
        + 0.7 * _spot(u.abs(), v, 0.36, 0.12, 0.1)
        + 0.15
    ) * (1 + 0.15 * fine)
    specular = specular.clamp(0) * (bare * face + 0.2 * hair)
    picture = picture.clamp(0.002, 1.0).sqrt() * head[:, None]
    seen = eyes * picture.mean(1)
    extra = [head, picture[:, 1] * strength, specular * head, eyes * head, seen]
    extra = torch.stack(extra, 1)
    return torch.cat([picture, extra], 1)


def draw_torso(draw, skin):
    """Neck, shoulders and clothes of B clips.

    Args:
        draw: a :class:`Draw`.
        skin: [B, 3] linear skin colour.

    Returns:
        [B, 5, SIZE, SIZE]: red, green, blue (roots), coverage, blood (as in :func:`draw_head`).
    """
    x, y = box_grid(TORSO_BOX)

    def each(low, high):
        return draw.uniform(low, high)[:, None, None]

    neck_width, collar, shoulders = each(0.38, 0.52), each(1.2, 1.55), each(1.7, 2.5)
    neck = _inside(x.abs() - neck_width - 0.25 * (y - 1.1).clamp(0) ** 2, 0.08)
    neck = neck * _inside(0.55 - y, 0.2) * _inside(y - 2.2, 0.3)  # ends behind head and collar
    slope = collar + 0.15 + each(0.3, 0.8) * (x.abs() / shoulders) ** 2.5
    body = _inside(slope - y, 0.1) * _inside(x.abs() - shoulders, 0.15)
    neckline = _inside(y - collar - each(0.0, 0.5) * (1 - (x / (1.3 * neck_width)) ** 2), 0.08)
    bare = torch.maximum(neck * _inside(y - collar - 0.5, 0.3), body) * neckline
    cover = torch.maximum(neck, body)

    noise = coloured_noise(draw.noise(1, SIZE, SIZE), each(0.5, 1.8)[:, None])[:, 0]
    angle, period = each(0, 3.1416), draw.log_uniform(0.12, 1.0)[:, None, None]
    stripe = torch.sin(6.2832 * (x * angle.cos() + y * angle.sin()) / period)
    stripe = stripe * draw.coin(0.4)[:, None, None] * each(0.05, 0.6)
    fabric = draw.log_uniform(0.01, 0.7)[:, None] * draw.uniform(0.4, 1.0, 3)
    weave = (1 + stripe + each(0.03, 0.2) * noise).clamp(0.1)
    shadow = 1 - 0.5 * _spot(x, (y - 1.0) / 0.6, 0, 0, 0.5)
    flesh = skin[:, :, None, None] * (shadow * (1 + 0.03 * noise))[:, None]
    picture = torch.lerp(fabric[:, :, None, None] * weave[:, None], flesh, bare[:, None])
    picture = picture.clamp(0.002, 1.0).sqrt() * cover[:, None]
    blood = picture[:, 1] * bare * each(0.15, 0.6)
    return torch.cat([picture, cover[:, None], blood[:, None]], 1)


def draw_background(draw, skin):
    """Room behind the head, over the whole picture and a margin.

    Args:
        draw: a :class:`Draw`.
        skin: [B, 3] linear skin colour; a quarter of the rooms has walls of about that colour.

    Returns:
        [B, 3, SIZE, SIZE]: red, green, blue (roots).
    """
    x, y = box_grid((0, 0, 1, 1))
    noise = coloured_noise(draw.noise(2, SIZE, SIZE), draw.uniform(0.6, 2.0, 2, 1, 1))
    wall = draw.log_uniform(0.03, 0.8)[:, None] * draw.uniform(0.5, 1.0, 3)
    alike = draw.coin(0.25)[:, None]
    wall = torch.lerp(wall, skin * draw.uniform(0.6, 1.5)[:, None], alike)
    angle = draw.uniform(0, 6.2832)[:, None, None]
    ramp = 1 + draw.uniform(0, 0.5)[:, None, None] * (
        (x - 0.5) * angle.cos() + (y - 0.5) * angle.sin()
    )
    contrast = draw.log_uniform(0.02, 0.5)[:, None, None]
    picture = wall[:, :, None, None] * (ramp * (1 + contrast * noise[:, 0]).clamp(0.1))[:, None]
    tint = draw.normal(3)[:, :, None, None] * draw.uniform(0, 0.2)[:, None, None, None]
    picture = picture * (1 + tint * noise[:, 1:2])
    for _ in range(4):  # furniture, frames, windows
        cx, cy = draw.uniform(0, 1, 1, 1), draw.uniform(0, 1, 1, 1)
        rx, ry = draw.uniform(0.03, 0.3, 1, 1), draw.uniform(0.03, 0.4, 1, 1)
        edge = torch.maximum((x - cx).abs() - rx, (y - cy).abs() - ry)
        colour = draw.log_uniform(0.02, 0.9)[:, None] * draw.uniform(0.3, 1.0, 3)
        picture = _paint(picture, colour, _inside(edge, 0.015) * draw.coin(0.6)[:, None, None])
    return picture.clamp(0.002, 1.0).sqrt()


def box_filter(texture, width, height, size):
    """Area means of a texture over boxes, at ``size`` x ``size`` evenly spaced places.

    Args:
        texture: [B, C, N, N].
        width, height: [B] sides of the box in texels; at least the spacing N / size is taken.
        size: places along each side.

    Returns:
        [B, C, size, size].
    """
    count = texture.shape[-1]
    centres = (torch.arange(size) + 0.5) * (count / size)
    texels = torch.arange(count)

    def matrix(side):  # [B, size, N]: share of each texel in each box, clamped at the borders
        half = side.clamp(min=count / size)[:, None, None] / 2
        low, high = centres[:, None] - half, centres[:, None] + half
        share = (torch.minimum(high, texels + 1.0) - torch.maximum(low, texels)).clamp(0)
        share[..., 0] += (-low[..., 0]).clamp(0)
        share[..., -1] += (high[..., 0] - count).clamp(0)
        return share / (2 * half)

    batch, channels = texture.shape[:2]
    narrow = texture.reshape(batch, -1, count) @ matrix(width).mT
    columns = narrow.reshape(batch, channels, count, size).transpose(1, 2).reshape(batch, count, -1)
    short = matrix(height) @ columns
    return short.reshape(batch, size, channels, size).transpose(1, 2)
