"""Procedural pictures and picture-to-picture tasks: what the miniature's base is pre-trained on.

No picture here holds a pulse and no task decodes a phase; nothing else of the project is used.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# ---------------------------------------------------------------------------------------- pictures


def _uniform(rng, shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(shape, generator=rng)


def _grid(height, width):
    """Pixel coordinates in units of the height: y [H, 1], x [1, W]."""
    return torch.arange(height)[:, None] / height, torch.arange(width)[None] / height


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Colours [..., 3] in RGB of three tensors [...] of one shape; hue in turns."""
    channels = [
        value * (1 - saturation * (1 - (2 - ((hue * 6 + shift) % 6 - 3).abs()).clamp(0, 1)))
        for shift in (3, 1, 5)
    ]
    return torch.stack(channels, -1)


def draw_clouds(rng: Generator, count: int, height: int, width: int) -> Tensor:
    """Draw coloured noise with a power-law spectrum of random exponent and anisotropy."""
    fy = torch.fft.fftfreq(height)[None, :, None] * height
    fx = torch.fft.rfftfreq(width)[None, None] * height
    stretch = torch.exp(_uniform(rng, (count, 1, 1), -1.5, 1.5))
    radius = (1 + (fy * stretch) ** 2 + (fx / stretch) ** 2).sqrt()
    gain = radius ** -_uniform(rng, (count, 1, 1), 0.7, 2.5)
    noise = torch.randn((count, 3, height, width // 2 + 1, 2), generator=rng)
    picture = torch.fft.irfft2(
        torch.view_as_complex(noise) * gain[:, None], s=(height, width), norm="ortho"
    )
    picture = picture / picture.std((1, 2, 3), keepdim=True)
    grey = picture.mean(1, keepdim=True)
    return 0.5 + 0.2 * torch.lerp(picture, grey, _uniform(rng, (count, 1, 1, 1)))


def draw_gratings(rng: Generator, count: int, height: int, width: int) -> Tensor:
    """Draw sums of three sine or square gratings of random direction, period, colour and bend."""
    y, x = _grid(height, width)
    picture = torch.full((count, 3, height, width), 0.5)
    for _ in range(3):
        angle = _uniform(rng, (count, 1, 1), 0, 2 * math.pi)
        period = torch.exp(_uniform(rng, (count, 1, 1), math.log(0.08), math.log(2.0)))
        bend = torch.randn((count, 1, 1), generator=rng) * 0.3
        along = x * angle.cos() + y * angle.sin()
        turns = along / period + bend * (along - 1) ** 2 + _uniform(rng, (count, 1, 1))
        wave = torch.sin(2 * math.pi * turns)
        hard = (torch.rand((count, 1, 1), generator=rng) < 0.3).float()
        wave = torch.lerp(wave, (wave * 8).clamp(-1, 1), hard)
        colour = torch.randn((count, 3, 1, 1), generator=rng) * 0.15
        picture = picture + colour * wave[:, None]
    return picture


def draw_mosaics(rng: Generator, count: int, height: int, width: int) -> Tensor:
    """Draw random colours on blocks of 1 to 32 pixels, the same blocks in all of them."""
    heights, widths = (2, 4, 4, 8, 8, 16, 16, 32), (1, 2, 2, 4, 4, 8, 16, 32)
    block_height = heights[int(torch.randint(0, 8, (), generator=rng))]
    block_width = widths[int(torch.randint(0, 8, (), generator=rng))]
    rows, columns = -(-height // block_height), -(-width // block_width)
    cells = torch.randn((count, 3, rows, columns), generator=rng)
    for _ in range(int(torch.randint(0, 3, (), generator=rng))):  # smooth from block to block
        ky, kx = ((3, 3), (1, 3), (3, 1))[int(torch.randint(0, 3, (), generator=rng))]
        padding = (kx // 2, kx // 2, ky // 2, ky // 2)
        cells = F.avg_pool2d(F.pad(cells, padding, mode="replicate"), (ky, kx), 1) * 1.6
    cells = torch.lerp(cells, cells.mean(1, keepdim=True), _uniform(rng, (count, 1, 1, 1)))
    picture = cells.repeat_interleave(block_height, 2).repeat_interleave(block_width, 3)
    return 0.5 + 0.2 * picture[..., :height, :width]


def draw_shapes(rng: Generator, count: int, height: int, width: int) -> Tensor:
    """Draw eight soft-edged ellipses and boxes over a linear colour gradient."""
    y, x = _grid(height, width)
    corner = _uniform(rng, (3, count, 3, 1, 1))
    picture = corner[0] + (corner[1] - corner[0]) * y + (corner[2] - corner[0]) * x * height / width
    for _ in range(8):
        cx, cy = _uniform(rng, (count, 1, 1), 0, width / height), _uniform(rng, (count, 1, 1))
        rx = torch.exp(_uniform(rng, (count, 1, 1), math.log(0.05), math.log(1.5)))
        ry = torch.exp(_uniform(rng, (count, 1, 1), math.log(0.05), math.log(0.7)))
        dx, dy = ((x - cx) / rx).abs(), ((y - cy) / ry).abs()
        round_ = (torch.rand((count, 1, 1), generator=rng) < 0.5).float()
        distance = torch.lerp(torch.maximum(dx, dy), (dx**2 + dy**2).sqrt(), round_)
        softness = torch.exp(_uniform(rng, (count, 1, 1), math.log(0.01), math.log(0.4)))
        inside = torch.sigmoid((1 - distance) / softness)[:, None]
        picture = torch.lerp(picture, _uniform(rng, (count, 3, 1, 1)), inside)
    return picture


def draw_rainbows(rng: Generator, count: int, height: int, width: int) -> Tensor:
    """Draw saturated colours with black areas; hue and value are smooth fields, ramps or blocks."""
    y, x = _grid(height, width)
    fields = draw_clouds(rng, count, height, width) * 2.5 - 0.75
    angle = _uniform(rng, (count, 1, 1), 0, 2 * math.pi)
    turns = torch.exp(_uniform(rng, (count, 1, 1), math.log(0.3), math.log(10.0)))
    ramp = (x * angle.cos() + y * angle.sin()) * turns
    blocks = draw_mosaics(rng, count, height, width)[:, 0] * 2
    pick = torch.rand((count, 1, 1), generator=rng)
    hue = torch.where(
        pick < 0.4, ramp + 0.3 * fields[:, 0], torch.where(pick < 0.7, blocks, fields[:, 0])
    )
    value = fields[:, 1].clamp(0, 1)
    full = torch.rand((count, 1, 1), generator=rng)
    value = torch.where(full < 0.5, torch.lerp(value, torch.ones_like(value), full), value)
    saturation = torch.where(
        torch.rand((count, 1, 1), generator=rng) < 0.7,
        torch.ones_like(value),
        fields[:, 2].clamp(0, 1),
    )
    return hsv_to_rgb(hue % 1, saturation, value).movedim(-1, 1)


KINDS = (draw_clouds, draw_gratings, draw_mosaics, draw_shapes, draw_rainbows)
"""What pictures are made of: each draws [count, 3, height, width]."""


def draw_pictures(rng: Generator, count: int, height: int, width: int) -> Tensor:
    """Draw procedural pictures in [0, 1], [count, 3, height, width] float32.

    Every picture blends two kinds through a soft mask or panels, then changes its contrast (down to
    a few grey levels) and mean, and may get pixel noise; all random numbers come from ``rng``.
    """
    first, second = (
        torch.cat([kind(rng, count // len(KINDS) + 1, height, width) for kind in KINDS])[
            torch.randperm((count // len(KINDS) + 1) * len(KINDS), generator=rng)[:count]
        ]
        for _ in range(2)
    )
    mask = torch.sigmoid((draw_clouds(rng, count, height, width)[:, :1] - 0.5) * 40)
    panels = 2 ** int(torch.randint(0, 4, (), generator=rng))
    chosen = (torch.rand((count, 1, 1, panels), generator=rng) < 0.5).float()
    chosen = F.interpolate(chosen, (height, width))
    how = torch.rand((count, 1, 1, 1), generator=rng)
    blend = torch.where(how < 0.3, mask, torch.where(how < 0.6, chosen, torch.zeros_like(mask)))
    picture = torch.lerp(first, second, blend)
    mean = picture.mean((2, 3), keepdim=True)
    contrast = torch.exp(_uniform(rng, (count, 1, 1, 1), math.log(0.1), math.log(1.5)))
    keep = torch.rand((count, 1, 1, 1), generator=rng) < 0.5
    contrast = torch.where(keep, torch.ones_like(contrast), contrast)
    shift = torch.where(keep, torch.zeros(1), torch.randn((count, 3, 1, 1), generator=rng) * 0.1)
    picture = mean + shift + (picture - mean) * contrast
    noise = torch.exp(_uniform(rng, (count, 1, 1, 1), math.log(0.002), math.log(0.05)))
    noise = noise * (torch.rand((count, 1, 1, 1), generator=rng) < 0.3)
    return (picture + noise * torch.randn(picture.shape, generator=rng)).clamp(0, 1)


# ------------------------------------------------------------------------------------------- tasks


def _blur(picture, sigma_x, sigma_y):
    for sigma, axis in ((sigma_x, 3), (sigma_y, 2)):
        if sigma > 0:
            radius = math.ceil(2 * sigma)
            kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
            shape = [3, 1, 1, 1]
            shape[axis] = -1
            kernel = (kernel / kernel.sum()).expand(3, 1, -1).reshape(shape)
            pad = (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)
            picture = F.conv2d(F.pad(picture, pad, mode="replicate"), kernel, groups=3)
    return picture


def _grey(picture):
    return picture.mean(1, keepdim=True).expand_as(picture)


def _slope(picture, axis):
    return 0.5 + 2 * (torch.roll(picture, -1, axis) - torch.roll(picture, 1, axis))


def _edges(picture):
    across, down = _slope(picture, 3) - 0.5, _slope(picture, 2) - 0.5
    return (across**2 + down**2).sqrt()


def _normalise(picture):
    mean = picture.mean((2, 3), keepdim=True)
    return 0.5 + 0.2 * (picture - mean) / picture.std((2, 3), keepdim=True).clamp_min(0.01)


def _rainbow(picture):
    level = picture.mean(1)
    return hsv_to_rgb(0.8 * level, torch.ones_like(level), torch.ones_like(level)).movedim(-1, 1)


def _enlarge(thumbnail, picture):
    return F.interpolate(thumbnail, picture.shape[2:], mode="bilinear")


TASKS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "copy the picture": lambda p, t: p,
    "draw the negative": lambda p, t: 1 - p,
    "draw it in grey": lambda p, t: _grey(p),
    "blur it": lambda p, t: _blur(p, 3, 3),
    "blur it sideways": lambda p, t: _blur(p, 6, 0),
    "blur it up and down": lambda p, t: _blur(p, 0, 6),
    "sharpen it": lambda p, t: p + 1.5 * (p - _blur(p, 1.5, 1.5)),
    "draw the fine detail": lambda p, t: 0.5 + 2 * (p - _blur(p, 4, 4)),
    "draw the middle sizes": lambda p, t: 0.5 + 2 * (_blur(p, 2, 2) - _blur(p, 8, 8)),
    "draw the edges": lambda p, t: _edges(p),
    "light it from the left": lambda p, t: _slope(p, 3),
    "light it from the top": lambda p, t: _slope(p, 2),
    "swap red and blue": lambda p, t: p.flip(1),
    "draw the difference of green and red": lambda p, t: (
        0.5 + 2 * (p[:, 1:2] - p[:, :1]).expand_as(p)
    ),
    "mirror it left to right": lambda p, t: p.flip(3),
    "stretch the contrast": lambda p, t: _normalise(p),
    "paint the brightness as a rainbow": lambda p, t: _rainbow(p),
    "stretch the contrast and paint it as a rainbow": lambda p, t: _rainbow(_normalise(p)),
    "light it with the small picture": lambda p, t: p * _enlarge(_grey(t), p),
    "draw the small picture large": lambda p, t: _enlarge(t, p),
}
"""Prompt -> what is to be drawn of a picture p and a thumbnail t."""


def _add_noise(rng, picture):
    level = torch.exp(_uniform(rng, (len(picture), 1, 1, 1), math.log(0.02), math.log(0.3)))
    return picture + level * torch.randn(picture.shape, generator=rng)


def _cut_holes(rng, picture):
    holes = draw_clouds(rng, len(picture), *picture.shape[2:])[:, :1] > 0.6
    return torch.where(holes, torch.zeros_like(picture), picture)


REPAIRS: dict[str, Callable[[Generator, Tensor], Tensor]] = {
    "remove the noise": _add_noise,
    "fill the holes": _cut_holes,
}
"""Prompt -> how the picture that is to be drawn is damaged before it is shown."""

TASK_PROMPTS = (*TASKS, *REPAIRS)
"""All tasks, each as likely as any other."""


def draw_examples(
    rng: Generator, count: int, height: int, width: int, thumbnail_size: tuple[int, int]
) -> tuple[list[str], Tensor, Tensor, Tensor]:
    """Draw a batch of picture-to-picture tasks, at most eight different ones.

    Args:
        rng: where all random numbers come from.
        count: number of examples.
        height, width: of the pictures in pixels.
        thumbnail_size: (height, width) of the reference pictures.

    Returns:
        (``count`` prompts, thumbnail [count, 3, h, w], source and target
        [count, 3, height, width]), pictures in [0, 1].
    """
    source = draw_pictures(rng, count, height, width)
    thumbnail = draw_pictures(rng, count, *thumbnail_size)
    prompts, sources, targets = [], [], []
    for part in torch.arange(count).tensor_split(min(8, count)):
        prompt = TASK_PROMPTS[int(torch.randint(0, len(TASK_PROMPTS), (), generator=rng))]
        given, wanted = source[part], source[part]
        if prompt in REPAIRS:
            given = REPAIRS[prompt](rng, given)
        else:
            wanted = TASKS[prompt](given, thumbnail[part])
        prompts += [prompt] * len(part)
        sources.append(given)
        targets.append(wanted)
    return prompts, thumbnail, torch.cat(sources).clamp(0, 1), torch.cat(targets).clamp(0, 1)
