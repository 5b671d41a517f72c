"""The numbers of the reading, fitted on clips whose pulse is known: pictures once, then witnesses.

What the pipeline draws of a clip is collected once and kept; the fit looks at nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pulse_plantain import posterior, search, windows
from pulse_plantain.drawing import Drawing
from pulse_plantain.lab.kept import fingerprint, hash_weights, is_fresh
from pulse_plantain.posterior import HEARTS, HOP, RATES, SIGNS, Weights, Witness
from pulse_plantain.video import OWN_CLOCK, ClipError, Clock

START = replace(Weights(), sharpness=7.5418, doubt=0.1, scale=1.6, overlap=0.6994, quiet=0.1)
"""Where a fit begins; what is not fitted to clips stays."""

WALK_SPAN, WALK_LAG = 8, 20
"""Seconds over which a rate is the mean, and between the rates whose differences give the step of
the random walk: what a window shows, and further apart than a breath's swing of the rate."""

FINE, COARSE = 0.75, 1.5
"""bpm: widths of the two kernels by which a course of rates is compared with the truth."""

_AT_ONCE = 48
"""Cases of a fit, three a clip, whose chances are held at once."""

_TYPE = torch.float32
"""Of what is fitted: half the time of float64, and the same numbers to three digits."""

_FITTED = ("sharpness", "doubt", "trust", "beats", "silence", "lit", "scale", "overlap", "quiet")
_POSITIVE = ("sharpness", "doubt", "scale")

_DIRECTIONS = {
    "line": 1,
    "amplitude": 1,
    "palette": 1,
    "agreement": 1,
    "followed": 0,
    "red": -1,
    "background": -1,
    "beside": -1,
    "displaced": -1,
    "face": 1,
}
"""Whether a sign speaks for a pulse (1), against it (-1), or may do either (0), so that what is far
from the fitted clips, as a drawing without a fault, is not believed less than those."""


@dataclass(frozen=True)
class Evidence:
    """What was drawn of a clip, and the truth.

    Attributes:
        name: of the clip.
        witnesses: of all that was drawn.
        seconds: length of the clip.
        rates: [T] bpm at every instant; NaN where there is no pulse.
        upheavals: times in s at which something that was drawn changes altogether.
    """

    name: str
    witnesses: list[Witness]
    seconds: float
    rates: np.ndarray
    upheavals: Sequence[float] = ()

    def save(self, path: Path) -> None:
        """Write it as an npz file."""
        lines, signs, _ = posterior.stack_witnesses(self.witnesses)
        spans = np.array([(w.start, w.end) for w in self.witnesses])
        sources = [json.dumps([list(w.source[0]), w.source[1]]) for w in self.witnesses]
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                lines=lines.numpy().astype(np.float32),
                signs=signs.numpy(),
                spans=spans,
                sources=np.array(sources),
                seconds=self.seconds,
                rates=self.rates,
                upheavals=np.array(self.upheavals, float),
            )

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """Read what :meth:`save` wrote."""
        with np.load(path) as kept:
            witnesses = [
                Witness(float(start), float(end), str(source), lines.astype(float), signs)
                for (start, end), source, lines, signs in zip(
                    kept["spans"], kept["sources"], kept["lines"], kept["signs"], strict=True
                )
            ]
            upheavals = kept["upheavals"].tolist() if "upheavals" in kept else ()
            return cls(path.stem, witnesses, float(kept["seconds"]), kept["rates"], upheavals)


def count_instants(seconds: float) -> int:
    """Instants of a clip's posterior."""
    return max(1, round(seconds / HOP))


def collect(
    pipe: Any, clip: Any, clock: Clock = OWN_CLOCK
) -> tuple[list[Witness], float, list[float]]:
    """What the pipeline's search draws of a clip.

    Args:
        pipe: PulsePipeline.
        clip, clock: see :func:`pulse_plantain.video.read_frames`.

    Returns:
        (witnesses, the end of the last window in s, times in s of upheavals).
    """
    lengths = windows.window_lengths(pipe.config.default_windows)
    drawing = Drawing(prompt_embeds=pipe.encode_task_prompt())
    looking = pipe.start_search(lengths, drawing)
    fine = search.divide_finely(pipe.layout.geometry.samples)
    beside = windows.Beside(faces=True)
    encoded = windows.encode_windows(clip, fine, clock=clock, window=lengths, beside=beside)
    with torch.no_grad():
        for group in search.divide_by_ticks(encoded, max(lengths), search.TICK):
            looking.take(group)
    witnesses = [one.witness for one in looking.drawn if one.counts]
    last = max(one.window.end for one in looking.drawn)
    return witnesses, last, search.list_upheavals(looking.drawn)


