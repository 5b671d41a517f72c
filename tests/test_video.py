"""Every kind of clip is read with its own clock, or refused in one line."""

import gzip
import io
import tempfile
import zipfile
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from clips import LAYOUT, STAMPS, refuse, small_clip, write_video
from PIL import Image

from pulse_plantain.video import ClipError, Clock, pictures_at, read_frames
from pulse_plantain.windows import encode_windows


@pytest.mark.parametrize(
    "name, codec, pix_fmt, tolerance",
    [
        ("clip.mp4", "libx264", "yuv420p", 6),
        ("clip.mov", "libx264", "yuv420p", 6),
        ("clip.avi", "ffv1", "bgr0", 0),
        ("clip.mkv", "ffv1", "bgr0", 0),
        ("clip.webm", "libvpx-vp9", "yuv420p", 4),
    ],
)
def test_video_files(tmp_path, name, codec, pix_fmt, tolerance):
    pictures = small_clip()
    # An AVI's clock has no gap in front of its first picture.
    stamps = STAMPS - STAMPS[0] if name.endswith("avi") else STAMPS
    write_video(tmp_path / name, pictures, stamps, codec, pix_fmt)
    times, read = zip(*read_frames(tmp_path / name), strict=True)
    np.testing.assert_allclose(times, STAMPS - STAMPS[0], atol=0.0011)
    error = np.abs(np.stack(read).astype(int) - pictures).mean((1, 2, 3)).max()
    assert error <= tolerance
    (window,) = encode_windows(tmp_path / name, LAYOUT)
    (reference,) = encode_windows(pictures, LAYOUT, clock=Clock(timestamps=STAMPS))
    assert np.abs(window.motion - reference.motion).mean() < 0.01


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip.png"])
def test_animations_keep_their_durations(tmp_path, name):
    pictures = [Image.fromarray(picture) for picture in small_clip()]
    durations = [round(step * 1000) for step in np.append(np.diff(STAMPS), 0.1)]
    pictures[0].save(
        tmp_path / name, save_all=True, append_images=pictures[1:], duration=durations,
        **({"lossless": True} if name.endswith("webp") else {}),
    )  # fmt: skip
    times, read = zip(*read_frames(tmp_path / name), strict=True)
    np.testing.assert_allclose(times, STAMPS - STAMPS[0], atol=1e-6)
    error = np.abs(np.stack(read).astype(int) - small_clip()).mean()
    assert error < (3 if name.endswith("gif") else 1e-9)


def test_folders_of_numbered_pictures(tmp_path):
    pictures = small_clip(12)
    (tmp_path / "plain").mkdir()
    (tmp_path / "pure").mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "plain" / f"{index + 1}.png")
        nanoseconds = 1392643993642815000 + index * 33_400_000
        Image.fromarray(picture).save(tmp_path / "pure" / f"Image{nanoseconds}.png")
    times, read = zip(*read_frames(tmp_path / "plain", Clock(4)), strict=True)
    assert times == tuple(np.arange(12) / 4) and np.array_equal(np.stack(read), pictures)
    times, read = zip(*read_frames(tmp_path / "pure"), strict=True)
    np.testing.assert_allclose(times, np.arange(12) * 0.0334, atol=1e-6)
    assert np.array_equal(np.stack(read), pictures)
    with pytest.raises(ClipError, match="give fps or timestamps"):
        list(read_frames(tmp_path / "plain"))


def write_bare_stream(path, codec, rate, options=None):
    """An elementary stream: coded pictures one after the other, with no container around them."""
    form = path.suffix.removeprefix(".")
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in small_clip(45):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    "name, codec, rate, options",
    [
        ("raw.h264", "libx264", 30, {}),
        ("slow.h264", "libx264", 15, {"bf": "3"}),
        ("raw.hevc", "libx265", 30, {"x265-params": "log-level=none"}),
    ],
)
def test_a_stream_without_a_container_has_its_codecs_rate(tmp_path, name, codec, rate, options):
    write_bare_stream(tmp_path / name, codec, rate, options)
    times, read = zip(*read_frames(tmp_path / name), strict=True)
    np.testing.assert_allclose(times, np.arange(45) / rate, atol=1e-9)
    error = np.abs(np.stack(read).astype(int) - small_clip(45)).mean((1, 2, 3)).max()
    assert error < 8  # the pictures are in the order in which they were taken


