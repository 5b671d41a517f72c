"""What an adapter learns from: clips, simulated or recorded, as batches of tokens with their truth.

Simulated batches are kept as files and visited again; recorded ones are cut anew each time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLFlux2
from safetensors.torch import load_file, save_file

from pulse_plantain import bijection
from pulse_plantain.files import write_files
from pulse_plantain.flux2 import encode_images
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.datasets.shards import Shards
from pulse_plantain.lab.imports import follow_imports
from pulse_plantain.lab.kept import fingerprint
from pulse_plantain.lab.synthetic import (
    calm_some,
    draw_scenes,
    name_split,
    simulate,
    simulate_batch,
    split_seeds,
)
from pulse_plantain.sheet import Layout, field_to_sheet, motion_sheet
from pulse_plantain.video import ClipError

TRAIN, WEBCAM, NULL, CALM = "train", "webcam", "webcam-null", "webcam-calm"
"""Splits: clips to learn from; webcam scenes of other subjects; the same without a pulse; the same
with a calm face of one course."""

WHOLE = ("field", "bpm", "seconds")
"""What is kept in full precision; everything else is kept in half."""


def make_pulse_field(
    phase: torch.Tensor, amplitude: torch.Tensor, phase_lag: torch.Tensor
) -> torch.Tensor:
    """Phasors [B, samples, rows, bands] to draw.

    Args:
        phase: [B, samples] rad.
        amplitude, phase_lag: [B, rows, bands], AC/DC and rad.
    """
    local = phase[:, :, None, None] - phase_lag[:, None]
    return torch.polar(amplitude[:, None].expand_as(local), local)


def encode_pictures(vae: AutoencoderKLFlux2, pictures: torch.Tensor) -> torch.Tensor:
    """Tokens of channel-last pictures in [0, 1]."""
    with torch.no_grad():
        return encode_images(vae, pictures.movedim(-1, 1) * 2 - 1).float()


def keep_batch(
    path: Path, make: Callable[[], Mapping[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """What ``make()`` returns, kept as half-precision safetensors for the next epochs.

    Args:
        path: of the file; other processes may make the same batch at the same time.
        make: called where there is no such file.
    """
    if not path.exists():
        batch = make()
        halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in batch.items()}
        halves |= {name: batch[name].float().contiguous() for name in WHOLE}
        write_files({path: lambda part: save_file(halves, part)})
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def order_batches(batches: int, epoch: int, seed: int) -> np.ndarray:
    """The order in which an epoch visits the kept batches; the first is the natural one."""
    if epoch == 0:
        return np.arange(batches)
    return np.random.default_rng([seed, epoch]).permutation(batches)


@dataclass(frozen=True)
class Batches:
    """The batches of a training.

    Attributes:
        vae: that encodes the pictures.
        layout: of the two pictures of a window.
        device: where clips are simulated and the tensors go.
        cache: folder of the simulated batches.
        size: clips of a batch.
        seed: of the recorded clips' order, crops and mirror images.
        skip: simulated clips to pass over.
        light: recipe of the simulated clips' light; without a pulse, "camera" becomes "lamp".
        calm: share of the simulated training clips that are calm faces of one course.
        keep: whether simulated training clips are kept for the next epochs.
        recorded, validated: prepared recordings in place of simulated clips; None without.
    """

    vae: AutoencoderKLFlux2
    layout: Layout
    device: torch.device
    cache: Path
    size: int
    seed: int
    skip: int = 0
    light: str = "plain"
    calm: float = 0.0
    keep: bool = True
    recorded: Shards | None = None
    validated: Shards | None = None

    def load(self, split: str, number: int, window: float) -> dict[str, torch.Tensor]:
        """Tensors of a batch.

        Args:
            split: :data:`TRAIN`, :data:`WEBCAM`, :data:`NULL` or :data:`CALM`; where there are
                recordings, the first two are theirs.
            number: which batch.
            window: length of simulated clips in seconds; recorded ones are as they were prepared.

        Returns:
            ``appearance``, ``motion`` and ``target`` (tokens [B, N, 4 C] of three pictures),
            ``field`` (the phasors [B, samples, rows, bands, 2]), ``bpm`` and ``seconds`` [B].
        """
        shards = self.find_shards(split)
        if shards is not None:
            augment = split == TRAIN
            clips = shards.read_batch(number, self.size, self.layout, self.seed, augment)
            return self.encode(clips)
        own, first = ("train", self.skip) if split == TRAIN else ("validation", 0)
        own = name_split(own, self.light)
        seeds = split_seeds(own, self.size, first + number * self.size)
        if split == TRAIN and not self.keep:
            return {k: v.float() for k, v in self.simulate(split, seeds, window).items()}
        name = name_split(split, self.light)
        if split == TRAIN and self.calm:
            name = f"{name}-calm-{self.calm:g}"
        path = self.cache / f"{name}-{seeds[0]}-{window:g}s.safetensors"
        batch = keep_batch(path, lambda: self.simulate(split, seeds, window))
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def find_shards(self, split: str) -> Shards | None:
        """The recordings that a split is of; None where it is simulated."""
        if split in (NULL, CALM):
            return None
        return self.recorded if split == TRAIN else self.validated

    def simulate(self, split: str, seeds: Any, window: float) -> dict[str, torch.Tensor]:
        """Simulated clips, encoded.

        Args:
            split: as for :meth:`load`.
            seeds: of the clips.
            window: length in seconds.
        """
        with self.device:
            if split == TRAIN:
                clips = simulate_batch(seeds, self.layout, window, self.light, self.calm)
            else:
                light = "lamp" if split == NULL and self.light == "camera" else self.light
                scenes = draw_scenes(seeds, webcam=True, kinds=False, light=light)
                scenes = scenes.without_pulse() if split == NULL else scenes
                clips = simulate(scenes, self.layout, window)
                if split == CALM:
                    clips = calm_some(clips, scenes, self.layout, window, 1.0)
        field = make_pulse_field(clips.phase, clips.amplitude, clips.phase_lag)
        seconds = torch.full_like(clips.bpm, window)
        return self.encode(vars(clips) | {"field": field, "seconds": seconds})

    def encode(self, clips: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Pictures of clips as tokens, and the truth, as :meth:`load` returns them.

        Args:
            clips: ``appearance``, ``motion``, ``field``, ``bpm`` and ``seconds``.
        """
        wanted = ("appearance", "motion", *WHOLE)
        tensors = {name: torch.as_tensor(clips[name]).to(self.device) for name in wanted}
        geometry = self.layout.geometry
        motion = motion_sheet(tensors["motion"], geometry)
        target = field_to_sheet(bijection.encode_phasor(tensors["field"]), geometry)
        return {
            "appearance": encode_pictures(self.vae, tensors["appearance"]),
            "motion": encode_pictures(self.vae, torch.as_tensor(motion)),
            "target": encode_pictures(self.vae, torch.as_tensor(target)),
            "field": torch.view_as_real(tensors["field"].to(torch.complex64)),
            "bpm": tensors["bpm"],
            "seconds": tensors["seconds"],
        }


