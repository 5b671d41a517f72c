"""The model card and the docs: every figure of theirs is written in from a file under results/.

A block between ``<!-- NAME -->`` and ``<!-- /NAME -->`` belongs to this room, and so does the
model-index of the card's front matter. All other text is written by hand.
"""

import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pulse_plantain.lab.card_training import (
    describe_klein,
    describe_klein_measured,
    describe_training,
    tabulate_ablation,
    tabulate_equal_time,
    tabulate_objectives,
    tabulate_oracles,
)
from pulse_plantain.lab.cited import (
    DATA_SETS,
    Results,
    cite,
    format_number,
    format_table,
    refuse_rendered,
)
from pulse_plantain.lab.long_clips import ASTRAY
from pulse_plantain.lab.summary import format_figures

CARD = "README.md"

MODEL_NAME = "pulse-plantain, tiny"
"""What the model-index of the card calls the model that its figures belong to."""

METHODS = {
    "pulse": "pulse-plantain (miniature)",
    "green": "GREEN",
    "ica": "ICA",
    "chrom": "CHROM",
    "pos": "POS",
    "pbv": "PBV",
    "lgi": "LGI",
    "omit": "OMIT",
    "deepphys": "DeepPhys",
    "mttscan": "MTTS-CAN",
}
"""Methods of the evaluation -> name in the table of the card."""

NETWORKS = ("deepphys", "mttscan")

TEST = "synthetic-camera-test"
"""File of the rendered test clips under results/."""

Block = Callable[[Results], str]
"""Writes the text of one block."""


# ------------------------------------------------------------------------------------- the results


def tabulate_methods(results: Results) -> str:
    """The one table of the card: the miniature and other methods on the rendered test clips."""
    name = f"{TEST}.json"
    result = results.load(name)
    rows = []
    for method, figures in result["figures"].items():
        forced, answered = figures["forced"], figures["answered"]
        silent = f"{figures['null']['abstained']:.1%}" if "null" in figures else "–"
        rows.append(
            [
                METHODS[method],
                f"{forced['mae']:.2f} ± {forced['mae_se']:.2f}",
                f"{forced['within']:.1%}",
                f"{answered['coverage']:.1%}",
                format_number(answered["mae"]),
                silent,
            ]
        )
    clips = result["figures"]["pulse"]["forced"]["n"]
    head = ["method", "MAE (bpm)", "within 3 bpm", "answered", "MAE of answers (bpm)"]
    head.append("silent where there is no pulse")
    return (
        f"{format_table(head, rows)}\n\n{clips} clips. "
        f"Source: `results/{name}`, commit {result['commit']}."
    )


def tabulate_synthetic_test(results: Results) -> str:
    """The full table of the rendered test clips."""
    name = f"{TEST}.json"
    result = results.load(name)
    heads = [results.load_log(f"train-{network}.jsonl")[0] for network in NETWORKS]
    trained = sorted({head["settings"]["recordings"] for head in heads})
    return (
        f"{format_figures(result['figures'])}\n\n`scripts/train_network.py` trained DeepPhys and "
        f"MTTS-CAN on {' and '.join(map(str, trained))} rendered clips of other subjects."
        f"\n\nSource: {cite(name, result)}."
    )


def describe_minutes(long: Mapping[str, Any] | None) -> str:
    """The long clips of the fit, judged by halves; nothing where it had none."""
    if long is None:
        return ""
    return (
        f" So were {long['with_pulse']} clips of a minute with and {long['without_pulse']} without "
        f"a pulse: of their seconds with one {long['answered_seconds']:.0%} get a rate, "
        f"{long['right_of_answers']:.0%} of these within 3 bpm, of those without one "
        f"{long['answered_seconds_without_pulse']:.0%}; of the whole clips without a pulse "
        f"{long['answered_without_pulse']} get one."
    )


