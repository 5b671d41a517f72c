"""What the pages say of training: the miniature's adapter, the ways to train it, the 4B one."""

import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any

from pulse_plantain.lab.cited import Results, cite, format_table

KLEIN_BATCH = 4
KLEIN_WINDOWS = 20_000 * KLEIN_BATCH * 4
"""Steps, batch and accumulation of the command in docs/klein.md that trains the 4B adapter."""

OBJECTIVE_WAYS = ("phasor", "latent", "flow")
"""Of lab.ablation.WAYS those that differ in what the adapter is trained for."""

KLEIN_ON_CPU = "benchmark-klein-cpu.json"

KLEIN_LOGS = {
    "train-klein-random.jsonl": "CPU",
    "train-klein-sheet.jsonl": "CPU",
    "train-klein-gpu.jsonl": "NVIDIA H200",
}
"""Logs of the trainer's runs on the full-size architecture with random weights: name -> device."""


def list_runs(log: Iterable[Mapping[str, Any]]) -> list[int]:
    """Clips that each run in a trainer's log saw; a run that was resumed counts once."""
    reports = [row for row in log if "clips" in row]
    first = reports[0]["step"]
    ends = [row for row, after in pairwise(reports) if after["step"] == first] + reports[-1:]
    return [row["clips"] for row in ends]


