"""Fixtures of the tests: the miniature, tiny random components and pipelines over them."""

import copy
import os
import runpy
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach beyond the machine
ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--photographs", metavar="FOLDER", help="take pictures of the page into it")


def read_script(name):
    """Everything that scripts/NAME.py defines, by name."""
    return runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))


def run_script(name, *words):
    """What scripts/NAME.py returns for a command line, its exit code. It runs in this process."""
    import torch

    threads = torch.get_num_threads()
    try:
        return read_script(name)["main"]([str(word) for word in words])
    finally:
        torch.set_num_threads(threads)  # a script sets them for its own process


def interrupt_at(monkeypatch, room, step):
    """A training room's learning rate stops the run at a step; every step before it is saved."""
    from pulse_plantain.lab.training import learning_rate

    def stop(now, *rest):
        if now == step:
            raise KeyboardInterrupt
        return learning_rate(now, *rest)

    monkeypatch.setattr(room, "SAVE_EVERY", 1)
    monkeypatch.setattr(room, "learning_rate", stop)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder of four small clips with a known pulse; do not change it."""
    from recordings import RATES, write_recording

    folder = tmp_path_factory.mktemp("clips")
    for number, bpm in enumerate(RATES):
        write_recording(folder, number, bpm)
    return folder


@pytest.fixture(scope="session")
def tiny_pipe():
    """A PulsePipeline of random components and the miniature's geometry; do not change it."""
    import tiny_components
    from stand_ins import GEOMETRY, READING

    from pulse_plantain.pipeline import PulsePipeline

    pipe = PulsePipeline(
        **tiny_components.components(),
        geometry=GEOMETRY,
        noise_scale=0.25,
        reading=READING.to_dict(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def miniature():
    """The trained miniature with its adapter on the CPU, loaded once; do not change it."""
    from pulse_plantain.loading import load_pipeline

    return load_pipeline(device="cpu")


@pytest.fixture
def pipe(tiny_pipe):
    """A pipeline of its own over the shared components."""
    from stand_ins import GEOMETRY, READING

    from pulse_plantain.pipeline import PulsePipeline

    own = PulsePipeline(
        **{**tiny_pipe.components, "scheduler": copy.deepcopy(tiny_pipe.scheduler)},
        geometry=GEOMETRY,
        noise_scale=0.25,
        reading=READING.to_dict(),
    )
    own.set_progress_bar_config(disable=True)
    return own


@pytest.fixture
def parent(tiny_pipe):
    """The parent pipeline over the shared components."""
    from diffusers import Flux2KleinPipeline

    own = Flux2KleinPipeline(**tiny_pipe.components)
    own.set_progress_bar_config(disable=True)
    return own


@pytest.fixture(scope="module")
def one_thread():
    """One thread of torch for a module: where tensors are small, more only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
