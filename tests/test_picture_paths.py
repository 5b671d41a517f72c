"""A list of paths of pictures is a clip, with the times in their names where they have some."""

import numpy as np
import pytest
from clips import STAMPS, small_clip
from PIL import Image

from pulse_plantain.video import ClipError, Clock, read_frames


def test_paths_of_pictures_are_read_in_the_order_given(tmp_path):
    pictures = small_clip(6)
    paths = [tmp_path / f"{name}.png" for name in "cabfed"]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    times, read = zip(*read_frames(paths, Clock(20)), strict=True)
    np.testing.assert_allclose(times, np.arange(6) / 20)
    np.testing.assert_array_equal(np.stack(read), pictures)
    mixed = [str(paths[0]), pictures[1], Image.fromarray(pictures[2])]
    np.testing.assert_array_equal(
        np.stack([picture for _, picture in read_frames(mixed, Clock(20))]), pictures[:3]
    )
    with pytest.raises(ClipError, match="the clip has no time stamps: give fps or timestamps"):
        list(read_frames(paths))


def test_names_that_carry_times_need_no_clock(tmp_path):
    paths = []
    for stamp, picture in zip(STAMPS, small_clip(6), strict=False):
        paths.append(str(tmp_path / f"Image{round((1e9 + stamp) * 1e9)}.png"))
        Image.fromarray(picture).save(paths[-1])
    times = [time for time, _ in read_frames(paths)]
    np.testing.assert_allclose(times, STAMPS[:6] - STAMPS[0], atol=1e-6)


def test_a_path_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    for name in ("a.png", "missing.png"):
        with pytest.raises(ClipError, match=f"{name}: not a picture that can be read whole"):
            list(read_frames([tmp_path / name], Clock(20)))
