"""Pre-trains the miniature base from scratch on procedural pictures; no picture holds a pulse.

First the VAE, then the transformer as an image-to-image flow model with reference pictures. Stops
at any time; the same command goes on where it stopped.
"""

import argparse

from pulse_plantain.lab.base_training import BaseTraining, train_base


def parse(argv: list[str] | None) -> BaseTraining:
    """The training that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="tiny", help="folder of the finished base (default: tiny)")
    parser.add_argument("--checkpoints", default="checkpoints/base", help="where to resume from")
    parser.add_argument("--log", default="results/train-base.jsonl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae-steps", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=700, help="steps of the transformer")
    parser.add_argument("--batch", type=int, default=16)
    return BaseTraining(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> None:
    """Train, and print how well the base draws."""
    print("PSNR in dB:", train_base(parse(argv)))


if __name__ == "__main__":
    main()