def describe_reliability(results: Results) -> str:
    """How far the confidence is a probability, and what is answered without a pulse."""
    name = f"{TEST}.json"
    result = results.load(name)
    mine = result["figures"]["pulse"]
    clips = mine["forced"]["n"] + mine["null"]["n"]
    fitted = results.load("calibration.json")
    known = fitted["figures"]["all"]
    kinds: dict[str, list[bool]] = {}
    for row in result["null_rows"]:
        kind = "photographs" if row["recording"].startswith("photograph") else "faces"
        kinds.setdefault(kind, []).append(row["answered"])
    silent = ", ".join(f"{sum(some)} of {len(some)} {kind}" for kind, some in kinds.items())
    return (
        f"On these {clips} test clips, with and without a pulse, the expected calibration error "
        f"over ten equal bins is {mine['reliability']['calibration_error']:.3f}. A rate is given "
        f"to {silent} without a pulse. The numbers of the reading were fitted on "
        f"{known['with_pulse']} clips with and {known['without_pulse']} without a pulse, of "
        f"validation subjects; judged on halves that the fit did not see, the calibration error "
        f"there is {known['calibration_error']:.3f}."
        f"{describe_minutes(fitted['figures'].get('long'))}\n\n"
        f"Source: `results/{name}`; {cite('calibration.json', fitted)}."
    )


def describe_face_traces(results: Results) -> str:
    """Painted colour traces of real faces, beside POS on the traces themselves."""
    name = "face-traces.json"
    result = results.load(name)
    head = ["windows of", "windows", "within 3 bpm", "MAE (bpm)", "POS within 3 bpm", "POS MAE"]
    head += ["answered", "answers within 3 bpm"]
    rows = []
    for seconds, people in result["figures"].items():
        mine = people["all"]
        right = mine.get("answers_within_3_bpm")
        rows.append(
            [
                f"{seconds} s",
                str(mine["windows"]),
                f"{mine['within_3_bpm']:.0%}",
                f"{mine['mae_bpm']:.1f}",
                f"{mine['pos_within_3_bpm']:.0%}",
                f"{mine['pos_mae_bpm']:.1f}",
                f"{mine['answered']:.0%}",
                "–" if right is None else f"{right:.0%}",
            ]
        )
    return f"{format_table(head, rows)}\n\nSource: {cite(name, result)}."


def tabulate_data_sets(paths: Iterable[Path]) -> str:
    """The table of the public data sets.

    Args:
        paths: files of evaluate.py, named after keys of :data:`DATA_SETS`; a data set without one
            is said to be open.
    """
    head = ["data set", "method", "recordings", "subjects", "MAE", "RMSE", "r"]
    head += ["toolbox MAE: FFT, peaks", "answered", "MAE of answers"]
    found = {path.stem: json.loads(path.read_text()) for path in paths}
    for name, result in found.items():
        refuse_rendered(f"{name}.json", result)
    rows = []
    for name, title in DATA_SETS.items():
        if name not in found:
            rows.append([title, "open: not evaluated yet"] + [""] * (len(head) - 2))
            continue
        for method, figures in found[name]["figures"].items():
            measured = [row for row in found[name]["rows"] if row["method"] == method]
            rows.append([title, method, *_list_data_set_figures(figures, measured)])
    sources = "; ".join(cite(f"{name}.json", result) for name, result in found.items())
    return format_table(head, rows) + (f"\n\nSource: {sources}." if sources else "")


def _list_data_set_figures(figures: Mapping[str, Any], rows: list[dict]) -> list[str]:
    """Cells of one method on one public data set."""
    forced, answered = figures["forced"], figures["answered"]
    toolbox = [figures.get("toolbox_mae"), figures.get("toolbox_peak_mae")]
    return [
        str(len(rows)),
        str(len({row["subject"] for row in rows})),
        f"{format_number(forced['mae'])} ± {format_number(forced['mae_se'])}",
        format_number(forced["rmse"]),
        format_number(forced["pearson"]),
        ", ".join(map(format_number, toolbox)),
        f"{answered['coverage']:.0%}",
        format_number(answered["mae"]),
    ]


def tabulate_published(results: Results) -> str:
    """What others found on the public data sets."""
    known = results.load("published.json")
    names = ("pure", "ubfc2", "cohface", "mmpd")
    head = ["method", *(DATA_SETS[name] for name in names), "source"]
    rows = [
        [row["method"], *(format_number(row[name]) for name in names), row["source"]]
        for row in known["mae_bpm"]
    ]
    notes = [
        f"*{name}*: {its['cite']}; {its['protocol']}." for name, its in known["sources"].items()
    ]
    return f"{format_table(head, rows)}\n\nMAE in bpm. {' '.join(notes)}"