def test_a_stream_without_any_clock_asks_for_one(tmp_path):
    write_bare_stream(tmp_path / "raw.mjpeg", "mjpeg", 30)
    with pytest.raises(ClipError, match="no time stamps: give fps or timestamps"):
        list(read_frames(tmp_path / "raw.mjpeg"))
    times = [time for time, _ in read_frames(tmp_path / "raw.mjpeg", Clock(30))]
    np.testing.assert_allclose(times, np.arange(45) / 30)


def test_arrays_tensors_and_lists_are_the_same_clip():
    pictures = small_clip()
    (reference,) = encode_windows(pictures, LAYOUT, clock=Clock(10))
    alpha = np.concatenate([pictures, 0 * pictures[..., :1]], -1)
    for clip in [
        pictures / np.float32(255),
        pictures.astype(np.uint16) * 257,
        torch.from_numpy(pictures).permute(0, 3, 1, 2),
        torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255,
        [Image.fromarray(picture) for picture in pictures],
        alpha,
        iter(pictures),
    ]:
        (window,) = encode_windows(clip, LAYOUT, clock=Clock(10))
        assert np.abs(window.motion - reference.motion).max() < 3e-6
        assert np.abs(window.appearance - reference.appearance).max() < 1e-6
    (grey,) = encode_windows(pictures[..., :1], LAYOUT, clock=Clock(10))
    assert np.abs(grey.motion - reference.motion[..., :1]).max() < 1e-6


def of_torchcodec(pictures):
    """Frames as torchcodec's VideoDecoder gives them, a batch of them, and a decoder."""
    tensors = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    stamps = torch.from_numpy(STAMPS[: len(pictures)])
    frames = [
        SimpleNamespace(data=data, pts_seconds=float(stamp), duration_seconds=0.1)
        for data, stamp in zip(tensors, stamps, strict=True)
    ]

    class Decoder:
        def __len__(self):
            return len(frames)

        def get_frame_at(self, index):
            return frames[index]

    batch = SimpleNamespace(data=tensors, pts_seconds=stamps, duration_seconds=stamps)
    by_rows = SimpleNamespace(data=tensors.permute(0, 2, 3, 1), pts_seconds=stamps)
    return frames, iter(frames), batch, by_rows, Decoder()


def of_decord(pictures):
    """A reader as decord has it, and frames in its own arrays."""

    class NDArray:
        def __init__(self, array):
            self.array = array

        def asnumpy(self):
            return self.array

    class Reader:
        def __len__(self):
            return len(pictures)

        def __getitem__(self, index):
            return NDArray(pictures[index])

        def get_frame_timestamp(self, index):
            return np.array([STAMPS[index], STAMPS[index] + 0.1])

    return NDArray(pictures), [NDArray(picture) for picture in pictures], Reader()


def test_frames_of_other_libraries_are_taken_as_they_come():
    pictures = small_clip(12)
    batch, frames, reader = of_decord(pictures)
    video = torch.from_numpy(pictures)
    stamped = [*of_torchcodec(pictures), reader]
    stamped.append([{"data": video[k].permute(2, 0, 1), "pts": STAMPS[k]} for k in range(12)])
    for clip in stamped:
        times, read = zip(*read_frames(clip), strict=True)
        np.testing.assert_allclose(times, STAMPS[:12] - STAMPS[0], atol=1e-9)
        assert np.array_equal(np.stack(read), pictures)
    about = {"video_fps": 10.0, "audio_fps": 44100}
    for clip in ((video, torch.zeros(2, 9), about), (video.permute(0, 3, 1, 2), None, about)):
        times, read = zip(*read_frames(clip), strict=True)
        assert times == tuple(np.arange(12) / 10) and np.array_equal(np.stack(read), pictures)
    rated = [batch, frames, video, video.permute(0, 3, 1, 2), list(video.permute(0, 3, 1, 2))]
    for clip in [*rated, (video, None, {})]:
        times, read = zip(*read_frames(clip, Clock(10)), strict=True)
        assert times == tuple(np.arange(12) / 10) and np.array_equal(np.stack(read), pictures)


