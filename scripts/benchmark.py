"""How long measure.py takes, beside importing and decoding alone, and the model for one window.

Writes results/benchmark.json: every single time in seconds, and the machine. ``benchmark.py klein``
measures the 4B architecture with random weights instead: results/benchmark-klein.json on a GPU,
benchmark-klein-cpu.json elsewhere (16 GiB of memory, 20 minutes on two cores).
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

from pulse_plantain.lab import speed
from pulse_plantain.lab.benchmarking import (
    describe_clip,
    render_benchmark_clip,
    time_window,
)
from pulse_plantain.lab.klein_benchmark import Klein, measure_klein
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run
from pulse_plantain.loading import load_pipeline
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure", "klein"), default="measure")
    parser.add_argument(
        "--narrow",
        action="store_true",
        help="klein: full depth, hardly any width, a small sheet: runs anywhere, measures nothing",
    )
    parser.add_argument(
        "--count",
        action="store_true",
        help="klein: only count parameters, tokens and memory: results/klein-sizes.json",
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="FOLDER",
        help="klein: only write a base with random weights, to try the trainer at full size: 8 GB",
    )
    parser.add_argument("--clip", type=Path, help="default: 10 s of 640x480 rendered into out/")
    parser.add_argument("--repeat", type=int, default=5, help="times that everything is run")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--model", default=str(ROOT / "tiny"), help="pipeline folder or Hub id")
    parser.add_argument("--adapter", default=str(ROOT / "tiny" / "adapter"))
    return parser.parse_args(argv)


def run_klein(args: argparse.Namespace, command: str) -> None:
    """Count or measure the 4B architecture, or write a base of it."""
    architecture = Klein(ROOT / "adapter_config.json", ROOT / "tiny" / "vae", args.narrow)
    if args.base:
        architecture.write_base(args.base)
        print(f"written to {args.base}")
        return
    if args.count:
        name, figures = "klein-sizes", architecture.count_sizes()
    else:
        figures = measure_klein(architecture, args.repeat)
        where = "-narrow" if args.narrow else "-cpu" if figures["device"] == "CPU" else ""
        name = f"benchmark-klein{where}"
    path = args.out / f"{name}.json"
    write_result(path, describe_run(seed=0) | {"command": command} | figures)
    print(json.dumps(figures, indent=1))
    print(f"written to {path}")


def run_measure(args: argparse.Namespace, command: str) -> None:
    """Time the command and the model."""
    clip = args.clip or render_benchmark_clip(ROOT / "out" / "benchmark.mp4")
    about = describe_clip(clip)
    script = ROOT / "scripts" / "measure.py"
    taken = speed.measure_speed(script, clip, ROOT / "out", args.repeat)
    pipe = load_pipeline(args.model, args.adapter)
    windows = [time_window(pipe, clip) for _ in range(args.repeat + 1)][1:]
    figures = speed.sum_up(taken)
    result = describe_run(seed=None) | {"command": command, "clip": about}
    result |= {"threads": torch.get_num_threads(), "figures": figures}
    result |= {"window_seconds": windows, "speed": taken}
    path = args.out / "benchmark.json"
    write_result(path, result)
    for name, figure in figures.items():
        print(f"{name}: {figure:.2f}")
    print(f"model, one window: {statistics.median(w['model'] for w in windows):.2f} s")
    print(f"written to {path}")


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    command = describe_command("benchmark.py", argv, ROOT)
    try:
        if args.what == "klein":
            run_klein(args, command)
        else:
            run_measure(args, command)
    except (ClipError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
