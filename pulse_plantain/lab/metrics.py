"""Figures that compare heart rates and pulse traces with a reference.

Here live rPPG-Toolbox's conventions, kept to the letter so that its numbers can be laid beside
ours, and coverage, bootstrap intervals and agreement; rates are estimated in heart_rate.py.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal, sparse
from scipy.sparse.linalg import spsolve

TOOLBOX_BAND = (0.6, 3.3)
"""Hz; the default of rPPG-Toolbox (evaluation/post_process.py at d807b01)."""


def smoothness_prior_detrend(trace: np.ndarray, strength: float = 100.0) -> np.ndarray:
    """Remove the slow trend of a trace (Tarvainen et al., IEEE Trans. Biomed. Eng. 2002, 49, 172).

    Args:
        trace: [samples].
        strength: lambda; rPPG-Toolbox uses 100 at 30 Hz.

    Returns:
        [samples].
    """
    n = len(trace)
    same, next_one, after = (sparse.eye_array(n - 2, n, k=shift) for shift in range(3))
    second = same - 2 * next_one + after
    return trace - spsolve(sparse.csc_array(sparse.eye(n) + strength**2 * second.T @ second), trace)


def toolbox_filter(trace: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Detrend (lambda 100) and band-pass a trace: Butterworth of order 1, 0.6-3.3 Hz, filtfilt.

    rPPG-Toolbox does this to the prediction and to the reference alike.

    Args:
        trace: [samples].
        sampling_rate: Hz.

    Returns:
        [samples].
    """
    b, a = np.asarray(signal.butter(1, TOOLBOX_BAND, "bandpass", fs=sampling_rate))
    return signal.filtfilt(b, a, smoothness_prior_detrend(np.asarray(trace, float)))


def _compute_periodogram(trace, sampling_rate):
    """(frequencies in Hz, power) of a trace padded to a power of 2; nothing is taken off it."""
    options = {"nfft": 1 << (len(trace) - 1).bit_length(), "detrend": False}
    return signal.periodogram(trace, sampling_rate, **options)


def toolbox_fft_rate(filtered: np.ndarray, sampling_rate: float) -> float:
    """The rate in bpm of the highest bin of a periodogram padded to a power of 2.

    Nothing is interpolated: at 30 Hz and 8 s the bins lie 7.0 bpm apart. It is reported beside
    heart_rate.fft_rate only so that published numbers have an equal.

    Args:
        filtered: [samples], of :func:`toolbox_filter`.
        sampling_rate: Hz.
    """
    frequencies, power = _compute_periodogram(filtered, sampling_rate)
    in_band = (frequencies >= TOOLBOX_BAND[0]) & (frequencies <= TOOLBOX_BAND[1])
    return 60 * frequencies[in_band][np.argmax(power[in_band])]


def toolbox_peak_rate(filtered: np.ndarray, sampling_rate: float) -> float:
    """The rate in bpm as 60 over the mean distance of all local maxima; NaN with fewer than two.

    Args:
        filtered: [samples], of :func:`toolbox_filter`.
        sampling_rate: Hz.
    """
    peaks, _ = signal.find_peaks(filtered)
    return 60 * sampling_rate / np.mean(np.diff(peaks)) if len(peaks) > 1 else np.nan


def toolbox_snr(filtered: np.ndarray, sampling_rate: float, rate: float) -> float:
    """rPPG-Toolbox's SNR: power within 6 bpm of the rate and of its double over the rest of band.

    Ten times the decimal logarithm of that ratio of powers: ``power2db`` in ``_calculate_SNR`` of
    evaluation/post_process.py at d807b01. Early versions of the toolbox took twenty times the
    logarithm (``mag2db``), so SNRs published with them have another scale.

    Args:
        filtered: [samples], of :func:`toolbox_filter`.
        sampling_rate: Hz.
        rate: bpm, the reference's by the toolbox's own estimator.

    Returns:
        dB, 0 where the band holds nothing but the pulse.
    """
    frequencies, power = _compute_periodogram(filtered, sampling_rate)
    first = np.abs(frequencies - rate / 60) <= 0.1
    second = np.abs(frequencies - 2 * rate / 60) <= 0.1
    in_band = (frequencies >= TOOLBOX_BAND[0]) & (frequencies <= TOOLBOX_BAND[1])
    rest = power[in_band & ~first & ~second].sum()
    return 10 * np.log10((power[first].sum() + power[second].sum()) / rest) if rest > 0 else 0.0


