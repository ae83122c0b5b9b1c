"""When a job looks at the server: soon, late, and how that changes."""

from __future__ import annotations

import pytest

from comfyui.client import Limits
from comfyui.pacing import Pace

LIMITS = Limits(silence=2.0, queue_interval=5.0)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pauses(pace: Pace, time: Time, number: int, *, is_told: bool, waits: bool = False):
    """How long it is to each of the next looks."""
    found = []
    for _ in range(number):
        found.append(pace.seconds_left(is_told))
        time.now += found[-1]
        pace.asked(waits_behind_others=waits)
    return found


def test_where_no_news_come_the_first_looks_are_soon():
    time = Time()
    found = pauses(Pace(LIMITS, time), time, 7, is_told=False)
    assert found == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_where_news_come_by_themselves_a_silence_is_waited_for():
    time = Time()
    pace = Pace(LIMITS, time)
    assert pauses(pace, time, 3, is_told=True) == pytest.approx([2.0, 2.0, 2.0])
    time.now += 1.5
    pace.news()
    assert pace.seconds_left(True) == pytest.approx(2.0)


@pytest.mark.parametrize("is_told", [True, False])
def test_behind_others_the_pauses_grow_to_their_limit(is_told):
    time = Time()
    pace = Pace(LIMITS, time)
    found = pauses(pace, time, 12, is_told=is_told, waits=True)
    assert found == pytest.approx(sorted(found))
    assert found[-1] == pytest.approx(5.0)
    pace.asked(waits_behind_others=False)
    assert pace.seconds_left(is_told) == pytest.approx(2.0)


def test_a_queue_interval_below_the_silence_counts_as_that():
    time = Time()
    pace = Pace(Limits(silence=2.0, queue_interval=0.5), time)
    assert pauses(pace, time, 3, is_told=True, waits=True) == pytest.approx([2.0, 2.0, 2.0])


def test_a_reason_to_look_again_begins_with_short_pauses():
    time = Time()
    pace = Pace(LIMITS, time)
    pauses(pace, time, 8, is_told=False)
    pace.hasten()
    assert pauses(pace, time, 3, is_told=False) == pytest.approx([0.1, 0.2, 0.4])


def test_a_change_on_the_server_brings_one_look_soon():
    time = Time()
    pace = Pace(LIMITS, time)
    pauses(pace, time, 8, is_told=False)
    pace.make_due()
    assert pauses(pace, time, 2, is_told=False) == pytest.approx([0.1, 2.0])
