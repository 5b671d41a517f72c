"""Where the search for the pulse looks along a clip, and which drawings stand."""

from dataclasses import replace

import numpy as np
import pytest
from stand_ins import GEOMETRY, READING

from pulse_plantain import posterior, reading, search
from pulse_plantain.sheet import Layout
from pulse_plantain.windows import ClipWindow


@pytest.mark.parametrize("size", [(320, 240), (1920, 1080), (480, 640)])
def test_boxes_to_try_cover_the_picture_and_hold_a_face_anywhere(size):
    whole, *boxes = search.list_boxes(size)
    assert whole == (0, 0, 1, 1) and len(boxes) <= 18
    left, top, right, bottom = np.array(boxes).T
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 1 + 1e-12
    assert sorted({box[1] for box in boxes}) == pytest.approx([0, 0.2, 0.4])
    x, y = np.random.default_rng(0).uniform(size=(2, 1000, 1))
    inside = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
    assert inside.any(1).all()


def drawn(box, start, seconds, bpm, noise=0.3, gap=0.1, upheavals=()):
    """What a drawing of a part of a window says that beats at ``bpm``."""
    times = start + (np.arange(96) + 0.5) * seconds / 96
    dice = np.random.default_rng(round(start + 10 * seconds + bpm))
    trace = np.exp(2j * np.pi * bpm / 60 * times)
    trace = trace + noise * (dice.standard_normal((2, 96)) * [[1], [1j]]).sum(0)
    lines = posterior.find_lines(trace, 96 / seconds)
    signs = np.array(READING.mean)
    signs[0] = posterior.to_log_odds(lines.max())
    window = replace(ClipWindow.blank(start, start + seconds, GEOMETRY), longest_gap=gap)
    said = posterior.Witness(start, start + seconds, (box, seconds), lines, signs)
    empty = np.zeros((1, 96, 1, 1), complex)
    level = np.zeros(96)
    return reading.Drawn(window, box, empty, empty.real[0], None, trace, level, said, upheavals)


LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def test_the_course_is_of_the_length_and_the_box_that_show_the_rate():
    some = [drawn(LEFT, start, 8.0, 70.0) for start in (0.0, 4.0)]
    some += [drawn(RIGHT, start, 8.0, 70.0 if start else 120.0) for start in (0.0, 4.0)]
    some += [drawn(RIGHT, start, 5.0, 150.0 + 20 * start) for start in (0.0, 2.0)]
    read = search.read_drawn(some, READING, (0.0, 12.0))
    course = search.choose_course(some, read)
    assert [(one.window.start, one.window.seconds) for one in course] == [(0.0, 8.0), (4.0, 8.0)]
    assert course[0].place == LEFT


def test_a_window_in_which_a_beat_can_be_missing_is_no_witness():
    some = [drawn(LEFT, 0.0, 8.0, 70.0, gap=0.6), drawn(RIGHT, 0.0, 8.0, 90.0)]
    read = search.read_drawn(some, READING, (0.0, 8.0))
    assert len(read.witnesses) == 1
    assert search.choose_course(some, read)[0].place == RIGHT


def test_a_gap_does_not_hide_which_length_shows_the_rate():
    lengths = {5.0: 3.0, 8.0: 0.3}  # and the noise of each
    some = [
        drawn(LEFT, start, length, 70.0, noise, gap=0.8 if start <= 8.0 < start + length else 0.1)
        for length, noise in lengths.items()
        for start in np.arange(0, 24 - length + 0.1, 4.0)
    ]
    course = search.choose_course(some, search.read_drawn(some, READING, (0.0, 24.0)))
    assert {one.window.seconds for one in course} == {8.0} and len(course) == 5
    unknown = [drawn(LEFT, 0.0, 8.0, 70.0, gap=0.8)]
    read = search.read_drawn(unknown, READING, (0.0, 8.0))
    assert search.choose_course(unknown, read) == unknown


