"""What the workers of a test are asked. Light: every worker imports it."""

import os


def answer(clip):
    """Name and bound of the process's threads; "kill" ends the process, as a broken decoder may."""
    if clip == "kill":
        os._exit(1)
    if clip == "refuse":
        raise ValueError("no such model")
    return clip, os.environ["OMP_NUM_THREADS"]
