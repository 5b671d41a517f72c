"""What can be seen of a clip's drawings, beside those of the clips that the reading was fitted to.

It says why a clip gets no heart rate although its drawings hold one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pulse_plantain.lab.reading_fit import Evidence
from pulse_plantain.posterior import (
    RATES,
    SIGNS,
    WITHIN,
    Weights,
    Witness,
    stack_witnesses,
    weigh,
)

TRUSTED = 8
"""Drawings of a clip without a pulse that are looked at, the most trusted ones."""

QUANTILES = (0.1, 0.5, 0.9)

_SHARES = ("line", "agreement", "followed", "beside", "displaced")
"""Signs that are log odds of a share."""

_LOGARITHMS = ("amplitude", "background")


@dataclass(frozen=True)
class Drawings:
    """All drawings of a clip.

    Attributes:
        signs: [W, len(SIGNS)], NaN where unknown.
        strongest: [W] bpm of their strongest lines.
        trust: [W], the chance that each shows the pulse, if there is one.
        against: [W], the logarithm of the likelihood where nothing beats over that with a pulse of
            unknown rate.
        lit: [W], the logarithm of the likelihood where a light or a movement beats over that where
            a pulse does.
    """

    signs: np.ndarray
    strongest: np.ndarray
    trust: np.ndarray
    against: np.ndarray
    lit: np.ndarray

    @classmethod
    def read(cls, witnesses: Sequence[Witness], weights: Weights) -> "Drawings":
        """What a reading sees of witnesses, of which there is at least one."""
        lines, signs, seconds = stack_witnesses(witnesses)
        said, trust = weigh(lines, signs, seconds, weights)
        strongest = RATES[torch.argmax(lines, 1).numpy()]
        lit = said[:, len(RATES)] - said[:, 0]  # the same at all rates
        return cls(signs.numpy(), strongest, trust.numpy(), said[:, -1].numpy(), lit.numpy())

    def sum_up(self, chosen: np.ndarray) -> dict[str, float]:
        """Medians over some of the drawings, the signs in plain units; empty where there is none.

        Args:
            chosen: indices, or a mask.
        """
        signs = self.signs[chosen]
        if not len(signs):
            return {}
        known = np.isfinite(signs)
        medians = [
            float(np.median(column[there])) if there.any() else np.nan
            for column, there in zip(signs.T, known.T, strict=True)
        ]
        figures = {name: translate(name, m) for name, m in zip(SIGNS, medians, strict=True)}
        figures["trust"] = float(np.median(self.trust[chosen]))
        for name, logs in (("against", self.against), ("lit", self.lit)):
            figures[name] = float(np.exp(np.median(logs[chosen])))
        return figures


def translate(name: str, sign: float) -> float:
    """A sign as a share, an amplitude or a ratio, in place of its logarithm or log odds."""
    if name in _SHARES:
        return float(1 / (1 + np.exp(-sign)))
    return float(np.exp(sign)) if name in _LOGARITHMS else float(sign)


def see_clip(
    witnesses: Sequence[Witness], rates: tuple[float, float], weights: Weights
) -> dict[str, Any]:
    """Figures of the drawings of a clip whose strongest line lies between two rates.

    Args:
        witnesses: of the clip.
        rates: lowest and highest in bpm.
        weights: of the reading.
    """
    seen = Drawings.read(witnesses, weights)
    chosen = (seen.strongest >= rates[0]) & (seen.strongest <= rates[1])
    counts = {"drawings": len(witnesses), "between the rates": int(chosen.sum())}
    return counts | {"figures": seen.sum_up(chosen)}


def see_fitted(evidence: Iterable[Evidence], weights: Weights) -> dict[str, Any]:
    """Quantiles over clips of what is seen of their drawings.

    Returns:
        ``with a pulse``, of drawings whose strongest line is right, and ``without``, of the most
        trusted drawings: each the number of clips and, by name, the :data:`QUANTILES`.
    """
    groups: dict[str, list[dict[str, float]]] = {"with a pulse": [], "without": []}
    for clip in evidence:
        if not clip.witnesses:
            continue
        seen = Drawings.read(clip.witnesses, weights)
        there = np.isfinite(clip.rates)
        if there.any():
            right = np.abs(seen.strongest - np.median(clip.rates[there])) <= WITHIN
            groups["with a pulse"].append(seen.sum_up(right))
        else:
            groups["without"].append(seen.sum_up(np.argsort(-seen.trust)[:TRUSTED]))
    return {name: _spread([row for row in rows if row]) for name, rows in groups.items()}


def _spread(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Number of clips, and quantiles of each of their figures."""
    names = rows[0] if rows else {}
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    return {
        "clips": len(rows),
        "figures": {n: np.nanquantile(v, QUANTILES).tolist() for n, v in columns.items()},
    }
