"""Clips of still photographs, held by a hand under light that flickers: nothing there has a pulse.

What a reading must keep silent on: lines that are as steady as a lamp's, and that move everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from pulse_plantain.files import write_files
from pulse_plantain.lab.synthetic.frames import Recipe, write_video
from pulse_plantain.video import ClipError

FPS = 30
SIZE = (320, 240)
MARGIN = 0.12
"""Share of the photograph's sides that the hand may move it by."""

SUFFIXES = {".jpg", ".jpeg", ".png"}


def find_photographs(folder: Path) -> list[Path]:
    """Pictures in a folder, in the order of their names.

    Raises:
        ClipError: if there are none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ClipError(f"no photographs (.jpg, .png) in {folder}")
    return paths


def draw_course(dice: np.random.Generator, times: np.ndarray, size: float) -> np.ndarray:
    """[T] a course of 0.2 to 6 Hz of a given rms size, with a spectrum between white and 1/f^2."""
    frequency = np.geomspace(0.2, 6.0, 24)
    power = frequency ** -dice.uniform(0, 2)
    turns = 2 * np.pi * (np.outer(times, frequency) + dice.uniform(0, 1, len(frequency)))
    course = np.sin(turns) @ (np.sqrt(power) * dice.rayleigh(1, len(frequency)))
    return size * course / max(course.std(), 1e-9)


def draw_beat(dice: np.random.Generator, times: np.ndarray, size: float) -> np.ndarray:
    """[T] an even beat at a pulse's rates with an overtone, of a given amplitude."""
    turns = 2 * np.pi * (dice.uniform(0.7, 3.0) * times + dice.uniform())
    return size * (np.sin(turns) + dice.uniform(0, 0.4) * np.sin(2 * turns + dice.uniform(0, 6)))


def hold_photograph(
    picture: np.ndarray, seed: int, seconds: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a photograph that a hand holds before a camera.

    A third of the clips has light that beats evenly, a third light that flutters, a third steady
    light; of each, half are held by a hand that shakes, some of these with an even beat.

    Args:
        picture: [H, W, 3] uint8.
        seed: of everything that is drawn.
        seconds: length.

    Yields:
        (time in s, uint8 picture of :data:`SIZE`).
    """
    dice = np.random.default_rng([7, seed])
    times = np.arange(round(seconds * FPS)) / FPS
    light, shaken = seed % 3, (seed // 3) % 2
    small, large = (10 ** dice.uniform(*span) for span in ((-3.5, -1.8), (-2.7, -1.5)))
    course = {0: 0 * times, 1: draw_course(dice, times, small), 2: draw_beat(dice, times, large)}
    tint = 1 + 0.1 * dice.standard_normal(3) * (dice.uniform() < 0.5)
    gain = np.exp(np.outer(course[light], tint))
    moves = np.stack([draw_course(dice, times, 10 ** dice.uniform(-3.5, -2.2)) for _ in range(2)])
    if dice.uniform() < 0.3:
        moves += np.outer(
            dice.standard_normal(2), draw_beat(dice, times, 10 ** dice.uniform(-3.5, -2.3))
        )
    moves = np.clip(moves * shaken, -MARGIN, MARGIN)
    noise = dice.uniform(0.3, 3.0)
    source = torch.from_numpy(np.array(picture)).float().movedim(-1, 0)[None] / 255
    width, height = SIZE
    zoom = 1 - 2 * MARGIN
    grid = F.affine_grid(
        torch.tensor([[[zoom, 0, 0], [0, zoom, 0.0]]]), [1, 3, height, width], False
    )
    for time, shift, factor in zip(times, moves.T, gain, strict=True):
        place = grid + 2 * torch.from_numpy(shift).float()
        view = F.grid_sample(source, place, padding_mode="border", align_corners=False)[0]
        values = 255 * view.movedim(0, -1).numpy() * factor ** (1 / 2.2)
        values += noise * dice.standard_normal(values.shape, dtype=np.float32)
        yield float(time), np.clip(np.round(values), 0, 255).astype(np.uint8)


def write_photograph_clip(path: Path, photograph: Path, seed: int, seconds: float) -> None:
    """Write a clip and its ground truth beside it: no pulse.

    Args:
        path: the .mp4 file to write.
        photograph: picture file.
        seed, seconds: see :func:`hold_photograph`.
    """
    with Image.open(photograph) as opened:
        picture = opened.convert("RGB")
    width, height = (round(side / (1 - 2 * MARGIN)) for side in SIZE)
    scale = max(width / picture.width, height / picture.height)
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    pixels = np.array(picture.resize(size).crop((left, top, left + width, top + height)))
    truth: dict[str, Any] = {
        "seed": seed,
        "subject": photograph.stem,
        "bpm": 0.0,
        "seconds": seconds,
        "fps": FPS,
        "times": [],
        "bvp": [],
        "strata": {"kind": ("steady", "fluttering", "beating")[seed % 3]},
    }

    def write_frames(part: Path) -> None:
        frames = hold_photograph(pixels, seed, seconds)
        write_video(part, frames, Recipe(SIZE, "h264", 20.0), FPS)

    truth_path = path.with_suffix(".json")
    write_files({path: write_frames, truth_path: lambda part: part.write_text(json.dumps(truth))})


def render_photographs(
    folder: Path, photographs: Sequence[Path], count: int, seconds: float, start: int = 0
) -> None:
    """Write clips of photographs into a folder, each in turn; skip finished ones.

    Args:
        folder: made where it is missing.
        photographs: picture files.
        count: of the clips.
        seconds: see :func:`hold_photograph`.
        start: number of the first clip.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(start, start + count), desc="photographs", unit="clip"):
        photograph = photographs[number % len(photographs)]
        path = folder / f"photograph-{number:04d}-{photograph.stem}.mp4"
        if not path.with_suffix(".json").exists():
            write_photograph_clip(path, photograph, number, seconds)