def macc(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Maximum amplitude of the circular cross-correlation, 0...1 (as rPPG-Toolbox's MACC).

    Args:
        prediction, reference: [samples] real, on one clock.

    Returns:
        The largest |Pearson r| over all circular shifts.
    """
    spectra = [np.fft.rfft(x - np.mean(x)) / (np.std(x) * len(x)) for x in (prediction, reference)]
    shifted = np.fft.irfft(spectra[0] * np.conj(spectra[1]), len(prediction)) * len(prediction)
    return float(np.abs(shifted).max())


WITHIN = 3.0
"""bpm; an estimate further off, and one that is missing, is not within."""


def rate_figures(estimates: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Error figures with their standard errors, by rPPG-Toolbox's formulas (evaluation/metrics.py).

    MAE and MAPE: standard deviation / sqrt(n); RMSE: sqrt(std(e^2) / sqrt(n)); Pearson's r:
    sqrt((1 - r^2) / (n - 2)); deviations with ddof 0.

    Args:
        estimates: [recordings] bpm, NaN = not answered.
        references: [recordings] bpm.

    Returns:
        dict: ``n``, ``answered``, ``coverage`` 0...1, ``mae``, ``rmse``, ``bias`` and
        ``median_error`` in bpm, ``mape`` in percent, ``pearson``, each over the answered
        recordings (NaN where too few) and with ``<name>_se`` where it has one; ``within`` =
        share of *all* recordings within :data:`WITHIN`.
    """
    guesses, truth = np.asarray(estimates, float), np.asarray(references, float)
    answered = np.isfinite(guesses)
    n = int(answered.sum())
    figures: dict[str, float] = {"n": len(guesses), "answered": n}
    figures["coverage"] = float(answered.mean()) if len(guesses) else np.nan
    figures["within"] = float(np.mean(np.abs(guesses - truth) <= WITHIN))
    names = ("mae", "mae_se", "rmse", "rmse_se", "mape", "mape_se", "bias", "median_error")
    figures |= dict.fromkeys((*names, "pearson", "pearson_se"), np.nan)
    if n == 0:
        return figures
    error = guesses[answered] - truth[answered]
    absolute, percent = np.abs(error), 100 * np.abs(error) / truth[answered]
    figures["mae"], figures["mae_se"] = absolute.mean(), absolute.std() / np.sqrt(n)
    figures["rmse"] = np.sqrt(np.mean(error**2))
    figures["rmse_se"] = np.sqrt(np.std(error**2) / np.sqrt(n))
    figures["mape"], figures["mape_se"] = percent.mean(), percent.std() / np.sqrt(n)
    figures["bias"], figures["median_error"] = error.mean(), np.median(absolute)
    if n > 2 and np.std(guesses[answered]) > 0 and np.std(truth[answered]) > 0:
        r = np.corrcoef(guesses[answered], truth[answered])[0, 1]
        figures["pearson"], figures["pearson_se"] = r, np.sqrt((1 - r**2) / (n - 2))
    return {
        name: value if isinstance(value, int) else float(value) for name, value in figures.items()
    }


def coverage_against_error(
    estimates: ArrayLike, references: ArrayLike, confidences: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Mean error of the surest recordings, from the surest one to all.

    Args:
        estimates: [recordings] bpm, given even where the method would abstain; NaN ones are
            never covered.
        references: [recordings] bpm.
        confidences: [recordings].

    Returns:
        (coverage [answered] 0...1, mae [answered] in bpm of that share).
    """
    guesses = np.asarray(estimates, float)
    order = np.argsort(-np.asarray(confidences, float), kind="stable")
    order = order[np.isfinite(guesses[order])]
    error = np.abs(guesses - np.asarray(references, float))[order]
    count = np.arange(1, len(order) + 1)
    return count / len(guesses), np.cumsum(error) / count


DRAWS = 500
"""Resamplings of every bootstrap over subjects."""

LEVEL = 0.95
"""Share of the resampled statistics inside a bootstrap interval."""

Interval = tuple[float, float]
"""(lowest, highest) value."""


def bootstrap_intervals(
    statistics: Callable[..., Iterable[float]],
    subjects: ArrayLike,
    *columns: ArrayLike,
    seed: int = 0,
) -> list[Interval]:
    """Percentile intervals of statistics, resampling subjects and not recordings.

    Recordings of one subject are not independent; a subject drawn brings all of his or hers.

    Args:
        statistics: function of the columns, each resampled alike, that returns numbers.
        subjects: [recordings] labels.
        columns: arrays [recordings].
        seed: of the resampling.

    Returns:
        The interval of each of the numbers, which holds :data:`LEVEL` of its resampled values.
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    members = [np.flatnonzero(index == k) for k in range(len(names))]
    arrays = [np.asarray(column) for column in columns]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(names), len(names))])
        values.append([*statistics(*(array[rows] for array in arrays))])
    ends = np.nanquantile(np.array(values, float), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]


def bland_altman(estimates: ArrayLike, references: ArrayLike) -> tuple[float, float, float]:
    """Agreement after Bland and Altman, Lancet 1986: (bias, lower limit, upper limit) in bpm.

    The limits are bias -+ 1.96 standard deviations (ddof 1) of the differences; NaN estimates
    are left out.

    Args:
        estimates: [recordings] bpm.
        references: [recordings] bpm.
    """
    difference = np.asarray(estimates, float) - np.asarray(references, float)
    difference = difference[np.isfinite(difference)]
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1)
    return float(bias), float(bias - spread), float(bias + spread)
