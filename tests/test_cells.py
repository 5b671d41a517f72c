"""Mean colours of cells: of arrays, and of a decoder's frames in every kind of YUV."""

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from pulse_plantain.cells import AreaMean, CellMeans, FrameMean
from pulse_plantain.clock import ClipError
from pulse_plantain.containers import Decoded, Turn

SIZE, GRID = (322, 246), (16, 12)
WHOLE = (0.0, 0.0, 322.0, 246.0)
LUMA = {6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # red, blue
NAMES = {6: "ITU601", 1: "ITU709", 9: "BT2020"}
COLUMNS = {"yuv444p": 1, "yuv422p": 2, "yuv420p": 2, "yuv420p10le": 2}
ROWS = {"yuv444p": 1, "yuv422p": 1, "yuv420p": 2, "yuv420p10le": 2}


def shaded_picture(contrast=1.0):
    """[H, W, 3] uint8 with slopes, edges and noise."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[: SIZE[1], : SIZE[0]]
    waves = (np.sin(across / 40), np.cos(down / 30), np.sin((across + down) / 50))
    light = 110 + contrast * np.stack([60 * waves[0], 50 * waves[1], 40 * waves[2]], -1)
    return (light + 2 * rng.standard_normal(light.shape)).clip(0, 255).astype(np.uint8)


def make_frame(form, colorspace=6, full=False, picture=None):
    """A frame as a decoder would give it."""
    picture = shaded_picture() if picture is None else picture
    frame = VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(picture, format="rgb24"),
        format=form,
        dst_colorspace=NAMES[colorspace],
        src_color_range=2,
        dst_color_range=2 if full else 1,
    )
    frame.colorspace, frame.color_range = colorspace, 2 if full else 1
    return frame


def show(frame):
    """A frame that is upright as it is."""
    return Decoded(frame, Turn(), "a clip")


def average_by_hand(frame, form, colorspace, full):
    """Means of the cells in [0, 1], every pixel of the planes turned into RGB in float64."""
    bits = 10 if "10" in form else 8
    kind, unit = (np.uint16, 4.0) if bits == 10 else (np.uint8, 1.0)
    planes = []
    for number, plane in enumerate(frame.planes):
        rows = np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width] / unit
        if number:
            rows = rows.repeat(ROWS[form], 0).repeat(COLUMNS[form], 1)
        planes.append(rows[: SIZE[1], : SIZE[0]].astype(float))
    red, blue = LUMA[colorspace]
    luma = planes[0] / 255 if full else (planes[0] - 16) / 219
    cb, cr = ((plane - 128) / (255 if full else 224) for plane in planes[1:])
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    pixels = np.stack([r, (luma - red * r - blue * b) / (1 - red - blue), b], -1)
    return AreaMean(SIZE, WHOLE, GRID)(pixels)


@pytest.mark.parametrize("form", COLUMNS)
@pytest.mark.parametrize("colorspace", LUMA)
@pytest.mark.parametrize("full", [False, True])
def test_means_of_planes_are_those_of_every_pixel_in_rgb(form, colorspace, full):
    frame = make_frame(form, colorspace, full)
    means = FrameMean(GRID)
    assert means.takes(frame)
    # Half a chroma pixel lies on the other side of a cell's edge, where the picture is steep.
    tolerance = 0.02 if form == "yuv444p" else 0.25
    difference = 255 * (means(frame) - average_by_hand(frame, form, colorspace, full))
    assert np.abs(difference).max() < tolerance
    assert np.abs(difference.mean((0, 1))).max() < 0.02


@pytest.mark.parametrize("form", ["yuyv422", "nv12", "p010le", "yuvj420p"])
def test_other_kinds_of_yuv_have_the_same_colours(form):
    frame = make_frame(form, full=form == "yuvj420p")
    true = AreaMean(SIZE, WHOLE, GRID)(shaded_picture())
    assert FrameMean(GRID).takes(frame)
    difference = 255 * (FrameMean(GRID)(frame) - true)
    assert np.abs(difference).mean() < 1.0  # a level: what turning RGB into YUV rounded away


def test_a_grey_frame_is_grey():
    frame = make_frame("gray", full=True)
    found = FrameMean(GRID)(frame)
    luma = AreaMean(SIZE, WHOLE, GRID)(frame.to_ndarray()[..., None].repeat(3, 2))
    assert np.abs(255 * (found - luma)).max() < 0.02


def test_clipped_pixels_count_for_what_they_are():
    """RGB cuts light off at 0 and 1; where it does, the planes still have it."""
    bright = shaded_picture(contrast=3)
    frame = make_frame("yuv444p", picture=bright)
    inside = (bright > 0).all(2) & (bright < 255).all(2)
    assert 0.2 < 1 - inside.mean() < 0.8
    cut = AreaMean(SIZE, WHOLE, GRID)(show(frame).to_rgb())
    found = CellMeans(SIZE, WHOLE, GRID)(show(frame))
    assert np.abs(255 * (found - cut)).max() < 1.5 and found.min() >= 0


def test_a_twentieth_of_a_level_is_kept_to_the_scaler_s_step():
    """Luma differs by a level in one pixel of twenty; a step of the 16-bit means is 1/256."""
    picture = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    before, after = make_frame("yuv420p", picture=picture), make_frame("yuv420p", picture=picture)
    plane = after.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1).copy()
    rows[: SIZE[1] : 5, : SIZE[0] : 4] += 1
    plane.update(rows.tobytes())
    change = 219 * (FrameMean(GRID)(after) - FrameMean(GRID)(before))
    assert change == pytest.approx(np.full(change.shape, 1 / 20), abs=0.012)
    assert change.mean() == pytest.approx(1 / 20, abs=0.002)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("across", [False, True])
def test_a_turned_frame_is_averaged_upright(transposed, down, across):
    turned = Decoded(make_frame("yuv444p"), Turn(transposed, down, across), "a clip")
    size = turned.size
    assert size == (SIZE[::-1] if transposed else SIZE)
    whole = (0.0, 0.0, *map(float, size))
    true = AreaMean(size, whole, GRID)(turned.to_rgb())
    assert np.abs(255 * (CellMeans(size, whole, GRID)(turned) - true)).max() < 0.2


def test_frames_with_a_crop_or_fewer_pixels_than_cells_are_averaged_in_rgb():
    frame = make_frame("yuv444p")
    crop = (20.5, 10.0, 300.0, 200.25)
    means = CellMeans(SIZE, crop, GRID)
    assert np.array_equal(means(show(frame)), AreaMean(SIZE, crop, GRID)(show(frame).to_rgb()))
    assert not FrameMean((400, 12)).takes(frame)
    assert not FrameMean((1, 1)).takes(frame)  # cells of more pixels than swscale averages
    assert not FrameMean(GRID).takes(av.VideoFrame(320, 240, "rgb24"))


def test_floats_outside_of_0_to_1_are_refused():
    means = CellMeans((8, 8), (0.0, 0.0, 8.0, 8.0), (4, 4))
    with pytest.raises(ClipError, match=r"float pictures must lie in \[0, 1\], got 0 to 2"):
        means(np.full((8, 8, 3), 2.0) * np.array([0, 0, 1, 1, 1, 1, 1, 1])[:, None, None])
