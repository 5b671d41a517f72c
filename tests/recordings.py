"""Small clips with a known pulse, as scripts/synthesize.py lays them out, and a false pipeline."""

import json
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
from PIL import Image

RATES = (70.0, 93.0, 118.5, 61.0)
"""bpm of the clips of the fixture ``folder``."""

FPS, SECONDS, SIZE = 20, 8, 64


def write_recording(folder, number, bpm):
    """Clip NNNN.mp4 with truth and mask beside it; bpm 0 = no pulse. A disc of skin on grey."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(number)
    times = np.arange(FPS * SECONDS) / FPS
    bvp = np.cos(2 * np.pi * bpm / 60 * times + rng.uniform(0, 6)) * (bpm > 0)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    disc = (x - 32) ** 2 + (y - 32) ** 2 < 22**2
    path = folder / f"{number:04d}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "8"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for value in bvp:
            skin = np.array([180, 120, 100]) * (1 - 0.012 * np.array([0.33, 0.77, 0.53]) * value)
            picture = np.where(disc[..., None], skin, 90) + rng.normal(0, 2, (SIZE, SIZE, 3))
            frame = av.VideoFrame.from_ndarray(np.clip(picture.round(), 0, 255).astype(np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    Image.fromarray(255 * disc.astype(np.uint8)).save(path.with_suffix(".png"))
    truth = {"subject": number // 2, "bpm": bpm, "strata": {"tone": "III"}}
    truth |= {"times": times.tolist(), "bvp": bvp.tolist(), "rate": [bpm] * (len(times) - 1)}
    path.with_suffix(".json").write_text(json.dumps(truth))


def fake_pipe(clip):
    """Answers 70 bpm; abstains on every clip whose number is odd, where its guess is 90."""
    even = int(Path(clip).stem) % 2 == 0
    windows = [
        SimpleNamespace(start=0.0, end=5.0, bpm=50.0, confidence=0.1, crop=(0, 0, 64, 64)),
        SimpleNamespace(start=3.0, end=8.0, bpm=90.0, confidence=0.3, crop=(0, 0, 64, 64)),
    ]
    times = np.arange(96) / 12
    return SimpleNamespace(
        bpm=70.0 if even else np.nan,
        guess=70.0 if even else 90.0,
        confidence=0.9 if even else 0.2,
        reason=None if even else "no pulse stands out",
        windows=windows,
        bvp=np.cos(2 * np.pi * 70 / 60 * times),
        times=times,
    )