def name_evidence(kept: Path, adapter: Path) -> Path:
    """The folder of what an adapter drew, below ``kept``; another reading's rates have another one.

    Args:
        kept: folder of all evidence.
        adapter: file of the adapter.
    """
    return kept / fingerprint([], hash_weights(adapter), RATES.round(3).tolist(), SIGNS)


def collect_folder(pipe: Any, folder: Path, kept: Path) -> Iterator[Evidence]:
    """Evidence of the clips of a folder that scripts/synthesize.py filled.

    Args:
        pipe: PulsePipeline.
        folder: of the clips.
        kept: folder where evidence is kept; what is there and not older than its clip is not
            collected again.

    Raises:
        ClipError: if the folder holds no such clips.
    """
    truths = sorted(folder.glob("*.json"))
    if not truths:
        raise ClipError(f"no clips with ground truth in {folder}")
    kept.mkdir(parents=True, exist_ok=True)
    for path in tqdm(truths, desc=folder.name, unit="clip"):
        place = kept / f"{folder.name}-{path.stem}.npz"
        if not is_fresh(place, path, path.with_suffix(".mp4")):
            witnesses, seconds, upheavals = collect(pipe, path.with_suffix(".mp4"))
            truth = json.loads(path.read_text())
            rates = read_rates(truth, count_instants(seconds))
            Evidence(place.stem, witnesses, seconds, rates, upheavals).save(place)
        yield Evidence.load(place)


def read_rates(truth: dict[str, Any], count: int) -> np.ndarray:
    """The rate (bpm) at each of a number of instants; NaN where there is no pulse, or nobody."""
    times = (np.arange(count) + 0.5) * HOP
    if not truth["bpm"]:
        return np.full(count, np.nan)
    rates = np.interp(times, truth["times"][1:], smooth_rate(truth))
    start, end = truth.get("away", (np.inf, np.inf))
    return np.where((times > start) & (times < end), np.nan, rates)


def smooth_rate(truth: dict[str, Any]) -> np.ndarray:
    """The instantaneous rates (bpm) of a ground truth, averaged over four seconds."""
    rate = np.asarray(truth["rate"], float)
    width = min(len(rate), round(4 / (truth["times"][1] - truth["times"][0])))
    ones = np.ones(width)
    return np.convolve(rate, ones, "same") / np.convolve(np.ones(len(rate)), ones, "same")


def fit_walk(intervals: Iterable[np.ndarray]) -> float:
    """Standard deviation of the logarithm of a heart's rate after a second.

    The mean rates of windows of :data:`WALK_SPAN` whose middles are L = :data:`WALK_LAG` apart
    differ by a variance of step^2 (L - span / 3), if the rate is a random walk.

    Args:
        intervals: recordings' inter-beat intervals [beats] in s.
    """
    half, steps = WALK_SPAN / 2, []
    for one in intervals:
        beats = np.concatenate([[0.0], np.cumsum(one)])
        times = np.arange(half, beats[-1] - half, HOP)
        before, after = (
            np.interp(times + way, beats, np.arange(len(beats))) for way in (-half, half)
        )
        logs = np.log((after - before) / WALK_SPAN)
        lag = round(WALK_LAG / HOP)
        steps.append(logs[lag:] - logs[:-lag])
    variance = np.mean(np.concatenate(steps) ** 2)
    return float(np.sqrt(variance / (WALK_LAG - WALK_SPAN / 3)))


# ------------------------------------------------------------------------------------------ the fit


@dataclass(frozen=True)
class _Case:
    """A clip of the fit: which of all witnesses it has, and how they count."""

    rows: torch.Tensor
    placing: posterior.Placing
    anew: torch.Tensor  # [T] bool
    target: torch.Tensor  # [2, T, S], what the two kernels take of every state
    weight: float


