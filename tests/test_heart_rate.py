"""Rates, quality figures and stitching of heart_rate.py on traces whose rate is known.

Every trace is made here; no file, no picture and no model is needed.
"""

import numpy as np
import pytest

from pulse_plantain import heart_rate

ESTIMATORS = [heart_rate.fft_rate, heart_rate.phase_slope_rate, heart_rate.peak_rate]


def bvp(rate, sampling_rate, rng, seconds=8.0, snr_db=None):
    """[samples] BVP with two harmonics of random strength and place (a dicrotic wave)."""
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate
    phase = 2 * np.pi * rate / 60 * times + rng.uniform(0, 2 * np.pi)
    trace = np.cos(phase)
    trace += rng.uniform(0.2, 0.5) * np.cos(2 * phase - rng.uniform(0.5, 1.8))
    trace += rng.uniform(0.05, 0.2) * np.cos(3 * phase - rng.uniform(1.0, 3.0))
    if snr_db is not None:
        trace += rng.normal(size=len(trace)) * trace.std() * 10 ** (-snr_db / 20)
    return trace


def phasor(rate, sampling_rate=12.0, seconds=8.0, start=0.0):
    """[samples] complex exp(i phase) of an even pulse, at the centres of the samples."""
    times = start + (np.arange(round(seconds * sampling_rate)) + 0.5) / sampling_rate
    return np.exp(2j * np.pi * rate / 60 * times)


@pytest.mark.parametrize("rate", [40, 50, 62, 78, 97, 120, 150, 180])
@pytest.mark.parametrize("sampling_rate", [12.0, 20.0, 30.0])
def test_each_estimator_reads_eight_noisy_seconds(sampling_rate, rate):
    errors = {estimate.__name__: [] for estimate in ESTIMATORS}
    for seed in range(100):
        rng = np.random.default_rng([seed, rate])
        true = rate + rng.uniform(-0.5, 0.5)
        trace = bvp(true, sampling_rate, rng, snr_db=10)
        for estimate in ESTIMATORS:
            errors[estimate.__name__].append(abs(estimate(trace, sampling_rate) - true))
    for name, error in errors.items():
        assert np.median(error) < 1 / 3, name
        assert np.percentile(error, 95) < 2, name


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_neighbouring_rates_are_told_apart(estimate):
    rates = np.arange(40, 180, 0.1)
    measured = np.array([estimate(bvp(r, 30.0, np.random.default_rng(1)), 30.0) for r in rates])
    assert np.all(np.diff(measured) > 0.005)  # a bare FFT of 8 s gives steps of 0 and 7.5
    assert np.abs(measured - rates).max() < 0.5


@pytest.mark.parametrize("phase", np.arange(0, 2 * np.pi, np.pi / 4))
def test_slow_real_rate_is_not_pulled_by_its_negative_image(phase):
    times = np.arange(96) / 12.0
    for rate in (40.0, 42.5):
        trace = np.cos(2 * np.pi * rate / 60 * times + phase) + 3 + 0.5 * times
        assert abs(heart_rate.fft_rate(trace, 12.0) - rate) < 0.05


@pytest.mark.parametrize("rate", [38.0, 71.3, 119.9, 200.0])
def test_complex_trace_is_read_at_both_ends_of_the_band(rate):
    assert heart_rate.fft_rate(phasor(rate), 12.0) == pytest.approx(rate, abs=0.01)
    assert heart_rate.phase_slope_rate(phasor(rate), 12.0) == pytest.approx(rate, abs=0.01)


def test_backward_turning_phase_is_no_pulse():
    trace = phasor(80.0).conj()
    assert heart_rate.spectral_concentration(trace, 12.0) < 1e-4
    assert heart_rate.spectral_concentration(trace.conj(), 12.0) > 0.999


def test_nothing_is_read_from_a_constant_or_a_drift():
    for trace in (np.full(96, 0.3), np.zeros(96, complex), np.full(96, 1 + 1j), np.ones(2)):
        for estimate in ESTIMATORS:
            assert np.isnan(estimate(trace, 12.0))
        assert heart_rate.spectral_concentration(trace, 12.0) == 0
    drift = np.cos(2 * np.pi * 0.15 * np.arange(96) / 12.0)
    mixed = drift + 0.01 * bvp(75.0, 12.0, np.random.default_rng(0))
    assert heart_rate.fft_rate(mixed, 12.0) == pytest.approx(75, abs=1)


