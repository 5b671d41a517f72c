"""A posterior over heart rates: many drawings' spectra go in, a rate and its probability come out.

Every drawing is a witness: its trace has a share of its power in a line at every rate, and a few
signs tell how far that may be believed. A hidden Markov model adds the witnesses up along time. Its
states are the rates of a fine grid at which a pulse beats, the same rates at which something else
does (a light, a movement), and one where nothing beats. Rates walk, and what beats may come and go.
So a line that stays at one rate for a minute does not speak for a pulse by that: what else beats
does so, too, and the signs have to tell the two apart. Where what is looked at changes altogether,
all may begin anew. The rates go on a little beyond those that a heart is looked for at: what is
slower or faster is found where it is, and is no pulse. Nothing here knows of pictures, sheets or
models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch

_STEP, _BEYOND = (204 / 36) ** (1 / 231), 24

RATES = 36.0 * _STEP ** np.arange(-_BEYOND, 232 + _BEYOND)
"""Rates that are told apart, in bpm: 0.75 % from one to the next, 30 to 244."""

HEARTS = np.arange(len(RATES) - 2 * _BEYOND) + _BEYOND
"""Which of :data:`RATES` a heart may have: 36 to 204 bpm. A slow movement, which has its line below
them, would have to be a slow heart if they were all that there is."""

SIGNS = (
    "line",
    "amplitude",
    "palette",
    "agreement",
    "followed",
    "red",
    "background",
    "beside",
    "displaced",
    "face",
)
"""What else can be seen of a witness, in the order of :attr:`Witness.signs`:

line: log odds of the share of the trace's power in its strongest line.
amplitude: logarithm of the drawn amplitude (rms, AC/DC).
palette: share of the drawing that is on the palette.
agreement: log odds of the share of the cells' power that their mean keeps.
followed: log odds of the share of green's power, in what carries the trace, that follows the trace.
red: how much red follows the trace, over how much green does.
background: logarithm of the power with which the picture beside what was looked at follows the
    trace, over the power with which that itself follows it.
beside: log odds of the share of that picture's own power that follows the trace: little where it
    only is as noisy as what was looked at is faint, much where light wavers in the whole room.