def open_batches(
    settings: AdapterSettings, vae: AutoencoderKLFlux2, device: torch.device, ranks: int = 1
) -> Batches:
    """The batches that a training's settings ask for.

    Simulated clips are kept where they are seen again: in a later epoch, or, where the settings
    name a folder for them, by another training. What was kept before the code changed that makes
    them is not used.

    Args:
        settings: of the training.
        vae: that encodes the pictures.
        device: where clips are simulated and the tensors go.
        ranks: processes that train.

    Raises:
        ClipError: if the prepared recordings do not go with the sheet.
    """
    recorded = validated = None
    layout = settings.layout
    seen = settings.steps * settings.batch * settings.accumulate * ranks
    if settings.data:
        recorded = Shards.open(settings.data, "train")
        validated = Shards.open(settings.data, "validation")
        if recorded.samples != layout.geometry.samples:
            raise ClipError(
                f"the data were prepared with {recorded.samples} samples a window, "
                f"the sheet has {layout.geometry.samples}"
            )
    made = fingerprint(follow_imports(__name__), settings.base, layout, settings.batch)
    return Batches(
        vae=vae,
        layout=layout,
        device=device,
        cache=settings.cache_folder / made,
        size=settings.batch,
        seed=settings.seed,
        skip=settings.skip,
        light=settings.light,
        calm=settings.calm,
        keep=settings.cache is not None or settings.clips < seen,
        recorded=recorded,
        validated=validated,
    )
