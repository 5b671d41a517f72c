"""DeepPhys and MTTS-CAN: the supervised networks that the field compares with.

Layers, inputs and losses of the papers; written anew in torch. Both predict the first derivative
of the BVP from normalised differences of frames. No data set is opened here.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pulse_plantain.lab.metrics import smoothness_prior_detrend
from pulse_plantain.video import ClipError
from pulse_plantain.windows import AreaMean

SIDE = 36
"""px; both papers shrink the face to SIDE x SIDE."""

SAMPLING_RATE = 30.0
"""Hz of the even clock that frames and labels are put on."""

CHUNK = 10
"""Frames between which MTTS-CAN shifts its features (the paper's window)."""

BOX_SCALE = 1.5
"""Side of the face's crop over that of the detected box, as in rPPG-Toolbox."""

_LIMIT = 3.0  # standard deviations at which DeepPhys clips its inputs


def face_frames(recording, box):
    """(frames [samples, SIDE, SIDE, 3] float32 in [0, 1], times [samples] s) of a recording's face.

    Area means over the box, then straight lines between the frames' own time stamps onto an even
    clock of :data:`SAMPLING_RATE`.

    Args:
        recording: :class:`pulse_plantain.lab.datasets.Recording`.
        box: function of the first picture that returns (left, top, right, bottom) of the face.

    Raises:
        ClipError: if the clip cannot be read or is shorter than two chunks.
    """
    shrink, times, small = None, [], []
    for time, picture in recording.frames():
        if shrink is None:
            height, width = picture.shape[:2]
            shrink = AreaMean((width, height), _widened(box(picture), width, height), (SIDE, SIDE))
        times.append(time)
        small.append(shrink(picture))
    even = np.arange(times[0], times[-1] + 1e-9, 1 / SAMPLING_RATE)
    if len(even) < 2 * CHUNK:
        raise ClipError(f"{recording.path}: {times[-1]:.1f} s are too short for a network")
    after = np.clip(np.searchsorted(times, even), 1, len(times) - 1)
    start, end = (np.array(times)[i] for i in (after - 1, after))
    share = ((even - start) / (end - start)).astype(np.float32)[:, None, None, None]
    small = np.stack(small)
    return small[after - 1] * (1 - share) + small[after] * share, even


def _widened(box, width, height):
    """The box, BOX_SCALE times as large around its middle, inside the picture."""
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    w, h = (right - left) * BOX_SCALE / 2, (bottom - top) * BOX_SCALE / 2
    return max(0, x - w), max(0, y - h), min(width, x + w), min(height, y + h)


def network_input(frames):
    """(motion, appearance) [samples - 1, 3, SIDE, SIDE] of frames.

    Motion: normalised differences (c(t + 1) - c(t)) / (c(t + 1) + c(t)), clipped at three standard
    deviations and divided by one (Chen and McDuff 2018). Appearance: frames less their mean, over
    their standard deviation.

    Args:
        frames: [samples, SIDE, SIDE, 3], > 0.
    """
    frames = torch.as_tensor(frames).movedim(-1, 1)
    now, then = frames[:-1], frames[1:]
    motion = (then - now) / (then + now).clamp_min(1e-6)
    scale = motion.std().clamp_min(1e-9)
    motion = (motion / scale).clamp(-_LIMIT, _LIMIT)
    return motion / motion.std().clamp_min(1e-9), (now - frames.mean()) / frames.std()


def network_target(bvp, bvp_times, times):
    """[samples - 1] float32, the BVP's differences on the frames' clock, of standard deviation 1.

    NaN where the label's clock does not reach.
    """
    trace = np.interp(times, bvp_times, bvp, left=np.nan, right=np.nan)
    steps = np.diff(trace)
    return torch.from_numpy((steps / np.nanstd(steps)).astype(np.float32))


def masked_loss(predicted, target):
    """Mean squared error where there is a label; both papers' loss."""
    known = torch.isfinite(target)
    error = torch.where(known, predicted - target.nan_to_num(), 0)
    return error.square().sum() / known.sum().clamp_min(1)


class _Attention(nn.Module):
    """Soft mask of a picture, of mean 1/2: sigmoid of a 1 x 1 convolution over its L1 norm."""

    def __init__(self, channels):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 1, 1)

    def forward(self, features):
        mask = torch.sigmoid(self.convolution(features))
        return mask / (2 * mask.mean((2, 3), keepdim=True))


