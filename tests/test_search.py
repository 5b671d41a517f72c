"""Where the search for the pulse looks, and which look stands."""

from types import SimpleNamespace

import numpy as np
import pytest

from pulse_plantain import search


@pytest.mark.parametrize("size", [(320, 240), (1920, 1080), (480, 640)])
def test_boxes_to_try_cover_the_picture_and_hold_a_face_anywhere(size):
    whole, *boxes = search.list_boxes(size)
    assert whole == (0, 0, 1, 1) and len(boxes) <= 18
    left, top, right, bottom = np.array(boxes).T
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 1 + 1e-12
    x, y = np.random.default_rng(0).uniform(size=(2, 1000, 1))
    inside = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
    assert inside.any(1).all()


def test_the_surest_look_is_one_that_agrees_where_any_does():
    looks = [
        SimpleNamespace(reading=SimpleNamespace(bpm=bpm, confidence=confidence))
        for bpm, confidence in [(110.0, 0.5), (57.0, 0.2), (54.0, 0.3), (np.nan, 0.6)]
    ]
    assert search.choose_look(looks, 56.0) is looks[2]
    assert search.choose_look(looks, np.nan) is looks[3]
    assert search.choose_look(looks[:2], 70.0) is looks[0]


def test_boxes_nearby_are_moved_and_scaled_inside_the_picture():
    boxes = np.array(search.list_nearby_boxes((0.4, 0.3, 0.6, 0.7)))
    np.testing.assert_allclose(boxes[0], (0.36, 0.3, 0.56, 0.7))
    np.testing.assert_allclose(boxes[3], (0.4, 0.38, 0.6, 0.78))
    np.testing.assert_allclose(boxes[4], (0.425, 0.35, 0.575, 0.65))
    np.testing.assert_allclose(boxes[5], (0.375, 0.25, 0.625, 0.75))
    corner = np.array(search.list_nearby_boxes((0.0, 0.0, 0.2, 0.2)))
    assert corner.min() == 0
