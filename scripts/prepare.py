"""Turns a data set into training data: windows of motion and appearance with their pulse.

Recordings that are done are kept, so an interrupted run goes on where it stopped. A damaged
recording is reported and left out.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from pulse_plantain.lab.datasets import DATASETS, open_dataset, write_splits
from pulse_plantain.lab.datasets.shards import GRID, VERSION, shard_of, write_shard
from pulse_plantain.lab.training import WINDOWS
from pulse_plantain.video import ClipError


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=tuple(DATASETS), required=True)
    parser.add_argument("--root", type=Path, required=True, help="where the data set lies")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--samples", type=int, default=96, help="time samples (4B adapter: 128)")
    parser.add_argument(
        "--windows", type=float, nargs="+", default=list(WINDOWS), help="their lengths in s"
    )
    parser.add_argument("--stride", type=float, default=4.0, help="s between windows of a length")
    parser.add_argument("--folds", type=int, default=5, help="groups of subjects")
    parser.add_argument("--fold", type=int, default=0, help="which is tested; the next validates")
    parser.add_argument("--seed", type=int, default=0, help="of the groups")
    parser.add_argument("--workers", type=int, default=1, help="recordings at a time")
    return parser.parse_args(argv)


def one(recording, path, options):
    """Manifest entry of a recording, its shard written; runs in a process of its own."""
    shard = shard_of(recording, options.samples, options.windows, options.stride)
    header = {"dataset": options.dataset, "recording": recording.name, "subject": recording.subject}
    digest = write_shard(path, shard, **header)
    return {
        "file": path.name,
        "sha256": digest,
        "subject": recording.subject,
        "task": recording.task,
        "bpm": round(recording.bpm, 3),
        "windows": len(shard["bpm"]),
        "problems": list(recording.problems),
    }


def save(path, content):
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    new.replace(path)


def started(options):
    """The manifest to go on with; a new one where there is none of the same settings."""
    settings = {
        "dataset": options.dataset,
        "samples": options.samples,
        "lengths": options.windows,
        "stride": options.stride,
        "grid": GRID,
        "version": VERSION,
    }
    path = options.out / "manifest.json"
    if path.exists():
        manifest = json.loads(path.read_text())
        if {name: manifest.get(name) for name in settings} != settings:
            raise ClipError(f"{path} has other settings: choose another --out")
        return manifest
    names = ("numpy", "scipy", "av", "h5py", "torch")
    versions = {name: version(name) for name in names}
    return settings | {"versions": versions, "recordings": {}, "damaged": {}}


def run(options):
    if options.workers < 1 or options.stride <= 0 or options.samples < 16:
        raise ValueError("--workers must be 1 or more, --stride above 0, --samples 16 or more")
    recordings, damaged = open_dataset(options.dataset, options.root)
    options.out.mkdir(parents=True, exist_ok=True)
    manifest = started(options)
    write_splits(
        options.out / "splits.json",
        options.dataset,
        [recording.subject for recording in recordings],
        options.folds,
        options.fold,
        options.seed,
    )
    done = manifest["recordings"]
    missing = [
        recording
        for recording in recordings
        if recording.name not in done or not (options.out / done[recording.name]["file"]).exists()
    ]
    manifest["damaged"] = damaged
    bar = tqdm(total=len(recordings), initial=len(recordings) - len(missing), unit="recording")
    # Not forked: FFmpeg's and torch's threads do not survive that.
    with bar, ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        waiting = {
            pool.submit(one, recording, options.out / f"{recording.name}.safetensors", options): (
                recording.name
            )
            for recording in missing
        }
        for future in as_completed(waiting):
            name = waiting[future]
            try:
                done[name] = future.result()
            except (ClipError, OSError) as error:
                done.pop(name, None)
                manifest["damaged"][name] = str(error)
                tqdm.write(f"left out {name}: {error}")
            save(options.out / "manifest.json", manifest)
            bar.update()
    manifest["windows"] = sum(entry["windows"] for entry in done.values())
    save(options.out / "manifest.json", manifest)
    flawed = sum(bool(entry["problems"]) for entry in done.values())
    print(
        f"{manifest['windows']} windows of {len(done)} recordings in {options.out}; "
        f"{len(manifest['damaged'])} left out, {flawed} with problems (manifest.json)"
    )


def main(argv=None):
    try:
        run(arguments(argv))
    except (ClipError, ValueError, OSError) as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prepare.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
