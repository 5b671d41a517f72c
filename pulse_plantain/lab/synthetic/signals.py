"""What changes in a clip, as functions of continuous time: heart, motion, light, frame clock.

Every function can be evaluated at any times [B, T] in seconds, so both renderers see the same clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .draw import Draw

TAU = 2 * math.pi


@dataclass(frozen=True)
class Drift:
    """Sums of K sinusoids with a falling spectrum; amplitude, frequency, phase [B, C, K]."""

    amplitude: Tensor
    frequency: Tensor
    phase: Tensor

    @classmethod
    def draw(cls, draw: Draw, channels: int, low: float, high: float) -> Drift:
        """Unit-scale drifts with frequencies from ``low`` to ``high`` Hz and a spectrum of 1/f."""
        shape = (channels, 5)
        frequency = draw.log_uniform(low, high, *shape)
        amplitude = draw.normal(*shape) * (low / frequency)
        amplitude = amplitude / amplitude.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-3)
        return cls(amplitude, frequency, draw.uniform(0, TAU, *shape))

    def at(self, times: Tensor) -> Tensor:
        """Values [B, C, T] at times [B, T] in s."""
        angle = TAU * self.frequency[..., None] * times[:, None, None] + self.phase[..., None]
        return (self.amplitude[..., None] * angle.sin()).sum(2)


FLUTTER = (0.2, 6.0)
"""Hz between which light flutters: round a pulse's band."""

_PERIOD = 64.0  # s after which a flutter repeats


@dataclass(frozen=True)
class Flutter:
    """Courses with a continuous spectrum, of which no line outlasts another.

    Random Fourier series of :data:`FLUTTER`, whose lines are as close as a minute can tell apart;
    after 64 s they repeat. cosine and sine [B, C, K].
    """

    cosine: Tensor
    sine: Tensor

    @classmethod
    def draw(cls, draw: Draw, size: Tensor, slope: Tensor) -> Flutter:
        """Normal courses of given rms sizes [B, C], with power of 1/f^slope, slope [B]."""
        frequency = _list_lines()
        gain = frequency ** (-slope[:, None] / 2)
        gain = gain / gain.square().sum(-1, keepdim=True).sqrt()
        dice = (
            draw.noise(2, size.shape[1], len(frequency))
            * (size[..., None] * gain[:, None])[:, None]
        )
        return cls(dice[:, 0], dice[:, 1])

    def at(self, times: Tensor) -> Tensor:
        """Values [B, C, T] at times [B, T] in s."""
        angle = TAU * _list_lines()[:, None] * times[:, None]
        return self.cosine @ angle.cos() + self.sine @ angle.sin()


def _list_lines():
    """Hz [K] of the lines of a flutter."""
    low, high = FLUTTER
    return torch.arange(math.ceil(low * _PERIOD), math.floor(high * _PERIOD) + 1) / _PERIOD


@dataclass(frozen=True)
class Jerks:
    """Sudden moves that are held a while and undone, each recurring.

    size [B, C, K]; the rest is [B, 1, K], as all channels jerk together: start, rise, hold and
    period in s.
    """

    size: Tensor
    start: Tensor
    rise: Tensor
    hold: Tensor
    period: Tensor

    @classmethod
    def draw(cls, draw: Draw, channels: int) -> Jerks:
        """Heavy-tailed sizes (a normal over the root of a uniform number), a few in ten seconds."""
        shape = (1, 3)
        tail = draw.normal(*shape) / draw.uniform(0.05, 1, *shape).sqrt()
        size = (tail * draw.normal(channels, 3) * 0.6).clamp(-4, 4)
        period = draw.uniform(7, 20, *shape)
        start, rise = draw.uniform(0, 20, *shape), draw.log_uniform(0.03, 0.4, *shape)
        return cls(size, start, rise, draw.log_uniform(0.2, 8, *shape), period)

    def at(self, times: Tensor) -> Tensor:
        """Values [B, C, T] at times [B, T] in s."""
        since = (times[:, None, None] - self.start[..., None]) % self.period[..., None]
        rise = self.rise[..., None]
        hold = torch.minimum(self.hold, 0.6 * self.period)[..., None]
        lead = 6 * rise  # the move is over, either way, where the period wraps
        step = ((since - lead) / rise).sigmoid() - ((since - lead - hold) / rise).sigmoid()
        return torch.einsum("bck,bkt->bct", self.size, step[:, 0])


