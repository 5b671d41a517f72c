"""DeepPhys and MTTS-CAN: the supervised networks that the field compares with.

Here live their layers, inputs and losses by the papers, written anew in torch; no data set is
opened. Both predict the first derivative of the BVP from normalised differences of frames.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pulse_plantain.cells import AreaMean, Box
from pulse_plantain.files import write_files
from pulse_plantain.lab.datasets import Recording
from pulse_plantain.lab.metrics import smoothness_prior_detrend
from pulse_plantain.video import ClipError

SIDE = 36
"""px; both papers shrink the face to SIDE x SIDE."""

SAMPLING_RATE = 30.0
"""Hz of the even clock that frames and labels are put on."""

CHUNK = 10
"""Frames between which MTTS-CAN shifts its features (the paper's window)."""

BOX_SCALE = 1.5
"""Side of the face's crop over that of the detected box, as in rPPG-Toolbox."""

FindBox = Callable[[np.ndarray], Box]
"""Function of a picture [H, W, 3] that returns (left, top, right, bottom) of the face."""

_LIMIT = 3.0  # standard deviations at which DeepPhys clips its inputs


def read_face_frames(recording: Recording, find_box: FindBox) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a recording's face on an even clock of :data:`SAMPLING_RATE`.

    Area means over the box, then straight lines between the frames' own time stamps.

    Args:
        recording: with a clip.
        find_box: finds the face in the first picture.

    Returns:
        (frames [samples, SIDE, SIDE, 3] float32 in [0, 1], times [samples] in s).

    Raises:
        ClipError: if the clip cannot be read or is shorter than two chunks.
    """
    shrink, times, small = None, [], []
    for time, picture in recording.frames():
        if shrink is None:
            height, width = picture.shape[:2]
            box = _widen(find_box(picture), width, height)
            shrink = AreaMean((width, height), box, (SIDE, SIDE))
        times.append(time)
        small.append(shrink(picture))
    even = np.arange(times[0], times[-1] + 1e-9, 1 / SAMPLING_RATE)
    if len(even) < 2 * CHUNK:
        raise ClipError(f"{recording.path}: {times[-1]:.1f} s are too short for a network")
    after = np.clip(np.searchsorted(times, even), 1, len(times) - 1)
    start, end = (np.array(times)[i] for i in (after - 1, after))
    share = ((even - start) / (end - start)).astype(np.float32)[:, None, None, None]
    frames = np.stack(small)
    return frames[after - 1] * (1 - share) + frames[after] * share, even


def _widen(box, width, height):
    """The box, BOX_SCALE times as large around its middle, inside the picture."""
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    w, h = (right - left) * BOX_SCALE / 2, (bottom - top) * BOX_SCALE / 2
    return max(0, x - w), max(0, y - h), min(width, x + w), min(height, y + h)


def prepare_input(frames: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Motion and appearance as both networks take them.

    Motion: normalised differences (c(t + 1) - c(t)) / (c(t + 1) + c(t)), clipped at three standard
    deviations and divided by one (Chen and McDuff 2018). Appearance: frames less their mean, over
    their standard deviation.

    Args:
        frames: [samples, SIDE, SIDE, 3], > 0.

    Returns:
        (motion, appearance), each [samples - 1, 3, SIDE, SIDE].
    """
    pictures = torch.as_tensor(frames).movedim(-1, 1)
    now, then = pictures[:-1], pictures[1:]
    motion = (then - now) / (then + now).clamp_min(1e-6)
    scale = motion.std().clamp_min(1e-9)
    motion = (motion / scale).clamp(-_LIMIT, _LIMIT)
    motion = motion / motion.std().clamp_min(1e-9)
    return motion, (now - pictures.mean()) / pictures.std()


def prepare_target(bvp: np.ndarray, bvp_times: np.ndarray, times: np.ndarray) -> torch.Tensor:
    """The BVP's differences on the frames' clock, of standard deviation 1.

    Args:
        bvp, bvp_times: [n] reference pulse and its clock in s.
        times: [samples] of the frames in s.

    Returns:
        [samples - 1] float32, NaN where the label's clock does not reach.
    """
    trace = np.interp(times, bvp_times, bvp, left=np.nan, right=np.nan)
    steps = np.diff(trace)
    return torch.from_numpy((steps / np.nanstd(steps)).astype(np.float32))


def masked_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error where the target is not NaN; both papers' loss."""
    known = torch.isfinite(target)
    error = torch.where(known, predicted - target.nan_to_num(), 0)
    return error.square().sum() / known.sum().clamp_min(1)


class _Attention(nn.Module):
    """Soft mask of a picture, of mean 1/2: sigmoid of a 1 x 1 convolution over its L1 norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Mask [n, 1, h, w] of features [n, channels, h, w]."""
        mask = torch.sigmoid(self.convolution(features))
        return mask / (2 * mask.mean((2, 3), keepdim=True))


def _make_convolutions():
    """Four 3 x 3 convolutions (32, 32, 64, 64 maps), the second and fourth unpadded."""
    maps = ((3, 32), (32, 32), (32, 64), (64, 64))
    return nn.ModuleList(nn.Conv2d(*m, 3, padding=1 - n % 2) for n, m in enumerate(maps))


class _Attended(nn.Module):
    """What both networks share: two branches and the dense layers on the flattened motion features.

    A branch has four convolutions with tanh; after each pair come the appearance's mask, 2 x 2
    mean pooling and dropout.
    """

    def __init__(self):
        super().__init__()
        self.motion = _make_convolutions()
        self.appearance = _make_convolutions()
        self.attention = nn.ModuleList([_Attention(32), _Attention(64)])
        features = 64 * ((((SIDE - 2) // 2) - 2) // 2) ** 2
        self.head = nn.Sequential(
            nn.Linear(features, 128), nn.Tanh(), nn.Dropout(0.5), nn.Linear(128, 1)
        )

    def exchange(self, motion: torch.Tensor) -> torch.Tensor:
        """What happens to motion features before every convolution; here nothing does."""
        return motion

    def find_masks(self, appearance: torch.Tensor) -> list[torch.Tensor]:
        """The masks [n, 1, h, w] of both pairs of convolutions."""
        found = []
        for pair in range(2):
            for number in (2 * pair, 2 * pair + 1):
                appearance = torch.tanh(self.appearance[number](appearance))
            found.append(self.attention[pair](appearance))
            appearance = F.dropout(F.avg_pool2d(appearance, 2), 0.25, self.training)
        return found

    def read(self, motion: torch.Tensor, masks: list[torch.Tensor]) -> torch.Tensor:
        """Derivative of the BVP [n] of motion [n, 3, SIDE, SIDE] under masks."""
        for pair, mask in enumerate(masks):
            for number in (2 * pair, 2 * pair + 1):
                motion = torch.tanh(self.motion[number](self.exchange(motion)))
            motion = F.dropout(F.avg_pool2d(motion * mask, 2), 0.25, self.training)
        return self.head(motion.flatten(1)).squeeze(1)


class DeepPhys(_Attended):
    """Convolutional attention network; every pair of frames by itself.

    Chen and McDuff, "DeepPhys: video-based physiological measurement using convolutional attention
    networks", ECCV 2018 (arXiv 1805.07888).
    """

    def forward(self, motion: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        """Derivative of the BVP [n] of motion and appearance [n, 3, SIDE, SIDE]."""
        return self.read(motion, self.find_masks(appearance))


class MTTSCAN(_Attended):
    """Temporal shift convolutional attention network.

    Liu, Fromm, Patel, McDuff, "Multi-task temporal shift attention networks for on-device
    contactless vitals measurement", NeurIPS 2020 (arXiv 2006.03790). Before each motion
    convolution a third of the maps moves a frame back and a third a frame forth within chunks of
    :data:`CHUNK`; the mask is that of the chunk's mean appearance. The paper's second head, for
    respiration, is not built, as no data set here has a label for it: what is left its authors
    call TS-CAN.
    """

    def exchange(self, motion: torch.Tensor) -> torch.Tensor:
        """Shift thirds of the features [n, maps, h, w] in time within chunks."""
        chunks = motion.unflatten(0, (-1, CHUNK))
        third = motion.shape[1] // 3
        shifted = torch.zeros_like(chunks)
        shifted[:, :-1, :third] = chunks[:, 1:, :third]
        shifted[:, 1:, third : 2 * third] = chunks[:, :-1, third : 2 * third]
        shifted[:, :, 2 * third :] = chunks[:, :, 2 * third :]
        return shifted.flatten(0, 1)

    def forward(self, motion: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        """Derivative of the BVP [n] of motion and appearance [n, 3, SIDE, SIDE], n = k CHUNK."""
        masks = self.find_masks(appearance.unflatten(0, (-1, CHUNK)).mean(1))
        masks = [mask.repeat_interleave(CHUNK, 0) for mask in masks]
        return self.read(motion, masks)


NETWORKS: dict[str, type[nn.Module]] = {"deepphys": DeepPhys, "mttscan": MTTSCAN}


def save_network(path: Path, name: str, network: nn.Module, **header: Any) -> None:
    """Write a network's weights and, as JSON in the header, what they are.

    Args:
        path: of the safetensors file.
        name: key of :data:`NETWORKS`.
        network: to be written.
        header: more words about it, as JSON can hold them.
    """
    metadata = {"network": json.dumps({"name": name} | header)}
    weights = {key: weight.contiguous() for key, weight in network.state_dict().items()}
    write_files({path: lambda new: save_file(weights, new, metadata=metadata)})


def load_network(path: Path) -> nn.Module:
    """The network of a file of :func:`save_network`, ready to predict.

    Raises:
        ClipError: if it is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["network"])
        network = NETWORKS[header["name"]]()
        network.load_state_dict(load_file(path))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ClipError(f"{path}: not a file of scripts/train_network.py") from error
    return network.eval()


@torch.no_grad()
def predict_bvp(network: nn.Module, frames: np.ndarray | torch.Tensor) -> np.ndarray:
    """The BVP of a face: the sum of what a network predicts, detrended.

    The last chunk is filled up with its last pair of frames, of which nothing is returned.

    Args:
        network: one of :data:`NETWORKS`.
        frames: [samples, SIDE, SIDE, 3], of :func:`read_face_frames`; a tensor lies where the
            network does.

    Returns:
        [samples - 1].
    """
    motion, appearance = prepare_input(frames)
    length = len(motion)
    fill = [length - 1] * (-length % CHUNK)
    order = torch.tensor([*range(length), *fill])
    steps = torch.cat(
        [network(motion[part], appearance[part]) for part in order.split(30 * CHUNK)]
    )[:length]
    return smoothness_prior_detrend(np.cumsum(steps.double().cpu().numpy()))
