"""Says why a clip gets no heart rate: what is seen of its drawings, beside the fitted clips'.

Writes results/wrist-signs.json. What was drawn of the clips that the reading was fitted to is where
calibrate.py has kept it.
"""

import argparse
import json
import sys
from pathlib import Path

from pulse_plantain.adapter import WEIGHTS_FILE
from pulse_plantain.lab.reading_fit import Evidence, collect, name_evidence
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.signs import see_clip, see_fitted
from pulse_plantain.lab.training import describe_run
from pulse_plantain.loading import load_pipeline
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument(
        "--rates",
        type=float,
        nargs=2,
        required=True,
        metavar=("LOW", "HIGH"),
        help="bpm between which the clip's rate is known to lie",
    )
    parser.add_argument("--model", default=str(ROOT / "tiny"))
    parser.add_argument("--adapter", type=Path, default=ROOT / "tiny" / "adapter")
    parser.add_argument("--kept", type=Path, default=ROOT / "out" / "reading")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "wrist-signs.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    try:
        kept = name_evidence(args.kept, args.adapter / WEIGHTS_FILE)
        evidence = [Evidence.load(path) for path in sorted(kept.glob("*.npz"))]
        if not evidence:
            raise ClipError(f"nothing in {args.kept} of this adapter: run calibrate.py first")
        pipe = load_pipeline(args.model, str(args.adapter))
        pipe.set_progress_bar_config(disable=True)
        witnesses, *_ = collect(pipe, args.clip)
    except (ClipError, OSError) as error:
        print(f"measure_signs: {error}", file=sys.stderr)
        return 2
    weights = pipe.reading_weights
    figures = {"the clip": see_clip(witnesses, tuple(args.rates), weights)}
    figures |= see_fitted(evidence, weights)
    result = describe_run(seed=None) | {"command": describe_command("measure_signs.py", argv, ROOT)}
    write_result(args.out, result | {"rates": args.rates, "figures": figures})
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
