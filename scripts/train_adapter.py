"""Trains the LoRA that makes a FLUX.2-klein-shaped base draw pulse sheets.

One evaluation at the far end of the flow, from the motion sheet's latents, with a loss on the
latents and, through the frozen VAE decoder and the bijection, on the phasors. Stops at any time;
the same command goes on where it stopped.
"""

import argparse
import sys
from dataclasses import asdict

from pulse_plantain.lab.adapter_settings import OBJECTIVES, AdapterSettings, read_settings
from pulse_plantain.lab.adapter_training import train_adapter
from pulse_plantain.lab.synthetic import LIGHTS
from pulse_plantain.video import ClipError


def read_share(word: str) -> float:
    """A number from 0 to 1."""
    share = float(word)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, got {word}")
    return share


def build_parser() -> argparse.ArgumentParser:
    """The command line; its defaults are those of AdapterSettings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="adapter_config.json to follow: base, rank, alpha, modules, sheet "
        "(default: those of the miniature)",
    )
    parser.add_argument("--base", help="folder or Hub id of the base")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the frozen base; the adapter is float32 (default: bfloat16 on GPUs; there "
        "float32 is also what matrices are multiplied in)",
    )
    add_places(parser)
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--start",
        nargs="+",
        metavar="ADAPTER",
        help="folder of an adapter to begin with; of several, stages of one training, the mean "
        "(with --steps 0 it is validated and written as it is)",
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--clips", type=int, help="different clips simulated")
    parser.add_argument("--skip", type=int, help="clips an earlier run has seen")
    parser.add_argument("--light", choices=LIGHTS[:2], help="of the simulated clips")
    parser.add_argument(
        "--calm",
        type=read_share,
        metavar="SHARE",
        help="of the simulated clips that become calm faces whose cells have one course",
    )
    parser.add_argument("--workers", type=int, help="processes that simulate clips ahead")
    parser.add_argument("--accumulate", type=int, help="batches a step and process")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory")
    parser.add_argument("--optimizer", choices=("adamw", "adamw8bit"))
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer")
    parser.add_argument("--rank", type=int)
    parser.add_argument("--alpha", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--noise-scale", type=float, help="of an ensemble's starts")
    parser.add_argument("--validate-every", type=int)
    parser.add_argument("--validation-batches", type=int, help="of webcam scenes")
    sheet = ("BANDS", "SAMPLES", "ROWS", "WIDTH", "HEIGHT")
    parser.add_argument("--sheet", type=int, nargs=5, metavar=sheet)
    parser.add_argument("--appearance", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"))
    add_ablations(parser)
    parser.set_defaults(**asdict(AdapterSettings()))
    return parser


def add_places(parser: argparse.ArgumentParser) -> None:
    """Options that say where things lie and go."""
    parser.add_argument("--out", help="folder of the finished adapter")
    parser.add_argument("--checkpoints", help="where to resume from")
    parser.add_argument(
        "--cache",
        help="folder where simulated clips are kept for other trainings, too (default: cache/ in "
        "--checkpoints, of clips that this one sees again)",
    )
    parser.add_argument("--log")
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="DIR",
        help="folders of prepare.py: train on their train subjects instead of simulated clips",
    )


def add_ablations(parser: argparse.ArgumentParser) -> None:
    """Options that train in another way, to see what a part is worth."""
    parser.add_argument(
        "--random-base", action="store_true", help="ablation: untrained transformer"
    )
    parser.add_argument(
        "--blind", action="store_true", help="ablation: zeros in place of the appearance image"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="ablation: train every weight of the transformer; no adapter is written",
    )
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        help="ablation: one step with losses on latents and phasors (default), one step with a "
        "loss on latents, or plain flow matching",
    )
    parser.add_argument(
        "--also-steps",
        type=int,
        nargs="+",
        metavar="N",
        help="ablation: validate the finished model at these numbers of steps, too",
    )


def parse(argv: list[str] | None) -> AdapterSettings:
    """The settings that the command line describes.

    Raises:
        ClipError, OSError: if it names an adapter_config.json that is none.
    """
    parser = build_parser()
    config = parser.parse_args(argv).config
    if config:
        parser.set_defaults(**read_settings(config))
    return AdapterSettings(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Train; 2 where that cannot be done, with one line that says why."""
    try:
        train_adapter(parse(argv))
    except (ClipError, OSError) as error:
        print(f"train_adapter.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
