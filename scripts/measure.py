"""Measures the heart rate in a clip: the command ``pulse-plantain`` from a clone."""

import sys

from pulse_plantain.cli import main

if __name__ == "__main__":
    sys.exit(main())