def _read_last_validation(log: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The figures with which the training of a log ended."""
    return [row["validation"] for row in log if "validation" in row][-1]


def describe_training(results: Results) -> str:
    """What the miniature is and how its training ended."""
    rows = results.load_log("train-adapter.jsonl")
    last = _read_last_validation(rows)
    runs = list_runs(rows)
    lights = [row["settings"].get("light") for row in rows if "settings" in row]
    base = results.load_log("train-base.jsonl")
    psnr = [row["psnr_db"] for row in base if "psnr_db" in row][-1]
    return (
        f"The adapter saw {sum(runs):,} clips, repetitions counted, in {len(runs)} runs. On "
        f"{last['clips']} simulated webcam clips of validation subjects in {lights[-1]} light, "
        f"each looked at once with nothing withheld, it ends at a MAE of {last['mae_bpm']:.2f} bpm "
        f"with a median of {last['median_bpm']:.2f} bpm and {last['within_3_bpm']:.1%} within 3 "
        f"bpm; its confidence tells clips with a pulse from clips without one with an AUC of "
        f"{last['auc_pulse_against_none']:.3f}. The base draws picture tasks that it has not seen "
        f"in one step at a PSNR of {psnr['one step']:.1f} dB, where its VAE alone reaches "
        f"{psnr['vae']:.1f} dB and the unchanged input {psnr['the source itself']:.1f} dB."
        "\n\nSource: `results/train-adapter.jsonl`, `results/train-base.jsonl`."
    )


def tabulate_oracles(results: Results) -> str:
    """What the adapter reads of the validation clips, beside methods that are told more."""
    name = "oracles.json"
    result = results.load(name)
    last = _read_last_validation(results.load_log("train-adapter.jsonl"))
    figures = result["figures"] | {"the adapter, told nothing": last}
    rows = [
        [what, f"{its['within_3_bpm']:.1%}", f"{its['mae_bpm']:.1f}"]
        for what, its in sorted(figures.items(), key=lambda pair: pair[1]["within_3_bpm"])
    ]
    return (
        f"{format_table(['method', 'within 3 bpm', 'MAE (bpm)'], rows)}\n\n"
        f"{len(result['rows'])} simulated validation clips in {result['light']} light, each read "
        f"at every length and the surest reading kept.\n\nSource: {cite(name, result)}; "
        "`results/train-adapter.jsonl`."
    )


def tabulate_ablation(results: Results) -> str:
    """What the base, the adapter and the appearance image are worth: means over the seeds."""
    name = "ablation.json"
    result = results.load(name)
    runs = list(result["runs"].values())
    head = ["trained for", "MAE (bpm)", "within 3 bpm", "AUC, pulse against none"]
    rows = [[run["what"], *_average_figures(run)] for run in runs]
    return f"{format_table(head, rows)}\n\n{_describe_runs(result, runs)} {cite(name, result)}."


def tabulate_objectives(results: Results) -> str:
    """Objectives side by side, at several steps of the schedule."""
    name = "ablation-objectives.json"
    result = results.load(name)
    runs = [run for way, run in result["runs"].items() if way in OBJECTIVE_WAYS]
    steps = sorted(next(iter(runs[0]["seeds"].values())), key=int)
    head = ["trained for", *(f"{n} step{'s' * (n != '1')}" for n in steps)]
    rows = []
    for run in runs:
        row = [run["what"]]
        for n in steps:
            figures = [its[n] for its in run["seeds"].values()]
            mae = _average([its["mae_bpm"] for its in figures])
            share = _average([100 * its["within_3_bpm"] for its in figures], 0)
            row.append(f"{mae}, {share}%")
        rows.append(row)
    return (
        f"{format_table(head, rows)}\n\nMAE in bpm and share within 3 bpm. "
        f"{_describe_runs(result, runs)} {cite(name, result)}."
    )


def tabulate_equal_time(results: Results) -> str:
    """The adapter beside networks of the field that learn for as long: means over the seeds."""
    name = "ablation-time.json"
    result = results.load(name)
    head = ["trained", "clips", "seeds", "CPU minutes", "MAE (bpm)", "within 3 bpm", "AUC"]
    settings, rows = result["settings"], []
    for run in result["runs"].values():
        rows.append(
            [
                run["what"],
                f"{run['steps'] * settings['batch']:,}",
                str(len(run["seeds"])),
                f"{statistics.fmean(run['cpu_s'].values()) / 60:.1f}",
                *_average_figures(run),
            ]
        )
    figures = next(iter(run["seeds"].values()))["1"]
    return (
        f"{format_table(head, rows)}\n\nThe figures are those of every best guess on "
        f"{figures['clips']} simulated webcam clips of validation subjects, in "
        f"{settings['light']} light; ± is one standard error over the seeds. The minutes are those "
        f"of one core, validation included, over the seeds whose cost was logged; clips that "
        f"another way had kept are not simulated again.\n\n"
        f"Source: {cite(name, result)}."
    )


def _average_figures(run: Mapping[str, Any]) -> list[str]:
    """MAE, share within 3 bpm and AUC of one of the ways, over its seeds."""
    figures = [its["1"] for its in run["seeds"].values()]
    return [
        _average([its["mae_bpm"] for its in figures]),
        _average([100 * its["within_3_bpm"] for its in figures], 0) + "%",
        _average([its["auc_pulse_against_none"] for its in figures], 2),
    ]


def _describe_runs(result: Mapping[str, Any], runs: list[dict[str, Any]]) -> str:
    """What the rows of a table of the ablation are of, up to the source."""
    seeds = runs[0]["seeds"]
    figures, settings = next(iter(seeds.values()))["1"], result["settings"]
    spread = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds; ± is one standard error"
    return (
        f"The figures are those of every best guess on {figures['clips']} simulated webcam clips "
        f"of validation subjects, in {settings.get('light', 'plain')} light. Each clip gets one "
        "look at each length, and the surest is kept. "
        f"Each row had {settings['steps'] * settings['batch']:,} training clips and {spread}"
        f"{' over the seeds' * (len(seeds) > 1)}.\n\nSource:"
    )


def _average(values: Collection[float], digits: int = 1) -> str:
    """The mean, with its standard error where there are several."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"


# ----------------------------------------------------------------------------------- the 4B adapter


def describe_klein(results: Results) -> str:
    """What the 4B adapter is and what its training keeps in memory, by count."""
    name = "klein-sizes.json"
    result = results.load(name)
    config = json.loads((results.root / "adapter_config.json").read_text())
    sheet = config["auto_mapping"]["pulse_config"]["geometry"]
    width, height = sheet["size"]
    pixels = width // (sheet["bands"] * sheet["samples"])
    return (
        f"The rank is {config['r']} and alpha {config['lora_alpha']}, on every Linear inside the "
        f"double and single blocks: {result['adapted_linears']} of them, with "
        f"{result['adapter_parameters']:,} parameters over a transformer of "
        f"{result['transformer_parameters']:,}. A sheet of {width} × {height} px "
        f"({result['sheet_tokens']:,} tokens) holds {sheet['bands']} bands of "
        f"{sheet['samples']} samples, {pixels} px each, in {sheet['rows']} rows; the appearance "
        f"image takes {result['appearance_tokens']:,} tokens. By count, memory holds "
        f"{result['transformer_bf16_gb']:.1f} GB of frozen base in bf16, "
        f"{result['vae_fp32_gb']:.1f} GB of VAE and {result['adapter_fp32_gb']:.1f} GB of adapter "
        f"with its moments and average in fp32; activations come on top.\n\n"
        f"Source: `adapter_config.json`; {cite(name, result)}."
    )


def describe_klein_measured(results: Results) -> str:
    """What the 4B architecture takes with random weights, and the losses of training on it."""
    measured = {name: results.load(name) for name in ("benchmark-klein.json", KLEIN_ON_CPU)}
    logs = {log: results.load_log(log) for log in KLEIN_LOGS}
    sources = [cite(name, result) for name, result in measured.items()]
    sources += [cite(log, rows[0]) for log, rows in logs.items()]
    on_gpu, on_cpu = measured.values()
    return (
        f"{_describe_klein_on_gpu(on_gpu)}\n\n{_describe_klein_costs(on_cpu)}\n\n"
        "The trainer ran on rendered clips as `scripts/prepare.py` stores them, one window a step. "
        "A loss is the mean since the report before it:\n\n"
        f"{_tabulate_klein_runs(logs)}\n\nSource: {'; '.join(sources)}."
    )


def _describe_klein_on_gpu(result: Mapping[str, Any]) -> str:
    """Times, rates and memory of drawing and training on a GPU: two tables and what they mean."""
    head = ["windows at once", "encode", "transformer, 1 step", "4 steps", "decode"]
    head += ["windows a second at 1 step", "share of the matrix rate", "most memory"]
    drawing = [
        [
            number,
            *(
                f"{1000 * its[part]:.0f} ms"
                for part in ("encode", "transformer_1_step", "transformer_4_steps", "decode")
            ),
            f"{its['windows_per_s_1_step']:.1f}",
            f"{its['share_of_matrix_rate_4_steps']:.0%}",
            f"{its['peak_gib']:.1f} GiB",
        ]
        for number, its in result["windows"].items()
    ]
    training = [
        [
            str(its["batch"]),
            f"{its['samples_per_s']:.1f}",
            f"{its['share_of_matrix_rate']:.0%}",
            f"{its['peak_gib']:.1f} GiB",
        ]
        for its in result["training"]
    ]
    speed = {its["batch"]: its["samples_per_s"] for its in result["training"]}[KLEIN_BATCH]
    return (
        f"On one {result['device']}, transformer and VAE decoder in bf16, the encoder in fp32, "
        "without the reading on the CPU:\n\n"
        f"{format_table(head, drawing)}\n\nA call with a crop holds at most "
        f"{result['peak_gib_with_text_encoder']:.1f} GiB with the text encoder on the GPU, and "
        f"{result['peak_gib_cpu_offload']:.1f} GiB after `pipe.enable_model_cpu_offload()`. A "
        "training step with gradient checkpointing:\n\n"
        f"{format_table(['windows a step', 'windows a second', *head[-2:]], training)}\n\n"
        f"The matrix rate is that of one large product, {result['matrix_flops_per_s'] / 1e12:.0f} "
        f"TFLOP/s. At the speed of {KLEIN_BATCH} windows a step the {KLEIN_WINDOWS:,} windows of "
        f"the command above take {KLEIN_WINDOWS / speed / 3600:.0f} h, validation left out."
    )


def _describe_klein_costs(result: Mapping[str, Any]) -> str:
    """Time, operations and memory of a window and of a training step."""
    window, step = result["windows"]["1"], result["training"][0]
    return (
        f"On a CPU ({result['machine']}, {result['threads']} threads) one window takes "
        f"{window['encode']:.0f} s to encode, {window['transformer_1_step']:.0f} s a step in the "
        f"transformer ({window['transformer_flops_a_step'] / 1e12:.1f} TFLOP, "
        f"{window['share_of_matrix_rate_4_steps']:.0%} of the rate measured for one large matrix "
        f"product) and {window['decode']:.0f} s to decode; the process holds at most "
        f"{window['peak_gib']:.1f} GiB. A training step of one window takes "
        f"{step['batch'] / step['samples_per_s']:.0f} s and {step['flops_a_step'] / 1e12:.0f} "
        f"TFLOP ({step['share_of_matrix_rate']:.0%} of that rate) with gradient checkpointing, "
        f"and at most {step['peak_gib']:.1f} GiB."
    )


def _tabulate_klein_runs(logs: Mapping[str, list[dict[str, Any]]]) -> str:
    """Losses and memory of the trainer's runs on the full-size architecture."""
    head = ["sheet", "on", "steps done", "reports", "loss: first, last", "largest rise"]
    head.append("most memory: first, last")
    rows = []
    for name, (start, *log) in logs.items():
        reports = [row for row in log if "loss" in row]
        losses = [row["loss"] for row in reports]
        rise = max(later - earlier for earlier, later in pairwise(losses))
        width, height = start["settings"]["sheet"][3:]
        rows.append(
            [
                f"{width} × {height} px",
                KLEIN_LOGS[name],
                f"{reports[-1]['step']} of {start['settings']['steps']}",
                str(len(reports)),
                f"{losses[0]:.3f}, {losses[-1]:.3f}",
                f"{rise:.3f}" if rise > 0 else "none",
                f"{reports[0]['peak_gib']:.2f}, {reports[-1]['peak_gib']:.2f} GiB",
            ]
        )
    return format_table(head, rows)