def thin(evidence: Sequence[Evidence], seed: int = 0) -> Iterator[tuple[int, list[int], float]]:
    """Every clip with all of its sources, with some eight, and with a single one.

    So the fit sees how much many witnesses are worth over few.

    Yields:
        (number of the clip, numbers of its witnesses, weight).
    """
    dice = np.random.default_rng(seed)
    for number, one in enumerate(evidence):
        sources = list(dict.fromkeys(witness.source for witness in one.witnesses))
        yield number, list(range(len(one.witnesses))), 1.0
        for count, weight in ((8, 0.5), (1, 0.25)):
            chosen = {sources[i] for i in dice.permutation(len(sources))[:count]}
            kept = [i for i, witness in enumerate(one.witnesses) if witness.source in chosen]
            yield number, kept, weight


def _aim(rates: np.ndarray) -> np.ndarray:
    """[2, T, S]: what each of the kernels takes of every state, 1 at the truth.

    Where there is no pulse, every state is true that is none of a heart.
    """
    away = RATES - rates[:, None]
    none = np.isnan(rates)[:, None]
    no_heart = ~np.isin(np.arange(len(RATES)), HEARTS)
    kernels = [np.exp(-0.5 * (away / width) ** 2) for width in (FINE, COARSE)]
    others = none.repeat(len(RATES) + 1, 1)
    rows = [np.concatenate([np.where(none, no_heart, kernel), others], 1) for kernel in kernels]
    return np.stack(rows)


def _make_case(one: Evidence, kept: list[int], weight: float, first_row: int) -> _Case:
    times = (np.arange(len(one.rates)) + 0.5) * HOP
    placing = posterior.place_all([one.witnesses[number] for number in kept], times)
    return _Case(
        rows=torch.tensor(kept) + first_row,
        anew=torch.from_numpy(posterior.find_instants_anew(times, one.upheavals)),
        placing=posterior.Placing(*(value.to(_TYPE) for value in vars(placing).values())),
        target=torch.from_numpy(_aim(one.rates)).to(_TYPE),
        weight=weight,
    )


