"""A data set turned into training data: shards of windows with their pulse, and who gets which.

Recordings that are done are kept, so that an interrupted preparation goes on where it stopped.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pulse_plantain.files import write_text
from pulse_plantain.lab.datasets import Folds, Recording, open_dataset, write_splits
from pulse_plantain.lab.datasets.shards import GRID, VERSION, make_shard, write_shard
from pulse_plantain.lab.training import WINDOWS
from pulse_plantain.video import ClipError


@dataclass(frozen=True)
class Preparation:
    """What is prepared, and how.

    Attributes:
        dataset: name, of :data:`pulse_plantain.lab.datasets.DATASETS`.
        root: where the data set lies.
        out: folder of the shards.
        samples: time samples of a window.
        windows: lengths of the windows in seconds.
        stride: seconds between windows of a length.
        folds: groups of subjects.
        fold: the group that is tested; the next one validates.
        seed: of the groups.
        workers: recordings prepared at a time.

    Raises:
        ValueError: for numbers that are too small.
    """

    dataset: str
    root: Path
    out: Path
    samples: int = 96
    windows: Sequence[float] = WINDOWS
    stride: float = 4.0
    folds: int = 5
    fold: int = 0
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1 or self.stride <= 0 or self.samples < 16:
            raise ValueError("--workers must be 1 or more, --stride above 0, --samples 16 or more")

    @property
    def manifest(self) -> Path:
        """The file that says what was prepared."""
        return self.out / "manifest.json"

    def describe_shards(self) -> dict[str, Any]:
        """What the manifest says of all shards; other values need another folder."""
        return {
            "dataset": self.dataset,
            "samples": self.samples,
            "lengths": list(self.windows),
            "stride": self.stride,
            "grid": GRID,
            "version": VERSION,
        }


def prepare_recording(recording: Recording, path: Path, preparation: Preparation) -> dict[str, Any]:
    """Write the shard of a recording; its entry in the manifest.

    Runs in a process of its own.

    Raises:
        ClipError: if the recording cannot be used.
    """
    shard = make_shard(recording, preparation.samples, preparation.windows, preparation.stride)
    digest = write_shard(
        path,
        shard,
        dataset=preparation.dataset,
        recording=recording.name,
        subject=recording.subject,
    )
    return {
        "file": path.name,
        "sha256": digest,
        "subject": recording.subject,
        "task": recording.task,
        "bpm": round(recording.bpm, 3),
        "windows": len(shard["bpm"]),
        "problems": list(recording.problems),
        "rendered": recording.rendered,
    }


def open_manifest(preparation: Preparation) -> dict[str, Any]:
    """The manifest to go on with; a new one where there is none.

    Raises:
        ClipError: if there is one of other settings.
    """
    settings, path = preparation.describe_shards(), preparation.manifest
    if path.exists():
        manifest = json.loads(path.read_text())
        if {name: manifest.get(name) for name in settings} != settings:
            raise ClipError(f"{path} has other settings: choose another --out")
        return manifest
    versions = {name: version(name) for name in ("numpy", "scipy", "av", "h5py", "torch")}
    return settings | {"versions": versions, "recordings": {}, "damaged": {}}


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, whole or not at all."""
    write_text(path, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def prepare(preparation: Preparation) -> dict[str, Any]:
    """Write the shards of a data set, its splits.json and its manifest.json.

    A damaged recording is reported and left out.

    Returns:
        the manifest: ``windows``, ``recordings`` by name, ``damaged`` by name, the number that is
        ``rendered``, and the settings.

    Raises:
        ClipError: if there is nothing to prepare, or the folder holds shards of other settings.
        ValueError: if the subjects cannot be dealt into the folds.
    """
    recordings, damaged = open_dataset(preparation.dataset, preparation.root)
    preparation.out.mkdir(parents=True, exist_ok=True)
    manifest = open_manifest(preparation)
    write_splits(
        preparation.out / "splits.json",
        preparation.dataset,
        [recording.subject for recording in recordings],
        Folds(preparation.folds, preparation.fold, preparation.seed),
    )
    done = manifest["recordings"]
    missing = [
        recording
        for recording in recordings
        if recording.name not in done
        or not (preparation.out / done[recording.name]["file"]).exists()
    ]
    manifest["damaged"] = damaged
    with tqdm(
        total=len(recordings), initial=len(recordings) - len(missing), unit="recording"
    ) as bar:
        _prepare_missing(missing, preparation, manifest, bar)
    manifest["windows"] = sum(entry["windows"] for entry in done.values())
    manifest["rendered"] = sum(entry.get("rendered", False) for entry in done.values())
    write_manifest(preparation.manifest, manifest)
    return manifest


def _prepare_missing(
    missing: Sequence[Recording],
    preparation: Preparation,
    manifest: dict[str, Any],
    bar: tqdm,
) -> None:
    """Prepare recordings in processes of their own; the manifest is written after each."""
    done = manifest["recordings"]
    # Not forked: FFmpeg's and torch's threads do not survive that.
    with ProcessPoolExecutor(preparation.workers, get_context("spawn")) as pool:
        waiting = {}
        for recording in missing:
            path = preparation.out / f"{recording.name}.safetensors"
            waiting[pool.submit(prepare_recording, recording, path, preparation)] = recording.name
        for future in as_completed(waiting):
            name = waiting[future]
            try:
                done[name] = future.result()
            except (ClipError, OSError) as error:
                done.pop(name, None)
                manifest["damaged"][name] = str(error)
                tqdm.write(f"left out {name}: {error}")
            write_manifest(preparation.manifest, manifest)
            bar.update()
