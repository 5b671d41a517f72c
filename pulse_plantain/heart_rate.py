"""From a blood volume pulse (a trace or a field of phasors) to a heart rate and its quality.

NumPy and SciPy only; nothing here knows of pictures, sheets or models.

Traces are real (a BVP) or complex (its analytic fundamental a exp(i phase), phase growing with
time), sampled evenly at ``sampling_rate`` Hz; sample k stands for the time (k + 0.5) /
sampling_rate after the start of its window. Rates are in beats per minute; a trace from which a
figure cannot be had gives NaN, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import signal

Band = tuple[float, float]
"""(lowest, highest) frequency in Hz."""

BAND: Band = (0.6, 3.4)
"""Heart rates looked for, in Hz: 36 to 204 bpm."""

MOST_HERTZ = 20_000.0
"""Highest sampling rate in Hz that a trace may have."""

_GRID = 0.004  # Hz (0.24 bpm): spacing of the zero-padded spectrum before interpolation

_LEAK = 2.0  # a peak has to be above side lobes by so much, since those of several lines add up

MINIMUM_SECONDS = {"rmssd": 10.0, "sdnn": 30.0, "pnn50": 60.0}
"""Shortest traces from which each HRV figure is given: RMSSD 10 s and SDNN 30 s (Munoz et al.,
PLoS One 2015, 10, e0138921), pNN50 60 s (Baek et al. 2015, as reviewed by Shaffer and Ginsberg,
Front. Public Health 2017, 5, 258)."""


def check_trace(trace: np.ndarray, sampling_rate: float) -> np.ndarray:
    """A trace as an array.

    Args:
        trace: [samples] real or complex.
        sampling_rate: Hz.

    Raises:
        ValueError: if the trace is not one row of numbers, or the sampling rate is not a number
            above 0 and at most :data:`MOST_HERTZ`.
    """
    trace = np.asarray(trace)
    rate = np.asarray(sampling_rate)
    if trace.ndim != 1 or trace.dtype.kind not in "biufc":
        raise ValueError(
            f"a trace must be [samples] numbers, got shape {trace.shape} of {trace.dtype}"
        )
    if rate.ndim or rate.dtype.kind not in "iuf" or not 0 < rate <= MOST_HERTZ:
        raise ValueError(
            f"sampling_rate must be a number above 0 and at most {MOST_HERTZ:g} Hz, "
            f"got {sampling_rate!r}"
        )
    return trace


def _check_powers(trace, sampling_rate):
    """A trace as an array; ValueError unless its powers are finite numbers."""
    trace = check_trace(trace, sampling_rate)
    largest = np.max(np.abs(trace), initial=0)
    most = np.finfo(trace.dtype if trace.dtype.kind in "fc" else float).max ** 0.25
    if not len(trace) or not largest <= most:
        raise ValueError(f"a trace must be finite numbers of at most {most:.0e}, got {largest:.3g}")
    return trace


def _moderate(trace, sampling_rate):
    """A trace whose powers can be added up; an empty one where it is not finite.

    Rates, phases and shares of power do not depend on the unit: a trace of huge or tiny numbers is
    divided by a power of two near its largest, any other one left as it is.
    """
    trace = check_trace(trace, sampling_rate)
    if trace.dtype.kind not in "fc":
        return trace
    largest = np.max(np.maximum(np.abs(np.real(trace)), np.abs(np.imag(trace))), initial=0)
    if not np.isfinite(largest):
        return trace[:0]
    limits = np.finfo(trace.dtype)
    if largest == 0 or float(limits.tiny) ** 0.25 <= largest <= float(limits.max) ** 0.25:
        return trace
    exponent = -int(np.frexp(largest)[1])
    half = exponent // 2  # the whole power of two may itself be too large
    return trace * trace.dtype.type(2.0**half) * trace.dtype.type(2.0 ** (exponent - half))


def spectrum(
    trace: np.ndarray, sampling_rate: float, taper: str = "hann"
) -> tuple[np.ndarray, np.ndarray]:
    """Power spectrum of a tapered trace on a fine zero-padded grid.

    Args:
        trace: [samples] real (its straight-line trend is removed) or complex (left as it is: a
            phasor that does not turn is power at 0 Hz).
        sampling_rate: Hz.
        taper: any window name of ``scipy.signal.get_window``. Hann's side lobes fall so fast that
            the image of a real 40 bpm trace at -40 bpm moves its peak by under 0.05 bpm in 8 s.

    Returns:
        (frequencies [n] in Hz, ascending, power [n] with sum over Hz = mean square of the tapered
        trace). A real trace has frequencies >= 0 only, a complex one both signs.

    Raises:
        ValueError: as :func:`check_trace`, and for an empty trace or numbers that are not finite,
            or too large to be multiplied; for so few samples that the taper leaves none of them.
    """
    trace = _check_powers(trace, sampling_rate)
    size = max(len(trace), 1 << max(0, int(np.ceil(np.log2(sampling_rate / _GRID)))))
    window = np.asarray(signal.get_window(taper, len(trace), fftbins=False))
    strength = np.sqrt(np.mean(window**2))
    if not strength > 1e-9:  # a Hann taper of two samples is 0 at both
        raise ValueError(f"a trace of {len(trace)} samples is too short for the taper {taper!r}")
    window = window / strength
    scale = 1 / (sampling_rate * len(trace))
    if np.iscomplexobj(trace):
        power = np.abs(np.fft.fft(trace * window, size)) ** 2 * scale
        return np.fft.fftshift(np.fft.fftfreq(size, 1 / sampling_rate)), np.fft.fftshift(power)
    tapered = signal.detrend(trace.astype(float)) * window
    power = 2 * np.abs(np.fft.rfft(tapered, size)) ** 2 * scale
    return np.fft.rfftfreq(size, 1 / sampling_rate), power


def fft_rate(
    trace: np.ndarray, sampling_rate: float, band: Band = BAND, taper: str | None = None
) -> float:
    """Heart rate at the highest peak of the spectrum, interpolated between its bins.

    The spectrum is zero-padded to 0.24 bpm and a parabola is put through the logarithm of the
    three points at the peak, so rates are not quantised. Only true peaks count: no slope of what
    leaks into the band from below or above it, and no side lobe of a line outside it.

    Args:
        trace: [samples] real or complex.
        sampling_rate: Hz.
        band: (lowest, highest) heart rate in Hz.
        taper: see :func:`spectrum`; by default Hann for a real trace and none (boxcar) for a
            complex one, which has no image at negative frequencies to leak and whose ends then
            count as much as its middle: on phases of hearts that wander the error is half.

    Returns:
        bpm, NaN where the band holds no peak (a flat trace, fewer than 3 samples, or numbers that
        are not finite).

    Raises:
        ValueError: as :func:`check_trace`; so do all rates here.
    """
    trace = _moderate(trace, sampling_rate)
    if len(trace) < 3:
        return np.nan
    moving = trace - trace.mean() if np.iscomplexobj(trace) else trace  # 0 Hz has side lobes
    taper = taper or ("boxcar" if np.iscomplexobj(trace) else "hann")
    frequencies, power = spectrum(moving, sampling_rate, taper)
    inner = power[1:-1]
    is_peak = (inner > power[:-2]) & (inner >= power[2:]) & (inner > _negligible(trace))
    inside = (frequencies[1:-1] >= band[0]) & (frequencies[1:-1] <= band[1])
    peaks = 1 + np.flatnonzero(is_peak & inside)
    others = np.append(0, 1 + np.flatnonzero(is_peak & ~inside))  # the first bin has one side
    if len(peaks):
        size = round(sampling_rate / (frequencies[1] - frequencies[0]))
        leaks = _find_leaks(peaks, others, power, taper, len(trace), size)
        peaks = peaks[power[peaks] > _LEAK * leaks]
    if not len(peaks):
        return np.nan
    top = peaks[np.argmax(power[peaks])]
    below, here, above = np.log(power[top - 1 : top + 2] + 1e-300)
    offset = 0.5 * (below - above) / (below - 2 * here + above)
    return 60 * (frequencies[top] + offset * (frequencies[1] - frequencies[0]))


def _find_leaks(peaks, others, power, taper, samples, size):
    """[len(peaks)] power that each of the other peaks' side lobes may have there, the largest.

    Args:
        peaks, others: bins.
        power, taper: of :func:`spectrum`.
        samples: of the trace.
        size: bins of its spectrum, both signs.
    """
    away = np.abs(peaks[:, None] - others)
    lobes = _side_lobes(samples, taper, size)[np.minimum(away, size - away)]
    return np.max(power[others] * lobes, axis=1, initial=0)


@lru_cache(32)
def _side_lobes(samples: int, taper: str, size: int) -> np.ndarray:
    """[size // 2 + 1] most power of a line that many bins away and further; 1 at the line."""
    window = np.asarray(signal.get_window(taper, samples, fftbins=False))
    lobes = np.abs(np.fft.rfft(window, size)) ** 2
    return np.maximum.accumulate(lobes[::-1])[::-1] / lobes[0]


def _negligible(trace):
    """Power density that rounding alone can leave of a constant trace."""
    return (np.finfo(float).eps * len(trace) * np.max(np.abs(trace))) ** 2


def lock_in(trace: np.ndarray, sampling_rate: float, rate: float) -> np.ndarray:
    """Analytic fundamental of a trace near a known rate, by lock-in detection.

    The trace is turned back by exp(-i 2 pi rate t) and averaged under a Gaussian of one beat
    (standard deviation), normalised at the ends, which leaves nothing of harmonics and slow
    drifts; where the rate wanders by a fifth around ``rate`` half the amplitude is left.

    Args:
        trace: [samples] real or complex.
        sampling_rate: Hz.
        rate: bpm.

    Returns:
        [samples] complex, phase 0 at the maximum of the fundamental.

    Raises:
        ValueError: as :func:`check_trace`, for an empty trace or numbers that are not finite or too
            large, and for a rate that is not 1 to 1000 bpm or of more than a beat a sample.
    """
    trace = _check_powers(trace, sampling_rate)
    if not 1 <= rate <= 1000:
        raise ValueError(f"rate must be 1 to 1000 bpm, got {rate}")
    if rate > 60 * sampling_rate:
        raise ValueError(
            f"rate must be at most a beat a sample, {60 * sampling_rate:g} bpm, got {rate}"
        )
    times = np.arange(len(trace)) / sampling_rate
    carrier = np.exp(2j * np.pi * rate / 60 * times)
    reach = int(np.ceil(3.5 * 60 / rate * sampling_rate))
    offsets = np.arange(-reach, reach + 1) / sampling_rate
    kernel = np.exp(-0.5 * (offsets * rate / 60) ** 2)
    if np.isrealobj(trace):
        trace = 2 * signal.detrend(trace.astype(float))
    smooth = np.convolve(trace / carrier, kernel)[reach : reach + len(trace)]
    weight = np.convolve(np.ones(len(trace)), kernel)[reach : reach + len(trace)]
    return smooth / weight * carrier


def phase_slope_rate(trace: np.ndarray, sampling_rate: float, band: Band = BAND) -> float:
    """Heart rate as the slope of the unwrapped phase of the fundamental.

    A straight line is put through the phase of :func:`lock_in` (at the spectral peak), weighted
    by amplitude squared, the precision of a phase in noise.

    Args:
        trace: [samples] real or complex.
        sampling_rate: Hz.
        band: (lowest, highest) heart rate in Hz.

    Returns:
        bpm, NaN where :func:`fft_rate` is NaN.
    """
    trace = _moderate(trace, sampling_rate)
    rate = fft_rate(trace, sampling_rate, band)
    if np.isnan(rate):
        return np.nan
    times = np.arange(len(trace)) / sampling_rate
    phasor, residual = _residual_phase(trace, sampling_rate, rate)
    return rate + 60 / (2 * np.pi) * np.polyfit(times, residual, 1, w=np.abs(phasor))[0]


def _residual_phase(trace, sampling_rate, rate):
    """(lock-in phasor [samples], its unwrapped phase less that of an even pulse at ``rate``)."""
    phasor = lock_in(trace, sampling_rate, rate)
    even = 2 * np.pi * rate / 60 * np.arange(len(trace)) / sampling_rate
    return phasor, np.unwrap(np.angle(phasor * np.exp(-1j * even)))


def beat_times(trace: np.ndarray, sampling_rate: float, band: Band = BAND) -> np.ndarray:
    """Times of the systolic peaks, between the samples.

    The trace is filtered to the band (Butterworth, order 2, forwards and backwards), interpolated
    to at least 200 Hz, and a peak counts where it stands out by more than one standard
    deviation (a sine stands out by 2.8, a dicrotic wave by less than 1), no closer to a higher
    one than 60 % of the period found by :func:`fft_rate`.

    Args:
        trace: [samples] real or complex (its real part is used).
        sampling_rate: Hz.
        band: (lowest, highest) heart rate in Hz.

    Returns:
        [beats] seconds after the first sample.
    """
    trace = _moderate(np.real(trace), sampling_rate)
    rate = fft_rate(trace, sampling_rate, band)
    highest = min(band[1], 0.49 * sampling_rate)
    if np.isnan(rate) or not 0 < band[0] < highest:
        return np.empty(0)
    trace = trace.astype(float)
    finer = int(np.ceil(200 / sampling_rate))
    sections = signal.butter(2, (band[0], highest), "bandpass", fs=sampling_rate, output="sos")
    padding = min(len(trace) - 1, int(2 * sampling_rate))
    filtered = signal.sosfiltfilt(sections, signal.detrend(trace), padlen=padding)
    fine = signal.resample_poly(filtered, finer, 1, padtype="line")
    apart = max(1, int(0.6 * 60 / rate * sampling_rate * finer))
    peaks, _ = signal.find_peaks(fine, prominence=np.std(fine), distance=apart)
    return peaks / (sampling_rate * finer)


def peak_rate(trace: np.ndarray, sampling_rate: float, band: Band = BAND) -> float:
    """Heart rate by counting beats: the slope of the peaks' times over their numbers.

    Beats are numbered by the median interval, so that a missed peak leaves a hole in the
    numbering and not a wrong rate.

    Args:
        trace: [samples] real or complex (its real part is used).
        sampling_rate: Hz.
        band: (lowest, highest) heart rate in Hz.

    Returns:
        bpm, NaN with fewer than three peaks.
    """
    times = beat_times(trace, sampling_rate, band)
    if len(times) < 3:
        return np.nan
    intervals = np.diff(times)
    steps = np.maximum(1, np.round(intervals / np.median(intervals)))
    numbers = np.concatenate([[0], np.cumsum(steps)])
    return 60 / np.polyfit(numbers, times, 1)[0]


def mean_rate(
    trace: np.ndarray, sampling_rate: float, span: float = 10.0, band: Band = BAND
) -> float:
    """Mean heart rate of a trace of any length: cycles over time.

    A heart's rate wanders even in 8 s, and the highest line of a spectrum is where it dwelt
    longest. So the phase of :func:`lock_in` is followed from the first second to the last: on the
    rendered hearts of lab/synthetic (8 s) the error is 0.3 bpm against 0.4 of :func:`fft_rate`
    and 0.7 of the same with a Hann taper, with noise as strong as the pulse 0.5, 0.6 and 1.0.

    A trace longer than ``span`` is read span by span, every two seconds, and averaged, weighted
    by the square of the spectral concentration; spans further than a quarter from the weighted
    median are left out. On 21 finger recordings of 68-112 s (Welltory PPG data set, Sensors 2021,
    21, 6798) the mean error against the chest strap is 0.7 bpm, that of one line of the whole
    trace 3.5.

    Args:
        trace: [samples] real or complex.
        sampling_rate: Hz.
        span: s.
        band: (lowest, highest) heart rate in Hz.

    Returns:
        bpm, NaN where no span has a peak.
    """
    trace = _moderate(trace, sampling_rate)
    length = max(1, round(span * sampling_rate))
    if len(trace) <= length:
        return _cycles_over_time(trace, sampling_rate, band)
    hop = max(1, round(2 * sampling_rate))
    starts = np.unique(np.append(np.arange(0, len(trace) - length, hop), len(trace) - length))
    spans = [trace[start : start + length] for start in starts]
    rates = np.array([_cycles_over_time(part, sampling_rate, band) for part in spans])
    found = np.isfinite(rates)
    if not found.any():
        return np.nan
    concentrations = [spectral_concentration(part, sampling_rate, band) for part in spans]
    rates, weights = rates[found], np.array(concentrations)[found] ** 2
    order = np.argsort(rates)
    share = np.cumsum(weights[order]) / weights.sum()
    median = rates[order][np.searchsorted(share, 0.5)]
    near = np.abs(rates / median - 1) <= 0.25
    return float(np.average(rates[near], weights=weights[near]))


def _cycles_over_time(trace, sampling_rate, band):
    """bpm from the phase travelled between the first and the last second of a short trace.

    More than a cycle away from the spectral line the phase has slipped; then the line stands.
    """
    rate = fft_rate(trace, sampling_rate, band)
    ends = max(1, round(sampling_rate))
    if np.isnan(rate) or len(trace) < 3 * ends:
        return rate
    _, residual = _residual_phase(trace, sampling_rate, rate)
    travelled = residual[-ends:].mean() - residual[:ends].mean()
    if abs(travelled) > 2 * np.pi:
        return rate
    return rate + 60 / (2 * np.pi) * travelled * sampling_rate / (len(trace) - ends)


def snr(trace: np.ndarray, sampling_rate: float, rate: float) -> float:
    """Signal-to-noise ratio of a BVP whose rate is known.

    After de Haan and Jeanne, IEEE Trans. Biomed. Eng. 2013, 60, 2878: power within 0.1 Hz of the
    rate and of its double over the rest of 0.5-4 Hz (30-240 bpm). A trace shorter than 15 s
    cannot resolve 0.1 Hz; the windows are then 1.5 / duration wide to each side, the main lobe of
    the Hann taper being 2 / duration.

    Args:
        trace: [samples] real or complex.
        sampling_rate: Hz.
        rate: bpm, the reference.

    Returns:
        dB; NaN where the trace has no power from 0.5 to 4 Hz, fewer than 3 samples, or is not
        finite.
    """
    trace = _moderate(trace, sampling_rate)
    if len(trace) < 3:
        return np.nan
    frequencies, power = spectrum(trace, sampling_rate)
    reach = max(0.1, 1.5 * sampling_rate / len(trace))
    near = np.abs(frequencies - rate / 60) <= reach
    near |= np.abs(frequencies - 2 * rate / 60) <= reach
    in_band = (frequencies >= 0.5) & (frequencies <= 4.0)
    here, rest = power[in_band & near].sum(), power[in_band & ~near].sum()
    if here == 0:
        return -np.inf if rest > 0 else np.nan
    return 10 * np.log10(here / max(rest, 1e-300))


def spectral_concentration(trace: np.ndarray, sampling_rate: float, band: Band = BAND) -> float:
    """Share of a trace's power that lies in one spectral line, the one of :func:`fft_rate`.

    The line is the main lobe of the Hann taper, 2 / duration to each side. For a complex trace
    the share is of all its power, standing still or turning backwards included (white noise of
    8 s at 12 Hz: 0.06 in the median, an even phase ramp: 1); for a real one of the power in the
    band.

    Args:
        trace: [samples] real or complex.
        sampling_rate: Hz.
        band: (lowest, highest) heart rate in Hz.

    Returns:
        0...1; 0 where there is no peak.
    """
    trace = _moderate(trace, sampling_rate)
    rate = fft_rate(trace, sampling_rate, band)
    if np.isnan(rate):
        return 0.0
    frequencies, power = spectrum(trace, sampling_rate)
    line = np.abs(frequencies - rate / 60) <= 2 * sampling_rate / len(trace)
    if np.isrealobj(trace):
        power = np.where((frequencies >= band[0]) & (frequencies <= band[1]), power, 0)
    return float(power[line].sum() / power.sum())


@dataclass(frozen=True)
class HeartRateVariability:
    """Time-domain HRV; a figure that is refused is NaN and named in ``reason``.

    Attributes:
        sdnn: standard deviation of the intervals (ddof 1), ms.
        rmssd: root mean square of successive differences, ms.
        pnn50: share of successive differences above 50 ms, in percent.
        reason: why a figure is missing, None where none is.
    """

    sdnn: float
    rmssd: float
    pnn50: float
    reason: str | None


def heart_rate_variability(intervals: np.ndarray) -> HeartRateVariability:
    """SDNN, RMSSD and pNN50 of inter-beat intervals (Task Force, Circulation 1996, 93, 1043).

    Refused for recordings shorter than :data:`MINIMUM_SECONDS`, and altogether where more than a
    tenth of the intervals are further than 30 % from the median: those are missed or false
    beats, which would be taken for variability.

    Args:
        intervals: [beats - 1] s, in order.

    Returns:
        :class:`HeartRateVariability`.

    Raises:
        ValueError: for an interval that is not a finite number above 0.
    """
    wanted = "intervals must be [beats - 1] seconds, each finite and above 0"
    if np.iscomplexobj(intervals):
        raise ValueError(wanted)
    intervals = np.asarray(intervals, dtype=float)
    if intervals.ndim != 1 or not (np.isfinite(intervals) & (intervals > 0)).all():
        raise ValueError(wanted)
    duration = intervals.sum()
    figures = dict.fromkeys(MINIMUM_SECONDS, np.nan)
    if len(intervals) < 3:
        return HeartRateVariability(**figures, reason=f"only {len(intervals)} inter-beat intervals")
    false = np.abs(intervals / np.median(intervals) - 1) > 0.3
    if false.mean() > 0.1:
        reason = f"{false.sum()} of {len(intervals)} inter-beat intervals are missed or false beats"
        return HeartRateVariability(**figures, reason=reason)
    successive = 1000 * np.diff(intervals)[~(false[1:] | false[:-1])]
    possible = {
        "sdnn": 1000 * np.std(intervals[~false], ddof=1),
        "rmssd": np.sqrt(np.mean(successive**2)),
        "pnn50": 100 * np.mean(np.abs(successive) > 50),
    }
    refused = [name for name, minimum in MINIMUM_SECONDS.items() if duration < minimum]
    figures |= {name: float(possible[name]) for name in possible if name not in refused}
    needs = ", ".join(f"{name.upper()} needs {MINIMUM_SECONDS[name]:.0f} s" for name in refused)
    reason = f"{duration:.1f} s of beats: {needs}" if refused else None
    return HeartRateVariability(**figures, reason=reason)


def pulse_from_field(
    field: np.ndarray, confidence_weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One pulse trace from a field of phasors: a mean over the cells that no cell can outshout.

    Each cell is divided by hypot(its rms, the mean rms of all cells): bright cells count alike,
    however bright, and dark ones by their brightness. The choice looks at amplitudes alone, never
    at a spectral line, so that it cannot make a line out of noise. On synthetic fields with
    noisy, dark and coherently wrong cells it beat the plain mean wherever brightness was
    misleading (noise four times the pulse, differing twofold from cell to cell: 95 % of rates
    within 3 bpm against 63 %), and weights by coherence or by each cell's own line lost to it as
    soon as a block of cells agreed on another rate.

    Args:
        field: [samples, rows, bands] complex, a exp(i phase), a >= 0 as a fraction (AC/DC).
        confidence_weights: [rows, bands] or [samples, rows, bands] >= 0, further weights.

    Returns:
        (trace [samples] complex, the weighted mean phasor in units of the field, shares
        [rows, bands] >= 0 with sum 1: how much of the trace each cell carries, negative ones 0).
        A black field gives a trace of zeros and equal shares.
    """
    field = np.asarray(field)
    rms = np.sqrt(np.mean(np.abs(field) ** 2, axis=0))
    if not rms.any():
        return np.zeros(len(field), complex), np.full(rms.shape, 1 / rms.size)
    weights = np.broadcast_to(1 / np.hypot(rms, rms.mean()), field.shape)
    if confidence_weights is not None:
        weights = weights * confidence_weights
    total = weights.sum(axis=(1, 2))
    parts = weights * field / np.where(total > 0, total, 1)[:, None, None]
    trace = parts.sum(axis=(1, 2))
    shares = np.clip(np.mean(parts * np.conj(trace)[:, None, None], axis=0).real, 0, None)
    return trace, shares / max(shares.sum(), np.finfo(float).tiny)


def stitch(
    traces: Sequence[np.ndarray],
    starts: Sequence[float],
    sampling_rate: float,
    confidences: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping windows' phasor traces joined into one on a common clock.

    Phase is absolute, so nothing is aligned: each trace is read on the common clock along the arc
    (amplitude and phase apart, which keeps a 12 Hz phasor of 3 Hz its length) and cross-faded
    under a Hann taper times the window's confidence. Windows that contradict each other cancel.

    Args:
        traces: windows of [samples] complex, all at ``sampling_rate``.
        starts: [windows] s.
        sampling_rate: Hz.
        confidences: [windows] >= 0, equal ones by default.

    Returns:
        (times [n] s, centres of the samples from the first window's start, trace [n] complex, 0
        where no window reaches).
    """
    begins = np.asarray(starts, dtype=float)
    confidences = np.ones(len(traces)) if confidences is None else np.asarray(confidences, float)
    confidences = np.maximum(confidences, 1e-6)  # a lone doubtful window still shows its trace
    origin = begins.min()
    end = max(s + len(trace) / sampling_rate for s, trace in zip(begins, traces, strict=True))
    times = origin + (np.arange(round((end - origin) * sampling_rate)) + 0.5) / sampling_rate
    joined, weight = np.zeros(len(times), complex), np.zeros(len(times))
    for trace, start, confidence in zip(traces, begins, confidences, strict=True):
        position = (times - start) * sampling_rate - 0.5
        inside = (position > -0.5) & (position < len(trace) - 0.5)
        position = position[inside]
        index = np.arange(len(trace))
        length = np.interp(position, index, np.abs(trace))
        angle = np.interp(position, index, np.unwrap(np.angle(trace)))
        fade = confidence * np.sin(np.pi * (position + 0.5) / len(trace)) ** 2
        joined[inside] += fade * length * np.exp(1j * angle)
        weight[inside] += fade
    return times, joined / np.where(weight > 0, weight, 1)