def test_concentration_of_white_noise_is_low():
    noise = np.random.default_rng(0).normal(size=(300, 96, 2)).view(complex)[..., 0]
    share = [heart_rate.spectral_concentration(trace, 12.0) for trace in noise]
    assert 0.04 < np.median(share) < 0.08
    assert np.max(share) < 0.25


def test_missed_beat_does_not_change_the_counted_rate():
    times = np.arange(20 * 30) / 30.0
    trace = np.maximum(np.cos(2 * np.pi * 1.25 * times), -0.2)
    trace[(times > 7.6) & (times < 8.4)] = -0.2
    beats = heart_rate.beat_times(trace, 30.0)
    assert np.diff(beats).max() > 1.5  # one is missing
    assert heart_rate.peak_rate(trace, 30.0) == pytest.approx(75, abs=0.3)


def test_lock_in_keeps_the_fundamental_alone():
    times = np.arange(96) / 12.0
    fundamental = 0.01 * np.cos(2 * np.pi * 1.1 * times - 0.7)
    trace = fundamental + 0.004 * np.cos(2 * np.pi * 2.2 * times + 1) + 5
    found = heart_rate.lock_in(trace, 12.0, 66.0)
    truth = 0.01 * np.exp(1j * (2 * np.pi * 1.1 * times - 0.7))
    inner = slice(24, -24)
    assert np.abs(found - truth)[inner].max() < 1e-4
    assert np.angle(found / truth) == pytest.approx(0, abs=0.2)


def test_mean_rate_counts_cycles_where_the_line_shows_the_longest_stay():
    times = (np.arange(96) + 0.5) / 12.0
    rate = np.where(times < 6, 72.0, 90.0)
    trace = np.exp(2j * np.pi * np.cumsum(rate) / 60 / 12)
    assert heart_rate.mean_rate(trace, 12.0) == pytest.approx(76.5, abs=1.5)
    assert heart_rate.fft_rate(trace, 12.0) < 74.5
    for even in (41.0, 96.0, 178.0):
        assert heart_rate.mean_rate(phasor(even), 12.0) == pytest.approx(even, abs=0.02)


def test_mean_rate_of_a_wandering_heart_is_beats_over_time():
    times = (np.arange(90 * 12) + 0.5) / 12.0
    rate = np.interp(times, [0, 50, 60, 90], [62, 64, 76, 78])
    trace = np.exp(2j * np.pi * np.cumsum(rate) / 60 / 12)
    rng = np.random.default_rng(0)
    trace += 0.5 * rng.normal(size=(len(trace), 2)).view(complex)[:, 0]
    noisy = (times > 20) & (times < 26)
    trace[noisy] = rng.normal(size=(noisy.sum(), 2)).view(complex)[:, 0]
    assert heart_rate.mean_rate(trace, 12.0) == pytest.approx(rate.mean(), abs=1.0)
    assert abs(heart_rate.fft_rate(trace, 12.0) - rate.mean()) > 3
    assert np.isnan(heart_rate.mean_rate(np.zeros(600), 12.0))


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 6.0])
def test_snr_is_the_ratio_that_was_put_in(snr_db):
    rng = np.random.default_rng(0)
    times = np.arange(60 * 30) / 30.0
    pulse = np.cos(2 * np.pi * 1.2 * times) + 0.4 * np.cos(2 * np.pi * 2.4 * times)
    noise = rng.normal(size=len(times))
    in_band = noise.std() ** 2 * (3.5 - 0.4) / 15  # of 15 Hz, what the measure calls noise
    noise *= np.sqrt(np.mean(pulse**2) / in_band / 10 ** (snr_db / 10))
    assert heart_rate.snr(pulse + noise, 30.0, 72.0) == pytest.approx(snr_db, abs=0.8)
    assert heart_rate.snr(pulse + noise, 30.0, 100.0) < -8


