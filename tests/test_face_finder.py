"""Faces in the pictures of a clip: which are found, how often is looked, and what they become."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_ins import GEOMETRY, READING
from test_search import Room, fine_window

from pulse_plantain import face_finder, posterior, search
from pulse_plantain import windows as windowing
from pulse_plantain.clock import Clock
from pulse_plantain.face_finder import compare_boxes
from pulse_plantain.lab.synthetic import draw_scenes, render_frames
from pulse_plantain.lab.synthetic.frames import find_skin
from pulse_plantain.sheet import Layout
from pulse_plantain.windows import Beside, encode_windows

FACE = (100.0, 60.0, 200.0, 160.0)


@pytest.fixture(scope="module")
def portrait():
    """A rendered picture of 320 x 240 pixels, and the box of its skin."""
    scene = draw_scenes([3], webcam=True, kinds=False)
    with torch.no_grad():
        _, picture = next(render_frames(scene, (320, 240), 1.0))
        rows, columns = np.nonzero(find_skin(scene, (320, 240), 1.0) > 0.5)
    return picture, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def look_once(picture):
    return face_finder.FaceFinder().look(0.0, picture)


def test_a_face_is_found_where_it_is_whatever_the_picture_is_made_of(portrait):
    picture, skin = portrait
    (face,) = look_once(picture)
    assert compare_boxes(face, skin) > 0.5  # the neck is skin, too
    for other in (picture / np.float32(255), picture.astype(np.uint16) * 257):
        assert look_once(other) == (face,)
    large = np.kron(picture, np.ones((4, 4, 1), np.uint8))  # searched at a quarter of its size
    assert compare_boxes(look_once(large)[0], tuple(4 * side for side in face)) > 0.9
    left, top, right, bottom = face
    moved = look_once(np.roll(picture, 40, 1))
    assert compare_boxes(moved[0], (left + 40, top, right + 40, bottom)) > 0.9


def test_where_there_is_no_face_none_is_found():
    dice = np.random.default_rng(0)
    assert look_once(dice.integers(0, 255, (240, 320, 3), np.uint8)) == ()
    assert look_once(np.full((12, 9, 3), 0.5, np.float32)) == ()  # smaller than any face


def test_it_looks_once_a_second(portrait):
    finder = face_finder.FaceFinder()
    looks = [finder.look(number / 10, portrait[0]) for number in range(25)]
    assert [number for number, found in enumerate(looks) if found is not None] == [0, 10, 20]


def test_a_face_is_what_a_third_of_the_looks_find():
    beside = (250.0, 60.0, 300.0, 110.0)
    seen = [(FACE,), (tuple(side + 6 for side in FACE),), ()]
    assert face_finder.settle(seen) == (tuple(side + 3 for side in FACE),)
    assert face_finder.settle([(beside, FACE), (FACE,), (FACE,), (FACE,)]) == (FACE,)
    assert face_finder.settle([(beside, FACE), (beside,)]) == (FACE, beside)  # the largest first
    inside = (90.0, 100.0, 150.0, 160.0)  # overlaps the face, too little to be the same
    assert face_finder.settle([(FACE, inside), (FACE,)]) == (FACE,)
    assert face_finder.settle([(), ()]) == face_finder.settle([]) == ()


def test_boxes_are_compared_by_what_they_share():
    assert compare_boxes(FACE, FACE) == 1
    assert compare_boxes((0, 0, 2, 1), (1, 0, 3, 1)) == pytest.approx(1 / 3)
    assert (
        compare_boxes((0, 0, 1, 1), (1, 0, 2, 1)) == compare_boxes((0, 0, 1, 1), (3, 3, 4, 4)) == 0
    )


def test_without_a_cascade_no_face_is_found_and_that_is_said_once(portrait, monkeypatch):
    face_finder.load_cascade.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.warns(
        UserWarning, match=r'needs OpenCV 4 \(pip install "opencv-python-headless<5"'
    ):
        assert look_once(portrait[0]) is None
    assert face_finder.find_faces(portrait[0] / 255) == []
    face_finder.load_cascade.cache_clear()
    monkeypatch.undo()
    assert look_once(portrait[0])


def leave_room(portrait, seconds=13):
    """Pictures at 10 Hz: a face for 7 s, then an empty room."""
    dice = np.random.default_rng(0)
    for number in range(10 * seconds):
        picture = np.minimum(portrait, 250) if number < 70 else np.full_like(portrait, 90)
        yield picture + dice.integers(0, 3, picture.shape, np.uint8)


def test_a_window_brings_the_faces_of_its_own_time(portrait):
    picture, _ = portrait
    (face,) = look_once(picture)
    options = {"clock": Clock(10), "window": (5.0, 10.0), "stride": 4.0}

    def encode(**more):
        return list(encode_windows(leave_room(picture), Layout(GEOMETRY), **options, **more))

    windows = encode(beside=Beside(faces=True))
    seen = {(window.start, window.seconds): len(window.faces) for window in windows}
    assert seen == {(0, 5): 1, (4, 5): 1, (8, 5): 0, (0, 10): 1, (3, 10): 1}
    assert compare_boxes(windows[0].faces[0], face) > 0.9
    assert not any(window.faces for window in encode())
    assert not any(window.faces for window in encode(crop=(60, 20, 300, 220)))


def test_old_looks_are_forgotten():
    memory = windowing._Memory(Layout(GEOMETRY), 0.5, None)
    for second in range(9):
        memory.add(float(second), [np.full((64, 64, 3), second / 10, np.float32)], (FACE,))
    memory.forget(5.0)
    assert [time for time, _ in memory.looks] == [5.0, 6.0, 7.0, 8.0]


def test_the_pipeline_looks_for_faces_where_it_is_not_told_where_to_look(portrait, tiny_pipe):
    def encode(crop):
        clip = list(leave_room(portrait[0], 5))
        return next(tiny_pipe.encode_clip(clip, Clock(10), (5.0,), None, crop, None))

    assert len(encode(None).faces) == 1
    assert not encode((60, 20, 300, 220)).faces


# ----------------------------------------------------------------- what the search does with them


def take_window(faces):
    """Glances that a search draws first of a window with faces."""
    room = Room()
    looking = search.Search(Layout(GEOMETRY), room.draw, READING, (8.0,))
    looking.take([replace(fine_window(0.0, 8.0), faces=faces)])
    return [glance for glances in room.looks for glance in glances]


def test_the_largest_faces_are_drawn_and_no_small_one():
    second, third = (210.0, 60.0, 260.0, 110.0), (10.0, 10.0, 40.0, 40.0)
    plain = {glance.place for glance in take_window(())}
    places = {glance.place for glance in take_window((FACE, second, third))}
    boxes = [tuple(np.divide(face, (320, 240, 320, 240))) for face in (FACE, second, third)]
    assert boxes[0] in places and boxes[1] in places and boxes[2] not in places
    assert not set(boxes) & plain
    small = (10.0, 10.0, 30.0, 30.0)
    assert len(take_window((small,))) == len(take_window(()))


def test_a_reading_from_before_goes_on_without_the_sign():
    numbers = READING.to_dict()
    before = {
        name: value[:-1] if isinstance(value, list | tuple) and name != "beats" else value
        for name, value in numbers.items()
    }
    weights = posterior.Weights.from_dict(before)
    assert weights.trust[-1] == weights.silence[-1] == weights.lit[-1] == weights.mean[-1] == 0
    assert weights.spread[-1] == 1 and list(weights.trust[:-1]) == list(before["trust"])
    with pytest.raises(ValueError, match="mean must have 10 numbers, one a sign"):
        posterior.Weights.from_dict({"mean": before["mean"][:-1]})
