"""Metrics against figures worked out by hand or by another formula."""

import numpy as np
import pytest

from pulse_plantain.lab import metrics


def test_rate_figures_by_hand():
    figures = metrics.rate_figures([60, 82, np.nan, 95], [62, 80, 70, 100])
    assert (figures["n"], figures["answered"], figures["coverage"]) == (4, 3, 0.75)
    assert figures["mae"] == pytest.approx(3.0)  # 2, 2, 5
    assert figures["mae_se"] == pytest.approx(np.sqrt(2) / np.sqrt(3))
    assert figures["rmse"] == pytest.approx(np.sqrt(11))
    assert figures["rmse_se"] == pytest.approx(np.sqrt(np.std([4, 4, 25]) / np.sqrt(3)))
    assert figures["mape"] == pytest.approx(100 * (2 / 62 + 2 / 80 + 5 / 100) / 3)
    assert figures["bias"] == pytest.approx(-5 / 3)
    r = np.corrcoef([60, 82, 95], [62, 80, 100])[0, 1]
    assert figures["pearson"] == pytest.approx(r)
    assert figures["pearson_se"] == pytest.approx(np.sqrt(1 - r**2))
    assert figures["within"] == 0.5  # the missing one is a miss


def test_nothing_answered_gives_no_error_and_no_coverage():
    figures = metrics.rate_figures([np.nan, np.nan], [60, 70])
    assert figures["coverage"] == 0 and figures["within"] == 0
    assert np.isnan(figures["mae"]) and np.isnan(figures["pearson"])


def test_coverage_against_error_adds_the_surest_first():
    coverage, mae = metrics.coverage_against_error(
        [70, 60, np.nan, 90], [70, 64, 80, 100], [0.9, 0.5, 0.95, 0.1]
    )
    assert coverage == pytest.approx([0.25, 0.5, 0.75])
    assert mae == pytest.approx([0, 2, 14 / 3])


def test_macc_finds_a_circular_shift_of_either_sign():
    rng = np.random.default_rng(0)
    trace = rng.normal(size=240)
    assert metrics.macc(-2 * np.roll(trace, 37) + 5, trace) == pytest.approx(1)
    other = rng.normal(size=240)
    slow = max(abs(np.corrcoef(np.roll(other, k), trace)[0, 1]) for k in range(240))
    assert metrics.macc(other, trace) == pytest.approx(slow)


def test_bootstrap_resamples_subjects():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(25), 40)
    values = np.repeat(rng.normal(size=25), 40)  # 40 recordings that say the same
    means = metrics.bootstrap_intervals(lambda some: [some.mean()], subjects, values)
    ((low, high),) = means
    expected = 2 * 1.96 * values.std() / np.sqrt(25)
    assert high - low == pytest.approx(expected, rel=0.15)  # six times that over recordings
    assert low < values.mean() < high


def test_bland_altman_by_hand():
    bias, low, high = metrics.bland_altman([61, 63, np.nan, 65], [60, 60, 60, 60])
    assert (bias, low, high) == pytest.approx((3, 3 - 1.96 * 2, 3 + 1.96 * 2))


def test_detrending_is_that_of_the_dense_formula():
    trace = np.cumsum(np.random.default_rng(0).normal(size=60))
    second = np.diff(np.eye(60), 2, axis=0)
    dense = (np.eye(60) - np.linalg.inv(np.eye(60) + 100.0**2 * second.T @ second)) @ trace
    assert metrics.smoothness_prior_detrend(trace) == pytest.approx(dense, abs=1e-9)


def test_toolbox_rates_are_quantised_as_the_toolbox_has_them():
    times = np.arange(240) / 30.0
    filtered = metrics.toolbox_filter(np.cos(2 * np.pi * 1.3 * times), 30.0)
    bin_width = 60 * 30 / 256
    rate = metrics.toolbox_fft_rate(filtered, 30.0)
    assert rate / bin_width == pytest.approx(round(78 / bin_width))
    assert metrics.toolbox_peak_rate(filtered, 30.0) == pytest.approx(78, abs=1)
    assert np.isnan(metrics.toolbox_peak_rate(np.arange(10.0), 30.0))


def test_toolbox_snr_is_in_decibels_of_power():
    """Tones on whole bins; pulse and overtone have a hundred times the power of the rest."""
    times = np.arange(1024) / 32.0

    def tone(frequency, power):
        return np.sqrt(2 * power) * np.cos(2 * np.pi * frequency * times)

    pulse = tone(1.25, 9.0) + tone(2.5, 1.0)
    outside = tone(0.25, 50.0) + tone(4.0, 50.0)
    snr = metrics.toolbox_snr(pulse + tone(1.75, 0.1) + outside, 32.0, 75.0)
    assert snr == pytest.approx(20.0)


def test_toolbox_snr_of_a_noisy_trace_by_another_transform():
    rng = np.random.default_rng(0)
    times = np.arange(1024) / 30.0
    trace = np.cos(2 * np.pi * 1.2 * times) + rng.normal(size=1024)
    frequencies = np.fft.rfftfreq(1024, 1 / 30.0)
    power = np.abs(np.fft.rfft(trace)) ** 2
    near = (np.abs(frequencies - 1.2) <= 0.1) | (np.abs(frequencies - 2.4) <= 0.1)
    rest = (frequencies >= 0.6) & (frequencies <= 3.3) & ~near
    expected = 10 * np.log10(power[near].sum() / power[rest].sum())
    assert metrics.toolbox_snr(trace, 30.0, 72.0) == pytest.approx(expected)
