"""The embedded server answers as the recorded ComfyUI did: messages, JSON, statuses, headers."""

from __future__ import annotations

import json
import re

import pytest

from comfyui.embedded import EmbeddedOptions, EmbeddedServer, StepGate
from tests.embedded.replay import (
    RECORDINGS,
    Hold,
    Normaliser,
    Replay,
    load,
    picture,
    recorded_transcript,
)

# Keys that 0.26.0, which the embedded server reproduces, has and 0.3.64 has not.
NEW_SINCE_0_3_64 = frozenset({"create_time", "extension", "node_replacements", "assets"})
# Told apart by the request they answer: 0.26.0 differs here, its own recordings are replayed.
ANSWERED_DIFFERENTLY_IN_0_3_64 = {"validation_unknown_class", "validation_missing_class_type"}

# Where the job is held, and after which request (the n-th that holds this text) it goes on.
HELD = {
    "026_interrupt": ("3", "POST /interrupt", 2),
    "026_delete_pending": ("2", "POST /interrupt", 1),
    "026_jobs_cancel": ("2", "/cancel", 2),
}
# Uploads whose pixels matter are pictures here; of the others only the length was recorded.
WITH_PICTURES = {"i2i_upload", "inpaint_upload_mask"}
# Has a test of its own in test_websocket.py: there the sockets' timing is the point.
ELSEWHERE = {"026_ws_same_client_both_open"}

SCENARIOS = sorted(path.stem for path in RECORDINGS.glob("*.json") if path.stem not in ELSEWHERE)


def models_of(name: str) -> dict[str, list[str]]:
    """The models of the server that was recorded: none, or the few that graphs name."""
    if name.startswith("026_"):
        return {}
    return {
        "checkpoints": ["tiny_sd15.safetensors"],
        "diffusion_models": ["flux1-dev.safetensors"],
        "text_encoders": ["clip_l.safetensors", "t5xxl_fp16.safetensors"],
        "vae": ["ae.safetensors"],
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_replay_equals_the_recording(name):
    recording = load(name)
    hold = Hold(*HELD[name], StepGate(HELD[name][0])) if name in HELD else None
    gate = hold.gate if hold else None
    options = EmbeddedOptions(step_seconds=0, models=models_of(name), on_step=gate)
    with EmbeddedServer(options=options) as server:
        for file in ("example.png", "rec_view.png"):
            (server.data_dir / "input" / file).write_bytes(picture(alpha=0))
        replay = Replay(server, recording, exact_uploads=name not in WITH_PICTURES)
        seen = replay.run(hold)
    dropped = frozenset() if name.startswith("026_") else NEW_SINCE_0_3_64
    expected = Normaliser().transcript(recorded_transcript(recording))
    actual = Normaliser(dropped).transcript(seen)
    assert actual["http"] == expected["http"]
    assert actual["sockets"] == expected["sockets"]


def test_recordings_hold_what_must_be_replayed():
    wanted = {
        "026_success", "026_cached", "026_interrupt", "026_delete_pending", "026_jobs_cancel",
        "026_prompt_ids", "026_preview_image_only", "t2i_success", "i2i_upload",
        "inpaint_upload_mask", "upload_variants", "view", "history",
    }  # fmt: skip
    assert wanted <= set(SCENARIOS)
    assert sum(name.startswith("026_validation_") for name in SCENARIOS) == 11
    assert not ANSWERED_DIFFERENTLY_IN_0_3_64 & set(SCENARIOS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"Value -3 smaller than min of 0"', '"Value -3 is smaller than min of 0"'),
        ('"input_name"', '"input"'),
        ('"status": 400', '"status": 422'),
        ('"dependent_outputs": ["3"]', '"dependent_outputs": []'),
    ],
)
def test_normaliser_sees_a_wrong_text_key_status_or_list(before, after):
    text = json.dumps(load("026_validation_below_min"))
    assert before in text
    right = Normaliser().transcript(recorded_transcript(json.loads(text)))
    wrong = Normaliser().transcript(recorded_transcript(json.loads(text.replace(before, after))))
    assert wrong != right


def test_normaliser_sees_swapped_messages_and_a_wrong_id():
    recording = load("026_success")
    right = Normaliser().transcript(recorded_transcript(recording))
    swapped = recorded_transcript(recording)
    swapped.sockets["A"][5:7] = reversed(swapped.sockets["A"][5:7])
    assert Normaliser().transcript(swapped) != right
    text = json.dumps(recording)
    first, second = list(dict.fromkeys(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-\w{12}", text)))
    mixed_up = text[: len(text) // 2] + text[len(text) // 2 :].replace(second, first)
    assert Normaliser().transcript(recorded_transcript(json.loads(mixed_up))) != right
