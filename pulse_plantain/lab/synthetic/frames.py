"""Full frames: every pixel and frame of a scene, written as video files with their ground truth.

The scene and its shading are those of the fast path; noise, rounding and codec are real here.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from .draw import TAKES, Draw, split_seeds, subject_of
from .fast import grid_points
from .scene import draw_scenes
from .textures import HEAD_BOX, TORSO_BOX

_CLOCK = Fraction(1, 60_000)  # s; time base of the files (MPEG-4 allows no finer one)
_BVP_RATE = 64.0  # Hz of the reference trace
_FRAMES_AT_ONCE, _TILE = 8, 80  # what a processor's cache holds

SIZES = ((320, 240),) * 4 + ((480, 360), (640, 480))
"""Picture sizes (width, height) a test clip may have, each as likely as it is often here."""


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
    def draw(cls, seed):
        """H.264 at rate factors 16 to 22, some up to 27 (70 %), MPEG-4 (15 %), M-JPEG (15 %)."""
        draw = Draw([seed], stream=4)
        size = SIZES[int(draw.uniform(0, len(SIZES) - 1e-3))]
        factor = float(draw.uniform(22, 27) if draw.coin(0.2) else draw.uniform(16, 22))
        bits = float(draw.log_uniform(0.15, 0.6))
        recipes = (cls(size, "h264", round(factor, 1)), cls(size, "mpeg4", round(bits, 3)))
        recipes += (cls(size, "mjpeg", 0.0),)
        return recipes[int(torch.bucketize(draw.uniform(), torch.tensor([0.7, 0.85])))]


def render_frames(scene, size, seconds, noise=True):
    """Frames of one scene.

    Args:
        scene: :class:`Scenes` of one clip, drawn for whole pictures (``webcam=True``).
        size: (width, height) in pixels.
        seconds: length; the clip ends before it.
        noise: leave out sensor noise where False (rounding to 8 bits stays).

    Yields:
        (time stamp in s, uint8 picture [height, width, 3]).
    """
    width, height = size
    scene = scene.on_sensor(width, height)
    stamps, kept = scene.clock.stamps(seconds)
    times = stamps[kept & (stamps < seconds)]
    layers = scene.layers(torch.tensor([[1 / height, 1 / height]]))
    points = grid_points(scene.box, width, height).reshape(height, width, 2)
    generator = torch.Generator().manual_seed(scene.seeds[0])
    count = 3 * height * width
    grain = torch.randn(4 * count, generator=generator)  # each picture's noise is a stretch of it
    for some in times.split(_FRAMES_AT_ONCE):
        values = _shade_picture(scene, layers, scene.moment(some[None]), points)
        if noise:
            offsets = torch.randint(0, 3 * count, (len(some),), generator=generator).tolist()
            dice = torch.stack([grain[o : o + count] for o in offsets]).reshape(values.shape)
            variance = scene.read_noise**2 + scene.shot_noise**2 * values
            values = values.addcmul_(variance.sqrt_(), dice)
        pictures = (values * 255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)
        yield from zip(some.tolist(), pictures.contiguous().numpy(), strict=True)


def _shade_picture(scene, layers, moment, points):
    """Scenes.shade of one scene at points [H, W, 2], as [T, 3, H, W].

    Tile by tile, so that everything stays in the processor's caches, and with head and torso only
    in tiles that they may reach.
    """
    pose = moment.pose[0]
    middle = scene.centre[0, :, None] + scene.half_face * pose[:2] + pose[6:]  # [2, T]
    reach = float(scene.half_face * pose[3].exp().max()) * HEAD_BOX[2] * 1.05
    low, high = middle.amin(1) - reach, middle.amax(1) + reach
    values = torch.empty(moment.pulse.shape[1], 3, *points.shape[:2])
    for y in range(0, points.shape[0], _TILE):
        for x in range(0, points.shape[1], _TILE):
            tile = points[y : y + _TILE, x : x + _TILE]
            near = (tile > low) & (tile < high)
            below = tile[..., 1].max() > middle[1].min() - scene.half_face * TORSO_BOX[1]
            shown = replace(
                layers,
                head=layers.head if near.all(-1).any() else None,
                torso=layers.torso if below else None,
            )
            shaded = scene.shade(shown, moment, tile.reshape(1, -1, 2))[0]
            shaded = shaded.reshape(*shaded.shape[:2], *tile.shape[:2])
            values[:, :, y : y + _TILE, x : x + _TILE] = shaded
    return values


def skin_mask(scene, size, seconds):
    """Share of the time [height, width] in 0..1 that a pixel shows pulsating skin.

    Skin is where the shader's pulse is over a quarter of the strongest in the picture.
    """
    width, height = size
    scene = scene.on_sensor(width, height)
    scene = replace(scene, amplitude=torch.tensor([1e-2]))
    layers = scene.layers(torch.tensor([[1 / height, 1 / height]]))
    moment = scene.moment(torch.linspace(0, seconds, 8)[None])
    points = grid_points(scene.box, width, height).reshape(height, width, 2)

    def green(pulse):
        level = torch.full_like(moment.pulse, pulse)
        still = replace(moment, pulse=level, slope=torch.zeros_like(level))
        return _shade_picture(scene, layers, still, points)[:, 1]

    strength = 1 - green(1.0) / green(0.0)
    return (strength > strength.amax((1, 2), keepdim=True) / 4).float().mean(0).numpy()


def ground_truth(scene, recipe, stamps, seconds):
    """What is known of a clip, as plain numbers for a JSON file.

    Keys: seed, subject, bpm (mean over the clip; 0 without a pulse), seconds, fps, size, codec,
    quality, face_box (left, top, right, bottom, pixels, at rest), frame_times (s), times (s, an
    even clock), bvp (amplitudes of its fundamental, upright), phase (rad, unwrapped, 0 = systolic
    peak), rate (instantaneous bpm), strata.
    """
    width, height = recipe.size
    times = torch.arange(int(seconds * _BVP_RATE))[None] / _BVP_RATE
    phase = scene.heart.phase(times)[0]
    beating = float(scene.amplitude) > 0
    sensed = scene.on_sensor(width, height)
    x, y = (sensed.centre[0] * height).tolist()
    half = float(scene.half_face) * height
    box = (x - 0.75 * half, y - half, x + 0.75 * half, y + half)
    limits = (width, height, width, height)
    lively = float(scene.motion_mix[0, 0].sum())
    light = float(scene.light_mix[0, [0, 4]].square().sum().sqrt())
    camera_amplitude = float(scene.amplitude / scene.gamma)
    return {
        "seed": scene.seeds[0],
        "subject": subject_of(scene.seeds[0]),
        "bpm": float(scene.heart.bpm(0.0, seconds)) if beating else 0.0,
        "seconds": seconds,
        "fps": float(scene.clock.fps),
        **asdict(recipe),
        "face_box": [round(min(max(v, 0), m), 1) for v, m in zip(box, limits, strict=True)],
        "frame_times": [round(t, 6) for t in stamps],
        "times": times[0].tolist(),
        "bvp": (beating * scene.heart.pulse(times)[0][0]).tolist(),
        "phase": phase.tolist(),
        "rate": (phase.diff() * (_BVP_RATE * 30 / torch.pi)).tolist(),
        "strata": {
            "skin_type": int(scene.skin_type),
            "motion": _level(lively, (0.01, 0.04), ("still", "moderate", "lively")),
            "light": _level(light, (0.01, 0.03), ("steady", "drifting", "changing")),
            "amplitude": _level(camera_amplitude, (0.003, 0.008), ("weak", "middling", "strong")),
            "noise": _level(
                float(scene.read_noise.hypot(scene.shot_noise)) * 255,
                (1, 3),
                ("low", "middle", "high"),
            ),
            "codec": recipe.codec,
            "quality": recipe.quality,
            "fps": _level(float(scene.clock.fps), (24.5, 35), ("20-24", "25-35", "36-60")),
            "height": height,
        },
    }


def _level(value, borders, names):
    return names[sum(value >= border for border in borders)]


def write_video(path, frames, size, codec, quality, fps):
    """Writes (time, picture) pairs as a file with those time stamps; returns the times.

    Args:
        path: the suffix names the container.
        frames: iterable as from :func:`render_frames`.
        size: (width, height).
        codec, quality: see :class:`Recipe`.
        fps: nominal frames a second.
    """
    libraries = {"h264": "libx264"}
    stamps = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(libraries.get(codec, codec), rate=round(fps))
        stream.width, stream.height = size
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")
        stream.codec_context.time_base = _CLOCK
        stream.codec_context.thread_count = 1
        if codec == "h264":
            stream.options = {"crf": str(quality), "preset": "medium"}
        elif codec == "mpeg4":
            stream.bit_rate = int(quality * size[0] * size[1] * fps)
        for time, picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time / _CLOCK), _CLOCK
            container.mux(stream.encode(frame))
            stamps.append(time)
        container.mux(stream.encode())
    return stamps


@torch.no_grad()
def write_clip(path, seed, seconds=10.0, pulse=True, **recipe):
    """Renders the clip of a seed to a file, and its ground truth beside it.

    Beside ``NAME.mp4`` come ``NAME.json`` (:func:`ground_truth`) and ``NAME.png``
    (:func:`skin_mask`, white = skin). The JSON file comes last: where it is, the clip is whole.

    Args:
        path: the video file to write.
        seed: see draw.SEEDS.
        seconds: length.
        pulse: False for the same face, motion, light and camera with the pulse amplitude zero.
        recipe: any of :class:`Recipe`'s size, codec, quality, instead of what the seed says.

    Returns:
        the ground truth.
    """
    path = Path(path)
    chosen = replace(Recipe.draw(seed), **recipe)
    scene = draw_scenes([seed], webcam=True, kinds=False)
    mask = skin_mask(scene, chosen.size, seconds)
    if not pulse:
        scene = scene.without_pulse()
    frames = render_frames(scene, chosen.size, seconds)
    # Two processes may render one clip at once: each writes a file of its own, the last one stays.
    new = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    stamps = write_video(
        new, frames, chosen.size, chosen.codec, chosen.quality, float(scene.clock.fps)
    )
    new.replace(path)
    Image.fromarray((mask * 255).round().astype(np.uint8)).save(path.with_suffix(".png"))
    truth = ground_truth(scene, chosen, stamps, seconds)
    path.with_suffix(".json").write_text(json.dumps(truth))
    return truth


def render_set(folder, split, count, pulse=True, seconds=10.0, start=0, progress=True):
    """Renders the first clips of a split into a folder, one subject each; skips finished ones.

    Args:
        folder: made where it is missing; files are named by subject.
        split: train, validation or test.
        count: number of clips.
        pulse, seconds: see :func:`write_clip`.
        start: number of the first clip.
        progress: show a bar.
    """
    folder = Path(folder)
    seeds = split_seeds(split, count * TAKES, start * TAKES)[::TAKES]
    folder.mkdir(parents=True, exist_ok=True)
    for seed in tqdm(seeds, desc=f"rendering {split}", unit="clip", disable=not progress):
        path = folder / f"{split}-{subject_of(seed)}.mp4"
        if not path.with_suffix(".json").exists():
            write_clip(path, seed, seconds, pulse)


@torch.no_grad()
def render_ubfc2(folder, split, count, pulse=True, seconds=10.0, start=0, progress=True):
    """As :func:`render_set`, laid out as UBFC-rPPG's DATASET_2 lies on disk.

    ``subject<n>/vid.avi`` (lossless, 30 Hz in the header whatever the camera did) and
    ``ground_truth.txt``, three lines of one number a picture: pulse, heart rate (bpm), time (s).
    The true clock of the pictures is the third line, as there. The text file comes last.
    """
    seeds = split_seeds(split, count * TAKES, start * TAKES)[::TAKES]
    for seed in tqdm(seeds, desc=f"rendering {split}", unit="clip", disable=not progress):
        place = Path(folder) / f"subject{subject_of(seed)}"
        label = place / "ground_truth.txt"
        if label.exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        scene, stamps = draw_scenes([seed], webcam=True, kinds=False), []
        scene = scene if pulse else scene.without_pulse()
        size = Recipe.draw(seed).size
        with av.open(str(place / "vid.avi"), "w") as container:
            stream = container.add_stream("ffv1", rate=30, pix_fmt="bgr0")
            stream.width, stream.height = size
            stream.codec_context.thread_count = 1
            for time, picture in render_frames(scene, size, seconds):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                stamps.append(time)
            container.mux(stream.encode())
        stamps = np.array(stamps)
        times = torch.from_numpy(stamps)[None]
        beating = float(scene.amplitude) > 0
        rate = np.gradient(scene.heart.phase(times)[0].numpy(), stamps) * 30 / np.pi
        pulse_line = scene.heart.pulse(times)[0][0].numpy()
        new = label.with_suffix(".new")
        np.savetxt(new, np.stack([beating * pulse_line, beating * rate, stamps]), fmt="%.7e")
        new.replace(label)