def tabulate_real_footage(results: Results) -> str:
    """Rates and confidences on real footage without a contact reference."""
    names = ("wrist.json", "skin-patches.json")
    head = ["footage", "videos", "answered", "highest confidence", "median confidence"]
    rows = []
    for name in names:
        measured = [row for row in results.load(name)["rows"] if row["method"] == "pulse"]
        confidences = sorted(row["confidence"] for row in measured)
        answered = [f"{row['bpm']:.1f} bpm" for row in measured if row["answered"]]
        rows.append(
            [
                Path(name).stem,
                str(len(measured)),
                ", ".join(answered) or "none",
                f"{confidences[-1]:.2f}",
                f"{confidences[len(measured) // 2]:.2f}",
            ]
        )
    wrist = next(row for row in results.load(names[0])["rows"] if row["method"] == "pulse")
    rates = ", ".join(f"{window['bpm']:.0f}" for window in wrist["windows"])
    signs, sources = results.load(SIGNS_FILE), ", ".join(f"`results/{name}`" for name in names)
    return (
        f"{format_table(head, rows)}\n\nThe wrist's windows: {rates} bpm. {_tabulate_signs(signs)}"
        f"\n\nSource: {sources}; {cite(SIGNS_FILE, signs)}."
    )


SIGNS_FILE = "wrist-signs.json"

SIGN_WORDS = {
    "line": ("power of its trace in one line", "{:.0%}"),
    "amplitude": ("drawn amplitude, AC/DC", "{:.2%}"),
    "agreement": ("power of the cells that their mean keeps", "{:.0%}"),
    "followed": ("power of green that follows the trace", "{:.0%}"),
    "red": ("how much red follows it, over green", "{:.2f}"),
    "background": ("power with which the picture beside it follows, over its own", "{:.2f}"),
    "beside": ("power of that picture that follows it", "{:.0%}"),
    "displaced": ("what changes in step is the picture being moved", "{:.1%}"),
    "face": ("overlap of its box with that of a face, where one is found", "{:.2f}"),
    "trust": ("chance that it shows the pulse, if there is one", "{:.0%}"),
    "against": ("likelihood where nothing beats, over that with a pulse", "{:.2f}"),
    "lit": ("likelihood where a light or a movement beats, over that where a pulse does", "{:.2f}"),
}
"""Figures of lab.signs, in words, and how they are written."""


def _tabulate_signs(result: Mapping[str, Any]) -> str:
    """What is seen of the wrist's drawings, beside those of the clips of the fit."""
    figures, (low, high) = result["figures"], result["rates"]
    clip, beating, none = (figures[name] for name in ("the clip", "with a pulse", "without"))
    head = ["median over drawings", "wrist", "right ones, with a pulse", "without a pulse"]
    rows = [
        [
            words,
            "–" if clip["figures"][name] is None else form.format(clip["figures"][name]),
            *(_write_spread(group["figures"][name], form) for group in (beating, none)),
        ]
        for name, (words, form) in SIGN_WORDS.items()
    ]
    return (
        f"Of {clip['drawings']} drawings of it {clip['between the rates']} have their strongest "
        f"line between {low:.0f} and {high:.0f} bpm. They are the wrist's in this table. The "
        f"others are of the clips that the reading was fitted to: right drawings of "
        f"{beating['clips']} with a pulse, the most trusted ones of {none['clips']} without; in "
        f"brackets the tenth and the ninetieth of a hundred clips:\n\n{format_table(head, rows)}"
    )


def _write_spread(quantiles: Sequence[float], form: str) -> str:
    """The median, with the 10 and 90 % quantiles in brackets."""
    low, middle, high = (form.format(value) for value in quantiles)
    return f"{middle} ({low} to {high})"


def describe_contact_sheets(results: Results) -> str:
    """How far rates read from contact sheets lie from those of the clips."""
    name = "contact-sheet.json"
    result = results.load(name)
    png, jpeg = result["figures"]["png"], result["figures"]["jpeg 90"]
    return (
        f"{png['clips']} rendered clips were measured, and {png['clips_answered']} of them get a "
        f"rate from their first 8 s. As a contact sheet in PNG, {png['both_answered']} of these "
        f"{png['clips_answered']} get a rate, too; {png['within_2_bpm_of_the_clip']:.0%} of the "
        f"rates agree with those of the clips within 2 bpm, and the mean difference is "
        f"{png['mae_bpm_to_the_clip']:.2f} bpm. As JPEG of quality 90, {jpeg['both_answered']} "
        f"get one; {jpeg['within_2_bpm_of_the_clip']:.0%} agree within 2 bpm, and the mean "
        f"difference is {jpeg['mae_bpm_to_the_clip']:.2f} bpm.\n\nSource: {cite(name, result)}."
    )


