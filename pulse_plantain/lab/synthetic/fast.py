"""The fast path: motion fields of many clips at once, straight from scenes, for training.

The scene is shaded on a coarse grid of points with textures averaged over the spacing, at the
sheet's sample times; noise and codec are added to the cell means.
"""

from dataclasses import dataclass, fields, replace

import torch

from .draw import Draw
from .scene import Moment, draw_scenes
from .signals import TAU

POINTS = 4
"""Shaded points along each side of a cell."""

RESTING = 0.25
"""Share of the training clips whose heart is near rest; of the clips that are measured it is 0.6.
Of rates above 150 bpm, which are read worst, there are then twice as many to learn from."""

_LAYER_SIZE = 64
_CHUNK = 8  # clips drawn at once, and
_TIMES = 12  # sample times shaded at once: more fall out of the processor's caches
_PROBES = 6  # times at which the cells' pulse strength is measured


@dataclass(frozen=True)
class SyntheticBatch:
    """B clips as training data.

    Attributes:
        motion: [B, samples, rows, bands, 3], (I - mean) / mean of the camera values.
        appearance: [B, h, w, 3] in 0..1, the mean frame.
        phase: [B, samples] rad, phase of the pulse's fundamental at the middle of each sample,
            0 = systolic peak, unwrapped.
        amplitude: [B, rows, bands], AC/DC of the cell's green fundamental (amplitude, fraction).
        phase_lag: [B, rows, bands] rad by which the cell's pulse comes later than ``phase``.
        bpm: [B], mean rate over the window (also drawn for clips without a pulse: see amplitude).
        kind: B names of scene.KINDS.
    """

    motion: torch.Tensor
    appearance: torch.Tensor
    phase: torch.Tensor
    amplitude: torch.Tensor
    phase_lag: torch.Tensor
    bpm: torch.Tensor
    kind: list


def grid_points(box, columns, rows):
    """Centres [B, rows * columns, 2] of an even grid over boxes [B, 4], row by row."""
    x = (torch.arange(columns) + 0.5) / columns
    y = (torch.arange(rows) + 0.5) / rows
    unit = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
    return box[:, None, :2] + unit * (box[:, 2:] - box[:, :2])[:, None]


def cell_means(values, rows, bands):
    """[B, T, 3, points of a grid row by row] -> [B, T, rows, bands, 3]."""
    batch, times = values.shape[:2]
    cells = values.reshape(batch, times, 3, rows, POINTS, bands, POINTS).mean((4, 6))
    return cells.permute(0, 1, 3, 4, 2)


