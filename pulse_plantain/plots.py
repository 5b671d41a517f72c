"""Figures of a measurement: faces through a beat, sheet, trace, spectrum, and the colour wheel.

Matplotlib's object interface only, without a display; nothing is measured here.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

from .bijection import AMPLITUDE_SCALE, encode, inverse_power_transform, power_transform
from .heart_rate import BAND, beat_times, pulse_from_field, spectrum
from .output import PulseOutput
from .overlay import phasors_at, pulse_overlay

INK, FAINT, RED = "#1a1a1a", "#9a9a9a", "#d62728"

CURVE_FROM = 15
"""Seconds from which a recording is long enough for a curve of its heart rate."""

LIT = 0.25
"""Amplitude, of the strongest cell's, from which a cell's rate is drawn."""

AGREES = 0.5
"""Agreement from which a cell's arrival is drawn; below it is mostly noise."""


def colour_wheel(size: int, padding: float = 1.0) -> np.ndarray:
    """The bijection as a disc: the angle is the phase, the distance from the centre f(amplitude).

    Phase 0 (the systolic peak, red) is on top and time runs clockwise, as on a clock.

    Args:
        size: side of the picture in pixels.
        padding: half side of the picture in radii of the disc.

    Returns:
        [size, size, 4] float RGBA, transparent outside the disc.
    """
    x = ((np.arange(size) + 0.5) / size * 2 - 1) * padding
    radius = np.hypot(x, x[:, None])
    phase = np.arctan2(x[None, :], -x[:, None])
    amplitude = inverse_power_transform(np.minimum(radius, 0.999), AMPLITUDE_SCALE)
    inside = np.clip((1 - radius) * size / (2 * padding), 0, 1)  # one soft pixel at the rim
    return np.concatenate([encode(phase, amplitude), inside[..., None]], -1)


def draw_wheel(axes: Axes, size: int = 400, labels: bool = True) -> None:
    """Draw the colour wheel with rings at round amplitudes into axes."""
    reach = 1.5 if labels else 1.02
    axes.imshow(colour_wheel(size), extent=(-1, 1, -1, 1), interpolation="bilinear", zorder=1)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.axis("off")
    if not labels:
        return
    for amplitude in (0.002, 0.01):
        ring = power_transform(amplitude, AMPLITUDE_SCALE)
        turn = np.linspace(0, 2 * np.pi, 200)
        axes.plot(ring * np.sin(turn), ring * np.cos(turn), color="white", lw=0.5, alpha=0.6)
        axes.text(0, -ring + 0.01, f"{100 * amplitude:g} %", color="white", fontsize=6,
                  ha="center", va="bottom")  # fmt: skip
    for phase, text, side in (
        (0, "systolic peak", "center"),
        (90, "¼ beat\nlater", "left"),
        (180, "½ beat later", "center"),
        (270, "¾ beat\nlater", "right"),
    ):
        x, y = 1.1 * np.sin(np.deg2rad(phase)), 1.1 * np.cos(np.deg2rad(phase))
        across = "bottom" if phase == 0 else "top" if phase == 180 else "center"
        axes.text(x, y, text, color=INK, fontsize=7, ha=side, va=across)


def find_surest_window(output: PulseOutput) -> int:
    """Number of the window with the highest confidence."""
    return int(np.argmax([window.confidence for window in output.windows]))


def list_beat_moments(output: PulseOutput) -> np.ndarray:
    """Four times, a quarter of a beat apart, from the systolic peak nearest the middle.

    Args:
        output: PulseOutput.

    Returns:
        [4] seconds, in the window of the highest confidence.
    """
    number = find_surest_window(output)
    window, field = output.windows[number], np.asarray(output.field[number])
    trace, _ = pulse_from_field(field)
    seconds = window.end - window.start
    period = 60 / window.bpm if np.isfinite(window.bpm) else 1.0
    middle = len(trace) // 2
    after = (middle + 0.5) * seconds / len(trace)
    peak = after - np.angle(trace[middle]) / (2 * np.pi) * period
    return window.start + peak + period * np.arange(4) / 4


