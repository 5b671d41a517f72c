"""Clips that the tests make from seeds; nothing is read from outside."""

from fractions import Fraction

import av
import numpy as np
import pytest

from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import ClipError, Clock
from pulse_plantain.windows import RunningMeans, encode_windows

GEOMETRY = SheetGeometry(bands=4, samples=96, rows=8, size=(384, 64))
LAYOUT = Layout(GEOMETRY)
AMPLITUDE, RATE = 0.2, 1.1  # grey levels, Hz

STAMPS = np.cumsum(np.tile([0.08, 0.12, 0.1], 20)) + 0.42  # exact in GIF's hundredths


def noisy_frames(stamps, rate=RATE, amplitude=AMPLITUDE, size=(120, 160), noise=2.0, seed=0):
    """8-bit pictures of a still scene whose brightness beats far below one grey level."""
    rng = np.random.default_rng(seed)
    scene = rng.uniform(90, 160, (*size, 3))
    for stamp in stamps:
        beat = amplitude * np.cos(2 * np.pi * rate * stamp)
        yield np.uint8(np.round(scene + beat + rng.normal(0, noise, scene.shape)))


def write_video(path, pictures, stamps, codec, pix_fmt="yuv420p", options=None):
    """Encode pictures at exact (rational millisecond) stamps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000, options=options or {})
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for stamp, picture in zip(stamps, pictures, strict=False):
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(stamp * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def small_clip(frames=60):
    rng = np.random.default_rng(4)
    scene = rng.uniform(60, 190, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
    beats = 20 * np.sin(np.arange(frames))[:, None, None, None]
    return np.uint8(scene + beats)


def refuse(clip, message, fps=None, timestamps=None, **options):
    with pytest.raises(ClipError, match=message) as caught:
        list(encode_windows(clip, LAYOUT, clock=Clock(fps, timestamps), **options))
    assert "\n" not in str(caught.value)


def box_means(stamps, values, edges):
    """Means [m, ...] between edges [m + 1] of a whole signal, [n] stamps and [n, ...] values."""
    running = RunningMeans()
    for stamp, value in zip(stamps, values, strict=True):
        running.add(stamp, np.asarray(value, dtype=float))
    return running.measure(edges)
