"""The pulse by band and row: rates, agreement and arrivals that are known."""

import numpy as np
import pytest
from test_output import assemble

from pulse_plantain.plots import plot_regions
from pulse_plantain.regions import read_regions

FS, BPM = 12.0, 72.0
CROP = (40.0, 20.0, 80.0, 100.0)


def make_field(lag):
    """Field of 8 s of 8 rows and 4 bands, whose face arrives ``lag`` s [rows, bands] late."""
    times = (np.arange(96) + 0.5) / FS
    face = np.zeros((8, 4))
    face[1:7, 1:3] = 0.005
    phase = 2 * np.pi * BPM / 60 * (times[:, None, None] - lag)
    return face * np.exp(1j * phase)


def test_the_cheeks_are_later_than_the_forehead():
    lag = np.zeros((8, 4))
    lag[3:5] = 0.020
    found = read_regions(make_field(lag), FS, CROP)
    inside = found.amplitude > 0
    np.testing.assert_array_equal(inside, make_field(lag)[0] != 0)
    np.testing.assert_allclose(found.bpm[inside], BPM, atol=0.1)
    np.testing.assert_allclose(found.agreement[inside], 1, atol=0.02)
    np.testing.assert_allclose(found.amplitude[inside], 0.005)
    assert np.isnan(found.bpm[~inside]).all() and np.isnan(found.delay[~inside]).all()
    assert (found.agreement[~inside] == 0).all()
    np.testing.assert_allclose(found.delay[3:5, 1:3] - found.delay[1:3, 1:3], 0.020, atol=1e-6)

    named = {region.name: region for region in found.named}
    assert list(named) == ["forehead", "left cheek", "right cheek"]
    assert named["forehead"].crop == (50, 30, 70, 50)
    assert named["left cheek"].crop == (50, 50, 60, 70)
    assert named["right cheek"].crop == (60, 50, 70, 70)
    late = named["left cheek"].delay - named["forehead"].delay
    assert late == pytest.approx(0.020, abs=1e-6)
    assert named["right cheek"].bpm == pytest.approx(BPM, abs=0.1)


def test_a_cell_with_another_rate_does_not_agree():
    field = make_field(0.0)
    times = (np.arange(96) + 0.5) / FS
    field[:, 2, 1] = 0.005 * np.exp(2j * np.pi * 100 / 60 * times)
    found = read_regions(field, FS, CROP)
    assert found.bpm[2, 1] == pytest.approx(100, abs=0.5) and found.agreement[2, 1] < 0.2
    assert found.agreement[2, 2] > 0.95


def test_a_black_field_has_no_regions():
    found = read_regions(np.zeros((96, 8, 4), complex), FS, CROP)
    assert found.named == [] and np.isnan(found.bpm).all()


def test_regions_of_an_output_are_drawn(tmp_path):
    pulse = assemble()
    assert pulse.regions.bpm.shape == (8, 4) and pulse.regions.crop == (0, 0, 384, 64)
    np.testing.assert_allclose(pulse.regions.bpm, BPM, atol=0.5)
    figure = plot_regions(pulse)
    maps = [axes for axes in figure.axes if axes.get_images() and axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in maps] == [
        "heart rate (bpm)", "agreement with the whole", "arrival (ms, blue is before)",
    ]  # fmt: skip
    np.testing.assert_allclose(maps[0].get_images()[0].get_array(), pulse.regions.bpm)
    assert [len(axes.lines) for axes in maps] == [3, 3, 3]
    figure.savefig(tmp_path / "regions.png")
    assert (tmp_path / "regions.png").stat().st_size > 10000
    plot_regions(assemble(amplitude=0.0)).savefig(tmp_path / "none.png")
