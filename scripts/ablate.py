"""Trains the miniature's adapter in several ways on the same clips: results/ablation.json.

Each way is one run of train_adapter.py under out/ablation/, from the base, on the same simulated
clips in the same order; the same command goes on where it stopped. Every one is validated at one
and at several steps of the pipeline's schedule.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

from pulse_plantain.lab.training import provenance
from scripts import train_adapter

WAYS = {
    "phasor": ("one step, latents and phasors", []),
    "latent": ("one step, latents", ["--objective", "latent"]),
    "flow": ("plain flow matching", ["--objective", "flow"]),
    "random-base": ("one step, latents and phasors, base not pre-trained", ["--random-base"]),
    "full": ("one step, latents and phasors, every weight trained", ["--full", "--lr", "5e-4"]),
}
"""Name of each run: what it is, and what it adds to the command line."""

STEPS = (2, 4, 8)  # of the schedule, besides one
FIGURES = ("clips", "mae_bpm", "median_bpm", "within_3_bpm", "auc_pulse_against_none")


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clips", type=int, default=16000, help="different clips simulated")
    parser.add_argument("--validation-batches", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer")
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "ablation")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "ablation.json")
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    return args


def outcome(log):
    """dict number of steps -> figures, of a run's log."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    found = [row for row in rows if "validation" in row]
    return {
        str(row.get("inference_steps", 1)): {k: row["validation"][k] for k in FIGURES}
        for row in found
    }


def main(argv=None):
    args = arguments(argv)
    runs = {}
    for way in args.ways:
        words, options = WAYS[way]
        place = args.folder / way
        log = place / "log.jsonl"
        command = ["--base", str(ROOT / "tiny"), "--steps", str(args.steps)]
        command += ["--batch", str(args.batch), "--clips", str(args.clips)]
        command += ["--seed", str(args.seed), "--validate-every", str(args.steps)]
        command += ["--validation-batches", str(args.validation_batches)]
        command += ["--cache", str(args.folder / "cache"), "--checkpoints", str(place)]
        command += ["--log", str(log), "--out", str(place / "adapter")]
        command += ["--also-steps", *map(str, STEPS), *options]
        command += ["--compile"] * args.compile
        finished = log.exists() and len(outcome(log)) > len(STEPS)
        if not finished and train_adapter.main(command):
            return 2
        runs[way] = {"what": words, "options": options, "validation": outcome(log)}
    result = provenance(args.seed) | {"command": shlex.join(["ablate.py", *args.argv])}
    settings = {k: getattr(args, k) for k in ("steps", "batch", "clips", "validation_batches")}
    result |= {"settings": settings, "runs": runs}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
