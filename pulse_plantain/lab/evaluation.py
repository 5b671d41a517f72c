"""One protocol for every method: recordings in, rows out, rows summed up into figures.

A row is one recording measured by one method. Nothing is rendered, drawn or printed here.
"""

import hashlib
import json
import warnings
from functools import cache as cached
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from pulse_plantain import heart_rate
from pulse_plantain.lab import baselines, metrics, networks
from pulse_plantain.lab.datasets import Recording, open_dataset
from pulse_plantain.video import ClipError

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm"}

SHORTEST = 4.5
"""s between the first and the last frame below which classical methods measure nothing."""

PULSE = "pulse"
"""Name of the pipeline among the methods; the others are keys of baselines.METHODS."""


def dataset_recordings(name, root):
    """Recordings of a data set, those that cannot be used left out with a warning.

    Raises:
        ClipError: if there is none that can be used.
    """
    recordings, damaged = open_dataset(name, root)
    for label, reason in damaged.items():
        warnings.warn(f"left out {label}: {reason}", stacklevel=2)
    if not recordings:
        raise ClipError(f"{root}: no recording of {name} that can be used")
    return recordings


def synthetic_recordings(folder):
    """Recordings of a folder that scripts/synthesize.py filled, in the order of their names.

    Raises:
        ClipError: if it holds none.
    """
    if not any(Path(folder).glob("*.json")):
        raise ClipError(f"no clips with ground truth in {folder}")
    return dataset_recordings("synthetic", folder)


def video_recordings(folder):
    """Recordings of a folder of videos of which nothing is known, searched in depth.

    Raises:
        ClipError: if it holds none.
    """
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise ClipError(f"no videos in {folder}")
    names = [str(path.relative_to(folder).with_suffix("")) for path in paths]
    return [Recording(name, path, name) for name, path in zip(names, paths, strict=True)]


def skin_trace(recording):
    """(rgb [samples, 3], sampling rate in Hz): mean colour of the skin on an even clock.

    Where the recording has a mask, pixels count that are skin for more than half of the clip; else
    those of :func:`face_box` of the first frame. The clock is as fast as the median frame;
    straight lines between the frames' own time stamps.
    """
    skin, times, colours = None, [], []
    for time, picture in recording.frames():
        if skin is None:
            skin = _skin(recording.mask, picture)
        times.append(time)
        colours.append(picture[skin].mean(axis=0, dtype=float))
    if len(times) < 2 or times[-1] < SHORTEST:
        raise ClipError(f"{recording.path}: shorter than {SHORTEST:g} s")
    sampling_rate = 1 / np.median(np.diff(times))
    even = np.arange(times[0], times[-1] + 1e-9, 1 / sampling_rate)
    colours = [np.interp(even, times, channel) for channel in np.transpose(colours)]
    return np.stack(colours, axis=1), float(sampling_rate)


def _skin(mask, picture):
    """[H, W] bool, the bright pixels of a mask picture; without one the box of the face."""
    height, width = picture.shape[:2]
    if mask is None:
        left, top, right, bottom = face_box(picture)
        skin = np.zeros((height, width), bool)
        skin[top:bottom, left:right] = True
        return skin
    with Image.open(mask) as stored:
        skin = np.asarray(stored.convert("L").resize((width, height))) > 127
    if not skin.any():
        raise ClipError(f"{mask} shows no skin")
    return skin


def face_box(picture):
    """The skin that every classical method gets where no mask is known.

    The largest face of OpenCV's frontal Haar cascade (Viola and Jones, CVPR 2001), of it the
    middle 60 % of its width and its full height, as Poh et al. (Optics Express 18, 2010) cut it;
    the whole picture where no face is found.

    Args:
        picture: [H, W, 3], uint8 or float in [0, 1].

    Returns:
        (left, top, right, bottom) in pixels.
    """
    face = _largest_face(picture)
    if face is None:
        return 0, 0, picture.shape[1], picture.shape[0]
    left, top, right, bottom = face
    return round(left + 0.2 * (right - left)), top, round(right - 0.2 * (right - left)), bottom


def _largest_face(picture):
    """(left, top, right, bottom) of the largest face that the cascade finds, or None."""
    if picture.dtype != np.uint8:
        scale = 1 / 257 if picture.dtype == np.uint16 else 255
        picture = (picture * scale).clip(0, 255).astype(np.uint8)
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    faces = _cascade().detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4)
    if not len(faces):
        return None
    x, y, w, h = max(faces.tolist(), key=lambda face: face[2] * face[3])
    return x, y, x + w, y + h