def beats(intervals, sampling_rate=100.0):
    """[samples] cosine whose maxima are ``intervals`` s apart."""
    peaks = np.concatenate([[0.5], 0.5 + np.cumsum(intervals)])
    times = np.arange(int((peaks[-1] + 0.5) * sampling_rate)) / sampling_rate
    cycles = np.interp(times, peaks, np.arange(len(peaks)), left=-0.5)
    return np.cos(2 * np.pi * cycles)


def test_intervals_and_hrv_are_those_of_the_beats():
    intervals = 0.85 + 0.04 * np.random.default_rng(3).normal(size=90)
    found = np.diff(heart_rate.beat_times(beats(intervals), 100.0))
    middle = found[1:-1]
    shift = np.argmin([np.abs(middle - intervals[s : s + len(middle)]).sum() for s in range(3)])
    assert np.abs(middle - intervals[shift : shift + len(middle)]).mean() < 0.010
    figures = heart_rate.heart_rate_variability(intervals)
    assert figures.reason is None
    assert figures.sdnn == pytest.approx(1000 * intervals.std(ddof=1))
    assert figures.rmssd == pytest.approx(1000 * np.sqrt(np.mean(np.diff(intervals) ** 2)))
    assert figures.pnn50 == pytest.approx(100 * np.mean(np.abs(np.diff(intervals)) > 0.05))


def test_hrv_is_refused_with_a_reason_where_the_trace_is_too_short():
    intervals = 0.8 + 0.03 * np.random.default_rng(1).normal(size=100)
    eight = heart_rate.heart_rate_variability(intervals[:9])
    assert np.isnan([eight.sdnn, eight.rmssd, eight.pnn50]).all()
    assert "RMSSD needs 10 s" in eight.reason and "SDNN needs 30 s" in eight.reason
    twenty = heart_rate.heart_rate_variability(intervals[:25])
    assert np.isfinite(twenty.rmssd) and np.isnan(twenty.sdnn)
    assert "RMSSD" not in twenty.reason
    assert "only 1" in heart_rate.heart_rate_variability(intervals[:1]).reason


def test_hrv_is_refused_where_beats_were_missed():
    intervals = np.full(60, 0.8)
    intervals[::6] = 1.6
    figures = heart_rate.heart_rate_variability(intervals)
    assert np.isnan(figures.rmssd) and "10 of 60" in figures.reason


def synthetic_field(rng, rate, noise):
    """Field [96, 8, 4]: an oval of skin at ``rate``, in every cell noise of its own strength."""
    rows, bands = np.mgrid[0:8, 0:4]
    inside = ((rows - 3.5) / 3) ** 2 + ((bands - 1.5) / 1.5) ** 2 < 1
    lag = 2 * np.pi * rate / 60 * 0.03 * rows / 8
    skin = 0.006 * inside * phasor(rate)[:, None, None] * np.exp(-1j * lag)
    white = rng.normal(size=(96 + 3, 8, 4, 2)).view(complex)[..., 0]
    slow = sum(white[k : k + 96] for k in range(4)) / np.sqrt(8)
    return skin + noise * 0.006 * np.exp(0.7 * rng.normal(size=(8, 4))) * slow, inside


def test_noisy_cells_do_not_outshout_the_pulse():
    hits, plain_hits = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rate = rng.uniform(45, 170)
        field, _ = synthetic_field(rng, rate, noise=4.0)
        trace, _ = heart_rate.pulse_from_field(field)
        bpm = heart_rate.mean_rate(trace, 12.0)
        assert 0 <= heart_rate.spectral_concentration(trace, 12.0) <= 1
        hits.append(abs(bpm - rate) < 3)
        plain_hits.append(abs(heart_rate.fft_rate(field.mean((1, 2)), 12.0) - rate) < 3)
    assert np.mean(hits) >= 0.85
    assert np.mean(hits) >= np.mean(plain_hits) + 0.1


