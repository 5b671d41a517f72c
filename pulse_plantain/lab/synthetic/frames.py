"""Every pixel and frame of a scene, written as video files with their ground truth.

The scene and its shading are those of the fast path; noise, rounding and codec are real here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pulse_plantain.files import write_files
from pulse_plantain.lab.datasets.recording import RENDERED

from .cameras import CameraLight
from .draw import TAKES, Draw, name_split, split_seeds, subject_of
from .head import HEAD_BOX
from .journeys import Journey
from .scene import Scenes
from .staging import draw_scenes
from .textures import TORSO_BOX

_CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".avi": "avi"}
_CLOCK = Fraction(1, 60_000)  # s; time base of the files (MPEG-4 allows no finer one)
_BVP_RATE = 64.0  # Hz of the reference trace
_FRAMES_AT_ONCE, _TILE = 8, 80  # what a processor's cache holds

SIZES = ((320, 240),) * 4 + ((480, 360), (640, 480))
"""Picture sizes (width, height) of test clips; one of these is picked at random."""


@dataclass(frozen=True)
class Recipe:
    """How a scene is recorded.

    Attributes:
        size: (width, height) in pixels, even.
        codec: h264, mpeg4, mjpeg or ffv1.
        quality: x264's constant rate factor, or bits a pixel for mpeg4; the others have none.
    """

    size: tuple[int, int]
    codec: str
    quality: float

    @classmethod
    def draw(cls, seed: int) -> Recipe:
        """H.264 at rate factors 16 to 22, some up to 27 (70 %), MPEG-4 (15 %), M-JPEG (15 %)."""
        draw = Draw([seed], stream=4)
        size = SIZES[int(draw.uniform(0, len(SIZES) - 1e-3))]
        factor = float(draw.uniform(22, 27) if draw.coin(0.2) else draw.uniform(16, 22))
        bits = float(draw.log_uniform(0.15, 0.6))
        recipes = (
            cls(size, "h264", round(factor, 1)),
            cls(size, "mpeg4", round(bits, 3)),
            cls(size, "mjpeg", 0.0),
        )
        return recipes[int(torch.bucketize(draw.uniform(), torch.tensor([0.7, 0.85])))]


def render_frames(
    scene: Scenes, size: Sequence[int], seconds: float, noise: bool = True
) -> Iterator[tuple[float, np.ndarray]]:
    """Render the frames of one scene.

    Args:
        scene: one clip, drawn for whole pictures (``webcam=True``).
        size: (width, height) in pixels.
        seconds: length; the clip ends before it.
        noise: False leaves sensor noise out; rounding to 8 bits stays.

    Yields:
        (time stamp in s, uint8 picture [height, width, 3]).
    """
    width, height = size
    scene = scene.on_sensor(width, height)
    stamps, kept = scene.camera.clock.stamps(seconds)
    times = stamps[kept & (stamps < seconds)]
    layers = scene.layers(torch.tensor([[1 / height, 1 / height]]))
    points = scene.view.place_points(width, height).reshape(height, width, 2)
    generator = torch.Generator().manual_seed(scene.seeds[0])
    count = 3 * height * width
    grain = torch.randn(4 * count, generator=generator)  # each picture's noise is a stretch of it
    for some in times.split(_FRAMES_AT_ONCE):
        values = _shade_picture(scene, layers, scene.moment(some[None]), points)
        if noise:
            offsets = torch.randint(0, 3 * count, (len(some),), generator=generator).tolist()
            dice = torch.stack([grain[o : o + count] for o in offsets]).reshape(values.shape)
            variance = scene.camera.read_noise**2 + scene.camera.shot_noise**2 * values
            values = values.addcmul_(variance.sqrt_(), dice)
        pictures = (values * 255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)
        yield from zip(some.tolist(), pictures.contiguous().numpy(), strict=True)


def _shade_picture(scene, layers, moment, points):
    """Camera values [T, 3, H, W] of one scene at points [H, W, 2].

    The picture is shaded tile by tile, so that everything stays in the processor's caches, and with
    head and torso only in tiles that they may reach.
    """
    pose, half_face = moment.pose[0], scene.view.half_face
    middle = scene.view.centre[0, :, None] + half_face * pose[:2] + pose[6:]  # [2, T]
    if moment.courses is not None:
        middle = middle + CameraLight.shift_in(moment.courses)[0]
    reach = float(half_face * pose[3].exp().max()) * HEAD_BOX[2] * 1.05
    low, high = middle.amin(1) - reach, middle.amax(1) + reach
    values = torch.empty(moment.pulse.shape[1], 3, *points.shape[:2])
    for y in range(0, points.shape[0], _TILE):
        for x in range(0, points.shape[1], _TILE):
            tile = points[y : y + _TILE, x : x + _TILE]
            near = (tile > low) & (tile < high)
            below = tile[..., 1].max() > middle[1].min() - half_face * TORSO_BOX[1]
            there = replace(
                layers,
                head=layers.head if near.all(-1).any() else None,
                torso=layers.torso if below else None,
            )
            shaded = scene.shade(there, moment, tile.reshape(1, -1, 2))[0]
            shaded = shaded.reshape(*shaded.shape[:2], *tile.shape[:2])
            values[:, :, y : y + _TILE, x : x + _TILE] = shaded
    return values


def find_skin(scene: Scenes, size: Sequence[int], seconds: float) -> np.ndarray:
    """Share of the time in 0..1 that each pixel shows pulsating skin.

    Skin is where the shader's pulse is over a quarter of the strongest in the picture.

    Args:
        scene, size, seconds: see :func:`render_frames`.

    Returns:
        [height, width].
    """
    width, height = size
    scene = scene.on_sensor(width, height).with_amplitude(1e-2)
    layers = scene.layers(torch.tensor([[1 / height, 1 / height]]))
    moment = scene.moment(torch.linspace(0, seconds, 8)[None])
    points = scene.view.place_points(width, height).reshape(height, width, 2)

    def shade_green(pulse):
        level = torch.full_like(moment.pulse, pulse)
        still = replace(moment, pulse=level, slope=torch.zeros_like(level))
        return _shade_picture(scene, layers, still, points)[:, 1]

    strength = 1 - shade_green(1.0) / shade_green(0.0)
    return (strength > strength.amax((1, 2), keepdim=True) / 4).float().mean(0).numpy()


def describe_clip(
    scene: Scenes, recipe: Recipe, stamps: Sequence[float], seconds: float
) -> dict[str, Any]:
    """What is known of a clip, as plain numbers for a JSON file.

    Keys: seed, subject, bpm (mean over the clip; 0 without a pulse), seconds, fps, size, codec,
    quality, face_box (left, top, right, bottom, pixels, at rest), frame_times (s), times (s, an
    even clock), bvp (amplitudes of its fundamental, upright), phase (rad, unwrapped, 0 = systolic
    peak), rate (instantaneous bpm), strata.

    Args:
        scene: one clip.
        recipe: how it was recorded.
        stamps: times of its frames in s.
        seconds: its length.
    """
    times, heart = describe_heart(scene, seconds)
    beating = float(scene.pulse.amplitude) > 0
    return {
        "seed": scene.seeds[0],
        "subject": subject_of(scene.seeds[0]),
        "bpm": float(scene.heart.bpm(0.0, seconds)) if beating else 0.0,
        "seconds": seconds,
        "fps": float(scene.camera.clock.fps),
        **asdict(recipe),
        "face_box": _find_face(scene, recipe.size),
        "frame_times": [round(t, 6) for t in stamps],
        **heart,
        "bvp": (beating * scene.heart.pulse(times)[0][0]).tolist(),
        "strata": _describe_strata(scene, recipe),
    }


def describe_heart(scene: Scenes, seconds: float) -> tuple[torch.Tensor, dict[str, Any]]:
    """An even clock [1, T] in s, and ``times``, ``phase`` and ``rate`` of :func:`describe_clip`."""
    times = torch.arange(int(seconds * _BVP_RATE))[None] / _BVP_RATE
    phase = scene.heart.phase(times)[0]
    rate = phase.diff() * (_BVP_RATE * 30 / torch.pi)
    return times, {"times": times[0].tolist(), "phase": phase.tolist(), "rate": rate.tolist()}


def _find_face(scene, size):
    """Left, top, right and bottom of the face at rest, in pixels within the picture."""
    width, height = size
    x, y = (scene.on_sensor(width, height).view.centre[0] * height).tolist()
    half = float(scene.view.half_face) * height
    box = (x - 0.75 * half, y - half, x + 0.75 * half, y + half)
    limits = (width, height, width, height)
    return [round(min(max(v, 0), m), 1) for v, m in zip(box, limits, strict=True)]


def _describe_strata(scene, recipe):
    """The clip's subgroup in everything by which results are broken down."""
    camera = scene.camera
    lively = float(scene.motion.shares[0, 0].sum())
    light = float(scene.light.shares[0, [0, 4]].square().sum().sqrt())
    amplitude = float(scene.pulse.amplitude / camera.gamma)
    noise = float(camera.read_noise.hypot(camera.shot_noise)) * 255
    fps = float(camera.clock.fps)
    return {
        "skin_type": int(scene.subject.skin_type),
        "motion": _name_level(lively, (0.01, 0.04), ("still", "moderate", "lively")),
        "light": _name_level(light, (0.01, 0.03), ("steady", "drifting", "changing")),
        "amplitude": _name_level(amplitude, (0.003, 0.008), ("weak", "middling", "strong")),
        "noise": _name_level(noise, (1, 3), ("low", "middle", "high")),
        "codec": recipe.codec,
        "quality": recipe.quality,
        "fps": _name_level(fps, (24.5, 35), ("20-24", "25-35", "36-60")),
        "height": recipe.size[1],
    }