@cached
def _cascade():
    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")


def network_box(recording):
    """Function of the first picture that returns the box which networks look at.

    That of the skin where a mask is known, else the whole of the largest Haar face, else the whole
    picture; pulse_plantain/lab/networks.py widens it.
    """

    def box(picture):
        height, width = picture.shape[:2]
        if recording.mask is None:
            return _largest_face(picture) or (0, 0, width, height)
        rows, columns = np.nonzero(_skin(recording.mask, picture))
        return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1

    return box


def network_rate(bvp):
    """bpm of a network's trace, by the estimator that every method gets."""
    return heart_rate.mean_rate(bvp, networks.SAMPLING_RATE)


def network_rows(recording, loaded):
    """Rows of trained networks, {method: network}; they answer always, as classical methods do."""
    frames, times = networks.face_frames(recording, network_box(recording))
    rows = []
    for method, network in loaded.items():
        bvp = networks.predicted_bvp(network, frames)
        confidence = heart_rate.spectral_concentration(bvp, networks.SAMPLING_RATE)
        bpm = network_rate(bvp)
        row = _row(recording, method, bpm, confidence, np.isfinite(bpm))
        rows.append(row | _trace_figures(recording, bvp, times[1:]))
    return rows


def _row(recording, method, bpm, confidence, answered, reason=None):
    """Row of one recording and method (see :func:`measure_all`)."""
    return {
        "recording": recording.name,
        "subject": recording.subject,
        "method": method,
        "bpm": float(bpm),
        "answered": bool(answered),
        "confidence": float(confidence),
        "reason": reason,
        "reference": float(recording.bpm),
        "strata": recording.strata,
    }


def _trace_figures(recording, bvp, times):
    """dict of ``snr``, ``macc`` and ``toolbox_`` ``snr``, ``bpm`` and ``peak_bpm``, given a BVP.

    The last two are [of the trace, of the reference] by rPPG-Toolbox's FFT and peak estimators,
    which read the label as coarsely as the prediction.
    """
    if not (recording.bpm > 0 and len(recording.bvp)):
        return {}
    sampling_rate = 1 / np.median(np.diff(times))
    reference = np.interp(times, recording.bvp_times, recording.bvp)
    pair = [metrics.toolbox_filter(trace, sampling_rate) for trace in (bvp, reference)]
    rates = [float(metrics.toolbox_fft_rate(x, sampling_rate)) for x in pair]
    return {
        "snr": float(heart_rate.snr(bvp, sampling_rate, recording.bpm)),
        "macc": metrics.macc(*pair),
        "toolbox_snr": float(metrics.toolbox_snr(pair[0], sampling_rate, rates[1])),
        "toolbox_bpm": rates,
        "toolbox_peak_bpm": [float(metrics.toolbox_peak_rate(x, sampling_rate)) for x in pair],
    }


def classical_rows(recording, methods):
    """Rows of classical methods on the oracle skin of one recording, decoded once.

    The rate is heart_rate.mean_rate of the trace, the confidence its spectral concentration;
    classical methods answer always.
    """
    rgb, sampling_rate = skin_trace(recording)
    times = np.arange(len(rgb)) / sampling_rate
    rows = []
    for method in methods:
        bvp = baselines.METHODS[method](rgb, sampling_rate)
        bpm = heart_rate.mean_rate(bvp, sampling_rate)
        confidence = heart_rate.spectral_concentration(bvp, sampling_rate)
        row = _row(recording, method, bpm, confidence, np.isfinite(bpm))
        rows.append(row | _trace_figures(recording, bvp, times))
    return rows


def pulse_row(recording, pipe):
    """Row of the pipeline at its defaults through its public call.

    ``bpm`` is its answer or, where it abstains, the rate of its surest window, so that errors can
    be told with and without abstention; ``answered`` tells which.
    """
    output = pipe(**recording.source())
    answered = np.isfinite(output.bpm)
    surest = max(output.windows, key=lambda window: window.confidence)
    bpm = output.bpm if answered else surest.bpm
    row = _row(recording, PULSE, bpm, output.confidence, answered, output.reason)
    windows = [
        {"start": w.start, "end": w.end, "bpm": w.bpm, "confidence": w.confidence}
        | {"crop": [float(edge) for edge in w.crop]}
        for w in output.windows
    ]
    return row | {"windows": windows} | _trace_figures(recording, output.bvp, output.times)


