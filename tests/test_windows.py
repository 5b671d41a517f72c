"""Tests of the clip encoder: figures for the sheet, the clock, every kind of file, bad input.

Every clip is made here from seeds; nothing is read from outside.
"""

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from pulse_plantain.overlay import phasors_at, pulse_overlay, write_overlay_video
from pulse_plantain.sheet import (
    SheetGeometry,
    field_to_sheet,
    motion_from_sheet,
    motion_sheet,
    sheet_to_field,
)
from pulse_plantain.video import ClipError, pictures_at, read_frames
from pulse_plantain.windows import AreaMean, box_means, encode_windows

GEOMETRY = SheetGeometry(bands=4, samples=96, rows=8, size=(384, 64))
AMPLITUDE, RATE = 0.2, 1.1  # grey levels, Hz


def noisy_frames(stamps, rate=RATE, amplitude=AMPLITUDE, size=(120, 160), noise=2.0, seed=0):
    """8-bit pictures of a still scene whose brightness beats far below one grey level."""
    rng = np.random.default_rng(seed)
    scene = rng.uniform(90, 160, (*size, 3))
    for stamp in stamps:
        beat = amplitude * np.cos(2 * np.pi * rate * stamp)
        yield np.uint8(np.round(scene + beat + rng.normal(0, noise, scene.shape)))


def sinusoid(window, rate=RATE):
    """(amplitude in grey levels, phase) of the mean motion of all cells, by least squares."""
    cells = 255 * window.appearance.reshape(8, 8, 4, 16, 3).mean((1, 3))
    signal = (window.motion * cells).mean((1, 2, 3))
    angle = 2 * np.pi * rate * window.times
    basis = np.stack([np.cos(angle), np.sin(angle), np.ones_like(angle)], 1)
    cosine, sine, _ = np.linalg.lstsq(basis, signal, rcond=None)[0]
    return abs(cosine - 1j * sine), np.angle(cosine - 1j * sine)


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


# ------------------------------------------------------------------------------------- the layout


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    "geometry", [GEOMETRY, SheetGeometry(bands=4, samples=128, rows=32, size=(512, 512))]
)
def test_field_and_sheet_are_inverses(geometry, kind):
    field = kind(np.random.default_rng(0).normal(0, 0.01, (2, *geometry.field_shape, 3)))
    sheet = field_to_sheet(field, geometry)
    assert type(sheet) is type(field) and sheet.dtype == field.dtype
    assert tuple(sheet.shape) == (2, geometry.size[1], geometry.size[0], 3)
    assert abs(sheet_to_field(sheet, geometry) - field).max() < 2**-53
    through = motion_from_sheet(motion_sheet(field, geometry), geometry)
    assert abs(through - field).max() < 1e-14


def test_the_sheet_is_laid_out_like_the_face():
    field = np.zeros((96, 8, 4, 1))
    field[5, 2, 3] = 1
    sheet = field_to_sheet(field, GEOMETRY)[..., 0]
    rows, columns = np.nonzero(sheet)
    assert set(rows) == set(range(16, 24)) and set(columns) == {3 * 96 + 5}


def test_gradients_pass_through_the_layout():
    field = torch.zeros(96, 8, 4, 3, requires_grad=True)
    sheet_to_field(2 * field_to_sheet(field, GEOMETRY), GEOMETRY).sum().backward()
    torch.testing.assert_close(field.grad, torch.full_like(field, 2.0))


def test_geometry_refuses_what_does_not_fit_and_survives_json():
    assert SheetGeometry.from_dict(GEOMETRY.to_dict()) == GEOMETRY
    for wrong in [(5, 96, 8, (384, 64)), (4, 96, 7, (384, 64)), (4, 10, 8, (40, 64))]:
        with pytest.raises(ValueError, match="width"):
            SheetGeometry(*wrong)
    with pytest.raises(ValueError, match=r"got shape \(96, 8, 3, 3\)"):
        field_to_sheet(np.zeros((96, 8, 3, 3)), GEOMETRY)
    with pytest.raises(ValueError, match="384 x 64"):
        sheet_to_field(np.zeros((64, 383, 3)), GEOMETRY)


