"""How the colours of skin move in a pulse's band, in simulated clips under each light and in life.

Every figure is of a window of eight seconds, sampled twelve times a second, of the skin's mean
colour; groups of windows are summed up by medians and by the 10 and 90 % quantiles. How far what
is no pulse stands in lines is told from a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import butter, detrend, hilbert, sosfiltfilt

from pulse_plantain.lab.synthetic import TAKES, draw_scenes, name_split, simulate, split_seeds
from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import ClipError

BAND = (0.7, 3.0)
"""The pulse's band in Hz."""

SECONDS, RATE = 8, 12
"""Length of a window in s, and its samples a second."""

MINUTE = 60
"""Seconds of the windows that :func:`measure_lines` looks at."""

NAMES = (
    *("pulse R (%)", "pulse G (%)", "pulse B (%)", "pulse R/G", "pulse B/G"),
    *("in band R (%)", "in band G (%)", "in band B (%)"),
    *("corr. R-G", "corr. G-B", "corr. R-B", "in step R/G", "in step B/G", "corr. of cells, G"),
)
"""Names of a window's figures. "In step" is what of red's or blue's pulse has green's phase, over
green's: unlike the ratio of two amplitudes it is not made larger by noise of red or blue alone."""

SEATED = dict(
    zip(NAMES, (0.05, 0.17, 0.13, 0.31, 0.68, 0.13, 0.20, 0.27, 0.73, 0.57, 0.59), strict=False)
)
"""Medians of nine recordings of seated people (four clips, five traces with contact PPG), measured
once; most of these recordings cannot be passed on. Their cells, 16 a face, agreed by 0.1 to 0.2."""

_AT_ONCE = 8  # clips


@dataclass(frozen=True)
class Window:
    """Eight seconds of skin, or a minute.

    Attributes:
        trace: [samples, 3], the skin's mean colour.
        phase: [samples] rad, of the pulse.
        cells: [samples, n], green of parts of the skin; None where there are none.
    """

    trace: np.ndarray
    phase: np.ndarray
    cells: np.ndarray | None = None

    def measure(self) -> np.ndarray:
        """Figures in the order of NAMES; the last is NaN where there are no cells."""
        relative = 100 * (self.trace / self.trace.mean(0) - 1)
        phasors = find_phasors(relative, self.phase)
        pulse, in_step = np.abs(phasors), (phasors / phasors[1]).real
        band = keep_band(relative)
        red, green, blue = np.corrcoef(band.T)
        figures = [*pulse, pulse[0] / pulse[1], pulse[2] / pulse[1], *band.std(0)]
        figures += [red[1], green[2], blue[0], in_step[0], in_step[2]]
        return np.array([*figures, self._compare_cells()])

    def _compare_cells(self):
        """Mean correlation between any two cells in the band."""
        if self.cells is None or self.cells.shape[1] < 2:
            return np.nan
        pairs = np.corrcoef(keep_band(self.cells).T)
        return pairs[np.triu_indices(len(pairs), 1)].mean()

    def spectrum(self) -> np.ndarray:
        """Amplitude density [bins, 3] in % per root of Hz."""
        relative = detrend(100 * (self.trace / self.trace.mean(0) - 1), axis=0)
        taper = np.hanning(len(relative))[:, None]
        power = np.abs(np.fft.rfft(relative * taper, axis=0)) ** 2
        return np.sqrt(2 * power / (RATE * np.square(taper).sum()))


