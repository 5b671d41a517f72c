"""Measures long rendered clips second by second: the rate moves, a gap, a person who leaves.

Writes results/long-clips.json and a picture of some curves beside it. The clips come from
``synthesize.py --journeys``; what is measured is kept, and the same command goes on with it.
"""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from pulse_plantain.adapter import WEIGHTS_FILE
from pulse_plantain.files import write_files
from pulse_plantain.lab.imports import follow_imports
from pulse_plantain.lab.kept import fingerprint, hash_weights, is_fresh
from pulse_plantain.lab.long_clips import draw_journeys, measure_journey, sum_up
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run
from pulse_plantain.loading import load_pipeline
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("clips", type=Path, help="folder that synthesize.py --journeys filled")
    parser.add_argument("--model", default=str(ROOT / "tiny"))
    parser.add_argument("--adapter", type=Path, default=ROOT / "tiny" / "adapter")
    parser.add_argument("--kept", type=Path, default=ROOT / "out" / "long")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "long-clips.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    try:
        clips = [path.with_suffix(".mp4") for path in sorted(args.clips.glob("*.json"))]
        if not clips:
            raise ClipError(f"no clips with ground truth in {args.clips}")
        pipe = load_pipeline(args.model, str(args.adapter))
        code = follow_imports("pulse_plantain.loading", "pulse_plantain.lab.long_clips")
        weights = hash_weights(args.adapter / WEIGHTS_FILE, pipe.config.reading)
        kept = args.kept / fingerprint(code, weights)
        kept.mkdir(parents=True, exist_ok=True)
        rows = []
        for clip in tqdm(clips, unit="clip"):
            place = kept / f"{clip.stem}.json"
            if not is_fresh(place, clip, clip.with_suffix(".json")):
                row = json.dumps(measure_journey(pipe, clip))
                write_files({place: lambda part, row=row: part.write_text(row)})
            rows.append(json.loads(place.read_text()))
    except (ClipError, OSError) as error:
        print(f"measure_long: {error}", file=sys.stderr)
        return 2
    figures = sum_up(rows, pipe.config.min_confidence)
    result = describe_run(seed=0) | {"command": describe_command("measure_long.py", argv, ROOT)}
    write_result(args.out, result | {"figures": figures, "rows": rows})
    figure = draw_journeys(rows, pipe.config.min_confidence)
    figure.savefig(args.out.with_suffix(".png"), dpi=80)
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