class _Attended(nn.Module):
    """What both networks share: two branches and the dense layers on the flattened motion features.

    Four 3 x 3 convolutions with tanh (32, 32, 64, 64 maps), the second and fourth unpadded, after
    each pair the appearance's mask, 2 x 2 mean pooling and dropout.
    """

    def __init__(self):
        super().__init__()
        maps = ((3, 32), (32, 32), (32, 64), (64, 64))
        for branch in ("motion", "appearance"):
            convolutions = [nn.Conv2d(*m, 3, padding=1 - n % 2) for n, m in enumerate(maps)]
            setattr(self, branch, nn.ModuleList(convolutions))
        self.attention = nn.ModuleList([_Attention(32), _Attention(64)])
        features = 64 * ((((SIDE - 2) // 2) - 2) // 2) ** 2
        self.head = nn.Sequential(
            nn.Linear(features, 128), nn.Tanh(), nn.Dropout(0.5), nn.Linear(128, 1)
        )

    def between(self, motion):
        """What happens to motion features before every convolution: nothing."""
        return motion

    def masks(self, appearance):
        """The two masks, and what is pooled in between."""
        found = []
        for pair in range(2):
            for convolution in self.appearance[2 * pair : 2 * pair + 2]:
                appearance = torch.tanh(convolution(appearance))
            found.append(self.attention[pair](appearance))
            appearance = F.dropout(F.avg_pool2d(appearance, 2), 0.25, self.training)
        return found

    def read(self, motion, masks):
        """Derivative of the BVP [n] of motion [n, 3, SIDE, SIDE] under masks."""
        for pair, mask in enumerate(masks):
            for convolution in self.motion[2 * pair : 2 * pair + 2]:
                motion = torch.tanh(convolution(self.between(motion)))
            motion = F.dropout(F.avg_pool2d(motion * mask, 2), 0.25, self.training)
        return self.head(motion.flatten(1)).squeeze(1)


class DeepPhys(_Attended):
    """Convolutional attention network; every pair of frames by itself.

    Chen and McDuff, "DeepPhys: video-based physiological measurement using convolutional attention
    networks", ECCV 2018 (arXiv 1805.07888).
    """

    def forward(self, motion, appearance):
        """Derivative of the BVP [n] of motion and appearance [n, 3, SIDE, SIDE]."""
        return self.read(motion, self.masks(appearance))


class MTTSCAN(_Attended):
    """Temporal shift convolutional attention network.

    Liu, Fromm, Patel, McDuff, "Multi-task temporal shift attention networks for on-device
    contactless vitals measurement", NeurIPS 2020 (arXiv 2006.03790). Before each motion
    convolution a third of the maps moves a frame back and a third a frame forth within chunks of
    :data:`CHUNK`; the mask is that of the chunk's mean appearance. The paper's second head, for
    respiration, is not built, as no data set here has a label for it: what is left its authors
    call TS-CAN.
    """

    def between(self, motion):
        chunks = motion.unflatten(0, (-1, CHUNK))
        third = motion.shape[1] // 3
        shifted = torch.zeros_like(chunks)
        shifted[:, :-1, :third] = chunks[:, 1:, :third]
        shifted[:, 1:, third : 2 * third] = chunks[:, :-1, third : 2 * third]
        shifted[:, :, 2 * third :] = chunks[:, :, 2 * third :]
        return shifted.flatten(0, 1)

    def forward(self, motion, appearance):
        """Derivative of the BVP [n] of motion and appearance [n, 3, SIDE, SIDE], n = k CHUNK."""
        masks = self.masks(appearance.unflatten(0, (-1, CHUNK)).mean(1))
        masks = [mask.repeat_interleave(CHUNK, 0) for mask in masks]
        return self.read(motion, masks)


NETWORKS = {"deepphys": DeepPhys, "mttscan": MTTSCAN}


def save_network(path, name, network, **header):
    """Writes weights and, as JSON in the header, what they are."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    metadata = {"network": json.dumps({"name": name} | header)}
    weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, new, metadata=metadata)
    new.replace(path)


def load_network(path):
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
def predicted_bvp(network, frames):
    """BVP [samples - 1] of frames of :func:`face_frames`: the sum of what is predicted, detrended.

    The last chunk is filled up with its last pair of frames, of which nothing is returned.
    """
    motion, appearance = network_input(frames)
    length = len(motion)
    fill = [length - 1] * (-length % CHUNK)
    order = torch.tensor([*range(length), *fill])
    steps = torch.cat(
        [network(motion[part], appearance[part]) for part in order.split(30 * CHUNK)]
    )[:length]
    return smoothness_prior_detrend(np.cumsum(steps.double().numpy()))
