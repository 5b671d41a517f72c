"""Trains the miniature's adapter in several ways on the same clips: results/ablation.json.

Each way is one run of train_adapter.py for each seed under out/ablation/, from the base, on the
same simulated clips in the same order; the same command goes on where it stopped. Every one is
validated at one step of the pipeline's schedule, and the objectives at several, too.
"""

import argparse
import sys
from pathlib import Path

from pulse_plantain.lab.ablation import WAYS, Ablation, run_way
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.synthetic import LIGHTS
from pulse_plantain.lab.training import describe_run
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument(
        "--network-steps", type=int, metavar="N", help="of DeepPhys and MTTS-CAN (default: as many)"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clips", type=int, default=16000, help="different clips simulated")
    parser.add_argument("--validation-batches", type=int, default=16)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings (default: 0 1 2)"
    )
    parser.add_argument(
        "--network-seeds", type=int, nargs="+", help="of DeepPhys and MTTS-CAN (default: the same)"
    )
    parser.add_argument(
        "--light", choices=LIGHTS[:2], default="plain", help="of the clips (default: plain)"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that simulate ahead")
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer")
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "ablation")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "ablation.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Train, and write what each way leads to; 2 where that cannot be done."""
    argv = sys.argv[1:] if argv is None else argv
    options = vars(parse(argv))
    ways, seeds, out = options.pop("ways"), options.pop("seeds"), options.pop("out")
    network_seeds = options.pop("network_seeds") or seeds
    ablation = Ablation(base=str(ROOT / "tiny"), **options)
    try:
        chosen = {name: network_seeds if WAYS[name].network else seeds for name in ways}
        runs = {
            name: {seed: run_way(ablation, name, seed) for seed in own}
            for name, own in chosen.items()
        }
    except (ClipError, OSError) as error:
        print(f"train_adapter.py: {error}", file=sys.stderr)
        return 2
    result = describe_run(None) | {"command": describe_command("ablate.py", argv, ROOT)}
    found = {name: ablation.describe_way(name, outcomes) for name, outcomes in runs.items()}
    settings = ablation.describe() | {"seeds": seeds, "network_seeds": network_seeds}
    write_result(out, result | {"settings": settings, "runs": found})
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
