"""Synthetic clips with a known pulse: one scene description, two renderers that agree."""

from .calm import Course, calm_some, draw_course, find_skin_colour
from .draw import LIGHTS, SEEDS, SPLITS, TAKES, name_split, split_seeds, subject_of
from .faces import SyntheticFaces, simulate_faces, simulate_training_faces
from .fast import SyntheticBatch, simulate, simulate_batch
from .frames import (
    Recipe,
    render_frames,
    render_journeys,
    render_set,
    render_ubfc2,
    write_clip,
    write_video,
)
from .journeys import Journey
from .scene import KINDS, Scenes
from .staging import draw_scenes

__all__ = [
    "KINDS",
    "LIGHTS",
    "SEEDS",
    "SPLITS",
    "TAKES",
    "Course",
    "Journey",
    "Recipe",
    "Scenes",
    "SyntheticBatch",
    "SyntheticFaces",
    "calm_some",
    "draw_course",
    "draw_scenes",
    "find_skin_colour",
    "name_split",
    "render_frames",
    "render_journeys",
    "render_set",
    "render_ubfc2",
    "simulate",
    "simulate_batch",
    "simulate_faces",
    "simulate_training_faces",
    "split_seeds",
    "subject_of",
    "write_clip",
    "write_video",
]