def test_trace_has_the_phase_and_size_of_the_field_and_shares_show_the_skin():
    field, inside = synthetic_field(np.random.default_rng(0), 90.0, noise=0.0)
    trace, shares = heart_rate.pulse_from_field(field)
    late = np.angle(phasor(90.0) / trace)  # the mean transit delay, 0-30 ms at 90 bpm
    assert np.all((late > 0.05) & (late < 0.28))
    assert np.abs(trace).max() < 0.006
    assert shares.sum() == pytest.approx(1)
    assert np.all(shares[~inside] == 0) and np.all(shares[inside] > 0)
    only, _ = heart_rate.pulse_from_field(field, confidence_weights=inside.astype(float))
    assert np.abs(only).mean() == pytest.approx(0.006, rel=0.01)


def test_black_field_gives_no_rate():
    trace, shares = heart_rate.pulse_from_field(np.zeros((96, 8, 4), complex))
    assert not trace.any() and shares.sum() == pytest.approx(1)
    assert np.isnan(heart_rate.mean_rate(trace, 12.0))
    assert heart_rate.spectral_concentration(trace, 12.0) == 0


@pytest.mark.parametrize("rate", [25, 30, 35, 205, 206, 214, 240])
@pytest.mark.parametrize("seconds", [5.0, 8.0, 30.0])
def test_side_lobes_of_a_line_outside_the_band_are_no_peaks(rate, seconds):
    trace = phasor(rate, seconds=seconds)
    assert np.isnan(heart_rate.fft_rate(trace, 12.0))
    assert np.isnan(heart_rate.mean_rate(trace, 12.0))
    assert np.isnan(heart_rate.phase_slope_rate(trace, 12.0))
    assert heart_rate.spectral_concentration(trace, 12.0) == 0


def test_a_peak_is_found_below_the_side_lobes_of_a_line_outside_the_band():
    weak, strong = phasor(100.0, seconds=10.0), phasor(212.0, seconds=10.0)
    assert heart_rate.fft_rate(0.015 * weak.real + strong.real, 12.0) == pytest.approx(100, abs=2)
    assert heart_rate.fft_rate(0.1 * weak + strong, 12.0) == pytest.approx(100, abs=3)
    assert np.isnan(heart_rate.fft_rate(0.01 * weak + strong, 12.0))  # as strong as the lobes there


def test_windows_off_the_common_grid_are_stitched_into_the_whole_pulse():
    starts = [0.0, 4.03, 8.06, 11.5]
    traces = [0.01 * phasor(170.0, start=start) for start in starts]
    times, trace = heart_rate.stitch(traces, starts, 12.0)
    assert len(times) == round(19.5 * 12) and times[0] == pytest.approx(1 / 24)
    truth = 0.01 * np.exp(2j * np.pi * 170 / 60 * times)
    assert np.abs(trace - truth).max() < 5e-4
    assert heart_rate.fft_rate(trace, 12.0) == pytest.approx(170, abs=0.05)


def test_stitching_follows_the_confident_window_and_leaves_holes_dark():
    right, wrong = phasor(70.0, start=4.0), phasor(150.0)
    times, trace = heart_rate.stitch([wrong, right], [0.0, 4.0], 12.0, confidences=[0.05, 1.0])
    overlap = (times > 4.5) & (times < 7.5)
    truth = np.exp(2j * np.pi * 70 / 60 * times)
    assert np.abs(trace - truth)[overlap].max() < 0.9
    assert np.abs(np.angle(trace / truth))[overlap & (times > 5.5)].max() < 0.1
    times, trace = heart_rate.stitch([right, right], [0.0, 20.0], 12.0)
    assert not trace[(times > 8.1) & (times < 19.9)].any()


SINE = np.sin(2 * np.pi * 1.2 * np.arange(96) / 12)


@pytest.mark.parametrize(
    "unit",
    [1e200, 1.7e308, 1e-200, 1e-300, np.float32(3e38), np.float32(1e-30), 1e300 * np.exp(1j)],
)
@pytest.mark.filterwarnings("error")
def test_the_unit_of_a_trace_does_not_matter(unit):
    trace = unit * (SINE.astype(np.float32) if isinstance(unit, np.float32) else SINE)
    plain = trace / unit
    for estimate in (
        heart_rate.fft_rate,
        heart_rate.phase_slope_rate,
        heart_rate.peak_rate,
        heart_rate.mean_rate,
        heart_rate.spectral_concentration,
    ):
        assert estimate(trace, 12) == pytest.approx(estimate(plain, 12), rel=1e-4), estimate
    assert heart_rate.snr(trace, 12, 72) == pytest.approx(heart_rate.snr(plain, 12, 72), abs=0.01)


