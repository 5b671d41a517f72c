"""How good an adapter is while it is trained: readings of validation clips, and their figures.

One look at each clip, nothing withheld; the averaged adapter is looked at, not the latest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from pulse_plantain.lab.adapter_model import AdapterModel
from pulse_plantain.lab.batches import CALM, NULL, WEBCAM, Batches
from pulse_plantain.lab.looks import Look
from pulse_plantain.lab.thresholds import LOOK_SHARE, find_threshold
from pulse_plantain.lab.training import WINDOWS


@dataclass(frozen=True)
class Validator:
    """Validates a model that is being trained.

    Attributes:
        model: the model.
        batches: of its training.
        count: batches of a validation.
        rank, ranks: which process this is, of how many; they share the batches out.
    """

    model: AdapterModel
    batches: Batches
    count: int
    rank: int = 0
    ranks: int = 1

    def validate(self, steps: int = 1) -> dict[str, Any]:
        """Figures on clips with a pulse, nothing withheld, and on clips without.

        The first are simulated webcam scenes or windows of recordings' validation subjects; those
        without a pulse are always simulated. A training with calm faces has figures of these, too.

        Args:
            steps: of the pipeline's schedule.
        """
        readings, bpm = self.collect(WEBCAM, steps)
        none, _ = self.collect(NULL, steps)
        figures: dict[str, Any] = dict(compute_figures(readings, bpm, none))
        if self.batches.calm:
            figures["calm"] = compute_figures(*self.collect(CALM, steps), none)
        return figures

    @torch.no_grad()
    def collect(self, split: str, steps: int) -> tuple[list[Look], np.ndarray]:
        """(reading of every clip of a split, the true bpm [n] while it was read).

        Simulated clips are read at every length of
        :data:`pulse_plantain.lab.training.WINDOWS`, and the surest reading is kept, as the
        pipeline does.
        """
        count, windows = self.count, WINDOWS
        shards = self.batches.find_shards(split)
        if shards is not None:
            count = min(count, max(1, len(shards) // self.batches.size))
            windows = windows[:1]  # recorded clips are as long as they were prepared
        found = {}
        with average_in_place(self.model):
            for turn in range(0, count, self.ranks):  # as many forward passes in every process
                number = min(turn + self.rank, count - 1)
                found[number] = self._read_batch(split, number, windows, steps)
        found = dict(gather_object(list(found.items())))
        pairs = [pair for number in range(count) for pair in found[number]]
        readings, bpm = zip(*pairs, strict=True)
        return list(readings), np.array(bpm)

    def _read_batch(
        self, split: str, number: int, windows: tuple[float, ...], steps: int
    ) -> list[tuple[Look, float]]:
        """(surest reading, true bpm) of every clip of a batch."""
        looks = []
        for window in windows:
            batch = self.batches.load(split, number, window)
            readings = self.model.read(batch, steps)
            looks.append(zip(readings, batch["bpm"].tolist(), strict=True))
        return [max(some, key=lambda one: one[0].confidence) for some in zip(*looks, strict=True)]


@contextmanager
def average_in_place(model: AdapterModel) -> Iterator[None]:
    """While the context lasts, the model is its average, and nothing in it is random."""
    model.average.exchange(model.peft)
    model.peft.eval()
    try:
        yield
    finally:
        model.peft.train()
        model.average.exchange(model.peft)


def compute_figures(readings: list[Look], bpm: np.ndarray, none: list[Look]) -> dict[str, float]:
    """What readings say of a model, rounded to four places.

    Args:
        readings: of clips with a pulse.
        bpm: their true rates [n].
        none: readings of clips without a pulse.

    Returns:
        errors in bpm and shares; ``min_confidence`` is the confidence that
        :data:`~pulse_plantain.lab.thresholds.LOOK_SHARE` of those without a pulse stay below.
    """
    found = np.array([reading.bpm for reading in readings])
    error = np.where(np.isfinite(found), np.abs(found - bpm), bpm)
    sure, unsure = (np.array([r.confidence for r in some]) for some in (readings, none))
    threshold = find_threshold(unsure, LOOK_SHARE)
    answered = sure >= threshold
    figures = {
        "mae_bpm": error.mean(),
        "median_bpm": np.median(error),
        "within_3_bpm": (error <= 3).mean(),
        "auc_pulse_against_none": (sure[:, None] > unsure).mean(),
        "min_confidence": threshold,
        "answered": answered.mean(),
        "answered_within_3_bpm": (answered & (error <= 3)).mean(),
        "mae_bpm_of_answers": (error * answered).sum() / max(answered.sum(), 1),
    }
    return {"clips": len(error)} | {k: round(float(v), 4) for k, v in figures.items()}