# --------------------------------------------------------------------------------------- the means


def test_area_means_weigh_the_pixels_on_an_edge():
    rng = np.random.default_rng(1)
    picture = rng.uniform(0, 1, (24, 36, 3))
    crop = (3.5, 2.25, 27.5, 22.25)
    means = AreaMean((36, 24), crop, (4, 5))(picture)
    # The same on a picture four times finer, where every edge falls between pixels.
    fine = picture.repeat(4, 0).repeat(4, 1)[9:89, 14:110]
    exact = fine.reshape(5, 16, 4, 24, 3).mean((1, 3))
    np.testing.assert_allclose(means, exact, atol=2e-7)


def test_box_means_of_straight_lines_are_exact():
    rng = np.random.default_rng(2)
    stamps = np.sort(rng.uniform(0, 1, 20))
    values = rng.normal(size=(20, 2))
    edges = np.linspace(-0.2, 1.3, 12)
    fine = np.linspace(-0.2, 1.3, 11 * 20000 + 1)
    for channel in range(2):
        signal = np.interp(fine, stamps, values[:, channel])
        middle = (signal[1:] + signal[:-1]) / 2
        reference = middle.reshape(11, -1).mean(1)
        np.testing.assert_allclose(
            box_means(stamps, values, edges)[:, channel], reference, atol=1e-6
        )


@pytest.mark.parametrize("rate", [0.7, 1.1, 1.6])
def test_a_fifth_of_a_grey_level_is_recovered(rate):
    stamps = np.arange(240) / 30
    (window,) = encode_windows(noisy_frames(stamps, rate), GEOMETRY, fps=30)
    amplitude, phase = sinusoid(window, rate)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.05)
    assert abs(phase) < 0.05
    assert window.frames == 240 and window.longest_gap == pytest.approx(1 / 30)
    assert window.motion.dtype == np.float32 and window.motion.shape == (96, 8, 4, 3)
    assert window.appearance.shape == (64, 64, 3)
    np.testing.assert_allclose(window.times, (np.arange(96) + 0.5) / 12)


def test_dropped_frames_and_jitter_give_the_same_sheet():
    rng = np.random.default_rng(3)
    even = np.arange(240) / 30
    (whole,) = encode_windows(noisy_frames(even, seed=1), GEOMETRY, fps=30)
    jittered = even + rng.uniform(-0.012, 0.012, 240) * (even > 0)
    kept = np.sort(rng.choice(np.arange(1, 239), 158, replace=False))
    stamps = jittered[np.concatenate([[0], kept, [239]])]
    (dropped,) = encode_windows(noisy_frames(stamps, seed=1), GEOMETRY, timestamps=stamps)
    assert dropped.frames == 160 and 0.1 < dropped.longest_gap < 0.3
    amplitude, phase = sinusoid(dropped)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.05) and abs(phase) < 0.05
    # Noise of one cell and sample alone: no larger than two pictures' worth of 2 grey levels
    # on 15 x 40 pixels; the beat itself is the same in both and must not show in the difference.
    difference = (dropped.motion - whole.motion) * 125
    assert difference.std() < 2 * 2 / np.sqrt(15 * 40) * 1.1
    common = difference.mean((1, 2, 3))
    angle = 2 * np.pi * RATE * whole.times
    beat = abs(2 * np.mean(common * np.exp(-1j * angle)))
    assert beat < 0.05 * AMPLITUDE


def test_repeated_pictures_do_not_delay_the_pulse():
    true = np.arange(120) / 15
    doubled = [picture for picture in noisy_frames(true) for _ in range(2)]
    (window,) = encode_windows(doubled, GEOMETRY, fps=30)
    assert window.frames == 120
    assert abs(sinusoid(window)[1]) < 0.05


