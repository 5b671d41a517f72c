"""Sets an adapter's min_confidence from clips without a pulse, measured by the whole pipeline.

The threshold is the confidence that a given share of the clips stays below. Use clips of the
validation split (scripts/synthesize.py --split validation --pulse 0), never the test clips. What is
measured is kept under out/evaluate/: the same command goes on where it stopped.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from pulse_plantain.adapter import WEIGHTS_FILE, set_min_confidence
from pulse_plantain.lab.calibration import calibrate
from pulse_plantain.lab.measuring import Instruments
from pulse_plantain.lab.running import join_processes, write_result
from pulse_plantain.lab.thresholds import CLIP_SHARE
from pulse_plantain.lab.training import describe_run

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--null", type=Path, required=True, help="rendered clips without a pulse")
    parser.add_argument(
        "--share", type=float, default=CLIP_SHARE, help="that shall get no heart rate"
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--adapter", type=Path, default=Path("tiny/adapter"))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "calibration.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, set the threshold, write what was measured."""
    args = parse(argv)
    instruments = Instruments(args.model, str(args.adapter), ROOT / "out" / "evaluate")
    found = calibrate(instruments, args.null, args.share)
    if not join_processes().is_main_process:
        return
    set_min_confidence(args.adapter / WEIGHTS_FILE, found.min_confidence)
    command = f"calibrate.py --share {args.share:g} --null {args.null.name}"
    write_result(args.out, describe_run(seed=None) | {"command": command} | asdict(found))
    print(f"min_confidence {found.min_confidence} from {len(found.confidences)} clips")


if __name__ == "__main__":
    main()
