"""Figures of many recordings: what an evaluation says, drawn on one page.

Here live its panels; the figures themselves are made in lab/summary.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulse_plantain.lab.metrics import bland_altman, coverage_against_error


def draw_evaluation(
    figures: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    null_rows: Sequence[dict[str, Any]] = (),
) -> Figure:
    """Draw a page of what an evaluation says.

    Estimates against references and Bland and Altman's plot are of the first method, its withheld
    estimates hollow; coverage against error and the error by stratum are of all methods. Where the
    first method's confidence is a probability, two more panels compare it with how often it is
    right.

    Args:
        figures: of :func:`pulse_plantain.lab.summary.summarise`.
        rows: the rows they sum up.
        null_rows: those of recordings without a pulse.
    """
    methods = [method for method in figures if "forced" in figures[method]]
    strata = figures[methods[0]]["strata"]
    lines = 3 if "reliability" in figures[methods[0]] else 2
    figure = Figure(figsize=(13, 4.5 * lines + 0.3 * len(strata)), layout="constrained")
    panels = figure.subplots(lines, 2)
    mine = [row for row in rows if row["method"] == methods[0] and np.isfinite(row["bpm"])]
    _draw_scatter(panels[0, 0], methods[0], mine)
    _draw_bland_altman(panels[0, 1], mine)
    _draw_coverage(panels[1, 0], methods, rows)
    _draw_strata(panels[1, 1], methods, figures)
    if lines == 3:
        _draw_reliability(panels[2, 0], figures[methods[0]]["reliability"])
        null = [row for row in null_rows if row["method"] == methods[0]]
        _draw_confidences(panels[2, 1], [row for row in rows if row["method"] == methods[0]], null)
    return figure


def draw_reliability(reliability: dict[str, Any]) -> Figure:
    """The picture of the card: how often a rate is right, by its confidence.

    Args:
        reliability: of :func:`pulse_plantain.lab.reliability.compare_confidences`.
    """
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    _draw_reliability(figure.subplots(), reliability)
    return figure


def _read_columns(rows):
    """(bpm, reference in bpm, whether it was answered) of rows, each [rows]."""
    bpm, reference = (np.array([row[k] for row in rows], float) for k in ("bpm", "reference"))
    return bpm, reference, np.array([row["answered"] for row in rows], bool)


def _draw_points(axes: Axes, x, y, answered):
    """A point a recording, full where it was answered and hollow where not."""
    axes.scatter(x[answered], y[answered], s=14, color="C0", label="answered")
    rest = ~answered
    axes.scatter(x[rest], y[rest], s=14, facecolors="none", edgecolors="0.6", label="withheld")
    axes.legend(loc="upper left", frameon=False)


def _draw_scatter(axes: Axes, method, rows):
    """Estimates of a method against references."""
    bpm, reference, answered = _read_columns(rows)
    values = np.concatenate([bpm, reference, [60, 100]])  # there may be no estimate at all
    limits = (values.min() - 5, values.max() + 5)
    axes.plot(limits, limits, color="0.8", linewidth=1)
    _draw_points(axes, reference, bpm, answered)
    axes.set(xlim=limits, ylim=limits, xlabel="reference (bpm)", ylabel="estimate (bpm)")
    axes.set_title(f"{method}: {len(bpm)} recordings")
    axes.set_aspect("equal")


def _draw_bland_altman(axes: Axes, rows):
    """Differences of estimate and reference against their mean."""
    bpm, reference, answered = _read_columns(rows)
    _draw_points(axes, (bpm + reference) / 2, bpm - reference, answered)
    if answered.sum() > 1:
        for line in bland_altman(bpm[answered], reference[answered]):
            axes.axhline(line, color="C0", linewidth=1, linestyle="--")
            axes.annotate(f"{line:+.1f}", (1, line), xycoords=("axes fraction", "data"))
    axes.set(xlabel="mean of both (bpm)", ylabel="estimate - reference (bpm)")
    axes.set_title("Bland and Altman; lines: bias and limits of what was answered")


def _draw_reliability(axes: Axes, reliability):
    """Share that is right against confidence, of recordings with a pulse and without."""
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    bins = reliability["bins"]
    x, y, n = (np.array([one[k] for one in bins]) for k in ("confidence", "right", "clips"))
    error = np.sqrt(np.maximum(y * (1 - y), 1e-3) / n)
    axes.errorbar(x, y, yerr=error, color="C0", fmt="o-", markersize=4, linewidth=1)
    for place, height, count in zip(x, y, n, strict=True):
        axes.annotate(f"{count}", (place, height), xytext=(5, -9), textcoords="offset points",
                      fontsize=7, color="0.4")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="confidence", ylabel="share right within 3 bpm")
    axes.set_title(f"Reliability; calibration error {reliability['calibration_error']:.3f}")


def _draw_confidences(axes: Axes, rows, null):
    """Confidences of recordings with a pulse and without."""
    edges = np.linspace(0, 1, 21).tolist()
    columns = [[row["confidence"] for row in some] for some in (rows, null)]
    labels = [f"with a pulse ({len(rows)})", f"without ({len(null)})"]
    axes.hist(columns, edges, label=labels, color=["C0", "0.6"])
    axes.set(xlabel="confidence", ylabel="recordings", xlim=(0, 1))
    axes.set_title("Confidence")
    axes.legend(frameon=False)


def _draw_coverage(axes: Axes, methods, rows):
    """Mean error of the surest recordings of each method against their share."""
    for method in methods:
        mine = [row for row in rows if row["method"] == method]
        columns = ([row[k] for row in mine] for k in ("bpm", "reference", "confidence"))
        coverage, mae = coverage_against_error(*columns)
        axes.plot(100 * coverage, mae, label=method)
    axes.set(xlabel="surest recordings (%)", ylabel="MAE (bpm)", xlim=(0, 100), ylim=(0, None))
    axes.set_title("Coverage against error")
    axes.legend(frameon=False)


def _draw_strata(axes: Axes, methods, figures):
    """Mean error of each method on each level of each stratum, with its interval."""
    strata = figures[methods[0]]["strata"]
    names = [(stratum, level) for stratum in strata for level in strata[stratum]]
    places = np.arange(len(names))[::-1]
    for number, method in enumerate(methods):
        cells = [figures[method]["strata"][stratum][level]["forced"] for stratum, level in names]
        mae = np.array([cell["mae"] for cell in cells])
        intervals = np.array([cell["interval"]["mae"] for cell in cells])
        axes.errorbar(
            mae,
            places + 0.6 * (0.5 - (number + 0.5) / len(methods)),
            xerr=np.abs(intervals.T - mae),
            fmt="o",
            markersize=3,
            linewidth=1,
            label=method,
        )
    counts = [strata[stratum][level]["forced"]["n"] for stratum, level in names]
    labels = [f"{stratum} {level} ({n})" for (stratum, level), n in zip(names, counts, strict=True)]
    axes.set_yticks(places, labels, fontsize=7)
    axes.set(xlabel="MAE (bpm), every recording's best guess; 95 % over subjects", xlim=(0, None))
    axes.set_title("By stratum (recordings)")
    axes.legend(frameon=False, fontsize=8)
