"""Turns a data set into training data: windows of motion and appearance with their pulse.

Recordings that are done are kept, so an interrupted run goes on where it stopped. A damaged
recording is reported and left out.
"""

import argparse
import sys
from pathlib import Path

from pulse_plantain.lab.datasets import DATASETS
from pulse_plantain.lab.preparation import Preparation, prepare
from pulse_plantain.lab.training import WINDOWS
from pulse_plantain.video import ClipError


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
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


def main(argv: list[str] | None = None) -> int:
    """Prepare, and print what there is; 2 where that cannot be done, 130 where it was stopped."""
    args = parse(argv)
    try:
        manifest = prepare(Preparation(**vars(args)))
    except (ClipError, ValueError, OSError) as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prepare.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    done = manifest["recordings"].values()
    flawed = sum(bool(entry["problems"]) for entry in done)
    print(
        f"{manifest['windows']} windows of {len(done)} recordings in {args.out}; "
        f"{len(manifest['damaged'])} left out, {flawed} with problems (manifest.json)"
    )
    if manifest["rendered"]:
        print(f"{manifest['rendered']} of them are rendered: no recordings of {args.dataset}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
