"""What the generator should have drawn: a reference pulse's phase, and a clip's amplitudes.

Targets are made from recordings, for training. Nothing here is used when a clip is measured.
"""

import numpy as np
from scipy import signal

from pulse_plantain import heart_rate
from pulse_plantain.lab.datasets.recording import resample_pulse
from pulse_plantain.lab.synthetic.skin import PULSE_COLOUR
from pulse_plantain.video import ClipError

BLOOD = np.array(PULSE_COLOUR) / PULSE_COLOUR[1]
"""Signature of blood: relative pulsatile amplitude of red, green and blue, green = 1."""

FLOOR = 3.0
"""Amplitudes below so many standard errors count as none. A lock-in of noise is Rayleigh
distributed and passes with a probability of exp(-3^2 / 2) = 1 %, and some more where the error is
itself an estimate."""


def analytic_pulse(bvp: np.ndarray, bvp_times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fundamental of a reference pulse as an analytic signal on an even clock.

    A zero-phase Butterworth band of 0.6 to 1.5 times the mean rate, then Hilbert's transform
    (Gabor's analytic signal), so that the phase follows every beat and 0 is the fundamental's
    maximum. Band and transform both swing in at the ends. The trace is therefore locked in three
    times more, each time with the last signal as the carrier, under a Gaussian of one beat that is
    normalised at the ends.

    Args:
        bvp: [n] reference pulse, any unit, more blood is higher.
        bvp_times: [n] s.

    Returns:
        (times [m] s, analytic [m] complex).

    Raises:
        ClipError: if nothing periodic beats in it.
    """
    times, trace = resample_pulse(bvp, bvp_times)
    sampling_rate = 1 / (times[1] - times[0])
    rate = heart_rate.mean_rate(trace, sampling_rate) / 60
    if not np.isfinite(rate):
        raise ClipError("no periodic pulse in the reference")
    sections = signal.butter(
        2, (0.6 * rate, 1.5 * rate), "bandpass", fs=sampling_rate, output="sos"
    )
    padding = min(len(trace) - 1, round(3 * sampling_rate / rate))
    narrow = signal.sosfiltfilt(sections, signal.detrend(trace), padlen=padding)
    analytic = np.asarray(signal.hilbert(narrow))
    offsets = np.arange(-3, 3, rate / sampling_rate)  # beats
    kernel = np.exp(-0.5 * offsets**2)[: len(trace)]
    weight = np.convolve(np.ones(len(trace)), kernel, "same")
    for _ in range(3):
        carrier = np.exp(1j * np.angle(analytic))
        turned = np.convolve(2 * signal.detrend(trace) * carrier.conj(), kernel, "same")
        analytic = turned / weight * carrier
    return times, analytic


def pulse_phase(bvp: np.ndarray, bvp_times: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Phase of the reference pulse at the clip's own times.

    Args:
        bvp, bvp_times: [n], see :func:`analytic_pulse`.
        times: [samples] s on the clock of ``bvp_times``.

    Returns:
        [samples] rad, unwrapped, 0 (mod 2 pi) = systolic peak.

    Raises:
        ClipError: if the reference does not cover the times, or does not beat.
    """
    clock, analytic = analytic_pulse(bvp, bvp_times)
    if times[0] < clock[0] - 0.1 or times[-1] > clock[-1] + 0.1:
        raise ClipError(
            f"the reference covers {clock[0]:.1f} to {clock[-1]:.1f} s, "
            f"not {times[0]:.1f} to {times[-1]:.1f} s"
        )
    return np.interp(times, clock, np.unwrap(np.angle(analytic)))


def local_amplitude(motion: np.ndarray, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lock-in of every cell against the reference phase.

    Each cell's three channels are fitted by the reference's cosine and sine and a slow drift. The
    channels are then added with the weights of :func:`_weigh_channels`. More blood is darker, so
    the sign is turned: the result is upright. Its angle is how far the cell runs ahead of the
    reference.

    The floor is the standard error of the amplitude. It is estimated from what the fit left over
    between half and one and a half times the pulse's rate, without the lines at the rate itself,
    which the fit has emptied.

    Args:
        motion: [samples, rows, bands, 3], (I - mean) / mean.
        phase: [samples] rad.

    Returns:
        (amplitude [rows, bands] complex, AC/DC of green as a fraction; floor [rows, bands], same
        unit, one standard error).
    """
    samples, rows, bands, _ = motion.shape
    fitted, left = _fit_carrier(-np.asarray(motion, float).reshape(samples, -1), phase)
    near = _find_lines_near_pulse(left, phase).reshape(-1, rows * bands, 3)
    own = np.einsum("fnc,fnd->ncd", near, near.conj()).real / len(near)  # variance a sample
    weights = _weigh_channels(own)
    amplitude = (fitted.reshape(-1, 3) * weights).sum(1)
    variance = np.einsum("nc,ncd,nd->n", weights, own, weights)
    floor = np.sqrt(2 * variance / samples)
    return amplitude.reshape(rows, bands), floor.reshape(rows, bands)


def _fit_carrier(traces, phase):
    """Complex amplitudes [n] of traces [samples, n] at the phase, and what the fit left over.

    Least squares on cosine and sine of the phase, with a cubic in time that takes up drifts.
    """
    x = np.linspace(-1, 1, len(traces))
    columns = [np.cos(phase), np.sin(phase), np.ones(len(traces)), x, x**2, x**3]
    design = np.stack(columns, axis=1)
    fit, *_ = np.linalg.lstsq(design, traces, rcond=None)
    return fit[0] - 1j * fit[1], traces - design @ fit


def _find_lines_near_pulse(left, phase):
    """Spectral lines [lines, n] of residuals [samples, n] near the pulse's rate, but not at it."""
    samples = len(left)
    taper = np.hanning(samples)[:, None]
    lines = np.fft.rfft(left * taper, axis=0) / np.sqrt((taper**2).sum())
    cycles = (phase[-1] - phase[0]) / (2 * np.pi) * samples / (samples - 1)
    distance = np.abs(np.arange(len(lines)) - cycles)
    return lines[(distance <= max(0.5 * cycles, 4)) & (distance > 1.5)]


def _weigh_channels(own):
    """Weights [n, 3] that pass the signature of blood p unchanged and least of the noise.

    The beamformer C^-1 p / (p^T C^-1 p), as in PBV (de Haan and van Leest, Physiological
    Measurement 35, 2014). C is the mean of a cell's own covariance and that of all cells, so that
    flicker and drifting light go out while a cell of pure noise keeps all channels.

    Args:
        own: [n, 3, 3] covariance of each cell's noise near the pulse's rate.
    """
    covariance = (own + own.mean(0)) / 2
    trace = np.trace(covariance, axis1=1, axis2=2)[:, None, None]
    covariance += (1e-6 * trace + 1e-18) * np.eye(3)
    weights = np.linalg.solve(covariance, np.broadcast_to(BLOOD, (len(own), 3))[..., None])[..., 0]
    return weights / (weights @ BLOOD[:, None])


def keep_significant(amplitude: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The amplitudes that rise above the noise, and 0 (black) elsewhere.

    Args:
        amplitude, floor: of :func:`local_amplitude`.

    Returns:
        [rows, bands] complex.
    """
    return np.where(np.abs(amplitude) > FLOOR * floor, amplitude, 0)


def target_field(amplitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Phasors [samples, rows, bands] to draw of amplitudes [rows, bands] and a phase [samples]."""
    return np.exp(1j * np.asarray(phase))[:, None, None] * amplitude
