"""Drawn sheets are read as fields, and fields are witnesses of a rate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_ins import GEOMETRY

from pulse_plantain import bijection, heart_rate, posterior, reading, search
from pulse_plantain.sheet import field_to_sheet
from pulse_plantain.windows import ClipWindow


def random_field(rng, windows=2, weakest=2e-4):
    amplitude = rng.uniform(weakest, 0.02, (windows, *GEOMETRY.field_shape))
    return amplitude * np.exp(1j * rng.uniform(0, 2 * np.pi, amplitude.shape))


def sheet_images(field):
    sheet = field_to_sheet(bijection.encode_phasor(field), GEOMETRY)
    return torch.from_numpy(sheet).movedim(-1, 1) * 2 - 1


def test_field_of_a_sheet_is_the_field():
    field = random_field(np.random.default_rng(0))
    read, weights = reading.decode_field(sheet_images(field), GEOMETRY)
    assert np.abs(read.numpy() / field - 1).max() < 1e-4
    assert weights.min() > 0.999


def test_pixels_off_the_palette_hardly_count():
    field = random_field(np.random.default_rng(0), weakest=3e-3)
    images = sheet_images(field)
    images[:, :, ::2] = 0.2  # every other line of pixels a light grey, 0.6 off the palette
    read, weights = reading.decode_field(images, GEOMETRY)
    assert np.abs(np.angle(read.numpy() / field)).max() < 0.05
    assert 0.5 < weights.min() and weights.max() < 0.52


def test_a_saturated_pixel_does_not_outshout_its_cell():
    field = np.full((1, *GEOMETRY.field_shape), 0.004 + 0j)
    images = sheet_images(field)
    images[0, :, 0, 0] = torch.tensor([-1.0, 1.0, -1.0])  # pure green, 2 pi / 3 off
    read = reading.decode_field(images, GEOMETRY)[0].numpy()
    assert np.abs(read[0, 0, 0, 0] / 0.004 - 1) < 0.45
    images[:] = -1
    images[:, 0] = 1
    assert (
        reading.decode_field(images, GEOMETRY)[0].abs().max() <= reading.LARGEST_AMPLITUDE * 1.001
    )


def beating_window(rate=72.0, colours=(0.3, 1.0, 0.7), seconds=8.0, noise=0.0):
    """A window in which all cells beat in given colours."""
    window = ClipWindow.blank(0.0, seconds, GEOMETRY)
    beat = 0.002 * np.cos(2 * np.pi * rate / 60 * window.times)
    motion = beat[:, None, None, None] * np.array(colours) * np.ones((8, 4, 1))
    motion = motion + noise * np.random.default_rng(0).standard_normal(motion.shape)
    return replace(window, motion=motion.astype(np.float32))


def read_one(field, window=None, **glance):
    window = window or ClipWindow.blank(0.0, 8.0, GEOMETRY)
    glance = reading.Glance(window, "here", **glance)
    (drawn,) = reading.read_sheets([glance], [sheet_images(field)], GEOMETRY)
    return drawn, dict(zip(posterior.SIGNS, drawn.witness.signs, strict=True))


def even_field(amplitude=0.004, rate=72.0):
    times = (np.arange(96) + 0.5) / 12
    turn = np.exp(2j * np.pi * rate / 60 * times)
    return amplitude * turn[None, :, None, None] * np.ones((1, 96, 8, 4))


def test_a_drawing_is_a_witness_of_its_line_and_amplitude():
    drawn, signs = read_one(even_field())
    assert posterior.RATES[drawn.witness.lines.argmax()] == pytest.approx(72, abs=0.3)
    assert drawn.witness.source == ("here", 8.0) and drawn.counts
    assert signs["amplitude"] == pytest.approx(np.log(0.004), abs=0.01)
    assert signs["line"] > 5 and signs["agreement"] > 5 and signs["palette"] > 0.999
    assert all(np.isnan(signs[name]) for name in posterior.SIGNS[4:])
    rng = np.random.default_rng(0)
    noise = 0.004 * np.exp(2j * np.pi * rng.uniform(size=(1, *GEOMETRY.field_shape)))
    _, signs = read_one(noise)
    assert signs["line"] < 0 and signs["agreement"] < -1


def test_a_window_that_shows_two_things_does_not_count():
    blank = ClipWindow.blank(0.0, 8.0, GEOMETRY)
    faces = np.random.default_rng(0).uniform(0.2, 0.8, (2, 8, 4, 3))
    behind = (blank.times > 5.0)[:, None, None, None]
    shown = np.where(behind, faces[1], faces[0])
    mean = shown.mean(0)
    window = replace(
        blank,
        motion=(shown / mean - 1).astype(np.float32),
        appearance=mean.repeat(2, 0).repeat(2, 1).astype(np.float32),
    )
    drawn, _ = read_one(even_field(), window)
    assert drawn.upheavals and not drawn.counts
    assert np.mean(drawn.upheavals) == pytest.approx(5.0, abs=0.1)
    still, _ = read_one(even_field(), replace(window, motion=np.zeros_like(window.motion)))
    assert still.upheavals == () and still.counts


def test_a_lock_in_finds_what_follows_a_trace_and_nothing_else():
    times = (np.arange(96) + 0.5) / 12
    trace = 3 * np.exp(2j * np.pi * 72 / 60 * times)
    follows = 0.004 * np.cos(2 * np.pi * 72 / 60 * times - 0.7)
    other = 0.01 * np.cos(2 * np.pi * 100 / 60 * times)
    found = reading.lock_in(np.stack([follows, other, follows + other + 5.0], 1), trace)
    np.testing.assert_allclose(found[[0, 2]], 0.002 * np.exp(-0.7j), rtol=0.03)
    assert abs(found[1]) < 1e-4
    assert not reading.lock_in(follows, np.zeros(96)).any()


def test_how_red_and_green_follow_the_trace_is_seen_in_the_clip():
    _, blood = read_one(even_field(), beating_window())
    _, lamp = read_one(even_field(), beating_window(colours=(1, 1, 1)))
    _, noisy = read_one(even_field(), beating_window(noise=0.2))
    _, elsewhere = read_one(even_field(rate=100.0), beating_window(noise=0.02))
    assert blood["red"] == pytest.approx(0.3, abs=0.05) and lamp["red"] == pytest.approx(1.0)
    assert blood["followed"] > 4 > noisy["followed"] > elsewhere["followed"]
    for red, shown in ((3, 1.5), (-3, -0.5)):
        _, odd = read_one(even_field(), beating_window(colours=(red, 1, 1)))
        assert odd["red"] == shown


def picture_with(beats):
    """A finely divided picture of noise, where 72 beats a minute are in cells [64, 64]."""
    window = ClipWindow.blank(0.0, 8.0, search.divide_finely(96).geometry)
    beat = 0.004 * np.cos(2 * np.pi * 72 / 60 * window.times)[:, None, None, None]
    noise = 0.002 * np.random.default_rng(0).standard_normal(window.motion.shape)
    return replace(window, motion=beat * np.asarray(beats, float)[..., None] + noise)


def test_a_background_that_beats_with_the_box_is_told_from_one_that_does_not():
    face = np.zeros((64, 64))
    face[16:48, 24:48] = 1
    large = np.zeros((64, 64))
    large[:, :40] = 1  # a face that leaves a few of the parts around the box alone
    box, whole = (0.375, 0.25, 0.75, 0.75), (0.0, 0.0, 1.0, 1.0)
    times = (np.arange(96) + 0.5) / 12
    trace = np.exp(2j * np.pi * 72 / 60 * times)
    course = 0.004 * np.cos(2 * np.pi * 72 / 60 * times)

    def compare(beats, box):
        around = reading.divide_picture(picture_with(beats))
        return reading.compare_background(around, box, course, trace)

    everywhere = np.ones((64, 64))
    for where in (box, whole):
        ratio, share = compare(everywhere, where)
        assert ratio == pytest.approx(0, abs=0.2) and share > 4
    for beats, where in ((face, box), (face, whole), (0 * face, box)):
        ratio, share = compare(beats, where)
        assert ratio < -4 and share < -2
    assert compare(large, box)[0] < -4


def test_a_noisy_room_is_told_from_a_lamp_where_both_are_as_strong_as_the_face():
    times = (np.arange(96) + 0.5) / 12
    trace = np.exp(2j * np.pi * 72 / 60 * times)
    face = 2e-4 * np.cos(2 * np.pi * 72 / 60 * times)
    still, beating = picture_with(np.zeros((64, 64))), picture_with(np.ones((64, 64)))
    noise, beat = still.motion / 0.002, (beating.motion - still.motion) / 0.004
    lamp, noisy = (
        reading.compare_background(
            reading.divide_picture(replace(still, motion=motion)), (0.4, 0.3, 0.7, 0.7), face, trace
        )
        for motion in (2e-4 * beat + 1e-3 * noise, 0.011 * noise)
    )
    assert abs(lamp[0]) < 0.3 and abs(noisy[0]) < 0.3
    assert lamp[1] > 0 and noisy[1] < -3


def test_the_picture_around_is_read_with_the_trace_that_was_drawn():
    around = picture_with(np.ones((64, 64)))
    parts = reading.divide_picture(around)
    left, top, right, bottom = around.crop
    crop = (left, top, left + (right - left) / 4, top + (bottom - top) / 2)
    window = replace(beating_window(), crop=crop)
    _, signs = read_one(even_field(), window, around=parts, fine=around)
    assert signs["background"] == pytest.approx(np.log((0.004 / 0.002) ** 2), abs=0.2)
    assert signs["beside"] > 4
    _, elsewhere = read_one(even_field(rate=100.0), window, around=parts, fine=around)
    assert elsewhere["background"] != pytest.approx(signs["background"], abs=0.3)
    assert elsewhere["beside"] < -4
    _, unknown = read_one(even_field(), window)
    assert np.isnan([unknown["background"], unknown["beside"]]).all()
    assert np.isfinite(unknown["red"])


def test_how_far_a_box_is_over_a_face_is_read_of_the_face_that_is_nearest():
    window = replace(beating_window(), crop=(10.0, 10.0, 30.0, 30.0))
    near, far = (10.0, 10.0, 30.0, 20.0), (60.0, 10.0, 90.0, 50.0)
    for faces, share in (((far, near), 0.5), ((far,), 0.0), ((window.crop,), 1.0)):
        assert read_one(even_field(), replace(window, faces=faces))[1]["face"] == share
    assert np.isnan(read_one(even_field(), window)[1]["face"])


def test_a_drawn_window_keeps_the_course_of_its_skin_and_not_its_cells():
    window = beating_window()
    drawn, _ = read_one(even_field(), window)
    assert drawn.window.motion.size == 0 and drawn.window.motion.base is None
    assert drawn.level.base is None
    _, shares = heart_rate.pulse_from_field(drawn.field, drawn.weights)
    expected = (window.motion[..., 1] * shares).sum((1, 2))
    np.testing.assert_allclose(drawn.level, expected, atol=1e-7)
    assert drawn.level.std() > 1e-4


def test_a_drawn_window_keeps_one_colour_a_cell():
    rng = np.random.default_rng(0)
    picture = rng.uniform(size=(64, 32, 3)).astype(np.float32)
    drawn, _ = read_one(even_field(), replace(beating_window(), appearance=picture))
    kept = drawn.window.appearance
    assert kept.shape == (GEOMETRY.rows, GEOMETRY.bands, 3)
    np.testing.assert_allclose(kept[1, 2], picture[8:16, 16:24].mean((0, 1)), rtol=1e-5)
    unknown = ClipWindow.blank(0.0, 8.0, GEOMETRY)
    assert reading.average_cells(unknown.appearance, (8, 4)).shape == (1, 1, 3)


def shaded_window(change):
    """A finely divided window of a picture with edges, changed by a function of the time."""
    layout = search.divide_finely(96)
    window = ClipWindow.blank(0.0, 8.0, layout.geometry)
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:64, :64]

    def light(x, y):
        return 0.5 + 0.2 * np.sin((across + x) / 3) + 0.2 * np.cos((down + y) / 4 + across / 9)

    pictures = np.stack([change(light, time) for time in window.times])[..., None]
    pictures = pictures * np.ones(3) + 1e-4 * rng.standard_normal((96, 64, 64, 3))
    mean = pictures.mean(0)
    return replace(window, appearance=mean.astype(np.float32), motion=pictures / mean - 1)


def test_a_picture_that_is_moved_is_told_from_one_that_is_lit():
    def beat(time):
        return np.cos(2 * np.pi * 72 / 60 * time)

    moved = shaded_window(lambda light, time: light(0.02 * beat(time), -0.01 * beat(time)))
    lit = shaded_window(lambda light, time: light(0, 0) * (1 + 0.002 * beat(time)))
    still = shaded_window(lambda light, time: light(0, 0))
    whole, part = moved.crop, (16.0, 8.0, 1200.0, 40.0)
    for crop in (whole, part):
        assert reading.find_displacement(moved, crop, 72.0) > 3
        assert reading.find_displacement(lit, crop, 72.0) < -5
        assert reading.find_displacement(still, crop, 72.0) < -4
    assert np.isnan(reading.find_displacement(moved, (0.0, 0.0, 300.0, 4.0), 72.0))
    window = replace(beating_window(), crop=moved.crop)
    _, signs = read_one(even_field(), window, fine=moved)
    assert signs["displaced"] > 3
    _, elsewhere = read_one(even_field(rate=100.0), window, fine=moved)
    assert elsewhere["displaced"] < 0


def test_amplitudes_of_a_course_at_a_rate():
    times = np.arange(96) / 12
    course = 0.01 * np.cos(2 * np.pi * 1.2 * times - 0.5) + 3 + 0.02 * times
    found = reading.turn_back(course[:, None], 12.0, np.array([72.0, 110.0]))
    assert 2 * np.abs(found[0, 0]) == pytest.approx(0.01, rel=0.03)
    assert np.angle(found[0, 0]) == pytest.approx(-0.5, abs=0.05)
    assert np.abs(found[1, 0]) < 0.001
