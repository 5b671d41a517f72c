"""How fast clips are measured, beside what cannot be faster: importing, and decoding alone.

CPU seconds, unless a name says otherwise; what is compared runs in turns, each in a process of its
own where memory or a start counts.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from pulse_plantain.cli import let_threads_sleep
from pulse_plantain.live import use_one_thread
from pulse_plantain.loading import load_pipeline
from pulse_plantain.search import divide_finely
from pulse_plantain.video import read_frames
from pulse_plantain.windows import encode_windows

IMPORT = "import diffusers; diffusers.Flux2KleinPipeline"
"""What every pipeline on this base has to do first."""

FPS = 30
"""Pictures a second of the clips that are made for this."""

LARGE: dict[str, tuple[tuple[int, int], int | None]] = {
    "phone_1080p": ((1920, 1080), 17_000_000),
    "phone_4K": ((3840, 2160), 47_000_000),
    "few_bits_1080p": ((1920, 1080), None),
}
"""Sizes, and bits a second: what phones write in H.264, 130 and 350 MB a minute, and a stream that
is as cheap to decode as can be."""

GRAIN = 3.0
"""Standard deviation, in grey levels, of the noise that gives an encoder something to write."""


@dataclass(frozen=True)
class Run:
    """What a run took.

    Attributes:
        cpu: seconds of all its threads.
        wall: seconds on the clock.
        peak_gib: the most memory of its process, imports included; None where that is not known.
    """

    cpu: float
    wall: float
    peak_gib: float | None


def run_alone(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def gauge(function: Callable[[], object]) -> Run:
    """Run a function, and say what it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    spent = time.process_time() - cpu, time.perf_counter() - wall
    return Run(*spent, read_peak_gib())


def read_peak_gib() -> float | None:
    """GiB of the most memory that this process has held; None but on Linux.

    What ``getrusage`` says begins with the memory of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**20


def take_turns(repeat: int, **runs: Callable[[], Run]) -> dict[str, list[dict[str, Any]]]:
    """What runs took, one of each after the other, ``repeat`` times."""
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            taken[name].append(asdict(run()))
    return taken


def run_command(words: Sequence[str]) -> Run:
    """A command from its start to its exit, with compiled modules, as they are once installed.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    compiling = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, *words], capture_output=True, check=True, env=compiling)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(cpu, time.perf_counter() - wall, None)


def stretch_clip(
    source: Path, path: Path, seconds: float, size: tuple[int, int], bits: int | None = None
) -> Path:
    """A clip of another length and size, where it is missing: a clip to and fro; its path.

    Args:
        source: clip whose pictures are taken.
        path: of the new one, H.264 at :data:`FPS`.
        seconds: length of the new one.
        size: (width, height) in pixels.
        bits: a second that are written, of pictures with noise; as few as it takes where None.
    """
    if path.exists():
        return path
    times, shown = zip(*read_frames(source), strict=True)
    due = np.arange(0, times[-1], 1 / FPS)
    pictures = [shown[index] for index in np.searchsorted(times, due + 1e-6, "right") - 1]
    course = chain(*([pictures, pictures[-2:0:-1]] * int(np.ceil(FPS * seconds / len(pictures)))))
    dice = np.random.default_rng(0)
    grain = np.rint(GRAIN * dice.standard_normal((size[1], 2 * size[0]))).astype(np.int16)
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        preset = {"preset": "veryfast" if bits else "ultrafast"}
        stream = container.add_stream("libx264", rate=FPS, options=preset)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if bits:
            stream.bit_rate = bits
        for number, picture in enumerate(islice(course, round(FPS * seconds))):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(*size, "yuv420p")
            if bits:
                frame = add_grain(frame, grain[:, dice.integers(size[0]) :])
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return part.replace(path)


def add_grain(frame: av.VideoFrame, grain: np.ndarray) -> av.VideoFrame:
    """A yuv420p frame with noise [H, >= W] added to its luma, in grey levels."""
    planes = frame.to_ndarray()  # luma [H, W], and chroma below
    luma = planes[: frame.height]
    luma[:] = np.clip(luma + grain[:, : frame.width], 16, 235)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def decode_alone(clip: Path) -> Run:
    """Every picture of a clip decoded by PyAV, with the threads that the pipeline's reader has."""

    def decode() -> None:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for _ in container.decode(stream):
                pass

    return gauge(decode)


def encode_alone(clip: Path, lengths: tuple[float, ...]) -> Run:
    """Every window of a clip that the search looks at."""
    layout = divide_finely(96)
    return gauge(lambda: [None for _ in encode_windows(clip, layout, window=lengths)])


