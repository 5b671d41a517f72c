"""Where pictures change altogether is found, and what only wavers, flashes or passes is not."""

import numpy as np
import pytest

from pulse_plantain.upheaval import compare_moments, find_upheavals

TIMES = (np.arange(96) + 0.5) / 12


def scene(seed):
    """[8, 4, 3] of something, unlike that of another seed."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, (8, 4, 3))


def film(*cuts):
    """[96, 8, 4, 3]: a scene, and from each of some times (s) on another one."""
    shown = np.searchsorted(cuts, TIMES, side="right")
    return np.stack([scene(number) for number in shown])


def test_a_cut_is_found_at_its_time():
    found = find_upheavals(film(3.5), TIMES)
    assert found and min(found) > 3.2 and max(found) < 3.8
    assert np.mean(found) == pytest.approx(3.5, abs=0.05)
    both = find_upheavals(film(2.0, 6.0), TIMES)
    assert {round(time) for time in both} == {2, 6}
    assert find_upheavals(film(), TIMES) == ()


def test_a_face_that_slides_in_is_found_all_the_while():
    wide = np.concatenate([scene(0), scene(1)], 1)
    pictures = film()
    for number, time in enumerate(TIMES):
        column = int(np.clip((time - 4.0) / 1.5, 0, 1) * 4)
        pictures[number] = wide[:, column : column + 4]
    found = find_upheavals(pictures, TIMES)
    assert min(found) < 4.6 and max(found) > 5.0 and len(found) > 10
    assert min(found) > 3.7 and max(found) < 5.8


@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_what_flashes_or_passes_is_no_change(seconds):
    pictures = film(4.0, 4.0 + seconds)
    pictures[TIMES >= 4.0 + seconds] = scene(0)
    assert find_upheavals(pictures, TIMES) == ()


def test_light_that_wavers_steps_or_fails_is_no_change():
    noise = np.random.default_rng(5).normal(0, 0.03, (96, 8, 4, 3))
    waver = 1 + 0.3 * np.sin(2 * np.pi * 0.5 * TIMES) + 0.3 * (TIMES > 5)
    waver *= (TIMES < 2.0) | (TIMES > 3.5)
    assert find_upheavals(film() * waver[:, None, None, None] + 0.3 * noise, TIMES) == ()
    from_black = film() * (TIMES > 3)[:, None, None, None]
    assert find_upheavals(from_black, TIMES) == ()


def test_a_cut_through_black_is_one():
    pictures = film(4.0)
    pictures[(TIMES > 3.8) & (TIMES < 4.2)] = 0
    found = find_upheavals(pictures, TIMES)
    assert found and min(found) > 3.5 and max(found) < 4.7


def test_how_unlike_pictures_are_does_not_depend_on_their_light():
    unlike = compare_moments(film(4.0), 6)
    one, other = scene(0).ravel(), scene(1).ravel()
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert unlike.shape == (90,) and unlike.min() == pytest.approx(0, abs=1e-6)
    assert unlike.max() == pytest.approx(np.sqrt(1 - cosine**2), rel=1e-9)
    dimmed = film(4.0) * np.where(TIMES < 4.0, 1, 0.2)[:, None, None, None]
    np.testing.assert_allclose(compare_moments(dimmed, 6), unlike, atol=1e-6)
