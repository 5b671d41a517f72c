"""Renders synthetic test clips with a known pulse: video, ground truth (JSON) and skin mask (PNG).

Clips that are already there are kept, so an interrupted run goes on where it stopped.
"""

import argparse
import sys
from pathlib import Path

import torch

from pulse_plantain.lab.calm_clips import render_calm
from pulse_plantain.lab.photographs import find_photographs, render_photographs
from pulse_plantain.lab.synthetic import (
    LIGHTS,
    SPLITS,
    render_journeys,
    render_set,
    render_ubfc2,
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the clips")
    parser.add_argument("--split", choices=SPLITS, help="default: test")
    parser.add_argument("--count", type=int, default=200, help="number of clips, one subject each")
    parser.add_argument("--start", type=int, default=0, help="number of the first clip")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument(
        "--pulse", type=int, choices=(0, 1), help="0: the same clips without a pulse; default: 1"
    )
    parser.add_argument(
        "--layout",
        choices=("plain", "ubfc2"),
        help="ubfc2: subject<n>/vid.avi and ground_truth.txt, as UBFC-rPPG's DATASET_2",
    )
    parser.add_argument(
        "--light",
        choices=LIGHTS,
        help="default: plain; camera: colour matrix, fluttering light, hunting exposure and the "
        "rest of what real cameras see; lamp: the same without a pulse, half of the clips under a "
        "lamp that beats",
    )
    parser.add_argument(
        "--journeys",
        action="store_true",
        help="long clips in camera light in which the rate moves by 20 bpm, pictures are missing "
        "for a while, and the person walks out of the picture and returns",
    )
    parser.add_argument(
        "--photographs",
        type=Path,
        metavar="DIR",
        help="in place of rendered faces: still photographs of this folder, held by a hand under "
        "steady, fluttering or beating light; nothing in them has a pulse",
    )
    parser.add_argument(
        "--calm",
        action="store_true",
        help="in place of rendered faces: ovals whose colours fluctuate as those of seated people "
        "do; without a pulse some are under a lamp that beats",
    )
    return parser.parse_args(argv)


DEFAULTS = {"split": "test", "pulse": 1, "layout": "plain", "light": "plain"}
"""What is rendered where nothing else is asked for."""


def fill_defaults(options: argparse.Namespace) -> None:
    """Give the options that were left out their values.

    Raises:
        ValueError: if one was given that says nothing of what is rendered.
    """
    kind, deaf = None, []
    if options.photographs:
        kind, deaf = "--photographs", ["split", "pulse", "layout", "light", "journeys", "calm"]
    elif options.calm:
        kind, deaf = "--calm", ["layout", "light", "journeys"]
    elif options.journeys:
        kind, deaf = "--journeys", ["pulse", "layout", "light"]
    values = {name: getattr(options, name) for name in deaf}
    given = [f"--{name}" for name, v in values.items() if v is not None and v is not False]
    if given:
        raise ValueError(f"{kind} does not go with {' or '.join(given)}: leave it out")
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def main(argv: list[str] | None = None) -> int:
    """Render; 2 where that cannot be done, 130 where it was stopped."""
    options = parse(argv)
    torch.set_num_threads(1)  # pictures are small: more threads only wait for each other
    try:
        if options.count < 1 or options.seconds <= 0:
            raise ValueError("--count and --seconds must be above 0")
        fill_defaults(options)
        if options.photographs:
            paths = find_photographs(options.photographs)
            render_photographs(options.out, paths, options.count, options.seconds, options.start)
            return 0
        if options.calm:
            render_calm(
                options.out,
                options.split,
                options.count,
                bool(options.pulse),
                options.seconds,
                options.start,
            )
            return 0
        if options.journeys:
            render_journeys(
                options.out, options.split, options.count, options.seconds, options.start
            )
            return 0
        render = {"plain": render_set, "ubfc2": render_ubfc2}[options.layout]
        render(
            options.out,
            options.split,
            options.count,
            pulse=bool(options.pulse),
            seconds=options.seconds,
            start=options.start,
            light=options.light,
        )
    except (ValueError, OSError) as error:
        print(f"synthesize.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("synthesize.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
