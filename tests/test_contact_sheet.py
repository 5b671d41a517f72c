"""Contact sheets: what is kept of a clip on one, and the command that makes them."""

import io
from itertools import count

import numpy as np
import pytest
from conftest import ROOT, run_script
from PIL import Image

from pulse_plantain.contact_sheet import (
    frames_from_contact_sheet,
    make_contact_sheet,
    open_contact_sheet,
)
from pulse_plantain.video import ClipError, Clock, read_frames

DEMO = ROOT / "assets" / "demo.mp4"


def test_a_sheet_keeps_fractions_of_a_grey_level():
    times = np.arange(0, 9, 1 / 30)
    levels = 100 + 0.2 * np.sin(2 * np.pi * 1.1 * times)
    clip = np.broadcast_to((levels / 255)[:, None, None, None], (len(times), 96, 128, 3))
    np.testing.assert_allclose(clip[0, 0, 0], levels[0] / 255)

    image = make_contact_sheet(clip.astype(np.float32), clock=Clock(30))
    means = np.array([np.asarray(frame).mean() for frame in frames_from_contact_sheet(image)])
    middle = (np.arange(96) + 0.5) / 12
    wanted = 100 + 0.2 * np.sin(2 * np.pi * 1.1 * middle)
    assert image.size == (12 * 128, 8 * 96)
    assert np.abs(means - wanted).max() < 0.03


def test_the_script_makes_the_sheet_that_comes_with_the_project(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert run_script("contact_sheet", DEMO, out) == 0
    made = np.asarray(Image.open(out), int)
    bundled = np.asarray(Image.open(ROOT / "assets" / "contact-sheet.png").convert("RGB"), int)
    assert made.shape == bundled.shape and np.abs(made - bundled).max() <= 1
    assert run_script("contact_sheet", DEMO, tmp_path / "b.png", "--start", "60") == 2
    assert "no 8 s from 60 s on" in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()
    assert run_script("contact_sheet") == 2


def test_a_picture_that_is_no_contact_sheet_is_refused_with_its_size():
    """A landscape of light and dark fields, which the grid divides all the same."""
    rng = np.random.default_rng(0)
    fields = rng.integers(0, 255, (9, 16, 3), dtype=np.uint8).repeat(120, 0).repeat(120, 1)
    photograph = Image.fromarray(fields)
    assert photograph.size == (1920, 1080)
    for picture in (photograph, photograph.crop((0, 0, 1320, 852))):
        size = "{} x {}".format(*picture.size)
        with pytest.raises(ClipError, match=f"picture of {size} pixels is no contact sheet of 8 x"):
            open_contact_sheet(picture)
    bundled = Image.open(ROOT / "assets" / "contact-sheet.png")
    assert len(open_contact_sheet(bundled)) == 96
    assert len(open_contact_sheet(Image.new("RGB", (1200, 800), "grey"))) == 96  # dull, but one


@pytest.mark.parametrize("cut", [frames_from_contact_sheet, open_contact_sheet])
def test_a_grid_that_is_none_is_refused_in_one_line(cut):
    picture = Image.new("RGB", (1200, 800), "grey")
    for grid in (
        *(("8", "12"), (8.0, 12.0), (0, 0), (-8, 12), None, 5, (8,), (8, 12, 1), "ab", count(1)),
        *((10**9, 10**9), (10**5000, 1), np.zeros((30, 30)), {"rows": 8}, (np.nan, 12)),
    ):
        with pytest.raises(
            ClipError, match=r"^a grid must be \(rows, columns\), two whole"
        ) as caught:
            cut(picture, grid)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 140
    assert len(cut(picture, np.array([8, 12]))) == len(cut(picture, [8, np.int8(12)])) == 96


def test_a_picture_whose_file_is_cut_short_is_named():
    content = (ROOT / "assets" / "contact-sheet.png").read_bytes()
    with pytest.raises(ClipError, match=r"^the picture: a picture that is cut short or damaged \("):
        open_contact_sheet(Image.open(io.BytesIO(content[: len(content) // 2])))
    with pytest.raises(ClipError, match=r"^the clip: a picture that is cut short or damaged \("):
        list(read_frames([Image.open(io.BytesIO(content[: len(content) // 2]))], Clock(30)))