def describe_long_clips(results: Results) -> str:
    """Long clips second by second, and whole beside their pieces."""
    name = "long-clips.json"
    result = results.load(name)
    figures = result["figures"]
    whole, pieces = figures["whole"], figures["pieces"]

    def count(some: Mapping[str, int]) -> str:
        return f"{some['answered']} of {some['count']} are answered, {some['right']} of them right"

    if figures["astray"]:
        astray = (
            f"The answers in {figures['astray']} of the clips are off by more than {ASTRAY:.0f} "
            f"bpm on average, and what is said there has a spread of at most "
            f"{figures['spread_of_astray_bpm']:.1f} bpm; the mean error in all others is "
            f"{format_number(figures['mae_bpm_of_the_others'])} bpm."
        )
    else:
        astray = f"In no clip the answers are off by more than {ASTRAY:.0f} bpm on average."
    return (
        f"{figures['clips']} clips. Of {figures['seconds_with_face']:,} seconds with a face "
        f"{figures['answered']:.0%} get a rate, with a mean error of "
        f"{format_number(figures['mae_bpm_of_answers'])} bpm and "
        f"{figures['right_of_answers']:.1%} within 3 bpm; the best guess of all of them is within "
        f"3 bpm in {figures['within_3_bpm_of_all']:.0%}. {figures['silent_without_face']:.0%} of "
        f"{figures['seconds_without_face']} seconds without a face are silent. Of whole clips "
        f"{count(whole)}; of their pieces of 10 s {count(pieces)}. Whole clips that are answered "
        f"wrongly though a piece is right: {figures['worse_than_its_pieces']}. {astray}"
        f"\n\nSource: {cite(name, result)}."
    )


def describe_breath(results: Results) -> str:
    """How often a respiratory rate is given, and how far it lies from the known breath."""
    name = "breath.json"
    result = results.load(name)
    head = ["recordings", "", "answered", "within 2 a minute", "MAE of answers (1/min)"]
    rows = [
        [
            label,
            str(own["count"]),
            str(own["answered"]),
            "–" if own["within"] is None else f"{round(own['within'] * own['answered'])}",
            format_number(own["mae"]),
        ]
        for label, own in result["figures"].items()
    ]
    return f"{format_table(head, rows)}\n\nSource: {cite(name, result)}."


def describe_speed(results: Results) -> str:
    """Times of the main job."""
    name = "benchmark.json"
    result = results.load(name)
    clip = result["clip"]
    width, height = clip["size"]
    model = statistics.median(window["model"] for window in result["window_seconds"])
    start = result["speed"]["start"]["command"]
    process = statistics.median(run["wall"] for run in start)
    importing = statistics.median(run["cpu"] for run in result["speed"]["start"]["importing"])
    figures, long = result["figures"], ""

    def over(clip: str) -> float:
        return figures[f"encoding_over_decoding_{clip}"]

    if "times_real_time" in figures:
        long = f" 300 s are measured at {figures['times_real_time']:.1f} times real time."
    if "memory_over_10_s" in figures:
        long += f" They take {figures['memory_over_10_s']:.2f} times the memory of 10 s."
    if "watch_cpu_s" in figures:
        long += f" `watch` takes {figures['watch_cpu_s']:.2f} s of CPU a reading, on one thread."
    return (
        f"On a clip of {clip['seconds']:.0f} s, {width} × {height} px, the command takes "
        f"{process:.1f} s from process start to exit, {figures['command_over_import']:.1f} times "
        f"the CPU time of importing diffusers' pipeline alone ({importing:.1f} s); the loaded "
        f"pipeline takes "
        f"{figures['call_cpu_s']:.1f} s of CPU, the model's part of one window (VAE, transformer, "
        f"VAE) {model:.2f} s. "
        f"Dividing 10 s into windows takes {over('phone_1080p'):.2f} times the CPU time of "
        f"decoding alone at 1080p and {over('phone_4K'):.2f} times at 4K, at the bit rates of "
        f"phones; {over('few_bits_1080p'):.2f} times where a stream of 1080p hardly takes any "
        f"decoding.{long} Measured on {result['machine']}, with {result['threads']} threads, which "
        f"sleep while they wait, as in the command line; a program of your own has that with "
        f"`OMP_WAIT_POLICY=PASSIVE` and `OPENBLAS_NUM_THREADS=1` in its environment.\n\n"
        f"Source: {cite(name, result)}."
    )