def lock_in(trace: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Amplitudes [3] of a pulse's fundamental: those of :func:`find_phasors`."""
    return np.abs(find_phasors(trace, phase))


def find_phasors(trace: np.ndarray, phase: np.ndarray, harmonic: int = 1) -> np.ndarray:
    """Phasors [3] of a pulse's fundamental in traces [T, 3], beside trend and two harmonics.

    Args:
        trace: values.
        phase: [T] rad of the fundamental.
        harmonic: 2 or 3 for that one in place of the fundamental.
    """
    waves = [turn(k * phase) for k in (1, 2, 3) for turn in (np.cos, np.sin)]
    columns = np.stack([*waves, np.ones_like(phase), np.linspace(-1, 1, len(phase))], 1)
    cosine, sine = np.linalg.lstsq(columns, trace, rcond=None)[0][2 * harmonic - 2 : 2 * harmonic]
    return cosine - 1j * sine


def measure_shape(windows: Sequence[Window]) -> dict[str, float]:
    """The second harmonic of the blood's pulse: the median over windows of its two parts.

    Of green less red, in which grey light cancels out; blood darkens green more.

    Returns:
        ``size`` over the fundamental's, and ``lead`` in rad: of cos(x) + size cos(2 x + lead).
        Near pi / 2 the pulse rises fast and falls slowly, at 0 its peaks are narrow, at pi broad.
    """
    shapes = []
    for window in windows:
        red, green, _ = (window.trace / window.trace.mean(0)).T
        blood = (red - green)[:, None]
        first, second = (find_phasors(blood, window.phase, k)[0] for k in (1, 2))
        shapes.append(second * first.conj() ** 2 / np.abs(first) ** 3)
    middle = complex(np.median(np.real(shapes)), np.median(np.imag(shapes)))
    return {"size": round(abs(middle), 3), "lead": round(float(np.angle(middle)), 3)}


def keep_band(traces: np.ndarray) -> np.ndarray:
    """Traces [T, n] without their trend, within BAND."""
    bins = np.fft.rfft(detrend(traces, axis=0), axis=0)
    frequency = np.fft.rfftfreq(len(traces), 1 / RATE)
    bins[(frequency < BAND[0]) | (frequency > BAND[1])] = 0
    return np.fft.irfft(bins, len(traces), axis=0)


def measure_lines(window: Window) -> np.ndarray:
    """How far what moves in the band beside the pulse stands in lines that stay.

    The mean square over the squared mean of a periodogram's values, each over the spectrum's smooth
    course (a parabola in logarithms): near 2 for a normal process with a continuous spectrum, and
    the more, the fewer lines there are. The pulse and two harmonics, whose sizes may change within
    ten seconds, are taken out before.

    Args:
        window: a minute.

    Returns:
        [3] of red, green and blue.
    """
    samples = len(window.trace)
    way = np.linspace(-1, 1, samples)
    slow = np.polynomial.legendre.legvander(way, samples // (10 * RATE))
    waves = [turn(k * window.phase)[:, None] for k in (1, 2, 3) for turn in (np.cos, np.sin)]
    columns = np.concatenate([wave * slow for wave in waves] + [slow[:, :2]], 1)
    relative = window.trace / window.trace.mean(0)
    rest = relative - columns @ np.linalg.lstsq(columns, relative, rcond=None)[0]
    power = np.abs(np.fft.rfft(rest * np.hanning(samples)[:, None], axis=0)) ** 2
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    within = (frequency > BAND[0]) & (frequency < BAND[1])
    logs, power = np.log(frequency[within]), power[within]
    bend = np.polynomial.polynomial.polyfit(logs, np.log(power), 2)
    level = power / np.exp(np.polynomial.polynomial.polyval(logs, bend)).T
    return np.square(level).mean(0) / np.square(level.mean(0))


def sum_up_lines(windows: Sequence[Window]) -> dict[str, list[float]]:
    """10 %, median and 90 % of :func:`measure_lines` over minutes, by channel."""
    quantiles = np.quantile([measure_lines(window) for window in windows], (0.1, 0.5, 0.9), axis=0)
    return dict(zip(("R", "G", "B"), quantiles.T.round(2).tolist(), strict=True))


@torch.no_grad()
def simulate_windows(light: str, count: int, seconds: int = SECONDS) -> list[Window]:
    """Windows of the first ``count`` webcam clips of a light's validation split, a subject each."""
    samples = seconds * RATE
    layout = Layout(SheetGeometry(4, samples, 4, (8 * samples, 32)), (16, 16))
    seeds = split_seeds(name_split("validation", light), count * TAKES)[::TAKES]
    windows = []
    for start in range(0, count, _AT_ONCE):
        some = seeds[start : start + _AT_ONCE]
        clips = simulate(draw_scenes(some, webcam=True, kinds=False, light=light), layout, seconds)
        for motion, amplitude, phase in zip(
            clips.motion, clips.amplitude, clips.phase, strict=True
        ):
            skin = motion[:, amplitude > 0.3 * amplitude.max()].double().numpy()
            if skin.shape[1]:
                windows.append(Window(1 + skin.mean(1), phase.numpy(), skin[..., 1]))
    return windows


def read_traces(folder: str | Path, seconds: int = SECONDS) -> list[Window]:
    """Windows, overlapping by half, of colour traces with contact PPG.

    Args:
        folder: of .npz files with ``time`` [n] s, ``rgb`` [n, 3], ``ppg_time`` [m] s and ``ppg``.
        seconds: of a window.

    Raises:
        ClipError: if there are none.
    """
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise ClipError(f"{folder}: no .npz files with time, rgb, ppg_time and ppg")
    windows = []
    for path in paths:
        with np.load(path) as file:
            time, rgb = file["time"], file["rgb"]
            trace, clock = _average(time, rgb)
            ppg = np.interp(clock, file["ppg_time"], file["ppg"])
        windows += _cut(trace, _find_phase(ppg), seconds * RATE)
    return windows


def _average(time, values):
    """Means [T, n] of values over the samples of an even clock, and the clock [T] in s."""
    fine = 10
    grid = np.arange(time[0], time[-1], 1 / (fine * RATE))
    grid = grid[: len(grid) // fine * fine]
    columns = [np.interp(grid, time, column) for column in values.T]
    return np.stack(columns, 1).reshape(-1, fine, len(columns)).mean(1), grid.reshape(
        -1, fine
    ).mean(1)


def _find_phase(ppg):
    """Phase of a contact PPG's fundamental: of its analytic signal round its spectral peak."""
    power = np.abs(np.fft.rfft(detrend(ppg) * np.hanning(len(ppg))))
    frequency = np.fft.rfftfreq(len(ppg), 1 / RATE)
    power[(frequency < BAND[0]) | (frequency > BAND[1])] = 0
    peak = frequency[power.argmax()]
    sections = butter(2, [0.7 * peak, 1.4 * peak], "bandpass", fs=RATE, output="sos")
    analytic: np.ndarray = np.array(hilbert(sosfiltfilt(sections, ppg)), complex)
    return np.unwrap(np.angle(analytic))


def _cut(trace, phase, size):
    """Windows that overlap by half."""
    parts = [slice(start, start + size) for start in range(0, len(trace) - size + 1, size // 2)]
    return [Window(trace[part], phase[part]) for part in parts]


def summarize(windows: Sequence[Window]) -> dict[str, list[float]]:
    """10 %, median and 90 % of each figure by its name; of no window that knows it: left out."""
    rows = np.stack([window.measure() for window in windows])
    known = [i for i in range(len(NAMES)) if np.isfinite(rows[:, i]).any()]
    quantiles = np.nanquantile(rows[:, known], (0.1, 0.5, 0.9), axis=0).T
    return {NAMES[i]: row.round(3).tolist() for i, row in zip(known, quantiles, strict=True)}


def draw_figure(groups: Mapping[str, Sequence[Window]]) -> Figure:
    """Median spectra of the three channels, and figures of :func:`summarize`, of each group."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    panels = figure.subplots(2, 3)
    for channel, axes in enumerate(panels[0]):
        _draw_spectra(axes, groups, channel)
    summaries = {name: summarize(windows) for name, windows in groups.items()}
    _draw_figures(panels[1, 0], summaries, NAMES[:3], "Pulse, AC/DC")
    _draw_figures(panels[1, 1], summaries, NAMES[5:8], "All that moves in 0.7-3 Hz, rms")
    _draw_figures(panels[1, 2], summaries, NAMES[3:5] + NAMES[8:], "Ratios, correlations")
    return figure


def _draw_spectra(axes: Axes, groups: Mapping[str, Sequence[Window]], channel: int) -> None:
    frequency = np.fft.rfftfreq(SECONDS * RATE, 1 / RATE)[1:]
    for name, windows in groups.items():
        middle = np.median([window.spectrum()[1:, channel] for window in windows], axis=0)
        axes.loglog(frequency, middle, label=f"{name} ({len(windows)})")
    axes.axvspan(*BAND, color="0.95")
    axes.set(xlabel="Hz", ylabel="% / √Hz", title=("Red", "Green", "Blue")[channel])
    ticks = (0.2, 0.5, 1, 2, 5)
    axes.set(ylim=(0.01, 2), xticks=ticks, xticklabels=[f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter("")
    axes.legend(frameon=False, loc="lower left", fontsize="small")


def _draw_figures(
    axes: Axes,
    summaries: Mapping[str, Mapping[str, Sequence[float]]],
    names: Sequence[str],
    title: str,
) -> None:
    step = 0.8 / len(summaries)
    for number, (group, figures) in enumerate(summaries.items()):
        known = [name for name in names if name in figures]
        places = np.array([names.index(name) for name in known]) + (number + 0.5) * step - 0.4
        low, middle, high = np.array([figures[name] for name in known]).reshape(-1, 3).T
        spread = np.stack([middle - low, high - middle])
        axes.errorbar(places, middle, spread, fmt="o", label=group)
    known = [name for name in names if name in SEATED]
    places = [names.index(name) for name in known]
    axes.hlines(
        [SEATED[name] for name in known],
        np.array(places) - 0.42,
        np.array(places) + 0.42,
        color="0.4",
        linestyle="--",
        label="nine seated people",
    )
    labels = [name.removesuffix(" (%)") for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=35, ha="right", rotation_mode="anchor")
    axes.set(title=title, ylim=(min(0, axes.get_ylim()[0]), 1.5 * axes.get_ylim()[1]))
    axes.legend(frameon=False, loc="upper left", fontsize="small")