@pytest.mark.parametrize(
    "trace",
    [
        np.zeros(96), np.ones(96), np.full(96, 1e300), np.full(96, np.inf), np.full(96, np.nan),
        np.where(np.arange(96) == 40, np.inf, SINE), np.full(96, np.inf + 1j), np.ones(96, complex),
        np.zeros(0), np.ones(2), np.zeros(96, int),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_traces_without_a_rate_have_none(trace):
    for estimate in (
        heart_rate.fft_rate,
        heart_rate.phase_slope_rate,
        heart_rate.peak_rate,
        heart_rate.mean_rate,
    ):
        assert np.isnan(estimate(trace, 12)), estimate
    assert (
        len(heart_rate.beat_times(trace, 12)) == 0
        and heart_rate.spectral_concentration(trace, 12) == 0
    )
    if not trace.any() or not np.isfinite(trace).all():
        assert np.isnan(heart_rate.snr(trace, 12, 72))


def test_numbers_that_no_trace_has_are_refused():
    refusal = "^sampling_rate must be a number above 0 and at most 20000 Hz, got "
    for rate in (0, -1, np.nan, np.inf, 1e12, "12", None, [12.0], 12j, True):
        for estimate in (
            heart_rate.spectrum,
            heart_rate.fft_rate,
            heart_rate.beat_times,
            heart_rate.mean_rate,
            heart_rate.spectral_concentration,
        ):
            with pytest.raises(ValueError, match=refusal):
                estimate(SINE, rate)
    for trace in (SINE[None], np.array(["a"]), np.float64(3)):
        with pytest.raises(ValueError, match=r"a trace must be \[samples\] numbers"):
            heart_rate.fft_rate(trace, 12)
    for rate in (0, 1e-9, np.inf, np.nan, -60):
        with pytest.raises(ValueError, match="rate must be 1 to 1000 bpm"):
            heart_rate.lock_in(SINE, 12, rate)
    for trace in (np.full(96, np.inf), np.full(96, 1e200), np.zeros(0)):
        for measure in (
            lambda x: heart_rate.spectrum(x, 12),
            lambda x: heart_rate.lock_in(x, 12, 72),
        ):
            with pytest.raises(ValueError, match="a trace must be finite numbers"):
                measure(trace)
    for intervals in ([0.8, np.nan, 0.8], [0.8, 0.0, 0.8, 0.8], [[0.8]]):
        with pytest.raises(ValueError, match="intervals must be"):
            heart_rate.heart_rate_variability(np.array(intervals))
    for rate in (1e-6, 0.5, 1.0, 1.21):  # too slow for any heart
        assert (
            np.isnan(heart_rate.fft_rate(SINE, rate))
            and len(heart_rate.beat_times(SINE, rate)) == 0
        )


@pytest.mark.filterwarnings("error")
def test_too_few_samples_and_too_slow_ones_leave_no_warning():
    for trace in (np.ones(1), np.ones(2), np.array([1.0, -3.0]), np.array([1, 1j])):
        assert np.isnan(heart_rate.snr(trace, 30, 90))
    for taper in ("hann", "blackman"):
        with pytest.raises(ValueError, match=f"^a trace of 2 samples is too short for .*{taper}"):
            heart_rate.spectrum(np.array([1.0, -3.0]), 30, taper)
    assert np.isfinite(heart_rate.spectrum(np.array([1.0, -3.0]), 30, "boxcar")[1]).all()
    for rate in (1e-300, 1e-308, 1.49):
        with pytest.raises(
            ValueError, match=r"^rate must be at most a beat a sample, .* bpm, got 90$"
        ):
            heart_rate.lock_in(SINE, rate, 90)
    assert np.isfinite(heart_rate.lock_in(SINE, 1.5, 90)).all()
    with pytest.raises(ValueError, match=r"^intervals must be"):
        heart_rate.heart_rate_variability(np.array([0.8, 0.9 + 0j, 0.8]))