# ------------------------------------------------------------------------------------ the miniature


def describe_blind_rates(results: Results) -> str:
    """The rates at which the miniature's latents are blind, by the length of the window."""
    file = "tiny/adapter/adapter_config.json"
    config = json.loads((results.root / file).read_text())
    pulse = config["auto_mapping"]["pulse_config"]
    band = pulse["geometry"]["size"][0] / pulse["geometry"]["bands"]
    lengths = sorted(pulse["default_windows"])
    seconds, rates = (
        " and ".join([", ".join(words[:-1]), words[-1]])
        for words in ([f"{n:g}" for n in lengths], [f"{60 * band / 8 / n:g}" for n in lengths])
    )
    return (
        f"The miniature gives every sample {band / pulse['geometry']['samples']:g} pixels and "
        f"reads every clip at {seconds} s, so it is blind at {rates} bpm in turn. What one length "
        f"cannot show, another can.\n\nSource: `{file}`."
    )


# ---------------------------------------------------------------------------------------- the pages

PAGES: dict[str, dict[str, Block]] = {
    CARD: {"results": tabulate_methods},
    "docs/results.md": {
        "synthetic-test": tabulate_synthetic_test,
        "reliability": describe_reliability,
        "face-traces": describe_face_traces,
        "long-clips": describe_long_clips,
        "data-sets": lambda results: tabulate_data_sets(results.find_evaluated()),
        "published": tabulate_published,
        "real-footage": tabulate_real_footage,
        "blind-rates": describe_blind_rates,
        "speed": describe_speed,
    },
    "docs/training.md": {
        "training": describe_training,
        "oracles": tabulate_oracles,
        "objectives": tabulate_objectives,
        "ablation": tabulate_ablation,
        "equal-time": tabulate_equal_time,
    },
    "docs/klein.md": {"klein": describe_klein, "klein-measured": describe_klein_measured},
    "docs/endpoints.md": {"contact-sheet": describe_contact_sheets},
    "docs/output.md": {"breath": describe_breath},
}
"""The blocks of every page, by the page's path in the repository."""


def list_metrics(results: Results) -> list[EvalResult]:
    """The pipeline's figures, from every file under results/ that has them."""
    task = {"task_type": "image-to-image", "task_name": "Remote photoplethysmography"}
    metrics = []
    results.find_evaluated()  # refuses what is rendered
    for name, title in ({TEST: "Rendered test clips"} | DATA_SETS).items():
        if not (results.root / "results" / f"{name}.json").exists():
            continue
        figures = results.load(f"{name}.json")["figures"].get("pulse")
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
            metrics.append(EvalResult(**task, **data, **metric))
    return metrics


def fill_blocks(name: str, text: str, blocks: Mapping[str, Block], results: Results) -> str:
    """A page with every block written anew.

    Args:
        name: of the page, for the error.
        text: of the page.
        blocks: name of each block -> function that writes it.
        results: what the figures are read from.

    Raises:
        ValueError: if the page lacks a block.
    """
    for block, write in blocks.items():
        pattern = rf"<!-- {block} -->\n.*?<!-- /{block} -->"
        if not re.search(pattern, text, re.S):
            raise ValueError(f"{name} has no block <!-- {block} -->")
        before, after = re.split(pattern, text, maxsplit=1, flags=re.S)
        text = f"{before}<!-- {block} -->\n{write(results)}\n<!-- /{block} -->{after}"
    return text


def fill_front_matter(card: str, results: Results) -> str:
    """The card with the model-index of its front matter written anew."""
    parsed = ModelCard(card)
    data = parsed.data
    assert isinstance(data, ModelCardData)
    data.model_name, data.eval_results = MODEL_NAME, list_metrics(results)
    return f"---\n{data.to_yaml()}\n---\n{parsed.text}"


def list_stale_pages(root: Path) -> dict[Path, str]:
    """The pages that differ from what results/ says, as they should read.

    Args:
        root: folder of the repository.

    Returns:
        path of each page -> its text; empty where every page is up to date.

    Raises:
        ValueError: if a page lacks a block.
    """
    results, changed = Results(root), {}
    for name, blocks in PAGES.items():
        text = (root / name).read_text(encoding="utf-8")
        new = fill_blocks(name, text, blocks, results)
        if name == CARD:
            new = fill_front_matter(new, results)
        if new != text:
            changed[root / name] = new
    return changed