displaced: log odds of how far what changes at the strongest line is the picture being moved.
face: what was looked at and a face in the picture have in common, over what either covers.
"""

HOP = 1.0
"""Seconds from one instant to the next."""

WITHIN = 3.0
"""bpm: a rate is right that is no further from the truth, and confidence is the chance of that."""

MIN_CONFIDENCE = 0.75
"""Confidence from which a heart rate is given: of thresholds 0.05 apart the lowest at which, of the
fit's clips of 10 s, 95 % of the rates of those with a pulse are right and at most 2 % of those
without get a rate. Each was read by a fit to the other half of them."""

ANEW = 0.3
"""Chance that what is seen after an upheaval has nothing to do with what was seen before it: of 0,
0.1, 0.2, 0.3 and 0.5 the one with the fewest false rates in empty rooms (docs/tried.md)."""

SHORTEST_PULSE = 4.0
"""Seconds that a pulse must be there for a clip to have one."""

PATHS = 1000
"""Courses of the heart rate that are drawn from the posterior."""

_ANY_BEATS = 11.0  # beats on a sheet, to which their number is related

_STATES = 2 * len(RATES) + 1  # a pulse at each rate, something else at each rate, nothing


@dataclass(frozen=True)
class Witness:
    """What one drawing says.

    Attributes:
        start, end: s, of the time that it shows.
        source: what it has in common with others of other times (where it looks, how long).
        lines: [len(RATES)] in 0..1, share of the trace's power in a line at each rate.
        signs: [len(SIGNS)], NaN where it is not known.
    """

    start: float
    end: float
    source: Any
    lines: np.ndarray
    signs: np.ndarray

    @property
    def seconds(self) -> float:
        """Length of the time that it shows."""
        return self.end - self.start


@dataclass(frozen=True)
class Weights:
    """The numbers of the reading, fitted on clips whose pulse is known; by default the miniature's.

    Attributes:
        mean, spread: [len(SIGNS)] of the signs, by which they are brought to one scale.
        sharpness, doubt: of a line: the chance that the rate is r rises as
            (1 - (1 - doubt) * share of power at r) ** -sharpness.
        trust: of the log odds that a drawing shows the pulse where there is one: a constant, and
            one for each sign.
        beats: of the same log odds: of the logarithm of the beats that the drawing would show, and
            of its square.
        silence: of x, where -log(1 + exp(-x)) is the logarithm of the likelihood that a drawing has
            where nothing beats over the one that it has with a pulse of unknown rate: a constant,
            and one for each sign. A drawing that shows nothing says 0 here, too: where it looks
            there may be no skin.
        lit: of the logarithm of the likelihood that a drawing has where a light or a movement beats
            at some rate over the one that it has with a pulse at that rate: a constant, and one for
            each sign.
        scale, overlap: n witnesses of one instant, counted by their trust, count as
            scale * n ** (1 - overlap).
        quiet: logarithm of the likelihood of a light, of a movement and of nothing that each
            instant adds which was looked at.
        present: chance that there is a pulse at first.
        change: chance per second that a pulse, or what else beats, comes or goes.
        drift: standard deviation of the logarithm of the rate after a second.
        restart: chance per second that the rate jumps anywhere.
    """

    mean: Sequence[float] = (
        -0.7029,
        -7.5437,
        0.9417,
        -1.1336,
        -2.0299,
        0.4045,
        -1.9532,
        -3.0565,
        -4.0852,
        0.3918,
    )
    spread: Sequence[float] = (
        1.8411,
        0.7438,
        0.0294,
        1.0756,
        1.6424,
        0.5293,
        2.3618,
        1.1496,
        2.3323,
        0.2846,
    )
    sharpness: float = 9.29
    doubt: float = 0.038
    trust: Sequence[float] = (
        0.9786,
        0.98,
        0.499,
        0.5946,
        0.6545,
        -0.0129,
        -0.504,
        -0.6187,
        -0.8064,
        -0.5009,
        1.2795,
    )
    beats: Sequence[float] = (-0.1405, -0.4706)
    silence: Sequence[float] = (
        1.4543,
        -1.2929,
        -2.2478,
        -0.6134,
        -0.5928,
        -0.0325,
        0.8152,
        0.4885,
        0.7223,
        0.3678,
        -1.0479,
    )
    lit: Sequence[float] = (
        -1.0342,
        -0.1741,
        -0.8621,
        -0.4856,
        -0.2731,
        0.294,
        0.447,
        0.4577,
        0.9497,
        0.2345,
        -0.266,
    )
    scale: float = 1.112
    overlap: float = 0.9434
    quiet: float = 0.2454
    present: float = 0.5
    change: float = 1 / 60
    drift: float = 0.0152
    restart: float = 0.005

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> Weights:
        """From :meth:`to_dict`; what was fitted before ``face`` was a sign does not weigh it.

        Raises:
            ValueError: for a name that is unknown and for a list of another length.
        """
        unknown = set(numbers) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"the reading has no numbers named {sorted(unknown)}")
        lists = {"mean": 0, "spread": 0, "trust": 1, "silence": 1, "lit": 1}
        numbers = dict(numbers)
        for name, more in lists.items():
            if len(numbers.get(name, ())) == len(SIGNS) - 1 + more:
                numbers[name] = [*numbers[name], 1.0 if name == "spread" else 0.0]
        weights = cls(**numbers)
        for name, length in lists.items():
            if len(getattr(weights, name)) != len(SIGNS) + length:
                raise ValueError(f"{name} must have {len(SIGNS) + length} numbers, one a sign")
        return weights


def find_lines(traces: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Share of the power of traces that is in a line at each rate.

    Args:
        traces: [..., samples] complex.
        sampling_rate: Hz.

    Returns:
        [..., len(RATES)] in 0..1; 0 for a trace of zeros.
    """
    samples = traces.shape[-1]
    turns = _turn_back(samples, float(sampling_rate))
    power = samples * np.square(np.abs(traces)).sum(-1, keepdims=True)
    return np.square(np.abs(traces @ turns)) / np.maximum(power, np.finfo(float).tiny)


