"""Trains DeepPhys or MTTS-CAN on the train subjects of data sets, for evaluate.py to compare with.

Stops at any time; the same command goes on where it stopped.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]

from pulse_plantain.lab import evaluation
from pulse_plantain.lab.datasets import DATASETS, open_dataset
from pulse_plantain.lab.networks import (
    CHUNK,
    NETWORKS,
    face_frames,
    masked_loss,
    network_input,
    network_target,
    predicted_bvp,
    save_network,
)
from pulse_plantain.lab.training import Log, fast_on, load_checkpoint, save_checkpoint
from pulse_plantain.video import ClipError
from scripts.evaluate import dealt_to

REPORT_EVERY, SAVE_EVERY = 50, 200
NETWORKS_CODE = ROOT / "rppg" / "networks.py"


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=tuple(NETWORKS), required=True)
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="NAME:DIR",
        help=f"data sets ({', '.join(DATASETS)}), each as it lies on disk",
    )
    parser.add_argument(
        "--splits", type=Path, help="splits.json of prepare.py: train on its train subjects only"
    )
    parser.add_argument(
        "--validate", metavar="NAME:DIR", help="a data set to validate on (with --splits: the same)"
    )
    parser.add_argument("--out", type=Path, help="file of the weights (default: networks/NAME)")
    parser.add_argument("--cache", type=Path, default=ROOT / "out" / "networks")
    parser.add_argument("--log", type=Path, help="default: results/train-NETWORK.jsonl")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=12, help="chunks of ten frames")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    args.out = args.out or ROOT / "networks" / f"{args.network}.safetensors"
    args.log = args.log or ROOT / "results" / f"train-{args.network}.jsonl"
    return args


def opened(spec):
    """Recordings with a reference pulse of NAME:DIR."""
    name, _, root = spec.partition(":")
    if name not in DATASETS or not root:
        raise ClipError(f"data must be given as NAME:DIR, NAME one of {', '.join(DATASETS)}")
    recordings, damaged = open_dataset(name, root)
    for label, reason in damaged.items():
        print(f"left out {label}: {reason}", file=sys.stderr)
    return [recording for recording in recordings if len(recording.bvp) and recording.bpm > 0]


def frames_of(recording, cache):
    """(frames, times) of a recording's face, kept as files."""
    about = recording.path.stat()
    stamp = (str(recording.path.resolve()), recording.name, about.st_size, about.st_mtime_ns)
    path = cache / f"{evaluation.fingerprint([NETWORKS_CODE], *stamp)}.npz"
    if not path.exists():
        frames, times = face_frames(recording, evaluation.network_box(recording))
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new.npz")
        np.savez(new, frames=frames, times=times)
        new.replace(path)
    with np.load(path) as kept:
        return kept["frames"], kept["times"]


def examples(recordings, cache):
    """[(motion, appearance, target)] of recordings; those that cannot be read are reported."""
    found = []
    for recording in tqdm(recordings, "faces", unit="clip"):
        try:
            frames, times = frames_of(recording, cache)
        except (ClipError, OSError) as error:
            tqdm.write(f"left out {recording.name}: {error}")
            continue
        target = network_target(recording.bvp, recording.bvp_times, times)
        found.append((*network_input(frames), target))
    if not found:
        raise ClipError("no recording to train on")
    return found


def batch_of(data, count, rng):
    """Random chunks of ten frames of random recordings, half of them mirrored."""
    parts = []
    for _ in range(count):
        motion, appearance, target = data[rng.integers(len(data))]
        start = rng.integers(len(target) - CHUNK + 1)
        chunk = [its[start : start + CHUNK] for its in (motion, appearance, target)]
        if rng.random() < 0.5:
            chunk[:2] = [its.flip(-1) for its in chunk[:2]]
        parts.append(chunk)
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def validation_error(network, recordings, cache):
    """Mean absolute error in bpm over whole recordings."""
    network.eval()
    errors = []
    for recording in recordings:
        frames, _ = frames_of(recording, cache)
        bpm = evaluation.network_rate(predicted_bvp(network, frames))
        errors.append(abs(bpm - recording.bpm) if np.isfinite(bpm) else recording.bpm)
    network.train()
    return {"clips": len(errors), "mae_bpm": float(np.mean(errors))} | {
        "within_3_bpm": float(np.mean(np.array(errors) <= 3))
    }


def train(args):
    recordings = [recording for spec in args.data for recording in opened(spec)]
    validated = opened(args.validate) if args.validate else []
    if args.splits:
        validated = validated or dealt_to(recordings, args.splits, "validation")
        recordings = dealt_to(recordings, args.splits, "train")
    data = examples(recordings, args.cache)
    torch.manual_seed(args.seed)
    network = NETWORKS[args.network]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps)
    state = {"network": network, "optimizer": optimizer, "schedule": schedule}
    whose = (args.network, args.data, args.splits, args.steps, args.batch, args.lr, args.seed)
    checkpoint = args.cache / f"{args.network}-{evaluation.fingerprint([], *whose)}.pt"
    start = load_checkpoint(checkpoint, **state)
    settings = {k: v for k, v in vars(args).items() if k in ("steps", "batch", "lr", "network")}
    log = Log(args.log, args.seed, settings | {"recordings": len(data)})
    running = 0.0
    bar = tqdm(range(start, args.steps), args.network, args.steps, initial=start)
    for step in bar:
        rng = np.random.default_rng([args.seed, step])
        torch.manual_seed(args.seed * 1_000_003 + step)
        motion, appearance, target = batch_of(data, args.batch, rng)
        with fast_on("cpu"):
            predicted = network(motion, appearance)
        loss = masked_loss(predicted.float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running += loss.item() / REPORT_EVERY
        if (step + 1) % REPORT_EVERY == 0:
            bar.set_postfix(loss=f"{running:.3f}")
            log.write({"step": step + 1, "loss": round(running, 4)})
            running = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == args.steps:
            save_checkpoint(checkpoint, step + 1, **state)
    network.eval()
    header = {"recordings": len(data), "steps": args.steps, "seed": args.seed}
    save_network(args.out, args.network, network, **header)
    if validated:
        scores = validation_error(network, validated, args.cache)
        log.write({"step": args.steps, "validation": scores})
        print(json.dumps(scores))


def main(argv=None):
    try:
        train(arguments(argv))
    except (ClipError, OSError) as error:
        print(f"train_network.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