def call_alone(clip: Path, repeat: int) -> list[Run]:
    """Calls of a loaded pipeline, the first one left out."""
    pipe = load_pipeline()
    return [gauge(lambda: pipe(str(clip))) for _ in range(repeat + 1)][1:]


def measure_alone(clip: Path) -> tuple[Run, float]:
    """A clip measured with the miniature; what it took, without loading, and the heart rate."""
    pipe = load_pipeline()
    found: list[Any] = []
    taken = gauge(lambda: found.append(pipe(str(clip))))
    return taken, float(found[0].bpm)


def watch_alone(clip: Path, readings: int) -> tuple[float, int]:
    """CPU seconds of a reading of ``watch``, one a second, the first of a search left out.

    As the command does, with one thread.

    Returns:
        (mean CPU seconds a reading, number of readings).
    """
    pipe = load_pipeline()
    use_one_thread()
    live = pipe.watch(str(clip))
    next(live)
    start, count = time.process_time(), 0
    for _ in islice(live, readings):
        count += 1
    return (time.process_time() - start) / count, count


def measure_speed(script: Path, clip: Path, folder: Path, repeat: int) -> dict[str, Any]:
    """All figures; threads that wait sleep, as in the command line.

    Args:
        script: measure.py.
        clip: 10 s of 640 x 480 pixels.
        folder: where clips are made.
        repeat: times that what is compared is run.

    Returns:
        ``start``: runs of the import and of the command; ``call``: of the pipeline, loaded;
        ``long``: runs of 10 s and of 300 s; ``encoding``: by size, runs of decoding and encoding;
        ``watch``: CPU seconds a reading.
    """
    let_threads_sleep()
    lengths = tuple(load_pipeline().config.default_windows)
    start = {
        name: runs[1:]  # in the first run modules are compiled
        for name, runs in take_turns(
            repeat + 1,
            importing=lambda: run_command(["-c", IMPORT]),
            command=lambda: run_command([str(script), str(clip)]),
        ).items()
    }
    call = [asdict(run) for run in run_alone(call_alone, clip, repeat)]
    long = stretch_clip(clip, folder / "benchmark-300s.mp4", 300, (640, 480))
    short = stretch_clip(clip, folder / "benchmark-10s.mp4", 10, (640, 480))
    rates: list[float] = []

    def measure(path: Path) -> Run:
        taken, bpm = run_alone(measure_alone, path)
        rates.append(bpm)
        return taken

    taken = take_turns(repeat, ten=lambda: measure(short), three_hundred=lambda: measure(long))
    encoding = {}
    for name, (size, bits) in LARGE.items():
        large = stretch_clip(clip, folder / f"benchmark-{name}.mp4", 10, size, bits)
        encoding[name] = take_turns(
            repeat,
            decoding=lambda large=large: run_alone(decode_alone, large),
            encoding=lambda large=large: run_alone(encode_alone, large, lengths),
        )
    reading, count = run_alone(watch_alone, long, 20)
    return {
        "start": start,
        "call": call,
        "long": {
            "10 s": taken["ten"],
            "300 s": taken["three_hundred"],
            "bpm_of_300_s": rates[-1],
        },
        "encoding": encoding,
        "watch": {"cpu_a_reading": reading, "readings": count},
    }


def sum_up(speed: dict[str, Any]) -> dict[str, float]:
    """The figures that have bounds, of :func:`measure_speed`: medians and their ratios."""

    def middle(runs: list[dict[str, Any]], name: str = "cpu") -> float:
        return float(np.median([run[name] for run in runs]))

    start, long = speed["start"], speed["long"]
    figures = {
        "command_over_import": middle(start["command"]) / middle(start["importing"]),
        "call_cpu_s": middle(speed["call"]),
        "times_real_time": 300 / middle(long["300 s"], "wall"),
        "watch_cpu_s": speed["watch"]["cpu_a_reading"],
    }
    if long["300 s"][0]["peak_gib"]:
        ten, three_hundred = (middle(long[name], "peak_gib") for name in ("10 s", "300 s"))
        figures["memory_over_10_s"] = three_hundred / ten
    for name, runs in speed["encoding"].items():
        decoding, encoding = runs["decoding"], runs["encoding"]
        figures[f"encoding_over_decoding_{name}"] = middle(encoding) / middle(decoding)
        if encoding[0]["peak_gib"]:
            more = middle(encoding, "peak_gib") - middle(decoding, "peak_gib")
            figures[f"encoding_more_mb_{name}"] = more * 2**30 / 1e6
    return figures
