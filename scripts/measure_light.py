"""How the colours of skin move: simulated clips under both lights beside real recordings.

Writes results/light.json and results/light.png. Real recordings are a folder that is given; of
them nothing but the figures is kept.
"""

import argparse
import sys
from pathlib import Path

from pulse_plantain.files import write_files
from pulse_plantain.lab.light_measuring import (
    MINUTE,
    SEATED,
    draw_figure,
    measure_shape,
    read_traces,
    simulate_windows,
    sum_up_lines,
    summarize,
)
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--count", type=int, default=104, help="simulated clips under each light")
    parser.add_argument("--minutes", type=int, default=48, help="simulated clips of a minute")
    parser.add_argument("--traces", type=Path, help="folder of colour traces with contact PPG")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    try:
        groups = {
            f"{light} light": simulate_windows(light, args.count) for light in ("plain", "camera")
        }
        if args.traces:
            groups["two face traces with contact PPG"] = read_traces(args.traces)
        figures = {
            name: {
                "windows": len(windows),
                "figures": summarize(windows),
                "second harmonic": measure_shape(windows),
            }
            for name, windows in groups.items()
        }
        minutes = {"camera light": simulate_windows("camera", args.minutes, MINUTE)}
        if args.traces:
            minutes["two face traces with contact PPG"] = read_traces(args.traces, MINUTE)
        lines = {
            name: {"windows": len(windows), "figures": sum_up_lines(windows)}
            for name, windows in minutes.items()
            if windows
        }
        result = describe_run(seed=0) | {
            "command": describe_command("measure_light.py", argv, ROOT),
            "quantiles": [0.1, 0.5, 0.9],
            "groups": figures,
            "nine seated people, medians": SEATED,
            "lines of a minute": lines,
        }
        write_result(args.out / "light.json", result)
        figure = draw_figure(groups)
        write_files(
            {args.out / "light.png": lambda part: figure.savefig(part, format="png", dpi=100)}
        )
    except (ClipError, OSError) as error:
        print(f"measure_light.py: {error}", file=sys.stderr)
        return 2
    for name, group in figures.items():
        print(f"{name}, {group['windows']} windows")
        for figure_name, (low, middle, high) in group["figures"].items():
            print(f"  {figure_name:18} {middle:6.3f}  ({low:.3f} to {high:.3f})")
        print(
            "  second harmonic: {size:.2f}, {lead:.2f} rad ahead".format(**group["second harmonic"])
        )
    for name, group in lines.items():
        print(f"{name}, {group['windows']} minutes: how far what is no pulse stands in lines")
        for channel, (low, middle, high) in group["figures"].items():
            print(f"  {channel:18} {middle:6.2f}  ({low:.2f} to {high:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
