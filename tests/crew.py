"""What the workers of a test are asked. Light: every worker imports it."""

import os
import time


def answer(clip):
    """Name and bound of the process's threads; "kill" ends it, as a broken decoder may."""
    if clip == "kill":
        os._exit(1)
    if clip == "refuse":
        raise ValueError("no such model")
    if clip == "sleep":
        time.sleep(600)
    return clip, os.environ["OMP_NUM_THREADS"]
