"""Paths and fixtures of the tests: the repo root is importable, tiny random components exist."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach beyond the machine
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import pytest


@pytest.fixture(scope="session")
def tiny_pipe():
    """A PulsePipeline of random components and the miniature's geometry; do not change it."""
    import tiny_components

    from pulse_plantain.pipeline import PulsePipeline
    from pulse_plantain.sheet import SheetGeometry

    geometry = SheetGeometry(bands=4, samples=96, rows=8, size=(384, 64))
    pipe = PulsePipeline(**tiny_components.components(), geometry=geometry, noise_scale=0.25)
    pipe.set_progress_bar_config(disable=True)
    return pipe
