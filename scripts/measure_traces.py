"""Measures colour traces of real faces with contact PPG, painted as clips, beside POS.

Writes results/face-traces.json. The traces are a folder that is given; of them nothing but the
figures is kept.
"""

import argparse
import sys
from pathlib import Path

from pulse_plantain.lab.painted import measure_traces, read_face_traces, sum_up
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run
from pulse_plantain.loading import load_pipeline
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]

WINDOWS = {8: 16.0, 24: 48.0}
"""Length of the windows in s -> seconds from the start of one to that of the next."""


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("traces", type=Path, help="folder of .npz files")
    parser.add_argument("--adapter", default=str(ROOT / "tiny" / "adapter"))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "face-traces.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    try:
        traces = read_face_traces(args.traces)
        pipe = load_pipeline(adapter=args.adapter)
        pipe.set_progress_bar_config(disable=True)
        rows = {
            str(seconds): measure_traces(pipe, traces, seconds, apart)
            for seconds, apart in WINDOWS.items()
        }
    except (ClipError, OSError) as error:
        print(f"measure_traces: {error}", file=sys.stderr)
        return 2
    figures = {
        seconds: {
            person: sum_up([row for row in some if person in ("all", row["person"])])
            for person in ("all", *(trace.name for trace in traces))
        }
        for seconds, some in rows.items()
    }
    result = describe_run(seed=0) | {"command": describe_command("measure_traces.py", argv, ROOT)}
    write_result(args.out, result | {"figures": figures, "rows": rows})
    for seconds, people in figures.items():
        for person, row in people.items():
            print(seconds, person, ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