def _name_level(value, borders, names):
    return names[sum(value >= border for border in borders)]


def write_video(
    path: Path,
    frames: Iterable[tuple[float, np.ndarray]],
    recipe: Recipe,
    fps: float,
    container: str = "mp4",
) -> list[float]:
    """Write (time, picture) pairs as a file with those time stamps; return the times in s.

    Args:
        path: the file to write.
        frames: as from :func:`render_frames`.
        recipe: size, codec and quality.
        fps: nominal frames a second.
        container: FFmpeg's name of the file format.
    """
    size, codec = recipe.size, recipe.codec
    stamps = []
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream("libx264" if codec == "h264" else codec, rate=round(fps))
        stream.width, stream.height = size
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")
        stream.codec_context.time_base = _CLOCK
        stream.codec_context.thread_count = 1
        if codec == "h264":
            stream.options = {"crf": str(recipe.quality), "preset": "medium"}
        elif codec == "mpeg4":
            stream.bit_rate = int(recipe.quality * size[0] * size[1] * fps)
        for time, picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time / _CLOCK), _CLOCK
            file.mux(stream.encode(frame))
            stamps.append(time)
        file.mux(stream.encode())
    return stamps


@torch.no_grad()
def write_clip(
    path: str | Path,
    seed: int,
    seconds: float = 10.0,
    pulse: bool = True,
    recipe: Recipe | None = None,
    light: str = "plain",
    journey: Journey | None = None,
) -> dict[str, Any]:
    """Render the clip of a seed to a file, and its ground truth beside it.

    Beside ``NAME.mp4`` come ``NAME.json`` (:func:`describe_clip`) and ``NAME.png``
    (:func:`find_skin`, white = skin). The JSON file comes last: where it is, the clip is whole.
    Two processes may render one clip at once; the files of the last one stay.

    Args:
        path: the video file to write: .mp4, .mkv or .avi.
        seed: see draw.SEEDS.
        seconds: length.
        pulse: False for the same face, motion, light and camera with the pulse amplitude zero.
        recipe: how to record it; None: as the seed says.
        light: one of draw.LIGHTS; under "lamp" there is no pulse.
        journey: what happens in it; None: what the seed says.

    Returns:
        the ground truth.
    """
    path = Path(path)
    recipe = recipe or Recipe.draw(seed)
    scene = draw_scenes([seed], webcam=True, kinds=False, light=light)
    scene = journey.take(scene) if journey else scene
    mask = Image.fromarray((find_skin(scene, recipe.size, seconds) * 255).round().astype(np.uint8))
    if not pulse:
        scene = scene.without_pulse()
    truth = {}

    def write_frames(part):
        frames = render_frames(scene, recipe.size, seconds)
        if journey:
            frames = (frame for frame in frames if not journey.misses(frame[0]))
        fps = float(scene.camera.clock.fps)
        stamps = write_video(part, frames, recipe, fps, _CONTAINERS[path.suffix])
        truth.update(describe_clip(scene, recipe, stamps, seconds))
        truth.update(journey.describe() if journey else {})

    write_files(
        {
            path: write_frames,
            path.with_suffix(".png"): lambda part: mask.save(part, "PNG"),
            path.with_suffix(".json"): lambda part: part.write_text(json.dumps(truth)),
        }
    )
    return truth


