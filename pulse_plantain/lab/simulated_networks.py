"""DeepPhys and MTTS-CAN trained on the clips that an adapter learns from, to be compared with it.

They see the same clips in the same order for the same number of steps, and are told where the face
is. Stops at any time; the same training goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from pulse_plantain import heart_rate
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.ahead import choose_batch, load_ahead
from pulse_plantain.lab.evaluation import estimate_network_rate
from pulse_plantain.lab.looks import Look
from pulse_plantain.lab.networks import (
    BOX_SCALE,
    CHUNK,
    NETWORKS,
    SAMPLING_RATE,
    SIDE,
    masked_loss,
    predict_bvp,
    prepare_input,
)
from pulse_plantain.lab.synthetic import (
    SyntheticFaces,
    draw_scenes,
    name_split,
    simulate_faces,
    simulate_training_faces,
    split_seeds,
)
from pulse_plantain.lab.training import (
    WINDOWS,
    Log,
    autocast_where_fast,
    choose_window,
    load_checkpoint,
    save_checkpoint,
)
from pulse_plantain.lab.validation import compute_figures

LEARNING_RATE = 1e-3
"""The peak of one cycle, as scripts/train_network.py has it."""

REPORT_EVERY, SAVE_EVERY = 25, 200


@dataclass
class TrainingFaces(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Faces of simulated training clips, batch by batch in the order of an adapter's training.

    Attributes:
        settings: of the training.
        first: step that it starts with.
        device: type of the device that simulates.
    """

    settings: AdapterSettings
    first: int
    device: str

    def __len__(self) -> int:
        return self.settings.steps - self.first

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames [B, samples, SIDE, SIDE, 3] and BVP [B, samples] of a step."""
        settings = self.settings
        number = choose_batch(settings, self.first + place, 0, 1)
        split = name_split("train", settings.light)
        seeds = split_seeds(split, settings.batch, settings.skip + number * settings.batch)
        view = (SIDE, SAMPLING_RATE, choose_window(number), BOX_SCALE)
        with torch.device(self.device):
            faces = simulate_training_faces(seeds, *view, light=settings.light)
        return faces.frames.cpu(), faces.bvp.cpu()


def prepare_examples(
    frames: torch.Tensor, bvp: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the networks learn from B clips, whole chunks of each, one clip after another.

    Args:
        frames: [B, samples, SIDE, SIDE, 3].
        bvp: [B, samples]; all 0 where there is no pulse.

    Returns:
        motion and appearance [n, 3, SIDE, SIDE] and the BVP's differences [n] of standard
        deviation 1, or 0 where there is no pulse.
    """
    length = (frames.shape[1] - 1) // CHUNK * CHUNK
    pairs = [[part[:length] for part in prepare_input(one)] for one in frames]
    motion, appearance = (torch.cat(column) for column in zip(*pairs, strict=True))
    steps = bvp.diff(dim=1)
    steps = steps / steps.std(1, keepdim=True).clamp_min(1e-6)
    return motion, appearance, steps[:, :length].flatten()


def read_network(network: nn.Module, faces: SyntheticFaces) -> list[Look]:
    """A network's surest reading of each clip at the lengths of WINDOWS, from the clip's start."""
    found = []
    for frames in faces.frames:
        bvp = predict_bvp(network, frames)
        parts = [bvp[: round(window * SAMPLING_RATE)] for window in WINDOWS]
        looks = [
            Look(
                estimate_network_rate(part),
                heart_rate.spectral_concentration(part, SAMPLING_RATE),
            )
            for part in parts
        ]
        found.append(max(looks, key=lambda look: look.confidence))
    return found


@torch.no_grad()
def validate_network(
    network: nn.Module, settings: AdapterSettings, device: torch.device
) -> dict[str, float]:
    """Figures on the clips that an adapter of these settings is validated on."""
    network.eval()
    split = name_split("validation", settings.light)
    silent = "lamp" if settings.light == "camera" else settings.light
    readings, none, bpm = [], [], []
    for number in range(settings.validation_batches):
        seeds = split_seeds(split, settings.batch, number * settings.batch)
        with device:
            beating = draw_scenes(seeds, webcam=True, kinds=False, light=settings.light)
            still = draw_scenes(seeds, webcam=True, kinds=False, light=silent).without_pulse()
            view = (SIDE, SAMPLING_RATE, max(WINDOWS), BOX_SCALE)
            faces, faint = simulate_faces(beating, *view), simulate_faces(still, *view)
            readings += read_network(network, faces)
            none += read_network(network, faint)
        bpm.append(faces.bpm.cpu())
    network.train()
    return compute_figures(readings, torch.cat(bpm).numpy(), none)


def train_simulated_network(name: str, settings: AdapterSettings) -> None:
    """Train a network on an adapter's simulated clips, validate it, and log how it went.

    Args:
        name: of :data:`pulse_plantain.lab.networks.NETWORKS`.
        settings: ``steps``, ``batch``, ``clips``, ``skip``, ``seed``, ``light``, ``workers``,
            ``validation_batches``, ``checkpoints`` and ``log`` count.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    network: Any = NETWORKS[name]()
    network.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, settings.steps)
    state = {"network": network, "optimizer": optimizer, "schedule": schedule}
    checkpoint = Path(settings.checkpoints) / f"{name}.pt"
    start = load_checkpoint(checkpoint, **state)
    log = Log(settings.log, settings.seed, {"network": name} | vars(settings))
    losses: list[float] = []
    batches = _simulate(settings, start, device.type)
    bar = tqdm(range(start, settings.steps), name, settings.steps, initial=start)
    for step in bar:
        torch.manual_seed(settings.seed * 1_000_003 + step)
        motion, appearance, target = prepare_examples(*(part.to(device) for part in next(batches)))
        with autocast_where_fast(device.type):
            steps = network(motion, appearance)
        loss = masked_loss(steps.float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0:
            mean = sum(losses) / len(losses)
            bar.set_postfix(loss=f"{mean:.3f}")
            log.write({"step": step + 1, "loss": round(mean, 4)})
            losses.clear()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == settings.steps:
            save_checkpoint(checkpoint, step + 1, **state)
    figures = validate_network(network, settings, device)
    log.write({"step": settings.steps, "validation": figures})


def _simulate(
    settings: AdapterSettings, first: int, device: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Faces of one step after another, ahead of the training where there are workers."""
    faces = TrainingFaces(settings, first, device)
    if settings.workers:
        return load_ahead(faces, settings.workers)
    return (faces[place] for place in range(len(faces)))
