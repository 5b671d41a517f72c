"""The fast path: motion fields of many clips at once, straight from scenes, for training.

The scene is shaded on a coarse grid of points with textures averaged over the spacing, at the
sheet's sample times; noise and codec are added to the cell means. All of it happens on torch's
default device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pulse_plantain.sheet import Layout

from .calm import calm_some
from .draw import Draw
from .scene import Layers, Moment, Scenes
from .signals import TAU
from .staging import draw_scenes

POINTS = 4
"""Shaded points along each side of a cell."""

RESTING = 0.25
"""Share of the training clips whose heart is near rest; of the clips that are measured it is 0.6.
Rates above 150 bpm are read worst, and so there are twice as many of them to learn from."""

_GAINS = (0.5, 3.0)
_LAYER_SIZE = 64  # places along each side of the averaged textures
# More clips drawn at once, or more sample times shaded at once, fall out of a processor's caches.
_CLIPS_AT_ONCE, _TIMES_AT_ONCE = 8, 12
_CLIPS_AT_ONCE_ON_GPUS, _TIMES_AT_ONCE_ON_GPUS = 256, 96
_PROBES = 6  # times at which the cells' pulse strength is measured
_SHOTS = 3  # times that the appearance is the mean of


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

    motion: Tensor
    appearance: Tensor
    phase: Tensor
    amplitude: Tensor
    phase_lag: Tensor
    bpm: Tensor
    kind: list[str]


@dataclass(frozen=True)
class Grid:
    """Where scenes are shaded.

    Attributes:
        rows, bands: of cells in the scenes' boxes.
        side: points along each side of a cell.
        points: [B, P, 2] of all cells.
        layers: textures averaged over the points' spacing.
    """

    rows: int
    bands: int
    side: int
    points: Tensor
    layers: Layers

    @classmethod
    def over(cls, scenes: Scenes, rows: int, bands: int, side: int = POINTS) -> Grid:
        """``side`` x ``side`` points in each cell of the scenes' boxes."""
        columns, lines = bands * side, rows * side
        layers = scenes.layers(_spacing(scenes, columns, lines), _LAYER_SIZE)
        return cls(rows, bands, side, scenes.view.place_points(columns, lines), layers)

    def shade_cells(self, scenes: Scenes, moment: Moment) -> Tensor:
        """Means of the camera values over the cells, [B, T, rows, bands, 3]."""
        values = scenes.shade(self.layers, moment, self.points)
        shape = (*values.shape[:3], self.rows, self.side, self.bands, self.side)
        return values.reshape(shape).mean((4, 6)).permute(0, 1, 3, 4, 2)

    def record(
        self, scenes: Scenes, samples: int, window: float, clean: bool = False
    ) -> tuple[Tensor, Moment]:
        """What the scenes' cameras record of the cells.

        Args:
            scenes: B clips.
            samples: that divide the window evenly.
            window: s, from the start of each scene.
            clean: leave noise and codec out.

        Returns:
            (camera values [B, samples, rows, bands, 3], what changes, at the samples).
        """
        camera = scenes.camera
        stamps, kept = camera.clock.stamps(window)
        weights = camera.clock.sample_weights(stamps, kept, samples, window)
        moment = Moment.unstack(scenes.moment(stamps).stack() @ weights.mT)
        parts = moment.split(_TIMES_AT_ONCE if _is_on_processor() else _TIMES_AT_ONCE_ON_GPUS)
        cells = torch.cat([self.shade_cells(scenes, part) for part in parts], 1)
        if not clean:
            draw = Draw(scenes.seeds, stream=3)
            cells = cells + _draw_noise(draw, scenes, cells, weights)
            cells = compress(cells, camera.codec, window, draw)
        return cells, moment


def _spacing(scenes, columns, lines):
    """Width and height [B, 2] of a point's share of the boxes, picture heights."""
    box = scenes.view.box
    return (box[:, 2:] - box[:, :2]) / torch.tensor([columns, lines])


def _probe_pulse(scenes, grid, moment):
    """Amplitude and lag (rad) of the pulse in each cell, each [B, rows, bands].

    They are measured from the shader's own derivative.
    """
    few = moment.thin(_PROBES)
    none, unit = torch.zeros_like(few.pulse), torch.ones_like(few.pulse)
    probe = scenes.with_amplitude(1e-2)
    rate = TAU * scenes.heart.rate[:, None]

    def shade_green(pulse, slope):
        return grid.shade_cells(probe, replace(few, pulse=pulse, slope=slope))[..., 1].mean(1)

    still = shade_green(none, none)
    in_phase = (still - shade_green(unit, none)) / still / 1e-2
    # A slope of -rate is the quadrature wave: a cell with delay d gives strength * d * rate.
    late = (still - shade_green(none, -rate * unit)) / still / 1e-2
    amplitude = scenes.pulse.amplitude[:, None, None] * torch.hypot(in_phase, late)
    lag = torch.where(in_phase > 1e-3, torch.atan2(late, in_phase), torch.zeros_like(late))
    return amplitude, lag


def _draw_noise(draw, scenes, cells, weights):
    """Noise of cell means [B, T, rows, bands, 3]: read, shot and rounding, averaged as they are.

    Args:
        draw: random numbers of the clips.
        scenes: of B clips.
        cells: [B, T, rows, bands, 3] camera values.
        weights: [B, T, F] of each frame in each sample.
    """
    view, camera = scenes.view, scenes.camera
    rows, bands = cells.shape[2:4]
    pixels = (view.box[:, 2:] - view.box[:, :2]).prod(-1) * view.rows**2 / (rows * bands)
    share = weights.square().sum(-1)  # [B, T]: 1 / (effective number of frames)

    def over(value):
        return value[:, None, None, None, None]

    variance = over(camera.read_noise**2) + over(camera.shot_noise**2) * cells + 1 / 12 / 255**2
    sigma = (variance / over(pixels.clamp(1)) * share[:, :, None, None, None]).sqrt()
    return sigma * draw.noise(*cells.shape[1:])