def plot_result(
    output: PulseOutput, pictures: Sequence[tuple[float, np.ndarray]] = (), title: str = ""
) -> Figure:
    """All of a measurement on one page.

    Args:
        output: PulseOutput with its sheets.
        pictures: (time in s, picture [H, W, 3]) to lay the field over, those of list_beat_moments;
            none for a sheet that was read back.
        title: name of the clip.

    Returns:
        matplotlib Figure, to be saved.
    """
    number = find_surest_window(output)
    # Rows in inches, so that pictures of any shape leave no holes.
    rows = [1.7, 1.8]
    if len(output.curve.times) >= CURVE_FROM:
        rows.append(1.5)
    if pictures:
        height, width = pictures[0][1].shape[:2]
        rows.insert(0, min(2.05 * height / width, 3.2))
    above, between, below, page = 0.85, 0.68, 0.5, 12.0
    total = above + sum(rows) + between * (len(rows) - 1) + below
    figure = Figure(figsize=(page, total), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(rows), 1, height_ratios=rows, hspace=between / np.mean(rows),
        left=0.06, right=0.975, bottom=below / total, top=1 - above / total,
    )  # fmt: skip
    _headline(figure, output, title)
    if pictures:
        _draw_beat(figure, grid[0], output, number, pictures)
    place = 1 if pictures else 0
    _draw_sheet(figure.add_subplot(grid[place]), output, number)
    lower = grid[place + 1].subgridspec(1, 2, width_ratios=(2.1, 1), wspace=0.13)
    if len(output.curve.times) >= CURVE_FROM:
        _draw_curve(figure.add_subplot(grid[-1]), output)
    _draw_trace(figure.add_subplot(lower[0]), output)
    _draw_spectrum(figure.add_subplot(lower[1]), output)
    return figure


