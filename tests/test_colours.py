"""Swapped colours are told, with a figure, and the right ones never are."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_ins import BPM, GEOMETRY, Painter

from pulse_plantain import colours, reading, search
from pulse_plantain.bijection import encode_phasor
from pulse_plantain.lab.synthetic import simulate_batch, split_seeds
from pulse_plantain.sheet import Layout, SheetGeometry, field_to_sheet
from pulse_plantain.windows import ClipWindow

COARSE = SheetGeometry(bands=4, samples=24, rows=8, size=(96, 16))
pytestmark = pytest.mark.usefixtures("one_thread")


def draw_course(appearance, amplitude):
    """A window that shows a picture [h, w, 3] and a pulse of amplitudes [rows, bands]."""
    window = replace(ClipWindow.blank(0, 8, GEOMETRY), appearance=appearance)
    turn = np.exp(2j * np.pi * BPM / 60 * window.times)
    sheet = field_to_sheet(encode_phasor(turn[:, None, None] * amplitude), GEOMETRY)
    image = torch.from_numpy(sheet).float().movedim(-1, 0)[None] * 2 - 1
    return reading.read_sheets([reading.Glance(window, search.WHOLE)], [image], GEOMETRY)


@pytest.mark.parametrize("light, split", [("plain", "test"), ("camera", "camera-test")])
def test_rendered_faces_are_told_from_the_same_in_bgr(light, split):
    faces = simulate_batch(split_seeds(split, 64)[::2], Layout(COARSE, (16, 16)), light=light)
    right, swapped = [], []
    for picture, amplitude in zip(faces.appearance, faces.amplitude, strict=True):
        if amplitude.max() > 0:
            right.append(colours.find_swap(draw_course(picture.numpy(), amplitude.numpy())))
            other = picture.numpy()[..., ::-1]
            swapped.append(colours.find_swap(draw_course(other, amplitude.numpy())))
    assert len(right) >= 20 and max(right) < 0.5 < min(swapped)
    assert np.mean(np.array(swapped) >= colours.SURE) > 0.9
    np.testing.assert_allclose(np.add(right, swapped), 1, atol=1e-6)


def test_what_can_be_no_skin_says_nothing():
    plant = np.broadcast_to(np.array([0.2, 0.6, 0.3], np.float32), (16, 16, 3))
    assert colours.find_swap(draw_course(plant, np.full((8, 4), 0.005))) == 0.5


def test_a_blue_wall_behind_a_face_is_not_taken_for_skin():
    picture = np.broadcast_to(np.array([0.2, 0.3, 0.7], np.float32), (16, 16, 3)).copy()
    picture[4:12, 4:12] = (0.6, 0.4, 0.3)
    amplitude = np.zeros((8, 4))
    amplitude[2:6, 1:3] = 0.005
    assert colours.find_swap(draw_course(picture, amplitude)) < 0.01
    assert colours.find_swap(draw_course(picture[..., ::-1], amplitude)) > 0.99


def test_the_owner_of_a_bgr_clip_is_told_in_one_line(pipe, caplog):
    Painter(pipe, BPM)
    rng = np.random.default_rng(0)
    skin = np.array([180, 120, 90]) + rng.normal(0, 3, (80, 48, 64, 3))
    clip = skin.round().astype(np.uint8)
    with caplog.at_level(logging.WARNING):
        assert pipe(clip, fps=10, window=8, crop=(0, 0, 64, 48)).found
        assert caplog.messages == []
        assert pipe(clip[..., ::-1], fps=10, window=8, crop=(0, 0, 64, 48)).found
    assert caplog.messages == [
        "the skin is blue: red and blue are swapped with a chance of 0.99, as in BGR pictures of "
        "OpenCV; turn them around with picture[..., ::-1] and measure again"
    ]
