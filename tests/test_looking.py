"""What is made of a server's answers to "how does the job stand?"."""

from __future__ import annotations

import pytest
import responses

from comfyui.looking import look
from comfyui.tracker import JobState, JobTracker
from image_provider import ProviderUnavailableError
from tests.job_support import NOWHERE, QUICK, URL, client_of, history_of

RUNNING = {"queue_running": [[1, "p"]], "queue_pending": []}


@pytest.fixture
def http():
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def client():
    with client_of(NOWHERE, QUICK) as client:
        yield client


def test_history_that_answers_with_an_error_leaves_it_to_the_queue(http, client):
    http.get(f"{URL}/history/p", status=500)
    http.get(f"{URL}/queue", json=RUNNING)
    tracker = JobTracker("p", {})
    assert look(client, tracker)
    assert tracker.state is JobState.RUNNING


def test_where_nobody_answers_the_queue_is_not_asked_too(http, client):
    http.get(f"{URL}/history/p", body=ConnectionError("nobody"))
    with pytest.raises(ProviderUnavailableError):
        look(client, JobTracker("p", {}))


def test_job_that_ends_between_the_questions_is_found_in_the_history(http, client):
    http.get(f"{URL}/history/p", json={})
    http.get(f"{URL}/queue", json={})
    http.get(f"{URL}/history/p", json=history_of("p"))
    tracker = JobTracker("p", {})
    assert look(client, tracker)
    assert tracker.state is JobState.SUCCEEDED


def test_job_that_is_nowhere_is_not_known(http, client):
    http.get(f"{URL}/history/p", json={})
    http.get(f"{URL}/queue", json={})
    assert not look(client, JobTracker("p", {}))
