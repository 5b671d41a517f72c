"""Figures of a measurement: faces through a beat, sheet, trace, spectrum, and the colour wheel.

Matplotlib's object interface only, without a display; nothing is measured here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

from .bijection import AMPLITUDE_SCALE, encode, inverse_power_transform, power_transform
from .heart_rate import BAND, beat_times, pulse_from_field, spectrum
from .output import PulseOutput
from .overlay import phasors_at, pulse_overlay

INK = "#1a1a1a"


@dataclass(frozen=True)
class Palette:
    """Colours of the figures.

    Args:
        paper: behind everything.
        ink: headings and the rate.
        note: words and ticks beside them.
        faint: axes, and a trace that is no pulse.
        trace: of the pulse.
        band: around a rate, and under a spectrum.
    """

    paper: str
    ink: str
    note: str
    faint: str
    trace: str
    band: str


LIGHT = Palette("white", INK, "#4a4a4a", "#9a9a9a", "#d62728", "#f0b0b0")
DARK = Palette("#0f0f11", "#f2f2f2", "#c4c8d0", "#7d8594", "#ff6b6b", "#7a3238")


@dataclass(frozen=True)
class Style:
    """How a page of figures is drawn.

    Args:
        palette: its colours.
        width: in inches; the letters keep their size.
        dpi: pixels an inch.
        headline: whether the rate stands above; a page on a screen says it itself.
        stacked: one figure below the other, for a narrow screen.
    """

    palette: Palette = LIGHT
    width: float = 12.0
    dpi: int = 110
    headline: bool = True
    stacked: bool = False


PRINT = Style()
"""A page that stands alone."""


def choose_style(dark: bool, narrow: bool) -> Style:
    """The style of figures within a page on a screen.

    Args:
        dark: whether the page is dark.
        narrow: whether it is a phone's.
    """
    palette = DARK if dark else LIGHT
    if narrow:
        return Style(palette, width=4.1, dpi=190, headline=False, stacked=True)
    return Style(palette, width=9.6, dpi=130, headline=False)


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


def draw_wheel(axes: Axes, size: int = 400, labels: bool = True, ink: str = INK) -> None:
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
        axes.text(x, y, text, color=ink, fontsize=7, ha=side, va=across)


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
    output: PulseOutput,
    pictures: Sequence[tuple[float, np.ndarray]] = (),
    title: str = "",
    style: Style = PRINT,
) -> Figure:
    """All of a measurement on one page.

    Where no pulse was found there is no spectrum: its highest line would look like a rate.

    Args:
        output: PulseOutput with its sheets.
        pictures: (time in s, picture [H, W, 3]) to lay the field over, those of list_beat_moments;
            none for a sheet that was read back.
        title: name of the clip.
        style: of the page.

    Returns:
        matplotlib Figure, to be saved.
    """
    number = find_surest_window(output)
    found, curved = bool(np.isfinite(output.bpm)), len(output.curve.times) >= CURVE_FROM
    # Rows in inches, so that pictures of any shape leave no holes.
    beat = []
    if pictures:
        height, width = pictures[0][1].shape[:2]
        beat = [min(style.width / 5.85 * height / width, 3.2 if style.headline else 1.5)]
        if style.stacked:
            beat = [min((style.width - 1) * height / width + 0.2, 3.4), 1.6]
    below_that = [1.7, 1.8, 1.5] if style.headline else [1.0, 1.35, 1.15]
    rows = [*beat, *below_that[:2], *below_that[1:2] * (found and style.stacked)]
    rows += below_that[2:] * curved
    above, between, below = (0.85, 0.68, 0.5) if style.headline else (0.25, 0.62, 0.45)
    between += 0.25 * style.stacked  # titles take two lines
    left = 0.72 / style.width
    total = above + sum(rows) + between * (len(rows) - 1) + below
    paper = style.palette.paper
    figure = Figure(figsize=(style.width, total), dpi=style.dpi, facecolor=paper)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(rows), 1, height_ratios=rows, hspace=between / np.mean(rows),
        left=left, right=1 - 0.3 / style.width, bottom=below / total, top=1 - above / total,
    )  # fmt: skip
    places = [grid[row] for row in range(len(rows))]
    if style.headline:
        _headline(figure, output, title)
    if pictures:
        _draw_beat(figure, places[: len(beat)], output, number, pictures, style)
    free = iter(places[len(beat) :])
    _draw_sheet(figure.add_subplot(next(free)), output, number, style)
    if found and not style.stacked:
        lower = next(free).subgridspec(1, 2, width_ratios=(2.1, 1), wspace=0.13)
        _draw_trace(figure.add_subplot(lower[0]), output, style)
        _draw_spectrum(figure.add_subplot(lower[1]), output, style)
    else:
        _draw_trace(figure.add_subplot(next(free)), output, style)
        if found:
            _draw_spectrum(figure.add_subplot(next(free)), output, style)
    if curved:
        _draw_curve(figure.add_subplot(next(free)), output, style)
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
        figure.colorbar(image, ax=axes, shrink=0.7).ax.tick_params(labelsize=7)
        _finish(axes, title, PRINT)
    return figure


def _draw_beat(figure, rows, output, number, pictures, style):
    """The field over the pictures of one beat, and the wheel that says what its colours mean."""
    window = output.windows[number]
    left, top, right, bottom = window.crop
    if style.stacked:
        places = [*rows[0].subgridspec(2, 2, wspace=0.04, hspace=0.14), rows[1]]
    else:
        shares = [1] * len(pictures) + [1.25]
        places = list(rows[0].subgridspec(1, len(shares), wspace=0.04, width_ratios=shares))
    for place, (time, picture) in zip(places, pictures, strict=False):
        axes = figure.add_subplot(place)
        phasors = phasors_at(output.field[number], window.start, window.end, time)
        axes.imshow(pulse_overlay(picture, phasors, window.crop)[1])
        x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
        axes.plot(x, y, color="white", lw=0.7, alpha=0.6)
        axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
        axes.set_title(f"{time:.2f} s", fontsize=8, color=style.palette.ink, pad=3)
        axes.axis("off")
    draw_wheel(figure.add_subplot(places[-1]), ink=style.palette.ink)


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


def _draw_sheet(axes, output, number, style):
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
    words = (
        f"pulse sheet: {bands} bands of the picture from left to right, each from "
        f"{window.start:g} to {window.end:g} s"
    )
    if np.isfinite(output.bpm):
        words += "; one rainbow is one beat"
    _finish(axes, words, style)


def _draw_trace(axes, output, style):
    fine = np.linspace(output.times[0], output.times[-1], 8 * len(output.times))
    smooth = CubicSpline(output.times, 100 * np.asarray(output.bvp))(fine)
    palette, found = style.palette, np.isfinite(output.bpm)
    axes.plot(fine, smooth, color=palette.trace if found else palette.faint, lw=1.3)
    axes.axhline(0, color=palette.faint, lw=0.5)
    title = "blood volume pulse, AC/DC (%); dots: beats" if found else "what was drawn, AC/DC (%)"
    if found:
        beats = output.times[0] + beat_times(np.asarray(output.bvp), output.sampling_rate)
        axes.plot(beats, np.interp(beats, fine, smooth), "o", color=palette.ink, ms=3)
    axes.set_xlim(output.times[0], output.times[-1])
    _finish(axes, title, style, "time (s)")


def _draw_curve(axes, output, style):
    """The posterior's rate second by second with its band; the surer, the darker."""
    curve = output.curve
    for times, bpm, low, high, confidence in _cut_curve(curve):
        alpha = float(np.clip(confidence, 0.05, 1))
        axes.fill_between(times, low, high, color=style.palette.band, lw=0, alpha=alpha)
        axes.plot(times, bpm, color=style.palette.ink, lw=1.4, alpha=alpha, solid_capstyle="butt")
    sure = curve.confidence >= 0.5
    if sure.any():
        bottom, top = curve.low[sure].min(), curve.high[sure].max()
        axes.set_ylim(bottom - 5, top + 5)
    half = 0.5 * (curve.times[1] - curve.times[0])
    axes.set_xlim(curve.times[0] - half, curve.times[-1] + half)
    words = "heart rate (bpm) with its central 68 %; the stronger, the surer"
    _finish(axes, words, style, "time (s)")


