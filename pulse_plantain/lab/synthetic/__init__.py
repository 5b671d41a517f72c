"""Synthetic clips with a known pulse: one scene description, two renderers that agree."""

from .draw import SEEDS, split_seeds, subject_of
from .fast import SyntheticBatch, simulate, simulate_batch
from .frames import Recipe, render_frames, render_set, render_ubfc2, write_clip
from .scene import KINDS, Scenes
from .staging import draw_scenes

__all__ = [
    "KINDS",
    "SEEDS",
    "Recipe",
    "Scenes",
    "SyntheticBatch",
    "draw_scenes",
    "render_frames",
    "render_set",
    "render_ubfc2",
    "simulate",
    "simulate_batch",
    "split_seeds",
    "subject_of",
    "write_clip",
]