def fingerprint(paths, *words):
    """Ten hexadecimal digits of the contents of files (folders: all files in them) and of words."""
    digest = hashlib.sha256(repr(words).encode())
    for path in map(Path, paths):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def measure_all(recordings, methods, pipe, cache, progress=True, loaded=None):
    """Rows of all recordings by all methods; finished ones are read from the cache.

    A row has ``recording``, ``subject``, ``method``, ``bpm`` (best guess, NaN where there is
    none), ``answered``, ``confidence``, ``reason``, ``reference`` (bpm), ``strata``, and, where
    the reference has a trace, what :func:`_trace_figures` gives. A recording that cannot be
    measured is not answered and its ``reason`` says why.

    Args:
        recordings: list of :class:`Recording`.
        methods: names, :data:`PULSE` or keys of baselines.METHODS.
        pipe: function without arguments that returns the pipeline; called when it is needed.
        cache: dict method -> JSON-lines file; rows are appended as they are computed. A method
            must get another file as soon as anything its rows depend on changes.
        progress: whether to show a bar.
        loaded: dict method -> trained network of pulse_plantain.lab.networks, for methods that are networks.

    Returns:
        list of rows, in the order of recordings, then methods.
    """
    done = {(row["recording"], m): row for m in methods for row in _cached(cache[m])}
    for recording in tqdm(recordings, desc="recordings", unit="clip", disable=not progress):
        missing = [m for m in methods if (recording.name, m) not in done]
        for row in _measured(recording, missing, pipe, loaded or {}):
            done[recording.name, row["method"]] = row
            cache[row["method"]].parent.mkdir(parents=True, exist_ok=True)
            with cache[row["method"]].open("ab", buffering=0) as file:  # a line is written at once
                file.write(f"{json.dumps(row)}\n".encode())
    return [done[recording.name, method] for recording in recordings for method in methods]


def _measured(recording, methods, pipe, loaded):
    """Rows of one recording by the methods, the classical ones first."""
    classical = [method for method in methods if method in baselines.METHODS]
    trained = {method: loaded[method] for method in methods if method in loaded}
    if classical:
        try:
            yield from classical_rows(recording, classical)
        except ClipError as error:
            yield from (_failure(recording, method, error) for method in classical)
    if trained:
        try:
            yield from network_rows(recording, trained)
        except ClipError as error:
            yield from (_failure(recording, method, error) for method in trained)
    if PULSE in methods:
        try:
            yield pulse_row(recording, pipe())
        except ClipError as error:
            yield _failure(recording, PULSE, error)


def _failure(recording, method, error):
    """Row of a recording that cannot be measured; its path stays out of the results."""
    reason = str(error).replace(str(recording.path), recording.path.name)
    return _row(recording, method, np.nan, 0.0, False, reason)


