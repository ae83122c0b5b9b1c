"""The estimate of the time left: by the pace of the steps, over all jobs, on a clock of its own."""

from __future__ import annotations

import pytest

from comfyui.time_left import TimeLeft


def sample(left: TimeLeft, start: float, *, steps: int = 10, pace: float = 2.0, load: float = 0.0):
    """Runs a job whose steps make 90 % of it; the estimates after each step, and the end's time."""
    left.begun(start)
    now, told = start + load, []
    for step in range(1, steps + 1):
        now += pace
        left.step_done(now, 0.9 * step / steps, "3", step)
        left.moved(now, 0.9 * step / steps)
        told.append(left.seconds(now))
    return told, now


def test_nothing_is_told_before_two_steps_give_a_pace():
    left = TimeLeft(1)
    assert left.seconds(0.0) is None
    left.begun(0.0)
    assert left.seconds(50.0) is None
    left.step_done(60.0, 0.1, "3", 1)
    left.moved(60.0, 0.1)
    assert left.seconds(60.0) is None


def test_the_estimate_is_right_from_the_second_step_on_however_long_loading_took():
    for load in (0.0, 300.0):
        told, _ = sample(TimeLeft(1), 5.0, load=load)
        # 2 s a step of 9 %, so 22.2 s for the whole.
        assert told[1:] == pytest.approx([22.2 - 2.0 * step for step in range(2, 11)], abs=0.1)


def test_it_counts_down_between_two_steps_and_stays_above_zero():
    left = TimeLeft(1)
    told, now = sample(left, 0.0)
    assert left.seconds(now + 1.0) == pytest.approx(told[-1] - 1.0)
    assert left.seconds(now + 1000.0) == 0.0


def test_a_step_that_is_told_again_and_the_start_of_steps_are_no_pace():
    left = TimeLeft(1)
    left.begun(0.0)
    left.step_done(1.0, 0.0, "3", 0)  # still loading
    for step, now in ((1, 60.0), (2, 62.0), (2, 70.0), (3, 72.0)):
        left.step_done(now, 0.1 * step, "3", step)
        left.moved(now, 0.1 * step)
        if now == 70.0:
            # 16 s were left as the second step ended, 8 s ago.
            assert left.seconds(now) == pytest.approx(8.0)
    assert left.seconds(72.0) == pytest.approx(0.7 * 12.0 / 0.2)


def test_jobs_to_come_count_without_the_loading_of_models():
    left = TimeLeft(3)
    told, now = sample(left, 0.0, load=100.0)
    # One job is 22.2 s, of which the last 2.2 s are to come; then two more.
    assert told[-1] == pytest.approx(2.2 + 2 * 22.2, abs=0.1)
    now += 3.0  # the rest took longer than thought
    left.job_done(now)
    assert left.seconds(now) == pytest.approx(2 * 23.0)


def test_the_last_job_tells_what_the_next_one_takes_before_its_first_step():
    left = TimeLeft(2)
    _, now = sample(left, 0.0)
    left.job_done(now)
    left.begun(now)
    assert left.seconds(now + 4.0) == pytest.approx(20.0 - 4.0)
    told, now = sample(left, now, pace=4.0)
    assert told[-1] == pytest.approx(4.4, abs=0.1)


def test_a_job_of_one_step_tells_of_those_after_it():
    left = TimeLeft(3)
    _, now = sample(left, 0.0, steps=1, load=7.0)
    assert left.seconds(now) is None
    left.job_done(now)
    assert left.seconds(now) == pytest.approx(2 * 9.0)


def test_a_job_whose_pictures_were_there_already_changes_no_estimate():
    left = TimeLeft(2)
    left.begun(0.0)
    left.moved(0.1, 0.99)
    left.job_done(0.1)
    assert left.seconds(0.1) is None