def render_set(
    folder: str | Path,
    split: str,
    count: int,
    pulse: bool = True,
    seconds: float = 10.0,
    start: int = 0,
    progress: bool = True,
    light: str = "plain",
) -> None:
    """Render the first clips of a split into a folder, one subject each; skip finished ones.

    Args:
        folder: made where it is missing; files are named by split, light and subject.
        split: train, validation or test.
        count: number of clips.
        pulse, seconds: see :func:`write_clip`.
        start: number of the first clip.
        progress: show a bar.
        light: one of draw.LIGHTS; each has subjects of its own.
    """
    split = name_split(split, light)
    for seed in list_clips(split, count, start, progress):
        path = Path(folder) / f"{split}-{subject_of(seed)}.mp4"
        if not path.with_suffix(".json").exists():
            write_clip(path, seed, seconds, pulse, light=light)


def render_journeys(
    folder: str | Path,
    split: str,
    count: int,
    seconds: float = 60.0,
    start: int = 0,
    progress: bool = True,
) -> None:
    """Render long clips in camera light in which things happen (:class:`.journeys.Journey`).

    Args:
        folder, split, count, seconds, start, progress: see :func:`render_set`.
    """
    split = name_split(split, "camera")
    for seed in list_clips(split, count, start, progress):
        path = Path(folder) / f"journey-{split}-{subject_of(seed)}.mp4"
        if not path.with_suffix(".json").exists():
            journey = Journey.draw(seed, seconds)
            write_clip(path, seed, seconds, light="camera", journey=journey)


