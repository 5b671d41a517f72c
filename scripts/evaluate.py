"""Measures every clip of a data set by every method and writes results/<name>.json.

Rows are cached under out/evaluate/ as they are computed: run the same command again to go on.
Under ``accelerate launch`` or ``torchrun`` the recordings are shared out among the processes.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pulse_plantain.lab.evaluation_run import NAMED, Data, Outcome, evaluate
from pulse_plantain.lab.figures import draw_evaluation
from pulse_plantain.lab.measuring import Instruments
from pulse_plantain.lab.running import (
    describe_command,
    join_processes,
    shorten_word,
    write_result,
)
from pulse_plantain.lab.training import describe_run
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--data",
        default="synthetic:test",
        help="synthetic:SPLIT (as test, camera-test), a data set as NAME:DIR "
        f"({', '.join(NAMED)}), or folder:DIR, videos without truth",
    )
    parser.add_argument(
        "--splits",
        type=Path,
        help="splits.json of prepare.py: only its test subjects (default: all subjects, as for a "
        "model that was trained on another data set)",
    )
    parser.add_argument("--clips", type=Path, help="rendered clips (default: rendered into out/)")
    parser.add_argument(
        "--null", type=Path, nargs="+", default=(), help="clips without a pulse, for pulse"
    )
    parser.add_argument("--count", type=int, default=200, help="clips to render without --clips")
    parser.add_argument("--methods", default="pulse,green,chrom,pos", help="separated by commas")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument(
        "--cache",
        type=Path,
        default=ROOT / "out" / "evaluate",
        help="folder of the finished rows",
    )
    parser.add_argument("--model", default=str(ROOT / "tiny"), help="pipeline folder or Hub id")
    parser.add_argument("--adapter", default=str(ROOT / "tiny" / "adapter"))
    parser.add_argument(
        "--networks",
        type=Path,
        default=ROOT / "networks",
        help="folder of train_network.py's weights, NAME.safetensors, for deepphys and mttscan",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap over subjects")
    return parser.parse_args(argv)


def write(args: argparse.Namespace, argv: list[str], name: str, outcome: Outcome) -> None:
    """Write what was found, and print it."""
    result: dict[str, Any] = describe_run(args.seed)
    result["command"] = describe_command("evaluate.py", argv, ROOT)
    result["versions"]["scikit-learn"] = version("scikit-learn")
    settings = {key: getattr(args, key) for key in ("data", "model", "adapter")}
    result["settings"] = {key: shorten_word(word, ROOT) for key, word in settings.items()}
    if args.splits:
        result["settings"]["splits"] = args.splits.name
    path = args.out / f"{name}.json"
    write_result(path, result | outcome.to_dict())
    print(outcome.to_text())
    if outcome.rendered:
        print(f"{outcome.rendered} recordings are rendered: the figures say nothing of real ones")
    print(f"written to {path}")
    if outcome.figures:
        page = draw_evaluation(outcome.figures, outcome.rows, outcome.null_rows)
        page.savefig(path.with_suffix(".png"), dpi=80)


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    try:
        data = Data(args.data, ROOT / "out", args.splits, args.clips, args.null, args.count)
        instruments = Instruments(args.model, args.adapter, args.cache, args.networks)
        outcome = evaluate(data, args.methods.split(","), instruments, args.seed)
        if join_processes().is_main_process:
            write(args, argv, outcome.name, outcome)
    except (ClipError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