def test_frames_of_pyav_are_upright_and_stamped(tmp_path):
    write_video(tmp_path / "a.mkv", small_clip(8), STAMPS[:8], "ffv1", "bgr0")
    with av.open(str(tmp_path / "a.mkv")) as container:
        times, read = zip(*read_frames(container.decode(video=0)), strict=True)
    np.testing.assert_allclose(times, STAMPS[:8] - STAMPS[0], atol=0.0011)
    assert np.array_equal(np.stack(read), small_clip(8))


def test_a_failing_decoder_is_a_clip_error_and_an_iterators_own_error_is_passed_on():
    class Failing:
        def __len__(self):
            return 3

        def get_frame_at(self, index):
            raise RuntimeError("Could not push packet\nto decoder")

    with pytest.raises(ClipError, match="the clip: runtimeerror"):
        list(read_frames(Failing()))

    def camera():
        yield small_clip(1)[0]
        raise ConnectionResetError("unplugged")

    with pytest.raises(ConnectionResetError, match="unplugged"):
        list(read_frames(camera(), Clock(30)))


def test_tensors_without_numbers_are_refused():
    for clip in (
        torch.zeros(4, 3, 16, 16, device="meta"),
        [torch.zeros(3, 16, 16, device="meta")] * 4,
        [torch.zeros(16, 16).to_sparse()] * 4,
    ):
        with pytest.raises(
            ClipError, match=r"no numbers can be read from a tensor of torch\.float"
        ):
            list(read_frames(clip, Clock(30)))
    half = torch.rand(4, 3, 16, 16)
    times = [time for time, _ in read_frames(half.bfloat16(), Clock(10))]
    assert times == [0, 0.1, 0.2, 0.3]


def test_a_phone_video_is_turned_upright(tmp_path):
    pictures = small_clip(4)
    write_video(tmp_path / "a.mp4", pictures, [0, 0.1, 0.2, 0.3], "libx264", "yuv420p")
    contents = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = contents.index(b"tkhd") + 4 + 40
    turned = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]  # a quarter turn clockwise
    contents[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in turned)
    (tmp_path / "b.mp4").write_bytes(contents)
    upright = next(read_frames(tmp_path / "b.mp4"))[1]
    assert upright.shape == (64, 48, 3)
    assert np.array_equal(upright, np.rot90(next(read_frames(tmp_path / "a.mp4"))[1], -1))


def test_disordered_stamps():
    pictures = small_clip(6)
    times = [
        time for time, _ in read_frames(pictures, Clock(timestamps=[7, 7.1, 7.1, 7.3, 7.2, 7.4]))
    ]
    np.testing.assert_allclose(times, [0, 0.1, 0.3, 0.4], atol=1e-9)
    for stamps, message in [
        ([7, 7.1, 7.2, 3.0, 3.1, 3.2], "jump from 7.20 to 3.00 s"),
        ([0, 0.1, 0.2, 1e6, 2e6, 3e6], "jump from 0.20 to 1000000.00 s"),
        ([0, 0.1, np.nan, 0.3, 0.4, 0.5], "picture 2 is nan"),
        ([0, 0.1, 0.2], "3 time stamps are fewer"),
        (np.arange(7) / 10, "more time stamps than its 6 pictures"),
    ]:
        with pytest.raises(ClipError, match=message):
            list(read_frames(pictures, Clock(timestamps=stamps)))


