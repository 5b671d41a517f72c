"""How well simulated clips are read by methods that are told more than the model is.

The classical methods are told where the skin is. Two oracles are told what nobody knows: which
colour the skin's course has at the true phase of the pulse, with whatever else moves as the pulse
does, and how strong and how late the pulse is in every cell. They weigh colours, or colours and
cells, as the best linear filter for that pulse does (Capon, Proc. IEEE 1969, 57, 1408; PBV is the
same of colours with a pulse's usual colour). They are no bound: their weights are fixed for a
window, and their rate is that of the strongest line.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from pulse_plantain.lab import baselines
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.synthetic import draw_scenes, name_split, simulate, split_seeds
from pulse_plantain.lab.training import WINDOWS
from pulse_plantain.posterior import HEARTS, RATES, WITHIN, find_lines

CLASSICAL: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "GREEN": baselines.green,
    "CHROM": baselines.chrom,
    "POS": baselines.pos,
    "PBV": baselines.pbv,
}

TOLD_COLOURS, TOLD_ALL = "told the pulse's colour", "told colour and cells"
TOLD = (TOLD_COLOURS, TOLD_ALL)

LOADING = 0.3
"""Of the covariance between cells, in mean variances: more cells than a window can tell apart. Of
0.03, 0.3 and 3 it read most of the first 96 validation clips."""

SLOW = 4
"""Polynomials, up to cubic, that are taken out of every course before it is weighed."""

_CLIPS_AT_ONCE = 8


@dataclass(frozen=True)
class Clip:
    """A simulated clip with a pulse at one length, and the truth about it.

    Attributes:
        motion: [samples, rows, bands, 3] relative changes of the cells' colours.
        pulse: [rows, bands] complex, strength and lag of the pulse in each cell.
        phase: [samples] rad of the pulse's fundamental.
        seconds: length.
    """

    motion: np.ndarray
    pulse: np.ndarray
    phase: np.ndarray
    seconds: float

    @property
    def sampling_rate(self) -> float:
        """Samples a second."""
        return len(self.motion) / self.seconds


def flatten_slowly(courses: np.ndarray) -> np.ndarray:
    """Courses [samples, n] without their first :data:`SLOW` polynomials."""
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(courses)), SLOW - 1)
    basis = np.linalg.qr(basis)[0]
    return courses - basis @ (basis.T @ courses)


def weigh_best(courses: np.ndarray, wanted: np.ndarray, loading: float) -> np.ndarray:
    """The trace [samples] of courses that lets a signature through and least of all else.

    Args:
        courses: [samples, n].
        wanted: [n] complex, how the pulse shows in each.
        loading: added to the diagonal of their covariance, in mean variances.
    """
    covariance = courses.T @ courses / len(courses)
    floor = loading * np.trace(covariance) / len(covariance)
    weights = np.linalg.solve(covariance + (floor + 1e-15) * np.eye(len(covariance)), wanted)
    return courses @ weights.conj()


def find_rate(trace: np.ndarray, sampling_rate: float) -> tuple[float, float]:
    """(share of the trace's power in the strongest line of a heart, rate of that line in bpm)."""
    lines = find_lines(trace, sampling_rate)[HEARTS]
    return float(lines.max()), float(RATES[HEARTS][lines.argmax()])


def read_clip(clip: Clip) -> dict[str, tuple[float, float]]:
    """What each method finds in a clip, as :func:`find_rate`, by its name."""
    strength = np.abs(clip.pulse)
    course = np.einsum("srbc,rb->sc", clip.motion, strength / strength.sum())
    traces = {
        name: flatten_slowly(method(1 + course, clip.sampling_rate)[:, None])[:, 0]
        for name, method in CLASSICAL.items()
    }
    course = flatten_slowly(course)
    turned = (course * np.exp(-1j * clip.phase)[:, None]).mean(0)
    colour = (turned / turned[1]).real  # over green's
    traces[TOLD_COLOURS] = weigh_best(course, colour, 0.0)
    cells = flatten_slowly(clip.motion.reshape(len(course), -1))
    signature = (clip.pulse[..., None] * colour).ravel()
    traces[TOLD_ALL] = weigh_best(cells, signature, LOADING)
    return {name: find_rate(trace, clip.sampling_rate) for name, trace in traces.items()}


def read_light(light: str, count: int) -> list[dict[str, float]]:
    """A row for each validation clip in a light: its rate, and the error of each method.

    They are the clips that the trainer validates on. As there, each is read at every length, the
    surest reading is kept, and its error is that against the mean rate while it was read.

    Args:
        light: one of lab.synthetic.LIGHTS.
        count: of clips.

    Returns:
        rows of ``bpm`` (over the longest length) and, by method, its error in bpm; NaN where no
        skin is in the picture.
    """
    layout, rows = AdapterSettings().layout, []
    first = name_split("validation", light)
    for start in tqdm(range(0, count, _CLIPS_AT_ONCE), f"{light} light"):
        seeds = split_seeds(first, min(_CLIPS_AT_ONCE, count - start), start)
        scenes = draw_scenes(seeds, webcam=True, kinds=False, light=light)
        found: list[list[dict[str, tuple[float, float]]]] = [[] for _ in seeds]
        for seconds in WINDOWS:
            batch = simulate(scenes, layout, seconds)
            pulses = torch.polar(batch.amplitude, -batch.phase_lag).numpy()
            for number, pulse in enumerate(pulses):
                if pulse.any():
                    motion = batch.motion[number].double().numpy()
                    clip = Clip(motion, pulse, batch.phase[number].numpy(), seconds)
                    bpm = float(batch.bpm[number])
                    read = read_clip(clip).items()
                    found[number].append(
                        {name: (share, rate - bpm) for name, (share, rate) in read}
                    )
        truth = scenes.heart.bpm(0.0, max(WINDOWS)).tolist()
        rows += [
            {"bpm": bpm} | {name: keep_surest(some, name) for name in (*CLASSICAL, *TOLD)}
            for bpm, some in zip(truth, found, strict=True)
        ]
    return rows


def keep_surest(readings: list[dict[str, tuple[float, float]]], name: str) -> float:
    """The error of the reading with the largest share of its trace; NaN without readings."""
    return max((one[name] for one in readings), default=(0.0, float("nan")))[1]


def sum_up(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Errors of each method over the clips that show skin; ``clips`` is how many do."""
    seen = [row for row in rows if np.isfinite(row[TOLD_ALL])]
    figures = {}
    for name in (*CLASSICAL, *TOLD):
        error = np.abs(np.array([row[name] for row in seen]))
        within, mae = float((error <= WITHIN).mean()), float(error.mean())
        figures[name] = {"clips": len(seen), "within_3_bpm": within, "mae_bpm": mae}
    return figures
