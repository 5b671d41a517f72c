"""Streams that are still coming in keep their clock, and say how old they are."""

import io
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import small_clip

from pulse_plantain import stream
from pulse_plantain.lab.fuzzing import make_clip
from pulse_plantain.video import ClipError, Clock


def pipe_in(monkeypatch, contents):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(contents)))
    return stream.open_stream("-")


@pytest.mark.parametrize("kind", ["bare.h264", "sound.mkv", "clip.ts"])
def test_a_pipe_has_the_clock_of_its_codec_or_container(monkeypatch, kind):
    with pipe_in(monkeypatch, make_clip(kind)) as container:
        live = stream.LiveClip(container)
        begun = time.monotonic()
        pictures = live.pictures()
        stamps = [next(live.times()) for picture in pictures if picture.size == (64, 48)]
        assert begun < live.arrived <= time.monotonic() and not live.lost
    np.testing.assert_allclose(stamps, np.arange(60) / 30, atol=0.0011)


def test_a_pipe_without_a_clock_asks_for_one(monkeypatch):
    with av.open(file := io.BytesIO(), "w", format="mjpeg") as container:
        coded = container.add_stream("mjpeg", rate=30)
        coded.width, coded.height, coded.pix_fmt = 64, 48, "yuvj420p"
        for picture in small_clip(12):
            container.mux(coded.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    with pipe_in(monkeypatch, file.getvalue()) as container:
        with pytest.raises(ClipError, match="no time stamps: give fps or timestamps"):
            list(stream.LiveClip(container).pictures())
    with pipe_in(monkeypatch, file.getvalue()) as container:
        live = stream.LiveClip(container, Clock(15))
        assert len(list(live.pictures())) == 12
        assert list(live.times()) == [number / 15 for number in range(12)]


def test_what_is_no_stream_is_refused_in_one_line(monkeypatch, tmp_path):
    with pytest.raises(ClipError, match="the pipe: not a video"):
        pipe_in(monkeypatch, b"no stream at all")
    with pytest.raises(ClipError, match="no such file"):
        stream.open_stream(str(tmp_path / "nothing"))
    with pytest.raises(ClipError) as caught:
        stream.open_camera(str(tmp_path / "no camera"))
    assert "\n" not in str(caught.value) and "no camera: not a camera" in str(caught.value)
