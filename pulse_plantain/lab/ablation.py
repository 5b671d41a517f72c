"""The miniature's adapter trained in several ways on the same clips: what is each part worth?

Each way is one training from the base, on the same simulated clips in the same order; every one is
validated at one and at several steps of the pipeline's schedule.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.adapter_training import train_adapter

STEPS = (2, 4, 8)
"""Of the schedule, besides one."""

FIGURES = ("clips", "mae_bpm", "median_bpm", "within_3_bpm", "auc_pulse_against_none")


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        what: in words.
        options: what it adds to the command line of scripts/train_adapter.py.
        changes: the same to the settings.
    """

    what: str
    options: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)


WAYS = {
    "phasor": Way("one step, latents and phasors"),
    "latent": Way("one step, latents", ("--objective", "latent"), {"objective": "latent"}),
    "flow": Way("plain flow matching", ("--objective", "flow"), {"objective": "flow"}),
    "random-base": Way(
        "one step, latents and phasors, base not pre-trained",
        ("--random-base",),
        {"random_base": True},
    ),
    "full": Way(
        "one step, latents and phasors, every weight trained",
        ("--full", "--lr", "5e-4"),
        {"full": True, "lr": 5e-4},
    ),
}


@dataclass(frozen=True)
class Ablation:
    """What all ways have in common.

    Attributes:
        base: folder of the base.
        folder: of all trainings; the simulated clips are shared in its ``cache``.
        steps, batch, seed: of every training.
        clips: different clips that are simulated.
        validation_batches: batches of a validation.
        compile: whether to compile the transformer.
    """

    base: str
    folder: Path
    steps: int = 1000
    batch: int = 16
    clips: int = 16000
    validation_batches: int = 16
    seed: int = 0
    compile: bool = False

    def describe(self) -> dict[str, int]:
        """What results say of the trainings."""
        names = ("steps", "batch", "clips", "validation_batches")
        return {name: getattr(self, name) for name in names}

    def choose_settings(self, name: str) -> AdapterSettings:
        """The settings of one of :data:`WAYS`."""
        place = self.folder / name
        settings: dict[str, Any] = {
            "base": self.base,
            "steps": self.steps,
            "batch": self.batch,
            "clips": self.clips,
            "seed": self.seed,
            "validate_every": self.steps,
            "validation_batches": self.validation_batches,
            "cache": str(self.folder / "cache"),
            "checkpoints": str(place),
            "log": str(place / "log.jsonl"),
            "out": str(place / "adapter"),
            "also_steps": STEPS,
            "compile": self.compile,
        }
        return AdapterSettings(**settings | dict(WAYS[name].changes))


def read_outcome(log: Path) -> dict[str, dict[str, Any]]:
    """dict number of steps -> figures, of a training's log."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    found = [row for row in rows if "validation" in row]
    return {
        str(row.get("inference_steps", 1)): {k: row["validation"][k] for k in FIGURES}
        for row in found
    }


def run_way(ablation: Ablation, name: str) -> dict[str, Any]:
    """What one of :data:`WAYS` leads to; it is trained, or trained on, where it is not finished.

    Raises:
        ClipError, OSError: as :func:`pulse_plantain.lab.adapter_training.train_adapter`.
    """
    settings, way = ablation.choose_settings(name), WAYS[name]
    log = Path(settings.log)
    if not log.exists() or len(read_outcome(log)) <= len(STEPS):
        train_adapter(settings)
    return {"what": way.what, "options": list(way.options), "validation": read_outcome(log)}
