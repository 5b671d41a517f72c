"""The classical methods: mean skin colour over time becomes a blood volume pulse.

Here live seven methods by their papers' equations; no picture is read and no rate estimated.

Each takes ``rgb`` [samples, 3], the mean colour of the skin (any unit, linear or not, > 0), sampled
evenly at ``sampling_rate`` Hz, and returns bvp [samples], unit-free, upright: more blood is
higher. (The papers leave the sign open; skin darkens with blood.)
"""

import warnings
from collections.abc import Callable

import numpy as np
from scipy import signal
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

BAND = (0.6, 3.4)
"""Hz; the band-pass of CHROM and the band in which ICA looks for a pulse."""

WINDOW = 1.6
"""s; the interval of CHROM and POS (32 frames of a 20 Hz camera): at least one beat."""

BLOOD_VOLUME_VECTOR = np.array([0.33, 0.77, 0.53])
"""Relative pulsatile amplitude of R, G, B under white light (de Haan and van Leest 2014)."""

_POS_PLANE = np.array([[0.0, 1.0, -1.0], [-2.0, 1.0, 1.0]])


def _normalise(rgb):
    """Colours [..., samples, 3] divided by their mean over time, less one."""
    return rgb / np.mean(rgb, axis=-2, keepdims=True) - 1


def green(rgb: np.ndarray, sampling_rate: float) -> np.ndarray:
    """GREEN: the green channel, where haemoglobin absorbs most.

    Verkruysse, Svaasand, Nelson, "Remote plethysmographic imaging using ambient light", Optics
    Express 2008, 16, 21434.
    """
    return -_normalise(rgb)[:, 1]


def ica(rgb: np.ndarray, sampling_rate: float) -> np.ndarray:
    """ICA: the independent component of the standardised colours with the highest spectral peak.

    Poh, McDuff, Picard, "Non-contact, automated cardiac pulse measurements using video imaging
    and blind source separation", Optics Express 2010, 18, 10762. FastICA stands in for JADE; as
    its components come in no order, the one whose periodogram has the highest share in one bin is
    taken (Poh et al., IEEE Trans. Biomed. Eng. 2011, 58, 7), its sign by the green channel.
    """
    colours = signal.detrend(rgb, axis=0)
    standard = colours / np.maximum(colours.std(axis=0), np.finfo(float).tiny)
    unmix = FastICA(3, whiten="unit-variance", max_iter=1000, tol=1e-3, random_state=0)
    with warnings.catch_warnings():  # of near-Gaussian noise any rotation is as good as another
        warnings.simplefilter("ignore", ConvergenceWarning)
        sources = np.asarray(unmix.fit_transform(standard))
    frequencies, power = signal.periodogram(sources, sampling_rate, axis=0)
    in_band = (frequencies >= BAND[0]) & (frequencies <= BAND[1])
    best = np.argmax(power[in_band].max(axis=0) / power.sum(axis=0))
    return sources[:, best] * -np.sign(sources[:, best] @ standard[:, 1])


def chrom(rgb: np.ndarray, sampling_rate: float) -> np.ndarray:
    """CHROM: two chrominances free of specular reflection, tuned so that white light cancels.

    de Haan, Jeanne, "Robust pulse rate from chrominance-based rPPG", IEEE Trans. Biomed. Eng.
    2013, 60, 2878: X = 3R - 2G, Y = 1.5R + G - 1.5B of the normalised colours, band-passed,
    S = X - Y std(X) / std(Y), in half-overlapping Hann intervals of 1.6 s, added.
    """
    length = 2 * int(np.ceil(WINDOW * sampling_rate / 2))
    half = length // 2
    padded = np.pad(rgb, ((half, length), (0, 0)), mode="reflect", reflect_type="odd")
    highest = min(BAND[1], 0.49 * sampling_rate)
    band = signal.butter(3, (BAND[0], highest), "bandpass", fs=sampling_rate, output="sos")
    hann = signal.get_window("hann", length)
    bvp = np.zeros(len(padded))
    for start in range(0, len(padded) - length + 1, half):
        interval = slice(start, start + length)
        r, g, b = _normalise(padded[interval]).T
        x, y = signal.sosfiltfilt(band, [3 * r - 2 * g, 1.5 * r + g - 1.5 * b], padlen=half)
        bvp[interval] += hann * (x - y * x.std() / max(y.std(), np.finfo(float).tiny))
    return bvp[half : half + len(rgb)]


def pos(rgb: np.ndarray, sampling_rate: float) -> np.ndarray:
    """POS: projection onto the plane orthogonal to the skin tone, tuned in sliding intervals.

    Wang, den Brinker, Stuijk, de Haan, "Algorithmic principles of remote PPG", IEEE Trans.
    Biomed. Eng. 2017, 64, 1479, algorithm 1: S1 = G - B, S2 = G + B - 2R of the normalised
    colours, h = S1 + S2 std(S1) / std(S2), mean-free, added over intervals of 1.6 s that move on
    by one sample.
    """
    length = int(np.ceil(WINDOW * sampling_rate))
    intervals = np.lib.stride_tricks.sliding_window_view(rgb, length, axis=0).swapaxes(1, 2)
    planes = _normalise(intervals) @ _POS_PLANE.T
    ratio = planes[..., 0].std(axis=1) / np.maximum(planes[..., 1].std(axis=1), 1e-300)
    pulses = planes[..., 0] + ratio[:, None] * planes[..., 1]
    pulses -= pulses.mean(axis=1, keepdims=True)
    bvp = np.zeros(len(rgb))
    for offset in range(length):
        bvp[offset : offset + len(pulses)] += pulses[:, offset]
    return -bvp


def pbv(rgb: np.ndarray, sampling_rate: float) -> np.ndarray:
    """PBV: the mixture whose correlation with the colours is the blood volume vector.

    de Haan, van Leest, "Improved motion robustness of remote-PPG by using the blood volume pulse
    signature", Physiol. Meas. 2014, 35, 1913: W = k p Q^-1 with Q = C C^T of the normalised
    colours C and p the vector; over the whole trace.
    """
    colours = _normalise(rgb)
    weights = np.linalg.pinv(colours.T @ colours) @ BLOOD_VOLUME_VECTOR
    return -colours @ weights / np.linalg.norm(weights)


def lgi(rgb: np.ndarray, sampling_rate: float) -> np.ndarray:
    """LGI: green after projection orthogonal to the strongest direction of the colours.

    Pilz, Zaunseder, Krajewski, Blazek, "Local group invariance for heart rate estimation from
    face videos in the wild", CVPR workshops 2018: the first left singular vector u of C [3,
    samples], P = I - u u^T.
    """
    strongest = np.linalg.svd(rgb.T, full_matrices=False)[0][:, 0]
    return _project_green(rgb, strongest)


def omit(rgb: np.ndarray, sampling_rate: float) -> np.ndarray:
    """OMIT: green after projection orthogonal to the first column of Q in C = Q R.

    Alvarez Casado, Bordallo Lopez, "Face2PPG: an unsupervised pipeline for blood volume pulse
    extraction from faces", IEEE J. Biomed. Health Inform. 2023, 27, 5530. That column is the
    colour of the first sample.
    """
    return _project_green(rgb, np.linalg.qr(rgb.T)[0][:, 0])


def _project_green(rgb, direction):
    """The upright green channel [samples] of (I - u u^T) C, mean-free; u is the direction [3]."""
    projected = rgb[:, 1] - direction[1] * (rgb @ direction)
    return projected.mean() - projected


METHODS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    method.__name__: method for method in (green, ica, chrom, pos, pbv, lgi, omit)
}
"""The methods by their names."""