# Luma and the two chroma differences of red, green and blue (ITU-R BT.601).
_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])


def compress(cells: Tensor, codec: Tensor, window: float, draw: Draw) -> Tensor:
    """Send cell means through a crude video codec, which holds small changes back and errs.

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
        draw: random numbers of the clips.

    Returns:
        [B, T, rows, bands, 3].
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
    to_ycc = _YCC.to(cells.device)
    target = cells @ to_ycc.T
    held = target[:, 0] + rounding[:, 0]
    out = [held]
    for t in range(1, samples):
        change = target[:, t] - held
        passed = change * (change.square() / (change.square() + squared))
        held = torch.where(is_key[:, t], target[:, t], held + passed) + rounding[:, t]
        out.append(held)
    return torch.stack(out, 1) @ torch.linalg.inv(to_ycc).T


def simulate(
    scenes: Scenes, layout: Layout, window: float = 8.0, clean: bool = False
) -> SyntheticBatch:
    """Render scenes on the coarse grid.

    Args:
        scenes: B clips.
        layout: how many cells and samples there are, and the size of the appearance image.
        window: seconds, from the start of each scene.
        clean: leave noise and codec out.
    """
    geometry = layout.geometry
    grid = Grid.over(scenes, geometry.rows, geometry.bands)
    cells, moment = grid.record(scenes, geometry.samples, window, clean)
    amplitude, lag = _probe_pulse(scenes, grid, moment)
    mean = cells.mean(1, keepdim=True).clamp(min=1 / 255)

    middle = (torch.arange(geometry.samples) + 0.5) * (window / geometry.samples)
    phase = scenes.heart.phase(middle.expand(len(scenes), -1))
    return SyntheticBatch(
        motion=(cells - mean) / mean,
        appearance=_shade_appearance(scenes, moment, layout.appearance_size),
        phase=phase.float(),
        amplitude=amplitude,
        phase_lag=lag,
        bpm=scenes.heart.bpm(0.0, window),
        kind=scenes.kinds,
    )


def _amplify(batch, seeds):
    """The batch with half of its clips amplified, pulse and all, by 0.5 to 3."""
    draw = Draw(seeds, stream=6)
    amplified = draw.coin(0.5) > 0
    gain = torch.where(amplified, draw.log_uniform(*_GAINS), torch.ones(len(seeds)))
    return replace(
        batch,
        motion=batch.motion * gain[:, None, None, None, None],
        amplitude=batch.amplitude * gain[:, None, None],
    )


def _shade_appearance(scenes, moment, size):
    """Mean [B, height, width, 3] of a few frames, for a size (width, height)."""
    width, height = size
    layers = scenes.layers(_spacing(scenes, width, height), _LAYER_SIZE)
    points = scenes.view.place_points(width, height)
    frames = scenes.shade(layers, moment.thin(_SHOTS), points)
    return frames.mean(1).mT.reshape(-1, height, width, 3).contiguous()


def _is_on_processor():
    return torch.get_default_device().type == "cpu"


def draw_training_scenes(
    seeds: Iterable[int], light: str = "plain"
) -> Iterator[tuple[list[int], Scenes]]:
    """The scenes of training clips, some at once: (which of the seeds, their scenes).

    Every kind of clip and crops are among them; of each 32 seeds the first 8 go to all extremes,
    the others are webcam scenes. Fewer hearts are near rest than in the clips that are measured
    (:data:`RESTING`).

    Args:
        seeds: integers >= 0.
        light: one of draw.LIGHTS.
    """
    seeds = list(seeds)
    at_once = _CLIPS_AT_ONCE if _is_on_processor() else _CLIPS_AT_ONCE_ON_GPUS
    for webcam in (False, True):
        chosen = [i for i, seed in enumerate(seeds) if (seed // 8 % 4 > 0) == webcam]
        for start in range(0, len(chosen), at_once):
            some = chosen[start : start + at_once]
            scenes = draw_scenes(
                [seeds[i] for i in some],
                webcam=webcam,
                crops=True,
                resting=RESTING,
                light=light,
            )
            yield some, scenes


@torch.no_grad()
def simulate_batch(
    seeds: Iterable[int],
    layout: Layout,
    window: float = 8.0,
    light: str = "plain",
    calm: float = 0.0,
) -> SyntheticBatch:
    """Draw and render one clip per seed: :func:`simulate` of :func:`draw_training_scenes`.

    In all lights but the plain one, half of the clips get a gain of their own, so that a small
    pulse is learnt as well as a large one.

    Args:
        seeds: B integers >= 0.
        layout, window: see :func:`simulate`.
        light: one of draw.LIGHTS.
        calm: share of the clips that become calm faces of one course (see calm.py).
    """
    parts, order = [], []
    for places, scenes in draw_training_scenes(seeds, light):
        part = simulate(scenes, layout, window)
        part = calm_some(part, scenes, layout, window, calm) if calm else part
        parts.append(part if light == "plain" else _amplify(part, scenes.seeds))
        order += places
    back = torch.tensor(order).argsort()
    kinds = [kind for part in parts for kind in part.kind]

    def join(name):
        return torch.cat([getattr(part, name) for part in parts])[back]

    return SyntheticBatch(
        motion=join("motion"),
        appearance=join("appearance"),
        phase=join("phase"),
        amplitude=join("amplitude"),
        phase_lag=join("phase_lag"),
        bpm=join("bpm"),
        kind=[kinds[i] for i in back.tolist()],
    )