@dataclass(frozen=True)
class Rhythm:
    """A wavering periodic movement with three harmonics that comes and goes.

    frequency [B] Hz; gain and phase [B, C, 3]; waver [B, 3]: depth rad, rate Hz, phase;
    pause [B, 3]: depth 0..1, rate Hz, phase.
    """

    frequency: Tensor
    gain: Tensor
    phase: Tensor
    waver: Tensor
    pause: Tensor

    @classmethod
    def draw(cls, draw: Draw, channels: int, low: float, high: float) -> Rhythm:
        """Unit-scale rhythm between ``low`` and ``high`` Hz, whose channels differ in phase."""
        overtones = torch.stack(
            [draw.uniform(1, 1), draw.uniform(0, 0.5), draw.uniform(0, 0.25)], -1
        )
        gain = draw.normal(channels, 1) * overtones[:, None]
        waver = [draw.uniform(0, 2), draw.uniform(0.05, 0.4), draw.uniform(0, TAU)]
        pause = [draw.uniform(0, 1), draw.uniform(0.02, 0.25), draw.uniform(0, TAU)]
        return cls(
            draw.log_uniform(low, high),
            gain,
            draw.uniform(0, TAU, channels, 3),
            torch.stack(waver, -1),
            torch.stack(pause, -1),
        )

    def at(self, times: Tensor) -> Tensor:
        """Values [B, C, T] at times [B, T] in s."""
        depth, rate, start = (x[:, None] for x in self.waver.unbind(-1))
        angle = TAU * self.frequency[:, None] * times + depth * (TAU * rate * times + start).sin()
        depth, rate, start = (x[:, None] for x in self.pause.unbind(-1))
        present = 1 - depth * (2 * (TAU * rate * times + start).sin() + 0.5).sigmoid()
        total = torch.zeros(())
        for k in range(3):
            wave = ((k + 1) * angle[:, None] + self.phase[:, :, k, None]).sin()
            total = total + self.gain[:, :, k, None] * wave
        return total * present[:, None]


def mix(shares: Tensor, sources: Sequence[Drift | Jerks | Rhythm], times: Tensor) -> Tensor:
    """Weighted sum [B, C, T] of S sources with C channels each, at times [B, T] in s.

    Args:
        shares: [B, C, S] weight of each source in each channel.
        sources: S of them.
        times: [B, T] s.
    """
    values = torch.stack([source.at(times) for source in sources])
    return torch.einsum("bcs,sbct->bct", shares, values)


