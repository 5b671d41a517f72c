"""Witnesses add up: what many drawings say of the rate, along time, and how sure it is."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from stand_ins import NONE, READING

from pulse_plantain import posterior
from pulse_plantain.posterior import HEARTS, RATES, SIGNS, Posterior, Weights, Witness

SAMPLING_RATE, SAMPLES = 12.0, 96


def witness(bpm, start=0.0, noise=0.5, source="face", seed=0):
    """8 s of an even pulse in complex noise (``bpm`` None: noise alone)."""
    dice = np.random.default_rng([seed, round(start)])
    times = start + np.arange(SAMPLES) / SAMPLING_RATE
    trace = noise * (dice.standard_normal((2, SAMPLES)) * [[1], [1j]]).sum(0)
    if bpm:
        trace = trace + np.exp(2j * np.pi * bpm / 60 * times)
    lines = posterior.find_lines(trace, SAMPLING_RATE)
    signs = np.array([posterior.to_log_odds(lines.max()), -6.5, *NONE])
    return Witness(start, start + 8, source, lines, signs)


def test_a_pure_line_has_all_its_power_in_it_and_noise_has_little_anywhere():
    times = np.arange(SAMPLES) / SAMPLING_RATE
    pure = posterior.find_lines(np.exp(2j * np.pi * 75 / 60 * times), SAMPLING_RATE)
    assert pure.max() == pytest.approx(1, abs=2e-3) and abs(RATES[pure.argmax()] - 75) < 0.3
    assert pure[np.abs(RATES - 75) > 15].max() < 0.06
    backwards = posterior.find_lines(np.exp(-2j * np.pi * 75 / 60 * times), SAMPLING_RATE)
    assert backwards.max() < 0.01
    assert not posterior.find_lines(np.zeros((2, SAMPLES), complex), SAMPLING_RATE).any()


def test_one_clear_witness_finds_the_rate_and_noise_finds_none():
    clear = Posterior([witness(72.0, noise=0.1)], READING, (0, 8)).read_clip()
    assert clear.bpm == pytest.approx(72, abs=0.5) and clear.uncertainty < 1.5
    noise = Posterior([witness(None)], READING, (0, 8)).read_clip()
    assert noise.confidence < 0.4


def test_faint_witnesses_that_agree_are_surer_than_one_and_those_that_disagree_are_not():
    def read(rates):
        some = [witness(bpm, 0.0, 0.7, n, seed=n) for n, bpm in enumerate(rates)]
        return Posterior(some, READING, (0, 8)).read_clip()

    one, eight = read([64.0]), read([64.0] * 8)
    assert eight.confidence > one.confidence + 0.05
    assert eight.bpm == pytest.approx(64, abs=1.5)
    scattered = read([48.0, 64.0, 80.0, 97.0, 115.0, 130.0, 150.0, 170.0])
    assert scattered.confidence < eight.confidence - 0.2


def test_witnesses_of_one_place_that_overlap_count_by_their_share():
    times = np.arange(16) + 0.5
    spans = np.array([[0.0, 8.0], [4.0, 12.0], [8.0, 16.0]])
    same = posterior.place_witnesses(spans, ["a", "a", "a"], times)
    np.testing.assert_allclose(same.share, [0.75, 0.5, 0.75])  # 16 s, as two windows
    np.testing.assert_allclose((same.cover.T @ same.alone).sum(1), [1, 1, 1])
    apart = posterior.place_witnesses(spans, ["a", "b", "c"], times)
    np.testing.assert_allclose(apart.share, [1, 1, 1])
    np.testing.assert_allclose((apart.cover.T @ apart.alone)[1], [0.5, 1, 0.5])
    assert apart.at.argmax(0).tolist() == [3, 7, 11] and (apart.seen == 1).all()


def test_a_drawing_that_shows_nothing_is_neutral_and_does_not_dilute_the_others():
    """Where it looks there may be no skin."""
    clear = [witness(72.0, 0.0, 0.3, f"face {n}", seed=n) for n in range(4)]
    blank = [
        replace(witness(None, 0.0, 1.0, f"wall {n}", seed=n), lines=0 * RATES) for n in range(30)
    ]
    blank = [replace(one, signs=np.array([-7.0, -9.5, *NONE])) for one in blank]
    alone, crowded = (Posterior(some, READING, (0, 8)) for some in (clear, clear + blank))
    assert alone.read_clip().confidence > 0.9
    np.testing.assert_allclose(crowded.chances, alone.chances, atol=0.02)


def test_more_witnesses_count_for_less_each_by_the_overlap():
    copies = [witness(72.0, source=n) for n in range(16)]
    sure = replace(READING, overlap=0.0)
    shy = replace(READING, overlap=1.0)
    few = Posterior(copies[:4], shy, (0, 8)).chances  # each has a trust of about a half or more
    np.testing.assert_allclose(Posterior(copies, shy, (0, 8)).chances, few, atol=1e-9)
    assert np.ptp(Posterior(copies, sure, (0, 8)).chances[4]) > np.ptp(few[4])


def test_a_line_that_stays_for_a_minute_does_not_become_a_pulse_by_staying():
    """What else beats stays as well: only what each drawing says of the two adds up."""

    def read(count, against):
        weights = replace(READING, lit=(against, 0.0, 0.0, *NONE), quiet=0.0)
        some = [witness(72.0, 10.0 * n, 0.4, seed=n) for n in range(count)]
        return Posterior(some, weights, (0, 10 * count)).read_clip()

    assert read(6, 0.0).present == pytest.approx(read(1, 0.0).present, abs=0.05)
    assert 0.4 < read(6, 0.0).present < 0.75
    assert read(6, -0.5).present > read(1, -0.5).present + 0.15
    assert read(6, 0.5).present < read(1, 0.5).present - 0.2


def test_forward_backward_is_what_all_courses_say():
    """Against the sum over all 3^4 courses of a small chain."""
    dice = np.random.default_rng(0)
    first = torch.tensor(dice.dirichlet([1, 1, 1]))
    moves = torch.tensor(dice.dirichlet([1, 1, 1], 3))
    evidence = torch.tensor(dice.standard_normal((4, 3)))
    total = np.zeros((4, 3))
    for course in np.ndindex(3, 3, 3, 3):
        chance = float(first[course[0]])
        for a, b in pairwise(course):
            chance *= float(moves[a, b])
        chance *= np.exp(sum(float(evidence[t, s]) for t, s in enumerate(course)))
        for t, s in enumerate(course):
            total[t, s] += chance
    chances, forward = posterior.smooth(evidence, first, moves)
    np.testing.assert_allclose(chances, total / total.sum(1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(chances[-1], forward[-1], atol=1e-12)


def test_a_rate_that_climbs_is_followed():
    rates = np.linspace(60, 80, 12)
    some = [witness(bpm, 4.0 * n, 0.3, seed=n) for n, bpm in enumerate(rates)]
    read = Posterior(some, READING, (0, 52))
    found = np.array([one.bpm for one in read.find_instants()])
    truth = np.interp(read.times, 4.0 * np.arange(12) + 4, rates)
    assert np.abs(found - truth)[4:-4].max() < 2.5
    clip = read.read_clip()
    assert clip.bpm == pytest.approx(truth.mean(), abs=1.0) and clip.confidence > 0.9


def test_a_pulse_may_come_and_go_and_silence_costs_only_its_own_seconds():
    quiet = replace(READING, quiet=0.4)
    some = [witness(None, 4.0 * n, seed=n) for n in range(5)]
    some += [witness(66.0, 24.0 + 4 * n, 0.2, seed=n) for n in range(6)]
    read = Posterior(some, quiet, (0, 52))
    assert read.read_span(0, 18).present < 0.3 and read.read_span(30, 50).present > 0.9
    clip = read.read_clip()
    assert clip.bpm == pytest.approx(66, abs=1) and clip.confidence > 0.9


def test_where_no_course_has_a_pulse_the_rate_is_that_of_the_mean_chances_and_never_sure():
    still = replace(READING, present=1e-15, change=1e-15, drift=1e-4, restart=0.0)
    read = Posterior([], still, (0, 8))
    clip = read.read_clip()
    assert clip.confidence == clip.present == 0
    assert clip.bpm == pytest.approx(read.read_span(0, 8).bpm)
    assert clip.low < clip.bpm < clip.high


def test_instants_without_witnesses_know_what_their_neighbours_allow():
    some = [witness(72.0, start, 0.1) for start in (0.0, 22.0)]
    read = Posterior(some, READING, (0, 30))
    in_gap, seen = read.find_instants()[15], read.find_instants()[4]
    assert in_gap.bpm == pytest.approx(72, abs=2)
    assert in_gap.uncertainty > 1.5 * seen.uncertainty
    assert in_gap.confidence < seen.confidence
    nobody = Posterior([], READING, (0, 10)).read_clip()
    assert nobody.confidence < 0.2


def test_confidence_is_the_chance_of_being_right_where_the_model_holds():
    """Truths drawn from the posterior itself lie within 3 bpm as often as it says."""
    some = [witness(64.0, 0.0, 1.4, n, seed=n) for n in range(3)]
    read = Posterior(some, READING, (0, 8))
    estimate = read.find_instants()[4]
    chances = read.chances[4]
    near = np.abs(RATES - estimate.bpm) <= posterior.WITHIN
    assert estimate.confidence == pytest.approx(chances[: len(RATES)][near].sum(), abs=0.03)
    assert estimate.present == pytest.approx(chances[HEARTS].sum())
    assert estimate.low < estimate.bpm < estimate.high


def test_a_line_that_the_background_shows_speaks_against_a_pulse_however_clear_it_is():
    place = SIGNS.index("background")
    lamp, face = witness(72.0, noise=0.1), witness(72.0, noise=0.1)
    lamp.signs[place], face.signs[place] = 3.0, -2.0
    weights = replace(READING, lit=(-4.0, *(0.0,) * place, 4.0, *(0.0,) * (len(SIGNS) - place - 1)))
    blind, seeing = (
        [Posterior([one], numbers, (0, 8)).read_clip() for one in (lamp, face)]
        for numbers in (READING, weights)
    )
    assert blind[0] == blind[1] and blind[0].present > 0.8
    assert seeing[0].present < 0.2 and seeing[1].present > 0.8


def test_the_reading_is_the_same_each_time():
    some = [witness(64.0, 0.0, 1.4, n, seed=n) for n in range(3)]
    reads = [Posterior(some, READING, (0, 8)).read_clip() for _ in range(2)]
    assert reads[0] == reads[1]


def test_weights_survive_json_and_refuse_what_they_do_not_know():
    weights = replace(Weights(), sharpness=4.5)
    assert Weights.from_dict(weights.to_dict()) == weights
    with pytest.raises(ValueError, match=r"no numbers named \['blur'\]"):
        Weights.from_dict({"blur": 1.0})
    with pytest.raises(ValueError, match=f"trust must have {len(SIGNS) + 1} numbers"):
        Weights.from_dict({"trust": [1.0]})


def test_signs_that_are_not_known_are_average():
    known = replace(witness(72.0), signs=np.array(READING.mean))
    unknown = replace(known, signs=np.full(len(SIGNS), np.nan))
    reads = [Posterior([one], READING, (0, 8)).chances for one in (known, unknown)]
    np.testing.assert_allclose(*reads, atol=1e-9)


def test_states_are_drawn_as_often_as_their_chances_say():
    dice = np.random.default_rng(0)
    rows = np.array([[1.0, 3.0, 0.0, 4.0], [0.0, 0.2, 0.8, 0.0]])  # of any sum
    which = np.repeat([0, 1, 0], 4000)
    drawn = posterior._draw(rows, which, dice)
    for row in (0, 1):
        shares = np.bincount(drawn[which == row], minlength=4) / np.count_nonzero(which == row)
        np.testing.assert_allclose(shares, rows[row] / rows[row].sum(), atol=0.02)


@pytest.mark.parametrize("bpm", [33.0, 220.0])
def test_what_is_slower_or_faster_than_a_heart_is_no_rate_at_the_edge(bpm):
    beyond = Posterior([witness(bpm, 0.0, 0.1, n, seed=n) for n in range(6)], READING, (0, 8))
    edge = 38.0 if bpm < 100 else 200.0
    inside = Posterior([witness(edge, 0.0, 0.1, n, seed=n) for n in range(6)], READING, (0, 8))
    assert inside.read_clip().confidence > 0.8
    assert inside.read_clip().bpm == pytest.approx(edge, abs=1.5)
    for estimate in (beyond.read_clip(), beyond.read_span(0, 8), *beyond.find_instants()):
        assert estimate.confidence < 0.3 and estimate.present < 0.5


def test_chances_at_first_and_from_one_instant_to_the_next_add_up_to_one():
    for present in (0.0, 0.3, 0.5, 1.0):
        first, moves = posterior.make_transitions(replace(READING, present=present))
        assert float(first.sum()) == pytest.approx(1) and bool((first >= 0).all())
        assert float(first[posterior.HEARTS].sum()) == pytest.approx(present)
        np.testing.assert_allclose(moves.sum(1), 1)


def test_the_confidence_is_never_above_its_bound():
    reads = []
    for quiet, noise, number in product((0.0, 0.5, 2.0), (0.3, 1.5, 4.0), range(4)):
        some = [witness(60.0 + 9 * number, 0.0, noise, n, seed=n + number) for n in range(2)]
        reads.append(Posterior(some, replace(READING, quiet=quiet), (0, 10)))
    bounds = [read.bound_confidence(0, 10) for read in reads]
    sure = [read.read_clip(0, 10).confidence for read in reads]
    draws = 0.05  # of a thousand courses
    assert all(one <= bound + draws for one, bound in zip(sure, bounds, strict=True))
    assert min(bounds) < 0.1 and max(sure) > 0.9


def test_behind_an_upheaval_a_pulse_need_not_have_been_there_before():
    nothing = [witness(None, start, 0.5, seed=start) for start in (0, 4, 8)]
    faint = [witness(70.0, 16.0, 0.9, source) for source in "ab"]
    span = (0, 24)
    before, after = (
        Posterior(nothing + faint, READING, span, upheavals).read_span(18, 22)
        for upheavals in ((), (16.0, 16.2))
    )
    assert after.bpm == pytest.approx(70, abs=1.5)
    assert after.confidence > before.confidence + 0.05
    outside = Posterior(nothing + faint, READING, span, (-3.0, 0.2, 30.0)).read_span(18, 22)
    assert outside == before


def test_an_upheaval_takes_little_from_a_pulse_that_goes_on():
    same = [witness(70.0, start, 0.5) for start in (0, 8, 16)]
    other = [witness(bpm, start, 0.5) for bpm, start in ((70.0, 0), (70.0, 8), (110.0, 16))]
    plain, cut = (Posterior(same, READING, (0, 24), times).read_clip() for times in ((), (16.0,)))
    assert cut.bpm == pytest.approx(70, abs=0.5)
    assert cut.confidence > plain.confidence - 0.05
    plain, cut = (
        Posterior(other, READING, (0, 24), times).read_span(18, 22) for times in ((), (16.0,))
    )
    assert cut.bpm == pytest.approx(110, abs=1.5)
    assert cut.confidence > plain.confidence + 0.05


def test_courses_may_jump_where_all_begins_anew_and_hardly_elsewhere():
    some = [witness(70.0, 0.0, 0.1), witness(110.0, 8.0, 0.1)]
    jumps = []
    for upheavals in ((), (8.0,)):
        courses = Posterior(some, READING, (0, 16), upheavals)._draw_courses(0, 15)
        steps = np.diff(RATES[np.minimum(courses, len(RATES) - 1)], axis=0)
        jumps.append((np.abs(steps) > 15).mean(1))
    without, anew = jumps
    assert anew[7] > 0.8 > 2 * without[7]
    assert max(*anew[:7], *anew[8:]) < 0.1


def test_an_instant_begins_anew_that_follows_an_upheaval():
    times = np.arange(5) + 0.5
    for upheaval, instant in ((0.6, 1), (1.5, 1), (1.6, 2), (4.4, 4)):
        anew = posterior.find_instants_anew(times, [upheaval])
        assert np.flatnonzero(anew).tolist() == [instant]
    assert not posterior.find_instants_anew(times, [0.2, 0.5, 4.6]).any()


def test_chances_of_clips_that_are_read_at_once_are_those_of_each():
    first, moves = posterior.make_transitions(READING)
    evidence = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (2, 6, len(first))))
    anew = torch.zeros(2, 6, dtype=torch.bool)
    anew[1, 3] = True
    both, _ = posterior.smooth(evidence, first, moves, anew)
    for number in range(2):
        alone, _ = posterior.smooth(evidence[number], first, moves, anew[number])
        np.testing.assert_allclose(both[number], alone, atol=1e-12)
    without, _ = posterior.smooth(evidence[0], first, moves)
    np.testing.assert_allclose(both[0], without, atol=1e-12)