def test_a_window_that_shows_two_things_is_no_witness_and_what_follows_may_begin_anew():
    calm = [drawn(LEFT, start, 8.0, 70.0) for start in (0.0, 8.0)]
    torn = drawn(LEFT, 4.0, 8.0, 120.0, upheavals=(7.9, 8.1))
    read = search.read_drawn([*calm, torn], READING, (0.0, 16.0))
    assert len(read.witnesses) == 2
    alike = posterior.Posterior([one.witness for one in calm], READING, (0.0, 16.0), (7.9, 8.1))
    np.testing.assert_array_equal(read.chances, alike.chances)
    assert search.list_upheavals([torn, *calm, torn]) == [7.9, 8.1]


def test_a_picture_too_small_for_parts_is_looked_at_as_a_whole():
    room = Room()
    looking = search.Search(Layout(GEOMETRY), room.draw, READING, (8,))
    looking.take([replace(fine_window(0.0, 8.0), picture_size=(20, 16))])
    assert {one.place for one in looking.drawn} == {search.WHOLE}


def test_windows_are_taken_in_groups_that_end_with_the_ticks():
    ends = (5.0, 7.5, 8.0, 10.0, 12.0, 12.5, 26.0, 26.5)
    windows = [ClipWindow.blank(end - 5, end, GEOMETRY) for end in ends]
    groups = search.divide_by_ticks(windows, 10.0, 5.0)
    assert [[one.end for one in group] for group in groups] == [
        [5.0, 7.5, 8.0, 10.0], [12.0, 12.5], [26.0, 26.5],
    ]  # fmt: skip


class Room:
    """Draws what a picture shows that pulses in one half, from some time on."""

    def __init__(self, bpm=66.0, since=0.0):
        self.bpm, self.since, self.looks = bpm, since, []

    def draw(self, glances):
        self.looks.append(glances)
        said = []
        for glance in glances:
            window, left = glance.window, glance.place[0]
            seen = self.shows(glance.place) and window.start >= self.since - 1
            bpm, noise = (self.bpm, 0.3) if seen else (90 + 70 * left + window.start, 3.0)
            one = drawn(glance.place, window.start, window.seconds, bpm, noise)
            said.append(replace(one, window=window))
        return said

    def shows(self, place):
        """Whether a part shows the pulse."""
        left, _, right, _ = place
        return left >= 0.35 and right - left < 0.9

    def search(self, seconds):
        """A search along a clip, with windows of three lengths half of their length apart."""
        looking = search.Search(Layout(GEOMETRY), self.draw, READING, (8, 5, 10))
        windows = [
            fine_window(start, start + length)
            for length in (8.0, 5.0, 10.0)
            for start in np.arange(0, seconds - length + 0.1, length / 2)
        ]
        windows.sort(key=lambda window: window.end)
        for group in search.divide_by_ticks(windows, 10.0, search.TICK):
            looking.take(group)
        return looking


def fine_window(start, end):
    """A still picture, cut as finely as the search wants it."""
    grid = search.SEARCH_GRID
    geometry = search.divide_finely(96).geometry
    blank = ClipWindow.blank(start, end, geometry)
    appearance = np.full((grid, grid, 3), 0.5, np.float32)
    motion = np.random.default_rng(0).normal(0, 1e-3, blank.motion.shape).astype(np.float32)
    size = (320, 240)
    return replace(
        blank, motion=motion, appearance=appearance, picture_size=size, crop=(0, 0, *size)
    )


def test_the_search_follows_the_box_that_shows_the_pulse_and_draws_little_more():
    room = Room()
    looking = room.search(40)
    assert looking.read().read_clip().bpm == pytest.approx(66, abs=1)
    assert looking.boxes[0][0] >= 0.35
    first, later = room.looks[:3], room.looks[3:]
    assert 30 < sum(map(len, first)) < 50 and sum(map(len, later)) / 6 < 10  # drawings a tick


def test_no_box_is_drawn_twice_and_three_are_followed():
    room = Room(since=100.0)  # nothing beats, so the whole picture may well be the best box
    for seconds in (10, 20, 40):
        room.looks.clear()
        looking = room.search(seconds)
        seen = [(g.place, g.window.start, g.window.end) for look in room.looks for g in look]
        assert len(set(seen)) == len(seen)
        assert len(set(looking.boxes)) == search.BOXES