@dataclass(frozen=True)
class Heart:
    """Cardiac phase and blood volume pulse.

    The phase is TAU * rate * (t + sum_k depth_k / (TAU nu_k) * sin(TAU nu_k t + start_k)), so that
    the instantaneous rate is rate * (1 + sum_k depth_k cos(...)): respiratory sinus arrhythmia, a
    slow trend and jitter. The pulse is a sum of four harmonics of the phase, the first with
    amplitude 1 and its maximum at phase 0.

    rate [B] Hz; depth, nu (Hz), start [B, 8]; harmonics complex [B, 4]; breath [B] Hz;
    breath_depth [B, 2]: of the pulse's amplitude (fraction) and baseline (in pulse amplitudes).
    """

    rate: Tensor
    depth: Tensor
    nu: Tensor
    start: Tensor
    harmonics: Tensor
    breath: Tensor
    breath_depth: Tensor

    @classmethod
    def draw(cls, draw: Draw, resting: float = 0.6) -> Heart:
        """Hearts with rates of 40 to 180 bpm.

        Args:
            draw: random numbers of the clips.
            resting: share of the hearts between 50 and 120 bpm, mostly near 85; the others lie
                evenly between 40 and 180. With the default, three quarters are below 120.
        """
        usual = 50 + 70 * (draw.uniform() + draw.uniform()) / 2
        bpm = torch.where(draw.coin(resting) > 0, usual, draw.uniform(40, 180))
        breath = draw.uniform(0.12, 0.45)
        others = draw.log_uniform(0.08, 1.0, 6)
        nu = torch.cat([draw.uniform(0.02, 0.05)[:, None], breath[:, None], others], 1)
        depth = torch.cat(
            [
                draw.uniform(0, 0.15)[:, None] * draw.coin(0.5)[:, None],
                draw.uniform(0, 0.08)[:, None],
                draw.normal(6) * draw.log_uniform(0.001, 0.012)[:, None],
            ],
            1,
        )
        harmonics = _draw_waveform(draw)
        breath_depth = torch.stack([draw.uniform(0, 0.3), draw.uniform(0, 0.5)], -1)
        return cls(bpm / 60, depth, nu, draw.uniform(0, TAU, 8), harmonics, breath, breath_depth)

    def vary(self, draw: Draw) -> Heart:
        """The same rates with pulses of any shape that rises faster than it falls.

        The shapes of :meth:`draw` are alike, and the pulse of a face is rounder (docs/training.md).
        Two of three hearts get harmonics of rho^k exp(i k psi), with psi from 0 to pi, and as much
        variability as recorded ones have.

        Args:
            draw: random numbers of the clips, another stream than those of :meth:`draw`.
        """
        varied = draw.coin(2 / 3) > 0
        turn = torch.polar(draw.uniform(0.05, 0.6), draw.uniform(0, torch.pi))
        harmonics = turn[:, None] ** torch.arange(4)
        slow, breath = draw.uniform(0, 0.09), draw.uniform(0, 0.1)
        others = draw.normal(6) * draw.log_uniform(0.003, 0.02)[:, None]
        depth = torch.cat([slow[:, None], breath[:, None], others], 1)
        return replace(
            self,
            harmonics=torch.where(varied[:, None], harmonics, self.harmonics),
            depth=torch.where(varied[:, None], depth, self.depth),
        )

    def phase(self, times: Tensor) -> Tensor:
        """Phase of the fundamental [B, T] in rad, unwrapped; 0 (mod TAU) is the systolic peak."""
        times = times.double()[:, :, None]
        wave = (TAU * self.nu[:, None] * times + self.start[:, None]).sin()
        sway = (self.depth / (TAU * self.nu))[:, None] * wave
        return TAU * self.rate[:, None] * (times[..., 0] + sway.sum(-1))

    def bpm(self, start: float, end: float) -> Tensor:
        """Mean rate [B] between two times (s): cycles over time."""
        phase = self.phase(torch.tensor([[start, end]]).expand(len(self.rate), 2))
        return ((phase[:, 1] - phase[:, 0]) / (TAU * (end - start)) * 60).float()

    def pulse(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Pulse and its derivative by time (1/s), each [B, T], in amplitudes of the fundamental."""
        phase = self.phase(times)
        k = torch.arange(1, 5)
        turning = torch.polar(torch.ones_like(phase)[..., None], k * phase[..., None])
        waves = self.harmonics[:, None] * turning.to(torch.complex64)
        breath = TAU * self.breath[:, None] * times
        strong = 1 + self.breath_depth[:, :1] * breath.sin()
        pulse = waves.real.sum(-1) * strong + self.breath_depth[:, 1:] * (breath + 1).sin()
        slope = -(k * waves.imag).sum(-1) * strong * TAU * self.rate[:, None]
        return pulse, slope


def _draw_waveform(draw):
    """Fourier coefficients, complex [B, 4], of two wrapped Gaussians: the systolic wave and the
    dicrotic one. They are turned and scaled so that the first is 1."""
    k = torch.arange(1, 5)
    width, late = draw.uniform(0.5, 0.9), draw.uniform(1.6, 2.6)
    width2, height2 = draw.uniform(0.5, 1.0), draw.uniform(0.0, 0.6)
    first = torch.exp(-((k * width[:, None]) ** 2) / 2).to(torch.complex64)
    second = height2[:, None] * torch.exp(-((k * width2[:, None]) ** 2) / 2)
    harmonics = first + torch.polar(second, -k * late[:, None])
    turn = harmonics[:, :1].abs() / harmonics[:, :1]
    return harmonics * turn**k / harmonics[:, :1].abs()


@dataclass(frozen=True)
class FrameClock:
    """Presentation times of a camera's frames, with jitter and dropped frames.

    fps [B]; jitter [B], fraction of a frame interval; drop [B], probability; dice [B, 2, N],
    normal random numbers for the jitter and the drop of each frame.
    """

    fps: Tensor
    jitter: Tensor
    drop: Tensor
    dice: Tensor

    @classmethod
    def draw(cls, draw: Draw) -> FrameClock:
        """Common camera rates and odd ones, 20 to 60 pictures a second."""
        common = torch.tensor([20.0, 24.0, 25.0, 30.0, 30.0, 30.0, 30.0, 50.0, 60.0])
        fps = common[draw.uniform(0, 8.999).long()]
        fps = torch.where(draw.coin(0.3) > 0, draw.uniform(20, 60), fps)
        jitter = draw.coin(0.6) * draw.log_uniform(0.005, 0.2)
        drop = draw.coin(0.3) * draw.log_uniform(0.005, 0.15)
        return cls(fps, jitter, drop, draw.noise(2, 1024))

    def stamps(self, seconds: float) -> tuple[Tensor, Tensor]:
        """All frames begun within ``seconds``, and a few more.

        Returns:
            (stamps [B, F] in s, kept [B, F] bool: False for frames that the recorder dropped).
        """
        count = math.ceil(seconds * float(self.fps.max())) + 4
        index = torch.arange(count)
        dice = self.dice[:, :, index % self.dice.shape[-1]]
        shift = self.jitter[:, None] * dice[:, 0].clamp(-2, 2)
        shift[:, 0] = 0
        kept = (torch.special.ndtr(dice[:, 1]) >= self.drop[:, None]) | (index == 0)
        return (index + shift) / self.fps[:, None], kept

    def sample_weights(self, stamps: Tensor, kept: Tensor, samples: int, window: float) -> Tensor:
        """Weight of each frame in each sample's mean, for samples that divide the window evenly.

        The signal runs straight from kept frame to kept frame (as in windows.RunningMeans), so a
        frame's weight is the integral of a hat over the sample.

        Args:
            stamps, kept: from :meth:`stamps`.
            samples: number of samples.
            window: s that they cover.

        Returns:
            [B, samples, F].
        """
        edges = (torch.arange(samples + 1) * (window / samples))[:, None]
        before = torch.where(kept, stamps, -math.inf).cummax(1).values.roll(1, 1)
        before[:, 0] = -1.0  # the first frame stands before itself
        after = torch.where(kept, stamps, math.inf).flip(1).cummin(1).values.flip(1).roll(-1, 1)
        after[:, -1] = stamps[:, -1] + 1
        after = torch.minimum(after, stamps.max() + 1)
        rise, fall = (stamps - before)[:, None], (after - stamps)[:, None]
        past = (edges - before[:, None]).clamp(min=0).minimum(rise)
        left = (after[:, None] - edges).clamp(min=0).minimum(fall)
        area = past.square() / rise - left.square() / fall  # 2 (integral + constant)
        return area.diff(dim=1) * (kept[:, None] * samples / (2 * window))
