"""Rows of an evaluation summed up: figures by method and by stratum, and tables of them.

The rows are made in lab/evaluation.py, the figures' formulas live in lab/metrics.py.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pulse_plantain.lab import metrics, reliability
from pulse_plantain.lab.evaluation import Row

Figures = dict[str, Any]
"""Figures by their names; see :func:`summarise`."""

MOST_LEVELS = 8
"""Strata with more different values than this are split at their quartiles."""

INTERVALS = ("mae", "rmse", "mape", "pearson", "within")
"""Figures of which an interval is told."""


def summarise(rows: Sequence[Row], null_rows: Sequence[Row] = (), seed: int = 0) -> Figures:
    """Figures of each method.

    Args:
        rows: of recordings with a known rate.
        null_rows: of recordings known to hold no pulse.
        seed: of the bootstrap.

    Returns:
        By method: ``forced`` (metrics.rate_figures of every recording's best guess, with
        ``interval``, 95 % over subjects of each of :data:`INTERVALS`), ``answered`` (the same of
        the answers alone; its ``within`` counts an abstention as a miss, its interval does not),
        ``mae_at_coverage`` (of the surest quarter, half, ... of all guesses), ``snr``, ``macc`` and
        ``toolbox_snr`` means with ``_se`` and ``_interval``, ``toolbox_mae`` and
        ``toolbox_peak_mae`` (rPPG-Toolbox's coarse estimates on both sides),
        ``null`` = {``n``, ``abstained`` 0...1} and ``reliability`` = {``calibration_error``,
        ``bins``} of all rows (lab/calibration.py) where there are null rows, ``strata`` = the same
        by stratum (:func:`summarise_strata`).
    """
    figures: Figures = {}
    for method in dict.fromkeys(row["method"] for row in [*rows, *null_rows]):
        mine = [row for row in rows if row["method"] == method]
        null = [row for row in null_rows if row["method"] == method]
        figures[method] = {}
        if mine:
            figures[method] = _summarise_method(mine, seed)
            figures[method]["strata"] = summarise_strata(mine, seed)
        if null:
            abstained = 1 - np.mean([row["answered"] for row in null])
            figures[method]["null"] = {"n": len(null), "abstained": float(abstained)}
            figures[method]["reliability"] = reliability.compare_confidences([*mine, *null])
    return figures


def summarise_strata(rows: Sequence[Row], seed: int = 0) -> Figures:
    """Figures of one method by stratum and level.

    Numbers of many values, as bit rates, are split at their quartiles. A stratum of one level is
    left out.

    Args:
        rows: of one method, with a known rate.
        seed: of the bootstrap over subjects.

    Returns:
        By stratum and level: what :func:`summarise` tells of all rows, and ``subjects``.
    """
    figures: Figures = {}
    for name in sorted({name for row in rows for name in row["strata"]}):
        known = [row for row in rows if row["strata"].get(name) is not None]
        levels = _name_levels([row["strata"][name] for row in known])
        if len(set(levels)) < 2:
            continue
        figures[name] = {}
        for level in sorted(set(levels)):
            some = [row for row, its in zip(known, levels, strict=True) if its == level]
            subjects = len({row["subject"] for row in some})
            figures[name][level] = _summarise_method(some, seed) | {"subjects": subjects}
    return figures


def _name_levels(values):
    """A level's name for every value, so that they sort as they should."""
    numbers = all(isinstance(value, (int, float)) for value in values)
    if not numbers or len(set(values)) <= MOST_LEVELS:
        return [str(value) for value in values]
    borders = np.quantile(values, (0.25, 0.5, 0.75))
    names = [
        f"1: to {borders[0]:.3g}",
        f"2: to {borders[1]:.3g}",
        f"3: to {borders[2]:.3g}",
        f"4: above {borders[2]:.3g}",
    ]
    return [names[int((value > borders).sum())] for value in values]


def _summarise_method(rows: Sequence[Row], seed: int) -> Figures:
    """Figures of one method's rows with a known rate (see :func:`summarise`)."""
    bpm, reference = (np.array([row[k] for row in rows], float) for k in ("bpm", "reference"))
    subjects = np.array([row["subject"] for row in rows])
    answers = np.where([row["answered"] for row in rows], bpm, np.nan)
    confidences = np.array([row["confidence"] for row in rows])
    coverage, mae = metrics.coverage_against_error(bpm, reference, confidences)
    quarters = [q for q in (0.25, 0.5, 0.75, 1.0) if q <= coverage.max(initial=0)]
    figures: Figures = {
        "mae_at_coverage": {str(q): float(mae[np.searchsorted(coverage, q)]) for q in quarters}
    }
    for name, guesses in (("forced", bpm), ("answered", answers)):
        known = np.isfinite(guesses)
        interval = _bootstrap_errors(guesses[known], reference[known], subjects[known], seed)
        figures[name] = metrics.rate_figures(guesses, reference) | {"interval": interval}
    traced = [row for row in rows if "snr" in row]
    return figures | _summarise_traces(traced, seed) if traced else figures


def _summarise_traces(rows: Sequence[Row], seed: int) -> Figures:
    """Figures of pulse traces, of rows that have them."""
    subjects = [row["subject"] for row in rows]
    figures: Figures = {}
    for name in ("snr", "macc", "toolbox_snr"):
        values = np.array([row[name] for row in rows])
        figures[name] = float(values.mean())
        figures[f"{name}_se"] = float(values.std() / np.sqrt(len(values)))
        (interval,) = metrics.bootstrap_intervals(
            lambda some: [np.mean(some)], subjects, values, seed=seed
        )
        figures[f"{name}_interval"] = interval
    for name in ("toolbox", "toolbox_peak"):
        off = [abs(np.subtract(*row[f"{name}_bpm"])) for row in rows]
        figures[f"{name}_mae"] = float(np.nanmean(off))
    return figures


def _bootstrap_errors(bpm, reference, subjects, seed) -> dict[str, metrics.Interval]:
    """The 95 % intervals of INTERVALS over subjects; NaN where nothing is known."""

    def compute_errors(bpm, reference):
        error = np.abs(bpm - reference)
        flat = len(bpm) < 3 or np.ptp(bpm) == 0 or np.ptp(reference) == 0
        pearson = np.nan if flat else np.corrcoef(bpm, reference)[0, 1]
        mape = 100 * np.mean(error / reference)
        within = np.mean(error <= metrics.WITHIN)
        return error.mean(), np.sqrt(np.mean(error**2)), mape, pearson, within

    if not len(bpm):
        return dict.fromkeys(INTERVALS, (np.nan, np.nan))
    with warnings.catch_warnings():  # of two recordings r is never known
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        found = metrics.bootstrap_intervals(compute_errors, subjects, bpm, reference, seed=seed)
    return dict(zip(INTERVALS, found, strict=True))


def format_figures(figures: Figures) -> str:
    """The figures of :func:`summarise` as a Markdown table, a line a method."""
    lines = [
        "| method | clips | MAE | RMSE | r | within 3 bpm | answered | MAE of answers "
        "| answered within 3 bpm | SNR (dB) | no pulse: abstained |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method, mine in figures.items():
        cells = ["–"] * 9
        if "forced" in mine:
            forced, answered = mine["forced"], mine["answered"]
            cells = [
                f"{forced['n']}",
                f"{forced['mae']:.2f} ± {forced['mae_se']:.2f}",
                f"{forced['rmse']:.2f}",
                f"{forced['pearson']:.2f}",
                f"{forced['within']:.1%}",
                f"{answered['coverage']:.1%}",
                f"{answered['mae']:.2f}",
                f"{answered['within']:.1%}",
                f"{mine['snr']:.1f}" if "snr" in mine else "–",
            ]
        null = f"{mine['null']['abstained']:.1%}" if "null" in mine else "–"
        lines.append(f"| {method} | " + " | ".join([*cells, null]) + " |")
    return "\n".join(lines)


def format_rows(rows: Iterable[Row]) -> str:
    """Rows without a known rate as a Markdown table, a line a row."""
    lines = ["| recording | method | bpm | confidence | answered |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "yes" if row["answered"] else row["reason"]
        cells = (f"{row['bpm']:.1f}", f"{row['confidence']:.2f}", verdict)
        lines.append(" | ".join(["| " + row["recording"], row["method"], *cells]) + " |")
    return "\n".join(lines)
