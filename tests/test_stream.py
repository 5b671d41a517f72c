"""Streams that are still coming in keep their clock, and say how old they are."""

import io
import re
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import small_clip

from pulse_plantain import stream
from pulse_plantain.lab.fuzzing import make_clip
from pulse_plantain.live import Source
from pulse_plantain.video import ClipError, Clock, Lost, read_pictures


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


def plain_video(rate, seconds=2):
    """YUV4MPEG of noise, 16 x 16 pixels, with the tag that states the rate."""
    pictures = np.random.default_rng(0).bytes(30 * seconds * 384)
    frames = [b"FRAME\n" + pictures[start : start + 384] for start in range(0, len(pictures), 384)]
    return b"YUV4MPEG2 W16 H16%s Ip A1:1 C420jpeg\n" % rate + b"".join(frames)


class Unwound:
    """A pipe, which gives few bytes at once and cannot be rewound."""

    def __init__(self, contents):
        self._file = io.BytesIO(contents)

    def read(self, size=-1):
        return self._file.read(min(size, 7) if size > 0 else size)


def open_ways(contents, path):
    """A file's contents in every form in which they can be given."""
    path.write_bytes(contents)
    return [
        *(path, contents, io.BytesIO(contents), Unwound(contents)),
        *(av.open(str(path)), av.open(io.BytesIO(contents))),
    ]


@pytest.mark.parametrize("rate", [b" F0:0", b"", b" F0:1", b" F30:0", b" F30"])
def test_plain_video_without_a_rate_has_no_clock(monkeypatch, tmp_path, rate):
    contents = plain_video(rate)
    for clip in open_ways(contents, tmp_path / "a.y4m"):
        with pytest.raises(ClipError, match="no time stamps: give fps or timestamps"):
            list(read_pictures(clip))
    for clip in open_ways(contents, tmp_path / "a.y4m"):
        lost = Lost()
        times = [time for time, _ in read_pictures(clip, Clock(15), lost)]
        assert times == [number / 15 for number in range(60)] and not lost
    named = str(tmp_path / "a.y4m")
    for container, name in (
        (pipe_in(monkeypatch, contents), "the stream"),
        (stream.open_stream(named), re.escape(named)),
    ):
        with container, pytest.raises(ClipError, match=f"^{name} has no time stamps: give fps"):
            list(stream.LiveClip(container).pictures())


@pytest.mark.parametrize(("rate", "fps"), [(b" F25:1", 25), (b" F50:2", 25), (b" F30:1", 30)])
def test_plain_video_keeps_the_rate_that_it_states(monkeypatch, tmp_path, rate, fps):
    contents = plain_video(rate)
    ways = open_ways(contents, tmp_path / "a.y4m")
    for clip in ways if fps != 25 else ways[:-1]:  # of the last one the header is gone
        times = [time for time, _ in read_pictures(clip)]
        np.testing.assert_allclose(times, np.arange(60) / fps)
    with pipe_in(monkeypatch, contents) as container:
        assert len(list(stream.LiveClip(container).pictures())) == 60


@pytest.mark.parametrize(
    "name", ["2024-05-01T10:22:33.ts", "http:clip.ts", "concat:x.ts", "-:.ts", "pipe:0.ts"]
)
def test_a_file_is_a_file_whatever_its_name_begins_with(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    contents = make_clip("clip.ts")
    (tmp_path / name).write_bytes(contents)
    for source in (name, str(tmp_path / name)):
        with stream.open_stream(source) as container:
            assert len(list(stream.LiveClip(container).pictures())) == 60
    Source(name).check()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\n./{name}\n#EXT-X-ENDLIST\n"
    (tmp_path / "a:list.m3u8").write_text(playlist)
    with stream.open_stream("a:list.m3u8") as container:
        assert len(list(stream.LiveClip(container).pictures())) == 60


def test_an_address_that_is_no_file_is_left_to_ffmpeg():
    for source in ("rtsp://127.0.0.1:1/clip", "http://127.0.0.1:1/" + 5000 * "a"):
        with pytest.raises(ClipError, match=r"not a video that can be read \(connection refused\)"):
            stream.open_stream(source)


def test_what_is_no_stream_is_refused_in_one_line(monkeypatch, tmp_path):
    with pytest.raises(ClipError, match="the pipe: not a video"):
        pipe_in(monkeypatch, b"no stream at all")
    with pytest.raises(ClipError, match="no such file"):
        stream.open_stream(str(tmp_path / "nothing"))
    with pytest.raises(ClipError) as caught:
        stream.open_camera(str(tmp_path / "no camera"))
    assert "\n" not in str(caught.value) and "no camera: not a camera" in str(caught.value)
