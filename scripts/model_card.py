"""Writes the figures of README.md from results/; --check fails where the two differ.

A block between `<!-- NAME -->` and `<!-- /NAME -->` belongs to this script; all other text is
written by hand and holds no figure of ours.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from rppg.evaluation import table  # noqa: E402


def load(name):
    return json.loads((ROOT / "results" / name).read_text())


def source(name, result):
    return f"`results/{name}`, commit {result['commit']}: `python scripts/{result['command']}`"


def synthetic_test():
    """The table of the rendered test clips."""
    name = "synthetic-test.json"
    result = load(name)
    return f"{table(result['figures'])}\n\nSource: {source(name, result)}."


def real_footage():
    """Rates and confidences on real footage without a contact reference."""
    lines = ["| footage | videos | answered | highest confidence | median confidence |"]
    lines.append("|---|---|---|---|---|")
    names = ("wrist.json", "skin-patches.json")
    for name in names:
        rows = [row for row in load(name)["rows"] if row["method"] == "pulse"]
        confidences = sorted(row["confidence"] for row in rows)
        answered = ", ".join(f"{row['bpm']:.1f} bpm" for row in rows if row["answered"]) or "none"
        lines.append(
            f"| {Path(name).stem} | {len(rows)} | {answered} | {confidences[-1]:.2f} "
            f"| {confidences[len(rows) // 2]:.2f} |"
        )
    return "\n".join(lines) + "\n\nSource: " + ", ".join(f"`results/{n}`" for n in names) + "."


def training():
    """What the miniature is and how its training ended."""
    rows = [json.loads(x) for x in (ROOT / "results/train-adapter.jsonl").read_text().splitlines()]
    last = [row["validation"] for row in rows if "validation" in row][-1]
    clips = max(row["clips"] for row in rows if "clips" in row)
    base = [json.loads(x) for x in (ROOT / "results/train-base.jsonl").read_text().splitlines()]
    psnr = [row["psnr_db"] for row in base if "psnr_db" in row][-1]
    return (
        f"The adapter saw {clips:,} clips, repetitions counted; on {last['clips']} simulated "
        f"webcam clips of validation subjects (one look, nothing withheld) it ends at "
        f"MAE {last['mae_bpm']:.2f} bpm, median "
        f"{last['median_bpm']:.2f}, {last['within_3_bpm']:.1%} within 3 bpm; its confidence tells "
        f"clips with a pulse from clips without with an AUC of "
        f"{last['auc_pulse_against_none']:.3f}. The base draws fresh picture tasks in one step at "
        f"{psnr['one step']:.1f} dB PSNR, where its VAE alone reaches {psnr['vae']:.1f} dB and the "
        f"unchanged input {psnr['the source itself']:.1f} dB.\n\nSource: "
        "`results/train-adapter.jsonl`, `results/train-base.jsonl`."
    )


def speed():
    """Times of the main job."""
    name = "benchmark.json"
    result = load(name)
    clip = result["clip"]
    width, height = clip["size"]
    model = statistics.median(window["model"] for window in result["window_seconds"])
    process = statistics.median(result["process_seconds"])
    return (
        f"`measure.py` on a clip of {clip['seconds']:.0f} s, {width} × {height} px: "
        f"{process:.1f} s from process start to exit; the model's part of one window "
        f"(VAE, transformer, VAE): {model:.2f} s. {result['machine']}, "
        f"{result['threads']} threads.\n\nSource: {source(name, result)}."
    )


BLOCKS = {
    "synthetic-test": synthetic_test,
    "real-footage": real_footage,
    "training": training,
    "speed": speed,
}


def filled(card):
    """The card with every block written anew.

    Raises:
        ValueError: if the card lacks a block.
    """
    for name, write in BLOCKS.items():
        pattern = rf"<!-- {name} -->\n.*?<!-- /{name} -->"
        if not re.search(pattern, card, re.S):
            raise ValueError(f"README.md has no block <!-- {name} -->")
        before, after = re.split(pattern, card, maxsplit=1, flags=re.S)
        card = f"{before}<!-- {name} -->\n{write()}\n<!-- /{name} -->{after}"
    return card


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it would")
    args = parser.parse_args(argv)
    path = ROOT / "README.md"
    card = path.read_text()
    new = filled(card)
    if args.check and new != card:
        print("model_card: README.md and results/ differ; run scripts/model_card.py")
        return 1
    if not args.check:
        path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