def test_a_black_cell_and_a_still_picture_do_not_move():
    pictures = np.zeros((150, 32, 32, 3), np.uint8)
    pictures[:, 16:] = 100
    (window,) = encode_windows(pictures, GEOMETRY, fps=25)
    assert np.array_equal(window.motion, np.zeros((96, 8, 4, 3)))
    assert window.frames == 1 and window.longest_gap == pytest.approx(6)


# --------------------------------------------------------------------------------- the windows


def spans(seconds, **options):
    pictures = (np.full((16, 16, 3), index % 250, np.uint8) for index in range(round(seconds * 10)))
    windows = encode_windows(pictures, GEOMETRY, fps=10, **options)
    return [(round(window.start, 6), round(window.end, 6)) for window in windows]


def test_windows_overlap_and_the_last_one_ends_with_the_clip():
    assert spans(8) == [(0, 8)]
    assert spans(16) == [(0, 8), (4, 12), (8, 16)]
    assert spans(17.5) == [(0, 8), (4, 12), (8, 16), (9.5, 17.5)]
    assert spans(10.3, window=5, stride=5) == [(0, 5), (5, 10), (5.3, 10.3)]
    assert spans(5) == [(0, 5)]
    assert spans(6.2) == [(0, 6.2)]


def test_several_lengths_in_one_pass_are_what_each_gives_alone():
    pictures = np.random.default_rng(0).integers(0, 255, (131, 24, 32, 3), np.uint8)  # 13.1 s

    def windows(length, count=131):
        return list(encode_windows(pictures[:count], GEOMETRY, fps=10, window=length))

    together = windows((8, 6, 10))
    for length in (8, 6, 10):
        same = [w for w in together if round(w.end - w.start, 6) == length]
        alone = windows(length)
        assert len(same) == len(alone) > 1
        for one, other in zip(same, alone):
            assert (one.start, one.end) == pytest.approx((other.start, other.end))
            np.testing.assert_array_equal(one.motion, other.motion)
            np.testing.assert_allclose(one.appearance, other.appearance, atol=0.02)
    # Each is given as soon as its last picture is there, the tails when the clip ends.
    assert [w.end for w in together[:6]] == pytest.approx([6, 8, 9, 10, 12, 12])
    # Lengths beyond the clip become the clip's own, once, and only where that is something new.
    lengths = [[round(w.end - w.start, 6) for w in windows((8, 6, 10), n)] for n in (55, 90, 82)]
    assert lengths == [[5.5], [6, 8, 8, 6, 9.0], [6, 8, 8, 6]]


def test_a_pause_is_left_out_and_reported():
    stamps = np.concatenate([np.arange(100) / 10, 40 + np.arange(100) / 10])
    pictures = (np.full((16, 16, 3), index, np.uint8) for index in range(200))
    windows = list(encode_windows(pictures, GEOMETRY, timestamps=stamps))
    assert [window.start for window in windows] == [0, 4, 8, 36, 40, 42]
    gaps = [window.longest_gap for window in windows]
    np.testing.assert_allclose(gaps, [0.1, 30.1, 30.1, 30.1, 0.1, 0.1], atol=1e-6)


def test_memory_does_not_grow_with_the_clip():
    def peak(frames):
        rng = np.random.default_rng(0)
        clip = (rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(frames))
        tracemalloc.start()
        windows = sum(1 for _ in encode_windows(clip, GEOMETRY, fps=20))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return windows, peak

    (few, short), (many, long) = peak(240), peak(2400)
    assert (few, many) == (2, 29)
    assert long < 1.1 * short and short < 8e6


# ------------------------------------------------------------------------------- kinds of clips


