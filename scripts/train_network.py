"""Trains DeepPhys or MTTS-CAN on the train subjects of data sets, for evaluate.py to compare with.

Stops at any time; the same command goes on where it stopped.
"""

import argparse
import json
import sys
from pathlib import Path

from pulse_plantain.lab.datasets import DATASETS
from pulse_plantain.lab.network_training import NetworkTraining, train_network
from pulse_plantain.lab.networks import NETWORKS
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str] | None) -> NetworkTraining:
    """The training that the command line describes."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
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
    return NetworkTraining(**vars(args))


def main(argv: list[str] | None = None) -> int:
    """Train, and print how good the network is; 2 where that cannot be done."""
    training = parse(argv)
    try:
        scores = train_network(training)
    except (ClipError, OSError) as error:
        print(f"train_network.py: {error}", file=sys.stderr)
        return 2
    if scores:
        print(json.dumps(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