class Fit:
    """The fit of :class:`Weights` to evidence.

    Args:
        evidence: of clips with and without a pulse; one without a witness says nothing here.
        start: weights to begin with; those that are not fitted are kept.
        ridge: strength by which the numbers of trust, silence and lit are drawn to 0, as they are
            before they are bound to a side.
    """

    def __init__(self, evidence: Sequence[Evidence], start: Weights, ridge: float = 1e-3):
        evidence = [one for one in evidence if one.witnesses]
        signs = np.concatenate([[w.signs for w in one.witnesses] for one in evidence])
        # A sign that no witness has, such as the face's where none is found, gets mean 0 and
        # spread 1.
        nowhere = np.isnan(signs).all(0)
        known = np.concatenate([signs, np.where(nowhere, [[1.0], [-1.0]], np.nan)])
        self.start = replace(
            start,
            mean=np.nanmean(known, 0).round(4).tolist(),
            spread=np.maximum(np.nanstd(known, 0), 1e-3).round(4).tolist(),
        )
        self.ridge = ridge
        first = np.cumsum([0, *(len(one.witnesses) for one in evidence)]).tolist()
        self.cases = [
            _make_case(evidence[number], kept, weight, first[number])
            for number, kept, weight in thin(evidence)
        ]
        self._parts = [self.cases[i : i + _AT_ONCE] for i in range(0, len(self.cases), _AT_ONCE)]
        stacked = posterior.stack_witnesses(w for one in evidence for w in one.witnesses)
        self.lines, self.signs, self.seconds = (values.to(_TYPE) for values in stacked)
        self.moves = tuple(part.to(_TYPE) for part in posterior.make_transitions(self.start))
        self.values = {
            name: torch.tensor(getattr(self.start, name), dtype=_TYPE) for name in _FITTED
        }
        for name in _POSITIVE:
            self.values[name] = self.values[name].log()
        for name in ("trust", "silence"):
            self.values[name] = torch.full_like(self.values[name], -1.0)
            self.values[name][0] = 0.0
        self.values["lit"] = torch.full_like(self.values["trust"], -1.0)
        self.values["lit"][0] = -1.0
        self.values["beats"] = torch.zeros(2, dtype=_TYPE)
        for value in self.values.values():
            value.requires_grad_(True)

    def _current(self) -> SimpleNamespace:
        values = {n: v.exp() if n in _POSITIVE else v for n, v in self.values.items()}
        way = torch.tensor([0, *(_DIRECTIONS[name] for name in SIGNS)], dtype=_TYPE)
        for name, side in (("trust", way), ("silence", -way)):
            bounded = side * torch.nn.functional.softplus(values[name])
            values[name] = torch.where(way == 0, values[name], bounded)
        bounded = -way * torch.nn.functional.softplus(values["lit"])
        values["lit"] = torch.where(way == 0, values["lit"], bounded)
        tilt, bend = values["beats"]  # too few beats and too many are not read better
        values["beats"] = torch.stack([tilt, -torch.nn.functional.softplus(bend)])
        return SimpleNamespace(mean=self.start.mean, spread=self.start.spread, **values)

    def losses(self) -> Iterator[torch.Tensor]:
        """Parts of the loss, a few clips in each: so a fit of many clips holds little memory.

        Their sum is the mean over clips of minus the logarithm of the chance of the truth, with
        the ridge.
        """
        total = sum(case.weight for case in self.cases)
        for part in self._parts:
            yield self._sum_losses(part) / total
        small = [self.values[name][1:].square().sum() for name in ("trust", "silence", "lit")]
        yield self.ridge * torch.stack(small).sum()

    def _sum_losses(self, cases: Sequence[_Case]) -> torch.Tensor:
        """Weighted sum of the losses of some cases."""
        weights = self._current()
        rows, place = torch.cat([case.rows for case in cases]).unique(return_inverse=True)
        places = place.split([len(case.rows) for case in cases])
        said, trust = posterior.weigh(
            self.lines[rows], self.signs[rows], self.seconds[rows], weights
        )
        losses = []
        by_length: dict[int, list[tuple[_Case, torch.Tensor]]] = {}
        for case, kept in zip(cases, places, strict=True):
            evidence = posterior.add_up(said[kept], trust[kept], case.placing, weights)
            by_length.setdefault(len(evidence), []).append((case, evidence))
        for group in by_length.values():
            evidence = torch.stack([one for _, one in group])
            anew = torch.stack([case.anew for case, _ in group])
            chances, _ = posterior.smooth(evidence, *self.moves, anew=anew)
            aims = torch.stack([case.target for case, _ in group], 1)  # [2, B, T, S]
            right = (aims * chances).sum(-1).clamp(min=1e-12).log().mean((0, 2))
            factors = torch.tensor([case.weight for case, _ in group], dtype=right.dtype)
            losses.append(-(factors * right).sum())
        return torch.stack(losses).sum()

    def run(self, steps: int = 150, rate: float = 0.08) -> Weights:
        """Fit, and return the weights."""
        optimizer = torch.optim.Adam(list(self.values.values()), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        bar = tqdm(range(steps), desc="fit", unit="step")
        for _ in bar:
            optimizer.zero_grad()
            loss = 0.0
            for part in self.losses():
                part.backward()
                loss += part.item()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss:.4f}")
        fitted: dict[str, Any] = {}
        for name, value in vars(self._current()).items():
            if name in _FITTED:
                fitted[name] = np.round(value.detach().double().numpy(), 4).tolist()
        return replace(self.start, **fitted)


def judge(evidence: Iterable[Evidence], weights: Weights) -> list[dict[str, Any]]:
    """A row for each clip: what the posterior says of it, and the truth (0 without a pulse)."""
    rows = []
    for one in evidence:
        span = (0.0, one.seconds)
        read = posterior.Posterior(one.witnesses, weights, span, one.upheavals)
        found = read.read_clip()
        truth = 0.0 if np.isnan(one.rates).all() else float(np.nanmean(one.rates))
        rows.append({"name": one.name, "reference": truth, "bpm": found.bpm,
                     "confidence": found.confidence, "present": found.present})  # fmt: skip
    return rows
