"""Writes the figures of README.md from results/; --check fails where the two differ.

A block between `<!-- NAME -->` and `<!-- /NAME -->` belongs to this script; all other text is
written by hand and holds no figure of ours. So is the front matter's model-index.
"""

import argparse
import json
import re
import statistics
import sys
from itertools import pairwise
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard

ROOT = Path(__file__).resolve().parents[1]
from pulse_plantain.lab.evaluation import table

DATA_SETS = {
    "ubfc1": "UBFC-rPPG (1)",
    "ubfc2": "UBFC-rPPG (2)",
    "pure": "PURE",
    "cohface": "COHFACE",
    "mmpd": "MMPD",
}


NETWORKS = ("deepphys", "mttscan")


def load(name):
    return json.loads((ROOT / "results" / name).read_text())


def source(name, result):
    return f"`results/{name}`, commit {result['commit']}: `python scripts/{result['command']}`"


def synthetic_test():
    """The table of the rendered test clips."""
    name = "synthetic-test.json"
    result = load(name)
    heads = {name: (ROOT / "results" / f"train-{name}.jsonl").open() for name in NETWORKS}
    trained = {json.loads(file.readline())["settings"]["recordings"] for file in heads.values()}
    return (
        f"{table(result['figures'])}\n\n`scripts/train_network.py` trained DeepPhys and MTTS-CAN "
        f"on {' and '.join(map(str, sorted(trained)))} rendered clips of other subjects."
        f"\n\nSource: {source(name, result)}."
    )