def render_ubfc2(
    folder: str | Path,
    split: str,
    count: int,
    pulse: bool = True,
    seconds: float = 10.0,
    start: int = 0,
    progress: bool = True,
    light: str = "plain",
) -> None:
    """Render as :func:`render_set` does, laid out as UBFC-rPPG's DATASET_2 lies on disk.

    ``subject<n>/vid.avi`` (lossless, the camera's nominal rate in the header) and
    ``ground_truth.txt``, three lines of one number a picture: pulse, heart rate (bpm), time (s).
    The true clock of the pictures is the third line, as there. The text file comes last. Beside
    them lies the mark of what is rendered, so that nobody takes it for the data set.

    Args:
        folder, split, count, pulse, seconds, start, progress, light: see :func:`render_set`.
    """
    for seed in list_clips(name_split(split, light), count, start, progress):
        place = Path(folder) / f"subject{subject_of(seed)}"
        if not (place / "ground_truth.txt").exists():
            _write_ubfc2_clip(place, seed, pulse, seconds, light)


def list_clips(split: str, count: int, start: int, progress: bool = True) -> Iterable[int]:
    """Seeds of ``count`` subjects of a split and light, behind a progress bar."""
    seeds = split_seeds(split, count * TAKES, start * TAKES)[::TAKES]
    return tqdm(seeds, desc=f"rendering {split}", unit="clip", disable=not progress)


@torch.no_grad()
def _write_ubfc2_clip(place, seed, pulse, seconds, light):
    scene = draw_scenes([seed], webcam=True, kinds=False, light=light)
    scene = scene if pulse else scene.without_pulse()
    size = Recipe.draw(seed).size
    stamps = []

    def write_frames(part):
        with av.open(str(part), "w", format="avi") as file:
            stream: Any = file.add_stream("ffv1", rate=round(float(scene.camera.clock.fps)))
            stream.width, stream.height = size
            stream.pix_fmt = "bgr0"
            stream.codec_context.thread_count = 1
            for time, picture in render_frames(scene, size, seconds):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                stamps.append(time)
            file.mux(stream.encode())

    def write_label(part):
        clock = np.array(stamps)
        times = torch.from_numpy(clock)[None]
        beating = float(scene.pulse.amplitude) > 0
        rate = np.gradient(scene.heart.phase(times)[0].numpy(), clock) * 30 / np.pi
        trace = scene.heart.pulse(times)[0][0].numpy()
        np.savetxt(part, np.stack([beating * trace, beating * rate, clock]), fmt="%.7e")

    mark = json.dumps({"by": "scripts/synthesize.py", "seed": seed, "light": light}) + "\n"
    write_files(
        {
            place / RENDERED: lambda part: part.write_text(mark),
            place / "vid.avi": write_frames,
            place / "ground_truth.txt": write_label,
        }
    )