@lru_cache(16)
def _turn_back(samples: int, sampling_rate: float) -> np.ndarray:
    """[samples, len(RATES)] what turns every rate back; a search asks for the same few."""
    return np.exp(-2j * np.pi * np.outer(np.arange(samples) / sampling_rate, RATES / 60))


def to_log_odds(share: Any) -> np.ndarray:
    """log(p / (1 - p)) of shares p, which are kept a thousandth away from 0 and 1."""
    kept = np.clip(share, 1e-3, 1 - 1e-3)
    return np.log(kept / (1 - kept))


# ---------------------------------------------------------------------------------- one witness


def weigh(
    lines: torch.Tensor, signs: torch.Tensor, seconds: torch.Tensor, weights: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each witness says of every state, as logarithms of likelihoods, and its trust.

    With a pulse at rate r it is log(1 - c + c q(r)): c is the chance that the drawing shows the
    pulse, q(r) its line at r over the mean of all rates. So a witness that shows nothing says 0.

    Args:
        lines: [W, len(RATES)].
        signs: [W, len(SIGNS)], NaN where unknown.
        seconds: [W].
        weights: :class:`Weights`, or the same of tensors that are being fitted.

    Returns:
        ([W, 2 len(RATES) + 1], of a pulse at each rate, of something else at each rate, of nothing
        that beats; [W] chance that it shows a pulse of many beats).
    """
    mean, spread, trust, beats, silence, lit = (
        torch.as_tensor(getattr(weights, name), dtype=lines.dtype)
        for name in ("mean", "spread", "trust", "beats", "silence", "lit")
    )
    level = torch.nan_to_num((signs - mean) / spread).clamp(-3, 3)
    rates = torch.as_tensor(RATES, dtype=lines.dtype)
    shown = (seconds[:, None] * rates / 60 / _ANY_BEATS).log()
    sure = trust[0] + level @ trust[1:]
    odds = sure[:, None] + beats[0] * shown + beats[1] * shown**2
    line = -weights.sharpness * torch.log1p(-(1 - weights.doubt) * lines)
    ratio = torch.log_softmax(line, 1) + np.log(len(RATES))
    logs = torch.nn.functional.logsigmoid
    pulse = torch.logaddexp(logs(-odds), logs(odds) + ratio)
    light = pulse + (lit[0] + level @ lit[1:])[:, None]
    none = logs(silence[0] + level @ silence[1:])
    return torch.cat([pulse, light, none[:, None]], 1), sure.sigmoid()


@dataclass(frozen=True)
class Placing:
    """Where witnesses stand in time, and beside how many others.

    What a witness says is said of the middle of its time, where its mean rate is the heart's rate.

    Attributes:
        at: [T, W], 1 at the instant of each one's middle.
        share: [W], how much it counts: of several of one source that overlap each counts for its
            share, so that no time counts more because windows were cut closer.
        cover: [T, W], how much of what each one shows is at each instant.
        alone: [T, W], how much of each instant each one shows, of several of one source its share.
        seen: [T], 1 where any looked.
    """

    at: torch.Tensor
    share: torch.Tensor
    cover: torch.Tensor
    alone: torch.Tensor
    seen: torch.Tensor


def place_witnesses(spans: np.ndarray, sources: Sequence[Any], times: np.ndarray) -> Placing:
    """Where witnesses stand.

    Args:
        spans: [W, 2] start and end in s.
        sources: [W].
        times: [T] s, the middle of each instant, :data:`HOP` apart.
    """
    starts, ends = spans.T
    late = np.minimum(times[:, None] + HOP / 2, ends)
    cover = np.clip(late - np.maximum(times[:, None] - HOP / 2, starts), 0, None) / HOP
    names = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    member = np.zeros((len(sources), len(names)))
    member[np.arange(len(sources)), [names[source] for source in sources]] = 1
    alone = cover / np.maximum(cover @ member @ member.T, 1)
    length = np.maximum(cover.sum(0), 1e-9)
    at = np.zeros(cover.shape)
    middle = np.abs(times[:, None] - (starts + ends) / 2).argmin(0)
    at[middle, np.arange(len(sources))] = 1
    return Placing(
        at=torch.from_numpy(at),
        share=torch.from_numpy(alone.sum(0) / length),
        cover=torch.from_numpy(cover / length),
        alone=torch.from_numpy(alone),
        seen=torch.from_numpy((cover.sum(1) > 0).astype(float)),
    )


def add_up(said: torch.Tensor, trust: torch.Tensor, placing: Placing, weights: Any) -> torch.Tensor:
    """What all witnesses say of every state at each instant.

    Args:
        said, trust: of :func:`weigh`.
        placing: of :func:`place_witnesses`.
        weights: as for :func:`weigh`.

    Returns:
        [T, 2 len(RATES) + 1] logarithms of likelihoods.
    """
    speaking = (placing.cover.T @ (placing.alone @ trust)).clamp(min=1)  # beside each, in its time
    factor = weights.scale * speaking**-weights.overlap * placing.share
    evidence = placing.at @ (factor[:, None] * said)
    pulse, others = evidence[:, : len(RATES)], evidence[:, len(RATES) :]
    return torch.cat([pulse, others + (weights.quiet * placing.seen)[:, None]], 1)


# ----------------------------------------------------------------------------------- along time


def make_transitions(weights: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Chances of the states at first [S], and from one instant to the next [S, S]."""
    return _make_transitions(weights.drift, weights.restart, weights.change, weights.present)


@cache
def _make_transitions(
    drift: float, restart: float, change: float, present: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of :func:`make_transitions`; a search asks for the same ones dozens of times."""
    steps = torch.as_tensor(np.log(RATES))
    size, hearts = len(steps), len(HEARTS)
    near = torch.softmax(-0.5 * ((steps[:, None] - steps) / (drift * HOP**0.5)) ** 2, 1)
    restart, change = HOP * restart, HOP * change
    walk = (1 - restart) * near + restart / size
    moves = torch.zeros(_STATES, _STATES, dtype=steps.dtype)
    moves[:size, :size] = moves[size:-1, size:-1] = (1 - change) * walk
    moves[:-1, -1] = change
    moves[-1, :-1] = change / hearts
    moves[-1, -1] = 1 - moves[-1, :-1].sum()
    first = torch.full((_STATES,), (1 - present) / (2 * hearts), dtype=steps.dtype)
    first[HEARTS] = present / hearts
    first[-1] = (1 - present) * (1 - (2 * size - hearts) / (2 * hearts))
    return first, moves


def mix_anew(first: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Chances [S, S] from one instant to the next where all may begin anew."""
    return (1 - ANEW) * moves + ANEW * first


def find_instants_anew(times: np.ndarray, upheavals: Iterable[float]) -> np.ndarray:
    """[T] bool, whether an upheaval lies between an instant and the one before it.

    Args:
        times: [T] s, of the instants.
        upheavals: s.
    """
    after = np.searchsorted(times, list(upheavals))
    return np.isin(np.arange(len(times)), after[after > 0])


def smooth(
    evidence: torch.Tensor,
    first: torch.Tensor,
    moves: torch.Tensor,
    anew: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chances of the states at every instant, given all instants (forward-backward).

    Rabiner, Proc. IEEE 1989, 77, 257, section III.

    Args:
        evidence: [..., T, S] logarithms of likelihoods.
        first, moves: of :func:`make_transitions`.
        anew: [..., T] bool, of instants that may begin anew; none where None.

    Returns:
        (chances given all instants, chances given the instants so far), each [..., T, S].
    """
    likely = (evidence - evidence.amax(-1, keepdim=True)).exp()
    mixed = mix_anew(first, moves)

    def move(state: torch.Tensor, step: int, back: bool = False) -> torch.Tensor:
        """A state after the move into a step; with ``back`` what follows it, before the move."""
        moved = state @ (moves.T if back else moves)
        if anew is None or not anew[..., step].any():
            return moved
        other = state @ (mixed.T if back else mixed)
        return torch.where(anew[..., step, None], other, moved)

    forward = []
    state = first.expand_as(likely[..., 0, :])
    for step in range(likely.shape[-2]):
        state = (move(state, step) if step else state) * likely[..., step, :]
        state = state / state.sum(-1, keepdim=True)
        forward.append(state)
    later = torch.ones_like(state)
    chances = [state]
    for step in range(likely.shape[-2] - 1, 0, -1):
        later = move(likely[..., step, :] * later, step, back=True)
        later = later / later.sum(-1, keepdim=True)
        both = forward[step - 1] * later
        chances.append(both / both.sum(-1, keepdim=True))
    return torch.stack(chances[::-1], -2), torch.stack(forward, -2)


@dataclass(frozen=True)
class Estimate:
    """A heart rate as the posterior has it.

    Attributes:
        bpm: its median, if there is a pulse.
        uncertainty: half of the central 68 % in bpm.
        confidence: chance that there is a pulse and its rate within :data:`WITHIN` of ``bpm``.
        present: chance that there is a pulse.
        low, high: bpm, ends of the central 68 %.
    """

    bpm: float
    uncertainty: float
    confidence: float
    present: float
    low: float
    high: float


class Posterior:
    """Chances of every heart rate, and of none, at every instant of a clip.

    Attributes:
        times: [T] s, the middle of each instant.
        chances: [T, 2 len(RATES) + 1], of a pulse at each rate, of something else at each rate, of
            nothing that beats; only those of :data:`HEARTS` are of a pulse of a heart.
    """

    def __init__(
        self,
        witnesses: Sequence[Witness],
        weights: Weights,
        span: tuple[float, float],
        upheavals: Iterable[float] = (),
    ):
        """Add up what witnesses say.

        Args:
            witnesses: in any order; none at all is allowed.
            weights: of the reading.
            span: (start, end) of the time in s.
            upheavals: times in s at which what is looked at changes altogether.
        """
        count = max(1, round((span[1] - span[0]) / HOP))
        self.times = span[0] + (np.arange(count) + 0.5) * HOP
        first, moves = make_transitions(weights)
        self._anew = find_instants_anew(self.times, upheavals)
        self._moves = moves, mix_anew(first, moves)
        self.witnesses = list(witnesses)
        self._sayings = np.zeros((0, _STATES))
        self._at = np.zeros((count, 0))
        evidence = torch.zeros(count, _STATES, dtype=torch.float64)
        if witnesses:
            lines, signs, seconds = stack_witnesses(witnesses)
            said, trust = weigh(lines, signs, seconds, weights)
            placing = place_all(witnesses, self.times)
            evidence = add_up(said, trust, placing, weights)
            self._at = placing.at.numpy()
            self._sayings = said.numpy()
        chances, forward = smooth(evidence, first, moves, torch.from_numpy(self._anew))
        self.chances, self._forward = chances.numpy(), forward.numpy()

    def score_witnesses(self) -> np.ndarray:
        """[W] log of how likely each is at the heart rates that all of them find, over any rate."""
        rates = self.chances[:, HEARTS]
        rates = rates / np.maximum(rates.sum(1, keepdims=True), np.finfo(float).tiny)
        likely = (self._at.T @ rates * np.exp(self._sayings[:, HEARTS])).sum(1)
        return np.log(np.maximum(likely, np.finfo(float).tiny))

    def find_instants(self) -> list[Estimate]:
        """The estimate of every instant."""
        return [_summarise_chances(chances) for chances in self.chances]

    def read_span(self, start: float, end: float) -> Estimate:
        """The estimate of their mean chances, of the instants between two times."""
        inside = (self.times >= start) & (self.times <= end)
        if not inside.any():
            inside = np.abs(self.times - (start + end) / 2) <= HOP / 2
        return _summarise_chances(self.chances[inside].mean(0))

    def read_clip(self, start: float = -np.inf, end: float = np.inf) -> Estimate:
        """The mean rate between two times, from courses of the rate drawn from the posterior.

        A course has a pulse that has one for :data:`SHORTEST_PULSE` (or half of a shorter clip).
        Where none has, the rate is that of the mean chances, and the confidence 0.
        """
        inside, shortest = self._find_inside(start, end)
        courses = self._draw_courses(inside[0], inside[-1])
        beating = (courses >= HEARTS[0]) & (courses <= HEARTS[-1])
        there = beating.sum(0) * HOP >= shortest
        if not there.any():
            mean = _summarise_chances(self.chances[inside].mean(0))
            return replace(mean, confidence=0.0, present=0.0)
        total = (RATES[np.where(beating, courses, 0)] * beating).sum(0)
        rates = total[there] / beating.sum(0)[there]
        low, bpm, high = np.quantile(rates, (0.16, 0.5, 0.84))
        near = (np.abs(rates - bpm) <= WITHIN).sum() / courses.shape[1]
        return Estimate(bpm, (high - low) / 2, near, there.mean(), low, high)

    def bound_confidence(self, start: float, end: float) -> float:
        """What the confidence of :meth:`read_clip` can be at most, without drawing any course.

        By Markov's inequality: the chance of that many seconds of a pulse is not above their mean
        number, over them.
        """
        inside, shortest = self._find_inside(start, end)
        seconds = self.chances[inside][:, HEARTS].sum() * HOP
        return float(min(1.0, seconds / shortest))

    def _find_inside(self, start, end):
        """Instants between two times, all where there are none; the shortest pulse there in s."""
        inside = np.flatnonzero((self.times >= start) & (self.times <= end))
        if not len(inside):
            inside = np.arange(len(self.times))
        return inside, min(SHORTEST_PULSE, 0.5 * HOP * len(inside))

    def _draw_courses(self, first: int, last: int) -> np.ndarray:
        """[instants, PATHS] states, drawn from the posterior backwards from the last instant."""
        dice = np.random.default_rng(0)
        moves, mixed = (chances.numpy() for chances in self._moves)
        state = _draw(self.chances[last : last + 1], np.zeros(PATHS, int), dice)
        courses = [state]
        for step in range(last - 1, first - 1, -1):
            states, which = np.unique(state, return_inverse=True)  # a few of many
            into = (mixed if self._anew[step + 1] else moves).T[states]
            state = _draw(self._forward[step] * into, which, dice)
            courses.append(state)
        return np.stack(courses[::-1])


def stack_witnesses(
    witnesses: Iterable[Witness],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lines [W, R], signs [W, S] and seconds [W] of witnesses."""
    some = list(witnesses)
    columns = ([w.lines for w in some], [w.signs for w in some], [w.seconds for w in some])
    lines, signs, seconds = (torch.from_numpy(np.array(c, dtype=float)) for c in columns)
    return lines, signs, seconds


def place_all(witnesses: Sequence[Witness], times: np.ndarray) -> Placing:
    """:func:`place_witnesses` of witnesses."""
    spans = np.array([(witness.start, witness.end) for witness in witnesses])
    return place_witnesses(spans, [witness.source for witness in witnesses], times)


def _draw(chances, which, dice):
    """[P] one state for each of ``which`` [P] rows of chances [K, S]."""
    upto = chances.cumsum(1)
    upto /= upto[:, -1:]
    upto += np.arange(len(upto))[:, None]  # rows behind each other rise, so one search serves all
    found = np.searchsorted(upto.ravel(), which + dice.uniform(0, 1, len(which)))
    return np.minimum(found - which * chances.shape[1], chances.shape[1] - 1)


def _summarise_chances(chances: np.ndarray) -> Estimate:
    """The estimate of chances [S] of one instant."""
    pulse, rates = chances[HEARTS], RATES[HEARTS]
    present = float(pulse.sum())
    if present <= 0:
        return Estimate(np.nan, np.nan, 0.0, 0.0, np.nan, np.nan)
    edges = np.append(rates, rates[-1] * _STEP) * _STEP**-0.5
    upto = np.concatenate([[0], pulse.cumsum()])
    low, bpm, high = (float(np.interp(q * present, upto, edges)) for q in (0.16, 0.5, 0.84))
    below, above = np.interp([bpm - WITHIN, bpm + WITHIN], edges, upto)
    return Estimate(bpm, (high - low) / 2, float(above - below), present, low, high)
