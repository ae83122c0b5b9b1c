"""What is told of a failed job: the node, the exception, and what helps against it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.events import NodeFailure, parse_failure, parse_frame
from comfyui.failures import advice_for, failed_job
from comfyui.tracker import JobTracker
from tests.fakes.transcripts import load
from tests.graph_support import node

GRAPH = {"3": node("KSampler", "paint"), "4": node("CheckpointLoaderSimple")}
MEMORY = "a smaller size or fewer images at once helps"
BROKEN = "the model file is broken or incomplete: download it again"
FAMILIES = "are of different families"
TIPS = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before "
    "you might have accidentally set the batch_size to a large number."
)


def failed(exception_type: str, message: str, node_id: str = "3", class_type: str = "KSampler"):
    """The error of a job in which a node failed like this."""
    tracker = JobTracker("p", {name: entry["class_type"] for name, entry in GRAPH.items()})
    told = {
        "node_id": node_id,
        "node_type": class_type,
        "exception_type": exception_type,
        "exception_message": message,
    }
    tracker.failure = parse_failure("p", told)
    return failed_job(tracker, GRAPH)


@pytest.mark.parametrize(
    ("exception_type", "message", "advice"),
    [
        ("torch.OutOfMemoryError", "Allocation on device ", MEMORY),
        ("torch.OutOfMemoryError", f"Allocation on device 0\n{TIPS}", MEMORY),
        ("torch.cuda.OutOfMemoryError", "", MEMORY),
        (
            "torch.cuda.OutOfMemoryError",
            "Allocation on device 0 would exceed allowed memory. (out of memory)",
            MEMORY,
        ),
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 9.00 GiB.", MEMORY),
        ("torch.OutOfMemoryError", "HIP out of memory. Tried to allocate 6.46 GiB.", MEMORY),
        ("RuntimeError", "XPU out of memory. Tried to allocate 128.00 GiB.", MEMORY),
        ("torch.AcceleratorError", "CUDA error: out of memory", MEMORY),
        (
            "RuntimeError",
            "MPS backend out of memory (MPS allocated: 16.9 GB, max allowed: 18.1 GB).",
            MEMORY,
        ),
        (
            "RuntimeError",
            "Could not allocate tensor with 58982400 bytes. There is not enough GPU video memory "
            "available!",
            MEMORY,
        ),
        (
            "RuntimeError",
            "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you "
            "tried to allocate 31850496000 bytes.",
            f"(RAM): {MEMORY}",
        ),
        (
            "RuntimeError",
            "[enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: can't allocate memory",
            f"(RAM): {MEMORY}",
        ),
        ("MemoryError", "", f"(RAM): {MEMORY}"),
        ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 9. GiB", "(RAM)"),
        (
            "safetensors_rust.SafetensorError",
            "Error while deserializing header: HeaderTooLarge",
            BROKEN,
        ),
        (
            "ValueError",
            "Error while deserializing header: MetadataIncompleteBuffer\n\nFile path: "
            "C:\\models\\a.safetensors\n\nThe safetensors file is corrupt/incomplete. Check the "
            "file size and make sure you have copied/downloaded it correctly.",
            BROKEN,
        ),
        (
            "safetensors_rust.SafetensorError",
            "Error while deserializing header: InvalidHeaderDeserialization",
            BROKEN,
        ),
        (
            "safetensors_rust.SafetensorError",
            "Error while deserializing header: incomplete metadata, file not fully covered",
            BROKEN,
        ),
        ("_pickle.UnpicklingError", "invalid load key, '<'.", BROKEN),
        (
            "RuntimeError",
            "ERROR: Could not detect model type of: /models/a.safetensors\n\n",
            "lies in the right folder",
        ),
        (
            "FileNotFoundError",
            "Model in folder 'vae' with filename 'a.safetensors' not found.",
            "is not on the server",
        ),
        (
            "FileNotFoundError",
            "[Errno 2] No such file or directory: '/models/sam.pth'",
            "is not on the server",
        ),
        (
            "RuntimeError",
            "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)",
            FAMILIES,
        ),
        (
            "RuntimeError",
            "Error(s) in loading state_dict for ControlNet:\n\tsize mismatch for a.weight: copying",
            FAMILIES,
        ),
        (
            "RuntimeError",
            "Given groups=1, weight of size [64, 16, 3, 3], expected input[1, 4, 32, 32] to have "
            "16 channels, but got 4 channels instead",
            FAMILIES,
        ),
        (
            "AssertionError",
            "must specify y if and only if the model is class-conditional",
            FAMILIES,
        ),
        (
            "Exception",
            "Unauthorized: Please login first to use this node.",
            "set COMFY_ORG_API_KEY",
        ),
        (
            "Exception",
            "Payment Required: Please add credits to your account to use this node.",
            "no credit left",
        ),
        (
            "RuntimeError",
            "ERROR: clip input is invalid: None\n\nIf the clip is from a checkpoint loader node "
            "your checkpoint does not contain a valid clip or text encoder model.",
            "CLIPLoader",
        ),
        ("OSError", "Truncated File Read", "send another"),
    ],
)
def test_known_failures_come_with_advice_in_one_line(exception_type, message, advice):
    error = failed(exception_type, message)
    assert str(error).startswith(f"node 3 KSampler 'paint' failed: {exception_type}")
    assert advice in str(error)
    assert str(error).count("; ") >= 1 and "\n" not in str(error)
    told = " ".join(message.split("\nThis error means")[0].split())
    assert told.replace("C:\\models\\", "…/").replace("/models/", "…/") in str(error)
    assert (error.node_id, error.class_type, error.detail) == ("3", "KSampler", message.strip())


@pytest.mark.parametrize(
    ("exception_type", "message"),
    [
        ("RuntimeError", "it broke"),
        ("ValueError", "not found"),
        ("Exception", "Memory of a fox"),
        (
            "RuntimeError",
            "The size of tensor a (64) must match the size of tensor b (32) at non-singleton "
            "dimension 3",
        ),
    ],
)
def test_other_failures_are_told_without_advice(exception_type, message):
    error = failed(exception_type, message)
    assert str(error) == f"node 3 KSampler 'paint' failed: {exception_type}: {message}"


def test_the_advice_of_the_editor_is_left_out():
    assert str(failed("torch.OutOfMemoryError", f"Allocation on device\n{TIPS}")) == (
        "node 3 KSampler 'paint' failed: torch.OutOfMemoryError: Allocation on device; the GPU ran "
        "out of memory: a smaller size or fewer images at once helps"
    )


def test_an_exception_without_a_message_is_named():
    error = failed("AssertionError", "\n", "4", "CheckpointLoaderSimple")
    assert str(error) == "node 4 CheckpointLoaderSimple failed: AssertionError"


def test_a_node_that_another_expanded_into_is_named_by_its_class():
    assert str(failed("KeyError", "'a'", "3.0.1", "LoraLoader")).startswith("node 3.0.1 LoraLoader")


def test_a_failure_that_nobody_tells_of_is_one():
    assert "does not say why" in str(failed_job(JobTracker("p", {}), {}))


def test_a_recorded_failure_is_recognised():
    """LatentAdd of a latent with 4 channels and one with 16, on 0.26.0."""
    recorded = load("026_exec_error")
    events = [parse_frame(frame) for frame in recorded.frames()]
    (failure,) = [event for event in events if isinstance(event, NodeFailure)]
    advice = advice_for(failure)
    assert advice is not None and FAMILIES in advice


@given(st.text(), st.text())
def test_no_text_makes_it_raise_or_take_more_than_a_line(exception_type, message):
    failure = NodeFailure("p", "3", "KSampler", exception_type, message)
    assert advice_for(failure) is None or "\n" not in str(advice_for(failure))
    error = failed(exception_type, message)
    assert len(str(error).splitlines()) == 1


def test_a_message_of_many_thousand_characters_is_cut_and_kept_in_the_detail():
    message = "Error(s) in loading state_dict for UNet:\n" + "\tsize mismatch for a\n" * 10_000
    error = failed("RuntimeError", message)
    assert len(str(error)) < 1000 and FAMILIES in str(error)
    assert error.detail == message.strip()
