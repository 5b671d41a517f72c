"""Containers as phones, editors and damaged disks leave them."""

import gc
import io
import os
import pickle
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import STAMPS, small_clip, write_video

from pulse_plantain import containers, video
from pulse_plantain.lab.fuzzing import CODECS, KINDS, PICTURES, make_clip
from pulse_plantain.video import ClipError, Clock, Lost, read_frames


def read(clip, clock=video.OWN_CLOCK):
    """(times, pictures, what was lost) of a clip."""
    lost = Lost()
    times, pictures = zip(*read_frames(clip, clock, lost), strict=True)
    return np.array(times), np.stack(pictures), lost


def write_coded(path, frames=90, rate=30, sound=None, start=0.0):
    """Pictures coded with a key picture every two seconds; sound (start, end) in s beside them."""
    with av.open(str(path), "w") as container:
        codec = "libvpx" if path.suffix == ".webm" else "libx264"
        stream = container.add_stream(codec, rate=1000, options={"g": "60", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        speech = container.add_stream("libopus", rate=48000) if sound else None
        packets = []
        for index, picture in enumerate(small_clip(frames)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round(1000 * (start + index / rate))
            frame.time_base = Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode()
        if sound:
            first, last = (round(48000 * edge) for edge in sound)
            for pts in range(first, last, 960):
                silence = np.zeros((1, 960), np.float32)
                frame = av.AudioFrame.from_ndarray(silence, format="flt", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48000, pts, Fraction(1, 48000)
                packets += speech.encode(frame)
            packets += speech.encode()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def trim(source, target, start):
    """Cut the start off without coding anew, as ``ffmpeg -ss START -c copy`` does.

    Pictures from the key picture before are kept, and an edit list hides them.
    """
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream)
        shift = round(start / stream.time_base)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                made.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_lossless_trim_is_a_whole_clip(tmp_path, suffix):
    whole = write_coded(tmp_path / f"whole{suffix}")
    _, pictures, _ = read(whole)
    cut = trim(whole, tmp_path / f"cut{suffix}", 1.5)
    assert b"elst" in cut.read_bytes()
    times, left, lost = read(cut)
    np.testing.assert_allclose(times, np.arange(45) / 30, atol=0.0011)
    assert np.array_equal(left, pictures[45:]) and not lost


def test_an_edit_list_of_an_editor_hides_the_end_too(tmp_path):
    path = write_coded(tmp_path / "clip.mp4")
    contents = bytearray(path.read_bytes())
    entry = contents.index(b"elst") + 12
    contents[entry : entry + 4] = (2000).to_bytes(4, "big")  # ms of the 3 s that are shown
    path.write_bytes(contents)
    times, _, lost = read(path)
    assert times[-1] == pytest.approx(2 - 1 / 30, abs=0.04) and not lost


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".flv", ".ts"])
@pytest.mark.parametrize("sound, start", [((0, 6), 0), ((0, 4), 2), ((0, 2), 0)])
def test_sound_may_begin_before_the_pictures_and_end_after_them(tmp_path, suffix, sound, start):
    path = write_coded(tmp_path / f"clip{suffix}", sound=sound, start=start)
    times, _, lost = read(path)
    np.testing.assert_allclose(times, np.arange(90) / 30, atol=0.0011)
    assert not lost
    if suffix in (".mkv", ".webm", ".flv"):  # whose header stands in front and says how long
        contents = path.read_bytes()
        path.write_bytes(contents[: int(0.5 * len(contents))])
        with pytest.raises(ClipError, match="the file breaks off"):
            list(read_frames(path))


def test_a_name_may_hold_a_colon(tmp_path, monkeypatch):
    write_coded(tmp_path / "2024-05-01T10:22:33.mp4", frames=20)
    write_coded(tmp_path / "concat:a|b.mp4", frames=20)
    write_coded(tmp_path / "100%03d.mp4", frames=20)
    monkeypatch.chdir(tmp_path)
    for name in ("2024-05-01T10:22:33.mp4", "concat:a|b.mp4", "100%03d.mp4"):
        assert len(read(name)[0]) == 20
    (tmp_path / "two\nlines.mp4").write_bytes(b"nothing")
    with pytest.raises(ClipError, match=r"two\\nlines.mp4': not a video") as caught:
        list(read_frames(tmp_path / "two\nlines.mp4"))
    assert "\n" not in str(caught.value)


class Named(os.PathLike):
    """A path of another library."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


class Piped:
    """A file object that can be read once, and nothing else."""

    def __init__(self, contents):
        self.rest = io.BytesIO(contents)

    def read(self, size=-1):
        return self.rest.read(size)


@pytest.mark.parametrize("kind", ["plain.mp4", "sound.mkv", "parts.avi", "bare.h264", "clip.gif"])
def test_a_clip_is_a_path_a_file_object_or_bytes(tmp_path, kind):
    contents = make_clip(kind)
    path = tmp_path / kind
    path.write_bytes(contents)
    times, pictures, _ = read(path)
    assert len(times) == PICTURES
    with path.open("rb") as file:
        for clip in (Named(path), str(path), file, file, io.BytesIO(contents), contents):
            assert np.array_equal(read(clip)[0], times)
        assert not file.closed
        for clip in (bytearray(contents), memoryview(contents)):
            assert np.array_equal(read(clip)[1], pictures)
    if kind != "plain.mp4":  # whose index is behind the pictures
        assert np.array_equal(read(Piped(contents))[1], pictures)
        with av.open(str(path)) as container:
            if kind != "clip.gif":
                assert np.array_equal(read(container)[0], times)


@pytest.mark.parametrize(
    "clip, message",
    [
        (io.BytesIO(), "the clip: the file is empty"),
        (b"", "the clip: the file is empty"),
        (io.StringIO("words"), r"must be opened for bytes, open\(path, \"rb\"\)"),
        (b"not a video at all", "the clip: not a video"),
        (Piped(b"\x89PNG nothing"), "the clip: the file breaks off|not a picture"),
        ("a\0b.mp4", "no such file"),
        ("x" * 300, "file name too long"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n", "not a video"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "not a video"),
    ],
)
def test_what_is_no_file_of_pictures_is_refused(clip, message):
    with pytest.raises(ClipError, match=message) as caught:
        list(read_frames(clip))
    assert "\n" not in str(caught.value)


def test_a_closed_file_and_a_failing_one_are_refused(tmp_path):
    closed = io.BytesIO(make_clip("plain.mp4"))
    closed.close()

    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise RuntimeError("the disk is on fire\nreally")

    for clip in (closed, Failing(b"contents")):
        with pytest.raises(ClipError) as caught:
            list(read_frames(clip))
        assert "\n" not in str(caught.value)


MATRICES = {
    "as it is": ((1, 0, 0, 1), lambda picture: picture),
    "clockwise": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "upside down": ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    "counterclockwise": ((0, -1, 1, 0), np.rot90),
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "mirrored down": ((1, 0, 0, -1), lambda picture: picture[::-1]),
    "transposed": ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
    "transposed back": ((0, -1, -1, 0), lambda picture: np.rot90(picture, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_display_matrices_turn_and_mirror(name):
    (a, b, c, d), shown = MATRICES[name]
    contents = bytearray(make_clip("plain.mp4"))
    _, stored = next(read_frames(bytes(contents)))
    matrix = contents.index(b"tkhd") + 4 + 40
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    contents[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    _, picture = next(read_frames(bytes(contents)))
    assert np.array_equal(picture, shown(stored))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_file_has_lost_nothing(kind):
    times, _, lost = read(make_clip(kind))
    if kind in CODECS:
        np.testing.assert_allclose(times, np.arange(PICTURES) / 30, atol=0.0011)
    assert lost.describe() == "nothing"
    piped = Lost()
    if kind in ("clip.ts", "plain.y4m", "sound.mkv"):
        assert len(list(read_frames(Piped(make_clip(kind)), lost=piped))) == PICTURES
    assert not piped


@pytest.mark.parametrize("kind, bytes_less", [("clip.ts", 100), ("plain.y4m", 2000)])
def test_a_file_that_ends_within_a_picture_says_so(kind, bytes_less):
    assert read(make_clip(kind)[:-bytes_less])[2].pictures == 1


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "libx264"), ("a.mkv", "ffv1"), ("a.avi", "ffv1")]
)
def test_a_varying_rate_has_lost_nothing(tmp_path, name, codec):
    kind = "bgr0" if codec == "ffv1" else "yuv420p"
    write_video(tmp_path / name, small_clip(), STAMPS - STAMPS[0], codec, kind)
    assert read(tmp_path / name)[2].describe() == "nothing"


def spoil(path, wanted, fill=0):
    """Overwrite the coded pictures of some numbers, their first bytes kept; how many there were."""
    contents = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number in wanted:
            start = packets[number].pos + 6
            contents[start : packets[number].pos + packets[number].size] = bytes(
                [fill] * (packets[number].size - 6)
            )
    path.write_bytes(contents)
    return len(packets)


def test_pictures_that_cannot_be_decoded_are_counted_and_the_rest_is_read(tmp_path):
    path = tmp_path / "clip.mov"
    path.write_bytes(make_clip("intra.mov"))
    assert spoil(path, [20, 21, 40]) == 60
    times, _, lost = read(path)
    assert len(times) == 57 and times[-1] == pytest.approx(59 / 30)
    assert lost.pictures == 3 and lost.gaps == 2 and lost.gap_seconds == pytest.approx(3 / 30)
    assert np.allclose(np.diff(times)[[19, 37]], [3 / 30, 2 / 30])
    # A rate that the caller states counts the lost ones, too.
    times, _, _ = read(path, Clock(15))
    assert times[-1] == pytest.approx(59 / 15)


def test_a_file_of_which_nothing_can_be_decoded_is_refused(tmp_path):
    path = tmp_path / "clip.mov"
    path.write_bytes(make_clip("intra.mov"))
    spoil(path, range(60))
    with pytest.raises(ClipError, match=r"clip\.mov: no picture in it can be decoded \("):
        list(read_frames(path))


def test_seconds_missing_at_the_ends_are_counted():
    contents = bytearray(make_clip("parts.avi"))
    frames = contents.index(b"strh") + 8 + 32
    assert int.from_bytes(contents[frames : frames + 4], "little") == 60
    contents[frames : frames + 4] = (70).to_bytes(4, "little")
    lost = read(bytes(contents))[2]
    assert lost.end_seconds == pytest.approx(10 / 30) and lost.pictures == 0
    contents[frames : frames + 4] = (90).to_bytes(4, "little")
    with pytest.raises(ClipError, match=r"breaks off, 2\.0 of 3\.0 s could be read"):
        list(read_frames(bytes(contents)))


def test_a_codec_of_an_unknown_kind_and_large_pictures_are_refused(monkeypatch):
    monkeypatch.setattr(containers, "MOST_PIXELS", 64 * 47)
    for kind, message in (("plain.y4m", "can be decoded"), ("clip.gif", "of 64 x 48 pixels")):
        with pytest.raises(ClipError, match=message):
            list(read_frames(make_clip(kind)))
    frame = av.VideoFrame(64, 48, "yuv420p")
    with pytest.raises(ClipError, match=r"64 x 48 pixels; at most 0 million pixels can be read"):
        containers.decode(frame, "the clip").to_rgb()
    contents = make_clip("intra.mov").replace(b"jpeg", b"zzzz")
    with pytest.raises(ClipError, match="pictures of a kind that cannot be decoded"):
        list(read_frames(contents))


@pytest.mark.parametrize(
    "error", [UnicodeDecodeError("utf-8", b"a", 0, 1, "two\nlines"), IndexError(), MemoryError()]
)
@pytest.mark.parametrize("where", ["open", "decode", "convert"])
def test_whatever_a_decoder_raises_is_a_clip_error(monkeypatch, error, where):
    def fail(*_, **__):
        raise error

    if where == "open":
        monkeypatch.setattr(av, "open", fail)
    elif where == "convert":
        monkeypatch.setattr(containers, "find_turn", fail)
    else:
        packet = SimpleNamespace(
            stream_index=0,
            size=9,
            is_discard=False,
            pts=None,
            time_base=None,
            pos=None,
            decode=fail,
        )
        monkeypatch.setattr(containers, "_demux", lambda *_: [packet])
    with pytest.raises(ClipError) as caught:
        list(read_frames(make_clip("plain.mp4")))
    assert "\n" not in str(caught.value) and "Error(" not in str(caught.value)


def test_damaged_words_in_a_header_do_not_matter():
    contents = make_clip("plain.mp4").replace(b"VideoHandler", b"Video\xff\xfendler")
    times, _, lost = read(contents)
    assert len(times) == PICTURES and not lost


def test_coded_stills_one_after_the_other_have_no_clock():
    def still(picture):
        with av.open(file := io.BytesIO(), "w", format="image2pipe") as container:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return file.getvalue()

    stills = b"".join(still(picture) for picture in small_clip(12))
    with pytest.raises(ClipError, match="no time stamps: give fps or timestamps"):
        list(read_frames(Piped(stills)))
    assert len(read(Piped(stills), Clock(30))[0]) == 12


def test_an_open_clip_leaves_nothing_behind():
    """Pictures that are waiting for the garbage collector would fill the memory."""

    def count_left():
        frames = [one for one in gc.get_objects() if type(one) is av.VideoFrame]
        return sum(frame.width > 2 for frame in frames)

    contents = make_clip("plain.mp4")
    list(read_frames(contents))
    gc.collect()
    gc.disable()
    try:
        before = count_left()
        for _ in range(2):
            list(read_frames(contents))
            next(read_frames(contents))
        assert count_left() == before
    finally:
        gc.enable()


def test_what_was_lost_can_be_pickled_and_copied():
    lost = read(make_clip("plain.mp4"))[2]
    assert pickle.loads(pickle.dumps(lost)) == lost == Lost()