def _cut_curve(curve):
    """Pieces between neighbouring instants of a RateCurve: (times, bpm, low, high, confidence)."""
    for one in range(len(curve.times) - 1):
        both = slice(one, one + 2)
        columns = (curve.times[both], curve.bpm[both], curve.low[both], curve.high[both])
        yield *columns, curve.confidence[both].mean()


def _draw_spectrum(axes, output, style):
    frequencies, power = spectrum(np.asarray(output.bvp), output.sampling_rate)
    shown = (frequencies > BAND[0] - 0.2) & (frequencies < BAND[1] + 0.2)
    power = power[shown] / max(power[shown].max(), 1e-30)
    palette = style.palette
    axes.fill_between(60 * frequencies[shown], power, color=palette.band, lw=0)
    axes.plot(60 * frequencies[shown], power, color=palette.trace, lw=1)
    axes.axvline(output.bpm, color=palette.ink, lw=0.8, ls=(0, (4, 3)))
    right = output.bpm < 150
    axes.annotate(f"{output.bpm:.1f}", (output.bpm, 1), xytext=(4 if right else -4, -2),
                  textcoords="offset points", fontsize=9, color=palette.ink, va="top",
                  ha="left" if right else "right")  # fmt: skip
    axes.set(xlim=(60 * BAND[0] - 6, 60 * BAND[1] + 6), ylim=(0, 1.08), yticks=[])
    _finish(axes, "spectrum", style, "beats per minute")
    axes.spines["left"].set_visible(False)


def _finish(axes, title, style, below=""):
    """Title, label of the time or rate axis and colours of axes."""
    palette = style.palette
    width = axes.get_position().width * style.width  # inches; 13 letters of 9 points in each
    axes.set_title(fill(title, int(13 * width)), fontsize=9, color=palette.ink, loc="left")
    axes.set_xlabel(below, fontsize=8, color=palette.note)
    axes.tick_params(labelsize=8, colors=palette.note, length=3)
    axes.set_facecolor(palette.paper)
    for side, spine in axes.spines.items():
        spine.set_color(palette.note)
        spine.set_visible(side in ("left", "bottom"))