class Close(Room):
    """Draws a face that fills the picture."""

    def shows(self, place):
        return place == search.WHOLE


def test_a_face_that_fills_the_picture_is_followed_once_and_not_thrice():
    room = Close()
    looking = room.search(20)
    assert looking.boxes[0] == search.WHOLE and len(set(looking.boxes)) == search.BOXES
    wholes = [g.window for look in room.looks for g in look if g.place == search.WHOLE]
    assert len({(w.start, w.end) for w in wholes}) == len(wholes)


def test_windows_that_end_every_second_are_drawn_in_the_best_box_alone_but_now_and_then():
    room = Room()
    looking = room.search(20)
    searched = len(room.looks)
    for end in range(21, 33):
        looking.take([fine_window(end - length, end) for length in (10.0, 8.0, 5.0)])
    counts = [len(look) for look in room.looks[searched:]]
    assert sum(counts) == 12 * 3 + 4 * 4  # three lengths each second, two boxes more each third
    assert looking.boxes[0][0] >= 0.35
    assert looking.read(22, 32).read_clip().bpm == pytest.approx(66, abs=1)


def test_a_pulse_that_comes_later_is_found_by_searching_again():
    room = Room(since=20.0)
    looking = room.search(40)
    assert looking.boxes[0][0] >= 0.35
    read = looking.read()
    assert read.read_span(0, 15).present < 0.5 < read.read_span(30, 40).confidence


def test_a_crop_is_looked_at_and_nothing_else():
    room = Room()
    looking = search.Search(Layout(GEOMETRY), room.draw, READING, (8,), anywhere=False)
    looking.take([ClipWindow.blank(0.0, 8.0, GEOMETRY)])
    assert [len(look) for look in room.looks] == [1]
    assert room.looks[0][0].place == search.WHOLE and room.looks[0][0].around is None


def test_the_search_goes_on_over_windows_in_which_a_beat_can_be_missing():
    looking = search.Search(Layout(GEOMETRY), Room().draw, READING, (8,))
    looking.take([replace(fine_window(0.0, 8.0), longest_gap=0.8)])
    looking.take([fine_window(4.0, 12.0)])
    assert len(looking.read().witnesses) == sum(one.window.start == 4 for one in looking.drawn) > 0


class Cut(Room):
    """Draws a room, and from some time on a face in it."""

    def draw(self, glances):
        return [
            replace(one, upheavals=(self.since,))
            if one.window.start < self.since < one.window.end
            else one
            for one in super().draw(glances)
        ]


def test_behind_a_cut_the_whole_picture_is_searched_as_soon_as_a_window_shows_it():
    for kind, ends in ((Room, {10, 20, 30}), (Cut, {10, 20, 25})):
        room = kind(since=19.0)
        looking = room.search(30)
        wide = [look for look in room.looks if len({glance.place for glance in look}) > 9]
        assert {max(glance.window.end for glance in look) for look in wide} == ends, kind
        assert looking.boxes[0][0] >= 0.35


def test_what_is_behind_is_forgotten():
    looking = Room().search(40)
    looking.forget(30.0)
    assert min(one.window.end for one in looking.drawn) >= 30


def test_boxes_nearby_are_moved_and_scaled_inside_the_picture():
    boxes = np.array(search.list_nearby_boxes((0.4, 0.3, 0.6, 0.7)))
    np.testing.assert_allclose(boxes[0], (0.36, 0.3, 0.56, 0.7))
    np.testing.assert_allclose(boxes[3], (0.4, 0.38, 0.6, 0.78))
    np.testing.assert_allclose(boxes[4], (0.425, 0.35, 0.575, 0.65))
    np.testing.assert_allclose(boxes[5], (0.375, 0.25, 0.625, 0.75))
    corner = np.array(search.list_nearby_boxes((0.0, 0.0, 0.2, 0.2)))
    assert corner.min() == 0
