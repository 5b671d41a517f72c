"""Training of DeepPhys and MTTS-CAN on recordings, for the evaluation to compare with.

Stops at any time; the same training goes on where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pulse_plantain.files import write_files
from pulse_plantain.lab import evaluation, networks
from pulse_plantain.lab.datasets import Recording
from pulse_plantain.lab.kept import fingerprint
from pulse_plantain.lab.networks import CHUNK, NETWORKS
from pulse_plantain.lab.sources import choose_subjects, open_labelled
from pulse_plantain.lab.training import Log, autocast_where_fast, load_checkpoint, save_checkpoint
from pulse_plantain.video import ClipError

REPORT_EVERY, SAVE_EVERY = 50, 200

Example = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Motion and appearance [samples - 1, 3, SIDE, SIDE] and target [samples - 1] of a recording."""


@dataclass(frozen=True)
class NetworkTraining:
    """What a network is trained on, and how.

    Attributes:
        network: name, of :data:`pulse_plantain.lab.networks.NETWORKS`.
        data: data sets, each as NAME:DIR.
        out: file of the weights.
        cache: folder of the recordings' faces and of the checkpoint.
        log: file of the log.
        splits: splits.json whose train subjects alone are learnt from; None for all subjects.
        validate: a data set to validate on, as NAME:DIR; with ``splits``, its validation subjects
            where None.
        steps, batch, lr, seed: of the training; a batch counts chunks.
    """

    network: str
    data: Sequence[str]
    out: Path
    cache: Path
    log: Path
    splits: Path | None = None
    validate: str | None = None
    steps: int = 3000
    batch: int = 12
    lr: float = 1e-3
    seed: int = 0

    def list_recordings(self) -> tuple[list[Recording], list[Recording]]:
        """(recordings to train on, recordings to validate on).

        Raises:
            ClipError: if a data set cannot be opened, or the splits name nobody in it.
        """
        recordings = [recording for source in self.data for recording in open_labelled(source)]
        validated = open_labelled(self.validate) if self.validate else []
        if self.splits:
            validated = validated or choose_subjects(recordings, self.splits, "validation")
            recordings = choose_subjects(recordings, self.splits, "train")
        return recordings, validated

    def find_checkpoint(self) -> Path:
        """The file of the checkpoint; another training has another one."""
        data = list(self.data)
        whose = (self.network, data, self.splits, self.steps, self.batch, self.lr, self.seed)
        return self.cache / f"{self.network}-{fingerprint([], *whose)}.pt"


def load_face(recording: Recording, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """(frames, times) of a recording's face, as :func:`networks.read_face_frames` gives them; kept.

    Args:
        recording: with a clip.
        cache: folder where the frames are kept for the next time.

    Raises:
        ClipError: if the clip cannot be read or is too short.
    """
    about = recording.path.stat()
    stamp = (str(recording.path.resolve()), recording.name, about.st_size, about.st_mtime_ns)
    path = cache / f"{fingerprint([Path(networks.__file__)], *stamp)}.npz"
    if not path.exists():
        frames, times = networks.read_face_frames(recording, evaluation.make_box_finder(recording))

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.savez(file, frames=frames, times=times)

        write_files({path: write})
    with np.load(path) as kept:
        return kept["frames"], kept["times"]


def load_examples(recordings: Sequence[Recording], cache: Path) -> list[Example]:
    """What there is to learn from recordings; those that cannot be read are reported.

    Raises:
        ClipError: if none can be read.
    """
    found = []
    for recording in tqdm(recordings, "faces", unit="clip"):
        try:
            frames, times = load_face(recording, cache)
        except (ClipError, OSError) as error:
            tqdm.write(f"left out {recording.name}: {error}")
            continue
        target = networks.prepare_target(recording.bvp, recording.bvp_times, times)
        found.append((*networks.prepare_input(frames), target))
    if not found:
        raise ClipError("no recording to train on")
    return found


def draw_batch(examples: Sequence[Example], count: int, rng: np.random.Generator) -> Example:
    """Random chunks of ten frames of random recordings, half of them mirrored, one after another.

    Args:
        examples: of recordings.
        count: chunks of the batch.
        rng: chooses.
    """
    parts = []
    for _ in range(count):
        motion, appearance, target = examples[int(rng.integers(len(examples)))]
        start = int(rng.integers(len(target) - CHUNK + 1))
        chunk = [its[start : start + CHUNK] for its in (motion, appearance, target)]
        if rng.random() < 0.5:
            chunk[:2] = [its.flip(-1) for its in chunk[:2]]
        parts.append(chunk)
    motion, appearance, target = (torch.cat(column) for column in zip(*parts, strict=True))
    return motion, appearance, target


def validate(
    network: torch.nn.Module, recordings: Sequence[Recording], cache: Path
) -> dict[str, Any]:
    """Errors over whole recordings: how many, mean absolute error in bpm, share within 3 bpm."""
    network.eval()
    errors = []
    for recording in recordings:
        frames, _ = load_face(recording, cache)
        bpm = evaluation.estimate_network_rate(networks.predict_bvp(network, frames))
        errors.append(abs(bpm - recording.bpm) if np.isfinite(bpm) else recording.bpm)
    network.train()
    return {
        "clips": len(errors),
        "mae_bpm": float(np.mean(errors)),
        "within_3_bpm": float(np.mean(np.array(errors) <= 3)),
    }


def train_network(training: NetworkTraining) -> dict[str, Any] | None:
    """Train a network, write its weights and log how it went.

    Returns:
        what :func:`validate` says of it; None where there is nothing to validate on.

    Raises:
        ClipError: if there is nothing to train on.
    """
    recordings, validated = training.list_recordings()
    examples = load_examples(recordings, training.cache)
    torch.manual_seed(training.seed)
    network: Any = NETWORKS[training.network]()
    network.to(memory_format=torch.channels_last)
    settings = {name: getattr(training, name) for name in ("network", "steps", "batch", "lr")}
    log = Log(training.log, training.seed, settings | {"recordings": len(examples)})
    _run_steps(training, network, examples, log)
    network.eval()
    header = {"recordings": len(examples), "steps": training.steps, "seed": training.seed}
    networks.save_network(training.out, training.network, network, **header)
    if not validated:
        return None
    scores = validate(network, validated, training.cache)
    log.write({"step": training.steps, "validation": scores})
    return scores


def _run_steps(
    training: NetworkTraining, network: torch.nn.Module, examples: Sequence[Example], log: Log
) -> None:
    """Go from the checkpoint, or from the start, to the last step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.lr, training.steps)
    state = {"network": network, "optimizer": optimizer, "schedule": schedule}
    checkpoint = training.find_checkpoint()
    start, steps = load_checkpoint(checkpoint, **state), training.steps
    running = 0.0
    bar = tqdm(range(start, steps), training.network, steps, initial=start)
    for step in bar:
        rng = np.random.default_rng([training.seed, step])
        torch.manual_seed(training.seed * 1_000_003 + step)
        motion, appearance, target = draw_batch(examples, training.batch, rng)
        with autocast_where_fast("cpu"):
            predicted = network(motion, appearance)
        loss = networks.masked_loss(predicted.float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running += loss.item() / REPORT_EVERY
        if (step + 1) % REPORT_EVERY == 0:
            bar.set_postfix(loss=f"{running:.3f}")
            log.write({"step": step + 1, "loss": round(running, 4)})
            running = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_checkpoint(checkpoint, step + 1, **state)
