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


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Folder of a pipeline of random components and the miniature's geometry."""
    import tiny_components
    from stand_ins import GEOMETRY

    from pulse_plantain.pipeline import PulsePipeline

    folder = tmp_path_factory.mktemp("model")
    pipe = PulsePipeline(**tiny_components.components(), geometry=GEOMETRY, noise_scale=0.25)
    pipe.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def random_pipe(model):
    """The pipeline of ``model``, loaded once; do not change it."""
    from pulse_plantain.settings import Settings

    return Settings(model=model, device="cpu").load()


@pytest.fixture
def loaded(random_pipe, monkeypatch):
    """The command line's pipeline is that of random components, whatever it is asked to load."""
    from pulse_plantain.settings import Settings

    monkeypatch.setattr(Settings, "load", lambda self: random_pipe)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """12 s of noise, 64 x 48 pixels, 10 pictures a second."""
    import av
    import numpy as np

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(120):
            picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture
def painted(monkeypatch):
    """Windows from 0 and from 4 s in turn, in which 72 bpm are drawn, phase 0 at 0 s."""
    from itertools import count

    import numpy as np
    import torch
    from stand_ins import GEOMETRY, pulse_field

    from pulse_plantain.bijection import encode_phasor
    from pulse_plantain.pipeline import PulsePipeline
    from pulse_plantain.sheet import field_to_sheet

    turns = count()

    def decode_sheets(self, latents, batch_size):
        starts = [(0, 4)[next(turns) % 2] for _ in range(len(latents))]
        sheets = [field_to_sheet(encode_phasor(pulse_field(start)), GEOMETRY) for start in starts]
        yield torch.from_numpy(np.stack(sheets)).float().movedim(-1, 1) * 2 - 1

    monkeypatch.setattr(PulsePipeline, "decode_sheets", decode_sheets)


@pytest.fixture(scope="module")
def endpoint(miniature):
    """The handler, serving the miniature."""
    import handler

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler, "load_served", lambda root: miniature)
        return handler.EndpointHandler(str(ROOT))