def plot_regions(output: PulseOutput) -> Figure:
    """The pulse by band and row of the surest window: rate, agreement and arrival.

    Args:
        output: PulseOutput.

    Returns:
        matplotlib Figure of three maps, forehead and cheeks outlined, to be saved.
    """
    found = output.regions
    left, top, right, bottom = found.crop
    figure = Figure(figsize=(9.0, 4.0), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    late = 1000 * np.where(found.agreement >= AGREES, found.delay, np.nan)
    reach = max(1.0, float(np.max(np.abs(late), initial=1.0, where=np.isfinite(late))))
    lit = found.amplitude >= LIT * found.amplitude.max()
    rates = np.where(lit, found.bpm, np.nan)
    rate = float(np.nanmedian(rates)) if np.isfinite(rates).any() else 0.0
    maps = (
        ("heart rate (bpm)", rates, "viridis", rate - 10, rate + 10),
        ("agreement with the whole", found.agreement, "magma", 0, 1),
        ("arrival (ms, blue is before)", late, "coolwarm", -reach, reach),
    )
    for axes, (title, values, colours, low, high) in zip(figure.subplots(1, 3), maps, strict=True):
        image = axes.imshow(
            values, cmap=colours, vmin=low, vmax=high, extent=(left, right, bottom, top),
            aspect="equal", interpolation="nearest",
        )  # fmt: skip
        for region in found.named:
            x, y, end, low_side = region.crop
            axes.plot([x, end, end, x, x], [y, y, low_side, low_side, y], color=INK, lw=1)
            axes.text(
                (x + end) / 2, (y + low_side) / 2, region.name.replace(" ", "\n"), color="white",
                fontsize=7, ha="center", va="center", bbox={"fc": INK, "alpha": 0.4, "lw": 0},
            )  # fmt: skip
        axes.set_title(title, fontsize=9, color=INK, loc="left")
        figure.colorbar(image, ax=axes, shrink=0.7).ax.tick_params(labelsize=7)
        _plain(axes)
    return figure


def _draw_beat(figure, row, output, number, pictures):
    """The field over the pictures of one beat, and the wheel that says what its colours mean."""
    window = output.windows[number]
    left, top, right, bottom = window.crop
    columns = row.subgridspec(
        1, len(pictures) + 1, wspace=0.04, width_ratios=[1] * len(pictures) + [1.25]
    )
    for column, (time, picture) in enumerate(pictures):
        axes = figure.add_subplot(columns[column])
        phasors = phasors_at(output.field[number], window.start, window.end, time)
        axes.imshow(pulse_overlay(picture, phasors, window.crop)[1])
        x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
        axes.plot(x, y, color="white", lw=0.7, alpha=0.6)
        axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
        axes.set_title(f"{time:.2f} s", fontsize=8, color=INK, pad=3)
        axes.axis("off")
    draw_wheel(figure.add_subplot(columns[-1]))


def _headline(figure, output, title):
    if np.isfinite(output.bpm):
        text = f"{output.bpm:.1f} bpm"
        if np.isfinite(output.bpm_uncertainty):
            text += f" ± {output.bpm_uncertainty:.1f}"
        note = f"confidence {output.confidence:.2f}"
    else:
        text, note = "no pulse found", output.reason.removeprefix("no pulse found: ")
    place = {"va": "top", "y": 1 - 0.2 / figure.get_figheight()}
    figure.text(0.06, s=text, fontsize=19, color=INK, weight="bold", ha="left", **place)
    figure.text(0.975, s=f"{title}\n{note}", fontsize=9, color="#555555", ha="right", **place)


def _draw_sheet(axes, output, number):
    """The pulse sheet of one window with its bands side by side, each with its own time axis."""
    window, sheet = output.windows[number], np.asarray(output.sheet[number])
    bands = output.field.shape[-1]
    axes.imshow(
        np.clip(sheet, 0, 1), aspect="auto", extent=(0, bands, 1, 0), interpolation="nearest"
    )
    for band in range(1, bands):
        axes.axvline(band, color="white", lw=1)
    middle = (window.start + window.end) / 2
    axes.set_xticks(np.arange(bands) + 0.5, [f"{middle:g} s"] * bands)
    axes.set_xticks(np.arange(bands + 1), minor=True)
    axes.set_yticks([0, 1], ["top", "bottom"])
    axes.set_title(
        f"pulse sheet: {bands} bands of the picture from left to right, each from "
        f"{window.start:g} to {window.end:g} s; one rainbow is one beat",
        fontsize=9, color=INK, loc="left",
    )  # fmt: skip
    _plain(axes)


def _draw_trace(axes, output):
    fine = np.linspace(output.times[0], output.times[-1], 8 * len(output.times))
    smooth = CubicSpline(output.times, 100 * np.asarray(output.bvp))(fine)
    axes.plot(fine, smooth, color=RED, lw=1.3)
    axes.axhline(0, color=FAINT, lw=0.5)
    title = "blood volume pulse, AC/DC (%)"
    if np.isfinite(output.bpm):
        beats = output.times[0] + beat_times(np.asarray(output.bvp), output.sampling_rate)
        axes.plot(beats, np.interp(beats, fine, smooth), "o", color=INK, ms=3)
        title += "; dots: beats"
    axes.set_xlim(output.times[0], output.times[-1])
    axes.set_xlabel("time (s)", fontsize=8)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    _plain(axes)


def _draw_curve(axes, output):
    """The posterior's rate second by second with its band; the surer, the darker."""
    curve = output.curve
    for times, bpm, low, high, confidence in _cut_curve(curve):
        alpha = float(np.clip(confidence, 0.05, 1))
        axes.fill_between(times, low, high, color="#e9a0a0", lw=0, alpha=alpha)
        axes.plot(times, bpm, color=INK, lw=1.4, alpha=alpha)
    sure = curve.confidence >= 0.5
    if sure.any():
        bottom, top = curve.low[sure].min(), curve.high[sure].max()
        axes.set_ylim(bottom - 5, top + 5)
    half = 0.5 * (curve.times[1] - curve.times[0])
    axes.set_xlim(curve.times[0] - half, curve.times[-1] + half)
    axes.set_xlabel("time (s)", fontsize=8)
    axes.set_title(
        "heart rate (bpm) with its central 68 %; the darker, the surer",
        fontsize=9, color=INK, loc="left",
    )  # fmt: skip
    _plain(axes)


def _cut_curve(curve):
    """Pieces between neighbouring instants of a RateCurve: (times, bpm, low, high, confidence)."""
    for one in range(len(curve.times) - 1):
        both = slice(one, one + 2)
        columns = (curve.times[both], curve.bpm[both], curve.low[both], curve.high[both])
        yield *columns, curve.confidence[both].mean()


def _draw_spectrum(axes, output):
    frequencies, power = spectrum(np.asarray(output.bvp), output.sampling_rate)
    shown = (frequencies > BAND[0] - 0.2) & (frequencies < BAND[1] + 0.2)
    power = power[shown] / max(power[shown].max(), 1e-30)
    axes.fill_between(60 * frequencies[shown], power, color="#f3c5c5", lw=0)
    axes.plot(60 * frequencies[shown], power, color=RED, lw=1)
    if np.isfinite(output.bpm):
        axes.axvline(output.bpm, color=INK, lw=0.8, ls=(0, (4, 3)))
        right = output.bpm < 150
        axes.annotate(f"{output.bpm:.1f}", (output.bpm, 1), xytext=(4 if right else -4, -2),
                      textcoords="offset points", fontsize=9, color=INK, va="top",
                      ha="left" if right else "right")  # fmt: skip
    axes.set(xlim=(60 * BAND[0] - 6, 60 * BAND[1] + 6), ylim=(0, 1.08), yticks=[])
    axes.set_xlabel("beats per minute", fontsize=8)
    axes.set_title("spectrum", fontsize=9, color=INK, loc="left")
    _plain(axes)
    axes.spines["left"].set_visible(False)


def _plain(axes):
    axes.tick_params(labelsize=8, colors="#444444", length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