def pulse_strength(scenes, layers, moment, points, rows, bands):
    """Amplitude and lag of the pulse in each cell, from the shader's own derivative.

    Returns:
        (amplitude [B, rows, bands], phase_lag [B, rows, bands] rad).
    """
    every = max(1, moment.pulse.shape[1] // _PROBES)
    few = Moment.from_stacked(moment.stacked()[:, :, every // 2 :: every])
    none, unit = torch.zeros_like(few.pulse), torch.ones_like(few.pulse)
    probe = replace(scenes, amplitude=torch.full_like(scenes.amplitude, 1e-2))
    rate = TAU * scenes.heart.rate[:, None]

    def cells(pulse, slope):
        values = probe.shade(layers, replace(few, pulse=pulse, slope=slope), points)
        return cell_means(values, rows, bands)[..., 1].mean(1)

    still = cells(none, none)
    in_phase = (still - cells(unit, none)) / still / 1e-2
    # A slope of -rate is the quadrature wave: a cell with delay d gives strength * d * rate.
    late = (still - cells(none, -rate * unit)) / still / 1e-2
    amplitude = scenes.amplitude[:, None, None] * torch.hypot(in_phase, late)
    lag = torch.where(in_phase > 1e-3, torch.atan2(late, in_phase), torch.zeros_like(late))
    return amplitude, lag


def sensor_noise(scenes, cells, weights, draw):
    """Noise of cell means [B, T, rows, bands, 3]: read, shot and rounding, averaged as they are."""
    rows, bands = cells.shape[2:4]
    area = (
        (scenes.box[:, 2:] - scenes.box[:, :2]).prod(-1) * scenes.rows**2 / (rows * bands)
    ).clamp(1)
    share = weights.square().sum(-1)  # [B, T]: 1 / (effective number of frames)

    def over(value):
        return value[:, None, None, None, None]

    variance = over(scenes.read_noise**2) + over(scenes.shot_noise**2) * cells + 1 / 12 / 255**2
    sigma = (variance / over(area) * share[:, :, None, None, None]).sqrt()
    return sigma * draw.noise(*cells.shape[1:])


_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])


def compress(cells, codec, window, draw):
    """A crude video codec on cell means: small changes are held back, coded ones come with errors.

    Each cell's luma and chroma follow the picture by d * d^2 / (d^2 + zone^2) for a change d: the
    average of many blocks, of which those with too small a residual are skipped. Each step adds a
    rounding error, which stays until it is corrected. Key frames start afresh. Ranges are set so
    that the pulse's loss (in luma 0.95 to 0.4 of its amplitude, in chroma less evenly) and the
    noise added (1e-4 to 5e-4 of the mean) are those of rendered clips after H.264 at rate factors
    17 to 24, MPEG-4 and M-JPEG.

    Args:
        cells: [B, T, rows, bands, 3] camera values.
        codec: [B, 5] dead zone (camera units), its factor for chroma, rounding error (camera
            units), its factor for chroma, key interval (s).
        window: seconds that the T samples cover.
        draw: a :class:`Draw`.

    Returns:
        the same shape.
    """
    zone, zone_chroma, error, error_chroma, interval = codec.T
    one = torch.ones_like(zone)
    zones = zone[:, None] * torch.stack([one, zone_chroma, zone_chroma], -1)
    errors = error[:, None] * torch.stack([one, error_chroma, error_chroma], -1)
    squared = zones[:, None, None].square() + 1e-12  # [B, 1, 1, 3]
    samples = cells.shape[1]
    every = (interval / window * samples).round().clamp(min=2).long()
    first = (draw.uniform() * every).long()
    is_key = (torch.arange(samples) % every[:, None] == first[:, None])[:, :, None, None, None]
    rounding = draw.noise(*cells.shape[1:]) * errors[:, None, None, None]
    target = cells @ _YCC.T
    held = target[:, 0] + rounding[:, 0]
    out = [held]
    for t in range(1, samples):
        change = target[:, t] - held
        passed = change * (change.square() / (change.square() + squared))
        held = torch.where(is_key[:, t], target[:, t], held + passed) + rounding[:, t]
        out.append(held)
    return torch.stack(out, 1) @ torch.linalg.inv(_YCC).T


def simulate(scenes, geometry, window=8.0, appearance_size=(64, 64), clean=False):
    """Renders scenes on the coarse grid.

    Args:
        scenes: :class:`Scenes` of B clips.
        geometry: anything with ``bands``, ``samples``, ``rows``.
        window: seconds, from the start of each scene.
        appearance_size: (width, height).
        clean: leave noise and codec out.

    Returns:
        :class:`SyntheticBatch`.
    """
    rows, bands, samples = geometry.rows, geometry.bands, geometry.samples
    columns, lines = bands * POINTS, rows * POINTS
    stamps, kept = scenes.clock.stamps(window)
    weights = scenes.clock.sample_weights(stamps, kept, samples, window)
    moment = Moment.from_stacked(scenes.moment(stamps).stacked() @ weights.mT)

    span = scenes.box[:, 2:] - scenes.box[:, :2]
    layers = scenes.layers(span / torch.tensor([columns, lines]), _LAYER_SIZE)
    points = grid_points(scenes.box, columns, lines)
    cells = [
        cell_means(scenes.shade(layers, part, points), rows, bands)
        for part in map(Moment.from_stacked, moment.stacked().split(_TIMES, 2))
    ]
    cells = torch.cat(cells, 1)
    amplitude, lag = pulse_strength(scenes, layers, moment, points, rows, bands)
    if not clean:
        draw = Draw(scenes.seeds, stream=3)
        cells = cells + sensor_noise(scenes, cells, weights, draw)
        cells = compress(cells, scenes.codec, window, draw)
    mean = cells.mean(1, keepdim=True).clamp(min=1 / 255)

    width, height = appearance_size
    third = samples // 3
    few = Moment.from_stacked(moment.stacked()[:, :, third // 2 :: third])
    sharp = scenes.layers(span / torch.tensor([width, height]), _LAYER_SIZE)
    frames = scenes.shade(sharp, few, grid_points(scenes.box, width, height))
    appearance = frames.mean(1).mT.reshape(-1, height, width, 3)

    middle = (torch.arange(samples) + 0.5) * (window / samples)
    phase = scenes.heart.phase(middle.expand(len(scenes), -1))
    return SyntheticBatch(
        motion=(cells - mean) / mean,
        appearance=appearance.contiguous(),
        phase=phase.float(),
        amplitude=amplitude,
        phase_lag=lag,
        bpm=scenes.heart.bpm(0.0, window),
        kind=scenes.kinds,
    )


@torch.no_grad()
def simulate_batch(seeds, geometry, window=8.0, appearance_size=(64, 64)):
    """Draws and renders one clip per seed: :func:`simulate` of :func:`draw_scenes`.

    Every kind of clip and crops are among them; of each 32 seeds the first 8 go to all extremes,
    the others are webcam scenes. Fewer hearts are near rest than in the clips that are measured
    (:data:`RESTING`).
    """
    seeds, parts, order = list(seeds), [], []
    for webcam in (False, True):
        chosen = [i for i, seed in enumerate(seeds) if (seed // 8 % 4 > 0) == webcam]
        for start in range(0, len(chosen), _CHUNK):
            some = chosen[start : start + _CHUNK]
            scenes = draw_scenes(
                [seeds[i] for i in some], webcam=webcam, crops=True, resting=RESTING
            )
            parts.append(simulate(scenes, geometry, window, appearance_size))
            order += some
    back = torch.tensor(order).argsort()
    rows = {f.name: [getattr(p, f.name) for p in parts] for f in fields(SyntheticBatch)}
    kinds = sum(rows.pop("kind"), [])
    tensors = {name: torch.cat(values)[back] for name, values in rows.items()}
    return SyntheticBatch(kind=[kinds[i] for i in back], **tensors)