def test_pictures_at_are_the_nearest():
    pictures = small_clip()
    found = pictures_at(pictures, [-3, 1.04, 2.96, 99], Clock(10))
    assert [time for time, _ in found] == [0, 1, 3, 5.9]
    assert all(np.array_equal(found[i][1], pictures[k]) for i, k in enumerate((0, 10, 30, 59)))


def test_files_that_are_no_clip(tmp_path):
    refuse(tmp_path / "none.mp4", "no such file")
    (tmp_path / "empty.mp4").touch()
    refuse(tmp_path / "empty.mp4", "the file is empty")
    for name in ("words.txt", "words.mp4"):
        (tmp_path / name).write_text("not a video at all\n" * 100)
        refuse(tmp_path / name, "not a video")
    (tmp_path / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    refuse(tmp_path / "noise.avi", "not a video")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    refuse(tmp_path / "sound.wav", "no pictures in the file")
    (tmp_path / "folder").mkdir()
    refuse(tmp_path / "folder", "holds no pictures", fps=30)
    picture = Image.fromarray(small_clip(1)[0])
    picture.save(tmp_path / "one.jpg")
    picture.save(tmp_path / "one.png")
    refuse(tmp_path / "one.jpg", "one picture")
    refuse(tmp_path / "one.png", "one picture")


@pytest.mark.parametrize(
    "name, codec, message",
    [
        ("index_behind.mp4", "libx264", "not a video that can be read"),
        ("index_in_front.mp4", "libx264", "breaks off|broken after"),
        ("clip.avi", "mpeg4", "breaks off"),
        ("clip.mkv", "libx264", "breaks off"),
        ("clip.webm", "libvpx", "breaks off"),
    ],
)
def test_cut_videos(tmp_path, name, codec, message):
    rng = np.random.default_rng(5)
    path = tmp_path / name
    options = {"movflags": "faststart"} if "front" in name else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(240):
            picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert len(list(encode_windows(path, LAYOUT))) == 2
    contents = path.read_bytes()
    for share in (0.55, 0.85):
        path.write_bytes(contents[: int(share * len(contents))])
        refuse(path, message)


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip.png"])
def test_cut_animations(tmp_path, name):
    pictures = [Image.fromarray(picture) for picture in small_clip()]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100)
    contents = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(contents[: int(0.7 * len(contents))])
    refuse(tmp_path / name, "breaks off|not a picture")


def open_files(path):
    """A file in objects whose ``mode`` is none, a number, or one of writing."""
    spooled = tempfile.SpooledTemporaryFile()
    spooled.write(path.read_bytes())
    with gzip.open(f"{path}.gz", "wb") as packed:
        packed.write(path.read_bytes())
    with zipfile.ZipFile(f"{path}.zip", "w") as archive:
        archive.write(path, "clip")
    return [
        *(spooled, gzip.open(f"{path}.gz"), path.open("a+b"), path.open("r+b")),
        zipfile.ZipFile(f"{path}.zip").open("clip"),
    ]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_whatever_can_be_read_as_a_file_is_read(tmp_path):
    write_video(tmp_path / "clip.mp4", small_clip(), STAMPS, "libx264", "yuv420p")
    whole = (tmp_path / "clip.mp4").read_bytes()
    for file in open_files(tmp_path / "clip.mp4"):
        times = [time for time, _ in read_frames(file)]
        np.testing.assert_allclose(times, STAMPS - STAMPS[0], atol=0.0011)
        file.close()
        with pytest.raises(ClipError, match=r": the file is closed$"):
            list(read_frames(file))
    assert (tmp_path / "clip.mp4").read_bytes() == whole
    (file := io.BytesIO(whole)).close()
    with pytest.raises(ClipError, match=r"^the clip: the file is closed$"):
        list(read_frames(file))