def _cached(path):
    """Rows of a JSON-lines file; a line cut short by an interruption is left out."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def summary(rows, null_rows=(), seed=0):
    """Figures of each method.

    Args:
        rows: of recordings with a known rate.
        null_rows: of recordings known to hold no pulse.
        seed: of the bootstrap.

    Returns:
        dict method -> dict: ``forced`` (metrics.rate_figures of every recording's best guess, with
        ``interval``, 95 % over subjects of each of INTERVALS), ``answered`` (the same of the
        answers alone; its ``within`` counts an abstention as a miss, its interval does not),
        ``mae_at_coverage`` (of the surest quarter, half, ... of all guesses), ``snr``, ``macc`` and
        ``toolbox_snr`` means with ``_se`` and ``_interval``, ``toolbox_mae`` and
        ``toolbox_peak_mae`` (rPPG-Toolbox's coarse estimates on both sides),
        ``null`` = {``n``, ``abstained`` 0...1} where there are null rows, ``strata`` = the same by
        stratum (:func:`by_stratum`).
    """
    figures = {}
    for method in dict.fromkeys(row["method"] for row in [*rows, *null_rows]):
        mine = [row for row in rows if row["method"] == method]
        null = [row for row in null_rows if row["method"] == method]
        figures[method] = {}
        if mine:
            figures[method] = _accuracy(mine, seed) | {"strata": by_stratum(mine, seed)}
        if null:
            abstained = 1 - np.mean([row["answered"] for row in null])
            figures[method]["null"] = {"n": len(null), "abstained": float(abstained)}
    return figures


MOST_LEVELS = 8
"""Strata with more different values than this are split at their quartiles."""


def by_stratum(rows, seed=0):
    """Figures of one method by stratum and level.

    Args:
        rows: of one method, with a known rate.
        seed: of the bootstrap over subjects.

    Returns:
        dict stratum -> level -> what :func:`summary` tells of all rows, and ``subjects``. Numbers
        of many values, as bit rates, are split at their quartiles. A stratum of one level is left
        out.
    """
    figures = {}
    for name in sorted({name for row in rows for name in row["strata"]}):
        known = [row for row in rows if row["strata"].get(name) is not None]
        levels = _levels([row["strata"][name] for row in known])
        if len(set(levels)) < 2:
            continue
        figures[name] = {}
        for level in sorted(set(levels)):
            some = [row for row, its in zip(known, levels, strict=True) if its == level]
            subjects = len({row["subject"] for row in some})
            figures[name][level] = _accuracy(some, seed) | {"subjects": subjects}
    return figures


def _levels(values):
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


def _accuracy(rows, seed):
    """Figures of one method's rows with a known rate (see :func:`summary`)."""
    bpm, reference = (np.array([row[k] for row in rows], float) for k in ("bpm", "reference"))
    subjects = np.array([row["subject"] for row in rows])
    answers = np.where([row["answered"] for row in rows], bpm, np.nan)
    confidences = np.array([row["confidence"] for row in rows])
    coverage, mae, _ = metrics.coverage_against_error(bpm, reference, confidences)
    quarters = [q for q in (0.25, 0.5, 0.75, 1.0) if q <= coverage.max(initial=0)]
    figures = {
        "mae_at_coverage": {str(q): float(mae[np.searchsorted(coverage, q)]) for q in quarters}
    }
    for name, guesses in (("forced", bpm), ("answered", answers)):
        figures[name] = metrics.rate_figures(guesses, reference)
        known = np.isfinite(guesses)
        figures[name]["interval"] = _intervals(
            guesses[known], reference[known], subjects[known], seed
        )
    traced = [row for row in rows if "snr" in row]
    if traced:
        whose = [row["subject"] for row in traced]
        for name in ("snr", "macc", "toolbox_snr"):
            values = np.array([row[name] for row in traced])
            figures[name] = float(values.mean())
            figures[f"{name}_se"] = float(values.std() / np.sqrt(len(values)))
            interval = metrics.bootstrap_interval(np.mean, whose, values, draws=DRAWS, seed=seed)
            figures[f"{name}_interval"] = interval
        for name in ("toolbox", "toolbox_peak"):
            off = [abs(np.subtract(*row[f"{name}_bpm"])) for row in traced]
            figures[f"{name}_mae"] = float(np.nanmean(off))
    return figures


DRAWS = 500
"""Resamplings of every bootstrap over subjects."""

INTERVALS = ("mae", "rmse", "mape", "pearson", "within")


def _intervals(bpm, reference, subjects, seed):
    """dict of the 95 % intervals of INTERVALS over subjects; NaN where nothing is known."""

    def figures(bpm, reference):
        error = np.abs(bpm - reference)
        flat = len(bpm) < 3 or np.ptp(bpm) == 0 or np.ptp(reference) == 0
        pearson = np.nan if flat else np.corrcoef(bpm, reference)[0, 1]
        mape = 100 * np.mean(error / reference)
        return error.mean(), np.sqrt(np.mean(error**2)), mape, pearson, np.mean(error <= 3)

    if not len(bpm):
        return dict.fromkeys(INTERVALS, (np.nan, np.nan))
    with warnings.catch_warnings():  # of two recordings r is never known
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        found = metrics.bootstrap_interval(
            figures, subjects, bpm, reference, draws=DRAWS, seed=seed
        )
    return dict(zip(INTERVALS, found, strict=True))


def table(figures):
    """The figures of :func:`summary` as a Markdown table, a line a method."""
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


def listing(rows):
    """Rows without a known rate as a Markdown table, a line a row."""
    lines = ["| recording | method | bpm | confidence | answered |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "yes" if row["answered"] else row["reason"]
        cells = (f"{row['bpm']:.1f}", f"{row['confidence']:.2f}", verdict)
        lines.append(" | ".join(["| " + row["recording"], row["method"], *cells]) + " |")
    return "\n".join(lines)


def strict(value):
    """``value`` as JSON can hold it: NaN and infinities become None, in depth."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