def small_clip(frames=60):
    rng = np.random.default_rng(4)
    scene = rng.uniform(60, 190, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
    beats = 20 * np.sin(np.arange(frames))[:, None, None, None]
    return np.uint8(scene + beats)


STAMPS = np.cumsum(np.tile([0.08, 0.12, 0.1], 20)) + 0.42  # exact in GIF's hundredths


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
    (window,) = encode_windows(tmp_path / name, GEOMETRY)
    (reference,) = encode_windows(pictures, GEOMETRY, timestamps=STAMPS)
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
    times, read = zip(*read_frames(tmp_path / "plain", fps=4), strict=True)
    assert times == tuple(np.arange(12) / 4) and np.array_equal(np.stack(read), pictures)
    times, read = zip(*read_frames(tmp_path / "pure"), strict=True)
    np.testing.assert_allclose(times, np.arange(12) * 0.0334, atol=1e-6)
    assert np.array_equal(np.stack(read), pictures)
    with pytest.raises(ClipError, match="give fps or timestamps"):
        list(read_frames(tmp_path / "plain"))


def test_arrays_tensors_and_lists_are_the_same_clip():
    pictures = small_clip()
    (reference,) = encode_windows(pictures, GEOMETRY, fps=10)
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
        (window,) = encode_windows(clip, GEOMETRY, fps=10)
        assert np.abs(window.motion - reference.motion).max() < 3e-6
        assert np.abs(window.appearance - reference.appearance).max() < 1e-6
    (grey,) = encode_windows(pictures[..., :1], GEOMETRY, fps=10)
    assert np.abs(grey.motion - reference.motion[..., :1]).max() < 1e-6


def test_a_crop_is_that_part_of_the_picture():
    pictures = small_clip()
    (inside,) = encode_windows(pictures[:, 8:40, 16:48], GEOMETRY, fps=10)
    (crop,) = encode_windows(pictures, GEOMETRY, fps=10, crop=(16, 8, 48, 40))
    assert np.array_equal(inside.motion, crop.motion)
    assert crop.crop == (16, 8, 48, 40) and crop.picture_size == (64, 48)
    for wrong in [(-1, 0, 20, 20), (0, 0, 65, 20), (30, 0, 20, 20), (0, 0, 7, 20)]:
        with pytest.raises(ClipError, match="crop must be"):
            list(encode_windows(pictures, GEOMETRY, fps=10, crop=wrong))


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
    times = [time for time, _ in read_frames(pictures, timestamps=[7, 7.1, 7.1, 7.3, 7.2, 7.4])]
    np.testing.assert_allclose(times, [0, 0.1, 0.3, 0.4], atol=1e-9)
    for stamps, message in [
        ([7, 7.1, 7.2, 3.0, 3.1, 3.2], "jump from 7.20 to 3.00 s"),
        ([0, 0.1, 0.2, 1e6, 2e6, 3e6], "jump from 0.20 to 1000000.00 s"),
        ([0, 0.1, np.nan, 0.3, 0.4, 0.5], "picture 2 is nan"),
        ([0, 0.1, 0.2], "3 time stamps are fewer"),
        (np.arange(7) / 10, "more time stamps than its 6 pictures"),
    ]:
        with pytest.raises(ClipError, match=message):
            list(read_frames(pictures, timestamps=stamps))


# -------------------------------------------------------------------------------------- bad input


def refused(clip, message, **options):
    with pytest.raises(ClipError, match=message) as caught:
        list(encode_windows(clip, GEOMETRY, **options))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_clip(tmp_path):
    refused(tmp_path / "none.mp4", "no such file")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "the file is empty")
    for name in ("words.txt", "words.mp4"):
        (tmp_path / name).write_text("not a video at all\n" * 100)
        refused(tmp_path / name, "not a video")
    (tmp_path / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    refused(tmp_path / "noise.avi", "not a video")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    refused(tmp_path / "sound.wav", "no pictures in the file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "holds no pictures", fps=30)
    picture = Image.fromarray(small_clip(1)[0])
    picture.save(tmp_path / "one.jpg")
    picture.save(tmp_path / "one.png")
    refused(tmp_path / "one.jpg", "one picture")
    refused(tmp_path / "one.png", "one picture")


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
    assert len(list(encode_windows(path, GEOMETRY))) == 2
    contents = path.read_bytes()
    for share in (0.55, 0.85):
        path.write_bytes(contents[: int(share * len(contents))])
        refused(path, message)


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip.png"])
def test_cut_animations(tmp_path, name):
    pictures = [Image.fromarray(picture) for picture in small_clip()]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100)
    contents = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(contents[: int(0.7 * len(contents))])
    refused(tmp_path / name, "breaks off|not a picture")


def test_clips_that_cannot_be_measured():
    pictures = small_clip()
    refused(pictures[:49], "4.9 s long; at least 5 s", fps=10)
    refused(pictures[:1], "one picture", fps=10)
    refused(pictures[:0], "holds no pictures", fps=10)
    refused(pictures, "5 pictures a second; at least 7", fps=5)
    refused(pictures, "give fps or timestamps")
    refused(pictures, "not both", fps=10, timestamps=np.arange(60))
    refused(pictures, "fps must be", fps=-3)
    refused(pictures[0], "must be", fps=10)
    refused(torch.from_numpy(pictures), r"\[T, 3, H, W\]", fps=10)
    refused(pictures.astype(float), r"\[0, 1\]", fps=10)
    refused(pictures / 255 * np.nan, r"\[0, 1\]", fps=10)
    refused(pictures.astype(int), "got int64", fps=10)
    refused([*pictures[:50], pictures[50][:-2]], "picture 50 is 64 x 46", fps=10)
    refused(pictures, "window must be 5 to 10", fps=10, window=3)
    refused(pictures, "stride must be", fps=10, stride=0)
    refused(pictures, "multiples of 4 bands", fps=10, appearance_size=(66, 64))
    refused(7, "got int", fps=10)


# ----------------------------------------------------------------------------------- the overlay


def test_overlay_shows_the_phase_inside_the_crop_only():
    picture = np.full((48, 64, 3), 100, np.uint8)
    phasors = np.full((8, 4), 0.01 * np.exp(2j * np.pi / 3))  # green
    colours, overlay = pulse_overlay(picture, phasors, (16, 8, 48, 40))
    assert np.all(colours[8:40, 16:48, 1] > 0.5) and np.all(colours[..., [0, 2]] < 1e-4)
    outside = np.ones((48, 64), bool)
    outside[8:40, 16:48] = False
    assert np.all(colours[outside] == 0)
    np.testing.assert_allclose(overlay[outside], 100 / 255, atol=1e-6)
    assert np.all(overlay[8:40, 16:48, 1] > overlay[8:40, 16:48, 0] + 0.3)


def test_pictures_at_are_the_nearest():
    pictures = small_clip()
    found = pictures_at(pictures, [-3, 1.04, 2.96, 99], fps=10)
    assert [time for time, _ in found] == [0, 1, 3, 5.9]
    assert all(np.array_equal(found[i][1], pictures[k]) for i, k in enumerate((0, 10, 30, 59)))


def test_phasors_keep_their_length_between_samples():
    times = (np.arange(96) + 0.5) / 12
    field = (0.01 * np.exp(2j * np.pi * 3.2 * times))[:, None, None] * np.ones((8, 4))
    for time in np.linspace(0.1, 7.9, 37):
        exact = 0.01 * np.exp(2j * np.pi * 3.2 * time)
        assert abs(phasors_at(field, 0, 8, time) - exact).max() < 1e-12
    assert np.array_equal(phasors_at(field, 0, 8, 9.0), phasors_at(field, 0, 8, times[-1]))


def test_overlay_video_keeps_the_times(tmp_path):
    pictures = small_clip()
    field = np.full((1, 96, 8, 4), 0.01 * np.exp(2j * np.pi / 3))
    windows = [{"start": 0.0, "end": 5.9, "crop": (0, 0, 64, 48)}]
    path = tmp_path / "over.mp4"
    write_overlay_video(path, pictures, windows, field, timestamps=STAMPS)
    times, read = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(times, STAMPS - STAMPS[0], atol=1e-4)
    mean = np.stack(read).mean((0, 1, 2))
    assert mean[1] > mean[0] + 60 and mean[1] > mean[2] + 60
