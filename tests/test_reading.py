"""Drawn sheets are read as fields, and readings vote on a rate."""

import numpy as np
import torch
from stand_ins import GEOMETRY

from pulse_plantain import bijection, reading
from pulse_plantain.sheet import field_to_sheet


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


def test_the_rate_that_most_readings_agree_on():
    rates, lengths = [56.0, 123.0, 55.5, np.nan, 57.0, 90.0], [8.0] * 6
    assert reading.vote_on_rate(rates, [0.2, 0.4, 0.2, 0.9, 0.2, 0.1], lengths) == 56.0
    assert reading.vote_on_rate(rates, [0.2, 0.9, 0.2, 0.9, 0.2, 0.1], lengths) == 123.0
    assert np.isnan(reading.vote_on_rate([np.nan, 70.0], [0.5, 0.0], [8.0, 8.0]))


def test_lengths_that_cannot_show_a_rate_do_not_outvote_those_that_can():
    lengths = [5.0, 8.0, 10.0]
    fast = ([172.0, 86.0, 85.0], [0.6, 0.4, 0.4], lengths)  # 14, 23 and 29 beats
    assert (
        reading.vote_on_rate(*fast) == 86.0
        and reading.vote_on_rate(*fast, most_beats=20.0) == 172.0
    )
    slow = ([84.0, 42.0, 43.0], [0.7, 0.1, 0.4], lengths)  # 3.5, 5.6 and 7 beats
    assert reading.vote_on_rate(*slow, most_beats=20.0) == 43.0
    shown_by_none = ([70.0, 40.0], [0.1, 0.2], [5.0, 5.0])
    assert reading.vote_on_rate(*shown_by_none, most_beats=20.0) == 40.0
    border = ([148.0, 148.5, 150.5], [0.6, 0.6, 0.4], [5.0, 8.0, 5.0])  # 8 s show up to 150 bpm
    assert (
        reading.vote_on_rate(*border, most_beats=20.0) == 148.5
    )  # a mode, not its slope beyond 150


def test_jackknife_grows_where_the_bands_disagree():
    times = (np.arange(96) + 0.5) / 12
    alike = np.exp(2j * np.pi * 1.2 * times)[None, :, None, None] * np.ones((1, 1, 8, 4))
    split = alike.copy()
    split[..., 2:] = np.exp(2j * np.pi * 1.3 * times)[None, :, None, None]
    ones = np.ones(alike.shape)
    assert reading.jackknife_uncertainty(alike, ones, [0.0], 12) < 1e-6
    assert 1 < reading.jackknife_uncertainty(split, ones, [0.0], 12) < 12
    assert np.isnan(reading.jackknife_uncertainty(alike[..., :1], ones[..., :1], [0.0], 12))