def data_sets(paths):
    """The table of the public data sets.

    Args:
        paths: files of evaluate.py, named after keys of :data:`DATA_SETS`; a data set without one
            is said to be open.
    """
    lines = [
        "| data set | method | recordings | subjects | MAE | RMSE | r | toolbox MAE: FFT, peaks "
        "| answered | MAE of answers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    found = {path.stem: json.loads(path.read_text()) for path in map(Path, paths)}
    for name, title in DATA_SETS.items():
        for method, mine in found.get(name, {}).get("figures", {}).items():
            rows = [row for row in found[name]["rows"] if row["method"] == method]
            forced, answered = mine["forced"], mine["answered"]
            toolbox = [mine.get("toolbox_mae"), mine.get("toolbox_peak_mae")]
            cells = [
                title,
                method,
                str(len(rows)),
                str(len({row["subject"] for row in rows})),
                f"{_number(forced['mae'])} ± {_number(forced['mae_se'])}",
                _number(forced["rmse"]),
                _number(forced["pearson"]),
                ", ".join(map(_number, toolbox)),
                f"{answered['coverage']:.0%}",
                _number(answered["mae"]),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        if name not in found:
            lines.append(f"| {title} | open: not evaluated yet |" + " |" * 8)
    sources = "; ".join(source(f"{name}.json", result) for name, result in found.items())
    return "\n".join(lines) + (f"\n\nSource: {sources}." if sources else "")


def _number(value):
    return "–" if value is None else f"{value:.2f}"


def evaluated():
    """The files of evaluate.py about public data sets that there are."""
    paths = [ROOT / "results" / f"{name}.json" for name in DATA_SETS]
    return [path for path in paths if path.exists()]


def published():
    """What others found on the four data sets."""
    known = load("published.json")
    names = ("pure", "ubfc2", "cohface", "mmpd")
    lines = [
        "| method | " + " | ".join(DATA_SETS[name] for name in names) + " | source |",
        "|---|" + "---|" * (len(names) + 1),
    ]
    for row in known["mae_bpm"]:
        cells = [_number(row[name]) for name in names]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + f" | {row['source']} |")
    notes = [
        f"*{name}*: {its['cite']}; {its['protocol']}." for name, its in known["sources"].items()
    ]
    return "\n".join(lines) + "\n\nMAE in bpm. " + " ".join(notes)


def contact_sheets():
    """How far rates read from contact sheets lie from those of the clips."""
    name = "contact-sheet.json"
    result = load(name)
    png, jpeg = result["figures"]["png"], result["figures"]["jpeg 90"]
    return (
        f"Of {png['clips']} rendered clips {png['clips_answered']} get a rate from their first "
        f"8 s; of the {png['both_answered']} of these whose contact sheet (PNG) gets one too, "
        f"{png['within_2_bpm_of_the_clip']:.0%} agree within 2 bpm (mean difference "
        f"{png['mae_bpm_to_the_clip']:.2f} bpm); as JPEG of quality 90, "
        f"{jpeg['both_answered']} get one, {jpeg['within_2_bpm_of_the_clip']:.0%} within 2 bpm "
        f"(mean difference {jpeg['mae_bpm_to_the_clip']:.2f} bpm).\n\n"
        f"Source: {source(name, result)}."
    )


def model_index():
    """EvalResults of the pipeline, of every file under results/ that has its figures."""
    task = {"task_type": "image-to-image", "task_name": "Remote photoplethysmography"}
    files = {"synthetic-test": "Rendered test clips"} | DATA_SETS
    results = []
    for name, title in files.items():
        path = ROOT / "results" / f"{name}.json"
        if not path.exists():
            continue
        figures = json.loads(path.read_text())["figures"].get("pulse")
        if figures is None:
            continue
        data = {"dataset_type": name, "dataset_name": title}
        values = {
            ("mae", "MAE of every clip's best guess (bpm)"): figures["forced"]["mae"],
            ("within_3_bpm", "Within 3 bpm"): figures["forced"]["within"],
            ("coverage", "Answered"): figures["answered"]["coverage"],
            ("mae_answered", "MAE of answers (bpm)"): figures["answered"]["mae"],
        }
        for (kind, label), value in values.items():
            if value is None:  # nothing was answered
                continue
            metric = {"metric_type": kind, "metric_name": label, "metric_value": round(value, 4)}
            results.append(EvalResult(**task, **data, **metric))
    return results


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
    wrist = next(row for row in load(names[0])["rows"] if row["method"] == "pulse")
    rates = ", ".join(f"{window['bpm']:.0f}" for window in wrist["windows"])
    sources = ", ".join(f"`results/{n}`" for n in names)
    return "\n".join(lines) + f"\n\nThe wrist's windows: {rates} bpm.\n\nSource: {sources}."


def runs_in(log):
    """Clips that each run in a trainer's log saw; one that was resumed counts once."""
    reports = [row for row in log if "clips" in row]
    first = reports[0]["step"]
    ends = [row for row, after in pairwise(reports) if after["step"] == first] + reports[-1:]
    return [row["clips"] for row in ends]


def blind_rates():
    """The rates at which the miniature's latents are blind, by the length of the window."""
    file = "tiny/adapter/adapter_config.json"
    pulse = json.loads((ROOT / file).read_text())["auto_mapping"]["pulse_config"]
    band = pulse["geometry"]["size"][0] / pulse["geometry"]["bands"]
    lengths = sorted(pulse["default_windows"])
    seconds, rates = (
        " and ".join([", ".join(words[:-1]), words[-1]])
        for words in ([f"{n:g}" for n in lengths], [f"{60 * band / 8 / n:g}" for n in lengths])
    )
    return (
        f"The miniature gives a sample {band / pulse['geometry']['samples']:g} pixels and reads "
        f"every clip at {seconds} s: blind at {rates} bpm. What one length cannot show, another "
        f"can.\n\nSource: `{file}`."
    )


def training():
    """What the miniature is and how its training ended."""
    rows = [json.loads(x) for x in (ROOT / "results/train-adapter.jsonl").read_text().splitlines()]
    last = [row["validation"] for row in rows if "validation" in row][-1]
    runs = runs_in(rows)
    base = [json.loads(x) for x in (ROOT / "results/train-base.jsonl").read_text().splitlines()]
    psnr = [row["psnr_db"] for row in base if "psnr_db" in row][-1]
    return (
        f"The adapter saw {sum(runs):,} clips, repetitions counted, in {len(runs)} runs; on "
        f"{last['clips']} simulated webcam clips of validation subjects (one look, nothing "
        f"withheld) it ends at MAE {last['mae_bpm']:.2f} bpm, median "
        f"{last['median_bpm']:.2f}, {last['within_3_bpm']:.1%} within 3 bpm; its confidence tells "
        f"clips with a pulse from clips without with an AUC of "
        f"{last['auc_pulse_against_none']:.3f}. The base draws fresh picture tasks in one step at "
        f"{psnr['one step']:.1f} dB PSNR, where its VAE alone reaches {psnr['vae']:.1f} dB and the "
        f"unchanged input {psnr['the source itself']:.1f} dB.\n\nSource: "
        "`results/train-adapter.jsonl`, `results/train-base.jsonl`."
    )


def ablation():
    """Ways to train the miniature's adapter, side by side."""
    name = "ablation.json"
    result = load(name)
    runs = result["runs"].values()
    steps = sorted(next(iter(runs))["validation"], key=int)
    lines = [
        "| trained for | " + " | ".join(f"{n} step{'s' * (n != '1')}" for n in steps) + " |",
        "|---|" + "---|" * len(steps),
    ]
    for run in runs:
        cells = [
            f"{its['mae_bpm']:.1f}, {its['within_3_bpm']:.0%}"
            for its in (run["validation"][n] for n in steps)
        ]
        lines.append("| " + " | ".join([run["what"], *cells]) + " |")
    settings = result["settings"]
    clips = next(iter(runs))["validation"][steps[0]]["clips"]
    return (
        "\n".join(lines) + "\n\nMAE in bpm and share within 3 bpm of every best guess on "
        f"{clips} simulated webcam clips of validation subjects, one look at each at every length, "
        f"the surest kept, after "
        f"{settings['steps'] * settings['batch']:,} training clips, one seed.\n\n"
        f"Source: {source(name, result)}."
    )


def klein():
    """What the 4B adapter is and what its training keeps in memory, by count."""
    name = "klein-sizes.json"
    result = load(name)
    config = json.loads((ROOT / "adapter_config.json").read_text())
    pulse = config["auto_mapping"]["pulse_config"]
    sheet = pulse["geometry"]
    width, height = sheet["size"]
    pixels = width // (sheet["bands"] * sheet["samples"])
    return (
        f"Rank {config['r']} and alpha {config['lora_alpha']} on every Linear inside the double "
        f"and single blocks: {result['adapted_linears']} of them, "
        f"{result['adapter_parameters']:,} parameters over a transformer of "
        f"{result['transformer_parameters']:,}. A sheet of {width} × {height} px "
        f"({result['sheet_tokens']:,} tokens) holds {sheet['bands']} bands of "
        f"{sheet['samples']} samples, {pixels} px each, in {sheet['rows']} rows; the appearance "
        f"image takes {result['appearance_tokens']:,} tokens. In memory lie, by count, "
        f"{result['transformer_bf16_gb']:.1f} GB of frozen base in bf16, "
        f"{result['vae_fp32_gb']:.1f} GB of VAE and {result['adapter_fp32_gb']:.1f} GB of adapter "
        f"with its moments and average in fp32; activations come on top.\n\n"
        f"Source: `adapter_config.json`; {source(name, result)}."
    )


KLEIN_WINDOWS = 20_000 * 4 * 4
"""Steps, batch and accumulation of the command on the card that trains the 4B adapter."""


def klein_measured():
    """What the 4B architecture takes with random weights, and a loss that falls on it."""
    name = "benchmark-klein-cpu.json"
    result = load(name)
    window, step = result["windows"]["1"], result["training"][0]
    total = KLEIN_WINDOWS * step["flops_a_step"] / step["batch"]
    text = (
        f"On a CPU ({result['machine']}, {result['threads']} threads) one window takes "
        f"{window['encode']:.0f} s to encode, {window['transformer_1_step']:.0f} s a step in the "
        f"transformer ({window['transformer_flops_a_step'] / 1e12:.1f} TFLOP, "
        f"{window['share_of_matrix_rate_4_steps']:.0%} of the rate measured for one large matrix "
        f"product) and {window['decode']:.0f} s to decode, with at most {window['peak_gib']:.1f} "
        f"GiB in the process. A training step of one window takes "
        f"{step['batch'] / step['samples_per_s']:.0f} s and {step['flops_a_step'] / 1e12:.0f} "
        f"TFLOP ({step['share_of_matrix_rate']:.0%} of that rate) with gradient checkpointing, "
        f"and at most {step['peak_gib']:.1f} GiB. By that count "
        f"the {KLEIN_WINDOWS:,} windows of the command above are {total / 1e18:.1f} EFLOP: "
        f"{total / 1e14 / 3600:.0f} h on a GPU that sustains 100 TFLOP/s, "
        f"{total / 4e14 / 3600:.0f} h at 400; fewer, as larger batches decode a smaller share.\n\n"
        f"The trainer on rendered clips as `prepare.py` stores them, one window a step; a loss is "
        f"the mean since the one before:\n\n"
    )
    lines = [
        "| sheet | steps done | reports | loss: first, last | largest rise "
        "| most memory: first, last |",
        "|---|---|---|---|---|---|",
    ]
    sources = [source(name, result)]
    for log in ("train-klein-random.jsonl", "train-klein-sheet.jsonl"):
        head, *rows = map(json.loads, (ROOT / "results" / log).read_text().splitlines())
        rows = [row for row in rows if "loss" in row]
        losses = [row["loss"] for row in rows]
        rise = max(later - earlier for earlier, later in pairwise(losses))
        width, height = head["settings"]["sheet"][3:]
        lines.append(
            f"| {width} × {height} px | {rows[-1]['step']} of {head['settings']['steps']} "
            f"| {len(rows)} | {losses[0]:.3f}, {losses[-1]:.3f} "
            f"| {f'{rise:.3f}' if rise > 0 else 'none'} | "
            f"{rows[0]['peak_gib']:.2f}, {rows[-1]['peak_gib']:.2f} GiB |"
        )
        sources.append(source(log, head))
    return text + "\n".join(lines) + f"\n\nSource: {'; '.join(sources)}."


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
    "contact-sheet": contact_sheets,
    "blind-rates": blind_rates,
    "synthetic-test": synthetic_test,
    "data-sets": lambda: data_sets(evaluated()),
    "published": published,
    "real-footage": real_footage,
    "training": training,
    "ablation": ablation,
    "speed": speed,
    "klein": klein,
    "klein-measured": klein_measured,
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
    parsed = ModelCard(card)
    parsed.data.model_name, parsed.data.eval_results = "pulse-plantain, tiny", model_index()
    return f"---\n{parsed.data.to_yaml()}\n---\n{parsed.text}"


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
