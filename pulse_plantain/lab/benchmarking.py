"""Times of the stages of one window, and the clip that is measured.

Here live the stopwatch and the memory gauge, too; seconds are of the wall clock.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pulse_plantain.drawing import Drawing
from pulse_plantain.lab.synthetic import Recipe, write_clip
from pulse_plantain.lab.training import measure_peak_gib
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.reading import Glance, read_sheets
from pulse_plantain.search import WHOLE, read_drawn
from pulse_plantain.video import read_frames
from pulse_plantain.windows import encode_windows

CLIP_SEED = 20_000_000
"""The first seed of the test split; its clip is rendered where none is given."""


class Stopwatch:
    """Seconds of one stage after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the lap before as that of a stage."""
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


def time_runs(run: Callable[[], object], device: str, repeat: int) -> float:
    """Median seconds of a function's runs after two that do not count."""
    times = []
    for _ in range(repeat + 2):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def gauge_memory(run: Callable[[], object], device: str) -> float:
    """GiB of the most memory during a function's run; without a GPU, of the process so far."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run()
    return measure_peak_gib(device)


def render_benchmark_clip(path: Path) -> Path:
    """A clip of 10 s at 640 x 480 pixels, rendered where it is missing; its path."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        recipe = replace(Recipe.draw(CLIP_SEED), size=(640, 480))
        write_clip(path, CLIP_SEED, seconds=10, recipe=recipe)
    return path


def describe_clip(clip: Path) -> dict[str, Any]:
    """A clip's file name, picture size, number of pictures and seconds.

    Raises:
        ClipError: if it cannot be read.
    """
    frames = [(stamp, picture.shape) for stamp, picture in read_frames(clip)]
    seconds, (height, width, _) = frames[-1]
    return {"file": clip.name, "size": [width, height], "frames": len(frames), "seconds": seconds}


@torch.no_grad()
def time_window(pipe: PulsePipeline, clip: Path) -> dict[str, float]:
    """Seconds of each stage for a clip's first window.

    Returns:
        ``decode`` (the whole window is read from the file), ``prompt``, ``vae_encode``,
        ``transformer``, ``vae_decode``, ``read`` (from the pulse sheet to the heart rate) and
        ``model``: VAE encoding, transformer and VAE decoding together.
    """
    watch = Stopwatch()
    windows = [next(encode_windows(clip, pipe.layout))]
    watch.lap("decode")
    prompt_embeds = pipe.encode_task_prompt()
    watch.lap("prompt")
    steps = pipe.config.default_num_inference_steps
    drawing = Drawing(num_inference_steps=steps, batch_size=1, prompt_embeds=prompt_embeds)
    motion, references = pipe.encode_pictures(windows, drawing)
    watch.lap("vae_encode")
    latents = pipe.denoise(pipe.prepare_latents(motion, 1), references, drawing)
    watch.lap("transformer")
    sheets = list(pipe.decode_sheets(latents, 1))
    watch.lap("vae_decode")
    drawn = read_sheets([Glance(windows[0], WHOLE)], sheets, pipe.layout.geometry)
    read_drawn(drawn, pipe.reading_weights, (windows[0].start, windows[0].end)).read_clip()
    watch.lap("read")
    model = sum(watch.seconds[name] for name in ("vae_encode", "transformer", "vae_decode"))
    return watch.seconds | {"model": model}
