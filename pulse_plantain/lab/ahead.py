"""Clips simulated ahead of a training, by processes of their own, on a GPU where there is one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKLFlux2
from torch.utils.data import DataLoader, Dataset

from pulse_plantain.flux2 import skip_silent_branches
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.batches import TRAIN, Batches, open_batches, order_batches
from pulse_plantain.lab.training import choose_window

AHEAD = 4
"""Batches that each process is ahead of the training at most."""

Made = TypeVar("Made")


def choose_batch(settings: AdapterSettings, step: int, part: int, parts: int) -> int:
    """Number of the simulated batch that a part of a step learns from; each epoch has an order.

    Args:
        settings: of the training.
        step: of the training.
        part, parts: which batch of the step, of how many.
    """
    steps = settings.clips // (settings.batch * parts)  # of an epoch
    order = order_batches(steps * parts, step // steps, settings.seed)
    return int(order[step % steps * parts + part])


@dataclass
class Simulated(Dataset[dict[str, torch.Tensor]]):
    """Simulated training batches, in the order in which one of the training's processes uses them.

    Attributes:
        settings: of the training.
        first: step that it starts with.
        rank, ranks: which process of the training this is for, of how many.
        device: type of the device that simulates.
    """

    settings: AdapterSettings
    first: int
    rank: int
    ranks: int
    device: str
    batches: Batches | None = None  # opened where they are simulated

    def __len__(self) -> int:
        return (self.settings.steps - self.first) * self.settings.accumulate

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        """The batch, in memory that processes share."""
        if self.batches is None:
            self.batches = self._open()
        step, turn = divmod(place, self.settings.accumulate)
        parts = self.ranks * self.settings.accumulate
        part = self.rank + turn * self.ranks
        number = choose_batch(self.settings, self.first + step, part, parts)
        batch = self.batches.load(TRAIN, number, choose_window(number))
        return {name: tensor.cpu() for name, tensor in batch.items()}

    def _open(self) -> Batches:
        device = torch.device(self.device)
        vae: Any = AutoencoderKLFlux2.from_pretrained(self.settings.base, subfolder="vae")
        vae = vae.requires_grad_(False).eval().to(device)
        skip_silent_branches(vae)
        return open_batches(self.settings, vae, device, self.ranks)


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)


def load_ahead(batches: Dataset[Made], workers: int) -> Iterator[Made]:
    """Batches in their order, each made by one of several processes before it is used.

    Args:
        batches: by their numbers; made anew in each process.
        workers: number of processes.
    """
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD,
            multiprocessing_context="spawn",
            worker_init_fn=_use_one_thread,
        )
    )


def simulate_ahead(
    settings: AdapterSettings, first: int, rank: int, ranks: int, device: str
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of a training, made by ``settings.workers`` processes while it learns.

    Args:
        settings: of the training.
        first: step that it starts with.
        rank, ranks: which process of the training asks, of how many.
        device: type of the device that simulates.
    """
    return load_ahead(Simulated(settings, first, rank, ranks, device), settings.workers)
