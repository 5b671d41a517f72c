"""The miniature's adapter trained in several ways on the same clips: what is each part worth?

Each way is one training from the base for each seed, on the same simulated clips in the same
order; every one is validated at one step, and objectives also at several of the pipeline's
schedule. A seed draws the clips, the adapter's first weights and the noise; the validation clips
are always the same. Two ways train a network of the field in place of the adapter.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.adapter_training import train_adapter
from pulse_plantain.lab.simulated_networks import train_simulated_network

STEPS = (2, 4, 8)
"""Of the schedule, besides one, where the objective is what differs."""

FIGURES = ("clips", "mae_bpm", "median_bpm", "within_3_bpm", "auc_pulse_against_none")


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        what: in words.
        options: what it adds to the command line of scripts/train_adapter.py.
        changes: the same to the settings.
        steps: of the schedule that it is validated at besides one.
        network: that is trained in place of the adapter, of lab.networks.NETWORKS.
    """

    what: str
    options: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    network: str | None = None


WAYS = {
    "phasor": Way("one step, latents and phasors", steps=STEPS),
    "latent": Way("one step, latents", ("--objective", "latent"), {"objective": "latent"}, STEPS),
    "flow": Way("plain flow matching", ("--objective", "flow"), {"objective": "flow"}, STEPS),
    "random-base": Way(
        "one step, latents and phasors, base not pre-trained",
        ("--random-base",),
        {"random_base": True},
    ),
    "blind": Way(
        "one step, latents and phasors, no appearance image", ("--blind",), {"blind": True}
    ),
    "full": Way(
        "one step, latents and phasors, every weight trained",
        ("--full", "--lr", "5e-4"),
        {"full": True, "lr": 5e-4},
    ),
    "deepphys": Way("DeepPhys, told where the face is", network="deepphys"),
    "mttscan": Way("MTTS-CAN, told where the face is", network="mttscan"),
}


@dataclass(frozen=True)
class Ablation:
    """What all ways have in common.

    Attributes:
        base: folder of the base.
        folder: of all trainings; the simulated clips of a seed are shared in a folder of it.
        steps, batch: of every training.
        network_steps: in place of ``steps`` where a network is trained; the same where None.
        clips: different clips that are simulated for a seed.
        validation_batches: batches of a validation.
        compile: whether to compile the transformer.
        light: of the simulated clips, one of lab.synthetic.LIGHTS.
        workers: processes that simulate clips ahead of a training; 0 for none.
    """

    base: str
    folder: Path
    steps: int = 1000
    network_steps: int | None = None
    batch: int = 16
    clips: int = 16000
    validation_batches: int = 16
    compile: bool = False
    light: str = "plain"
    workers: int = 0

    def describe(self) -> dict[str, Any]:
        """What results say of the trainings."""
        names = ("light", "steps", "network_steps", "batch", "clips", "validation_batches")
        return {name: getattr(self, name) for name in names}

    def choose_settings(self, name: str, seed: int) -> AdapterSettings:
        """The settings of one of :data:`WAYS` from a seed."""
        place = self.folder / f"{name}-{seed}"
        steps = self.network_steps if self.network_steps and WAYS[name].network else self.steps
        settings: dict[str, Any] = {
            "base": self.base,
            "dtype": "float32",
            "steps": steps,
            "batch": self.batch,
            "clips": self.clips,
            "seed": seed,
            "skip": seed * self.clips,
            "light": self.light,
            "validate_every": steps,
            "validation_batches": self.validation_batches,
            "cache": str(self.folder / f"cache-{seed}"),
            "checkpoints": str(place),
            "log": str(place / "log.jsonl"),
            "out": str(place / "adapter"),
            "also_steps": WAYS[name].steps,
            "compile": self.compile,
            "workers": self.workers,
        }
        return AdapterSettings(**settings | dict(WAYS[name].changes))

    def read_cost(self, name: str, seed: int) -> float | None:
        """CPU seconds of a training, its clips and validation included; None if not known."""
        rows = Path(self.choose_settings(name, seed).log).read_text().splitlines()
        parts = [row["cpu_s"] for row in map(json.loads, rows) if "cpu_s" in row]
        return round(sum(parts), 1) if parts else None

    def describe_way(self, name: str, outcomes: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
        """One of :data:`WAYS` as the results hold it.

        Args:
            name: of the way.
            outcomes: seed -> what :func:`run_way` gave.
        """
        way, costs = WAYS[name], {seed: self.read_cost(name, seed) for seed in outcomes}
        return {
            "what": way.what,
            "options": list(way.options),
            "steps": self.choose_settings(name, 0).steps,
            "seeds": {str(seed): outcome for seed, outcome in outcomes.items()},
            "cpu_s": {str(seed): cost for seed, cost in costs.items() if cost is not None},
        }


def read_outcome(log: Path) -> dict[str, dict[str, Any]]:
    """dict number of steps -> figures, of a training's log."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    found = [row for row in rows if "validation" in row]
    return {
        str(row.get("inference_steps", 1)): {k: row["validation"][k] for k in FIGURES}
        for row in found
    }


def run_way(ablation: Ablation, name: str, seed: int) -> dict[str, dict[str, Any]]:
    """What one of :data:`WAYS` leads to from a seed, as :func:`read_outcome`.

    It is trained, or trained on, where it is not finished, and what that cost is logged.

    Raises:
        ClipError, OSError: as :func:`pulse_plantain.lab.adapter_training.train_adapter`.
    """
    settings = ablation.choose_settings(name, seed)
    log, network = Path(settings.log), WAYS[name].network
    if not log.exists() or len(read_outcome(log)) <= len(WAYS[name].steps):
        start = time.process_time()
        if network:
            train_simulated_network(network, settings)
        else:
            train_adapter(settings)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cpu_s": round(time.process_time() - start, 1)}) + "\n")
    return read_outcome(log)
