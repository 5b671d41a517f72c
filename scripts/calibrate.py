"""Fits the numbers of the reading to an adapter, on clips whose pulse is known.

Use clips of the validation split with and without a pulse (scripts/synthesize.py), never the test
clips. What is drawn of them is kept under out/reading/: the same command goes on where it stopped.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulse_plantain.adapter import WEIGHTS_FILE, set_pulse_values
from pulse_plantain.lab.calibration import calibrate, summarise_seconds
from pulse_plantain.lab.reading_fit import START, fit_walk
from pulse_plantain.lab.reliability import compare_confidences
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run
from pulse_plantain.loading import load_pipeline
from pulse_plantain.posterior import MIN_CONFIDENCE
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--clips", type=Path, nargs="+", required=True, help="folders of rendered clips"
    )
    parser.add_argument(
        "--long",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of clips of a minute, with and without a pulse, to fit to as well: they tell "
        "how far a line may be believed that stays",
    )
    parser.add_argument(
        "--min-confidence", type=float, default=MIN_CONFIDENCE, help="from which a rate is given"
    )
    parser.add_argument("--model", default=str(ROOT / "tiny"))
    parser.add_argument("--adapter", type=Path, default=ROOT / "tiny" / "adapter")
    parser.add_argument(
        "--intervals",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="inter-beat intervals of hearts in ms, a text file each: the step of the random walk "
        "is fitted to them (default: the miniature's)",
    )
    parser.add_argument("--kept", type=Path, default=ROOT / "out" / "reading")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "calibration.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Fit, write the numbers into the adapter, and what was found into results."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    try:
        pipe = load_pipeline(args.model, str(args.adapter))
        pipe.set_progress_bar_config(disable=True)
        path = args.adapter / WEIGHTS_FILE
        start = START
        if args.intervals:
            hearts = [np.loadtxt(name, ndmin=1).ravel() / 1000 for name in args.intervals]
            start = replace(START, drift=round(fit_walk(hearts), 4))
        found = calibrate(pipe, path, args.clips, args.kept, start, args.long, args.min_confidence)
    except (ClipError, OSError, ValueError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    values = {"reading": found.weights.to_dict(), "min_confidence": args.min_confidence}
    set_pulse_values(path, values)
    figures = found.sum_up(args.min_confidence)
    result = describe_run(seed=0) | {"command": describe_command("calibrate.py", argv, ROOT)}
    result |= values | {"figures": figures}
    if found.long:
        figures["long"] = summarise_seconds(found.long, args.min_confidence)
        result["long_rows"] = found.long
    result["bins"] = compare_confidences(found.rows)["bins"]
    write_result(args.out, result | {"rows": found.rows})
    for name, row in figures.items():
        print(name, ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
