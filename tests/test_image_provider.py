"""The contract's values: request, result, progress, style and errors."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from fractions import Fraction
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import image_provider
from image_provider import (
    DEFAULT_SIZE,
    ERROR_CLASSES,
    MAX_SEED,
    AllProvidersFailedError,
    GenerationFailedError,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageStyle,
    ProviderAttempt,
    ProviderUnavailableError,
    RateLimitedError,
    WorkflowError,
    file_suffix,
)
from tests.fakes.provider import png, success


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


# The request: given or not


@pytest.mark.parametrize(
    "way",
    [
        through_pickle,
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        lambda request: ImageGenerationRequest(**dataclasses.asdict(request)),
    ],
)
def test_a_size_that_was_not_given_stays_so_however_the_request_travels(way):
    request = ImageGenerationRequest("a fox", height=1024)
    arrived = way(request)
    assert arrived == request
    assert (arrived.width, arrived.height) == (1024, 1024)
    assert arrived.explicit_size == (None, 1024)


def test_the_default_size_is_an_ordinary_number():
    request = ImageGenerationRequest("a fox")
    assert request.width == 1024 and f"{request.width}" == "1024" and repr(DEFAULT_SIZE) == "1024"
    assert request == ImageGenerationRequest("a fox", width=1024, height=1024)


def test_replacing_another_field_keeps_the_size_not_given():
    request = dataclasses.replace(ImageGenerationRequest("a fox"), seed=4)
    assert request.explicit_size == (None, None)


# The request: the callback


def test_the_callback_is_no_part_of_equality_or_repr():
    quiet = ImageGenerationRequest("a fox")
    heard = ImageGenerationRequest("a fox", on_progress=print)
    assert quiet == heard
    assert "print" not in repr(heard) and "on_progress" not in repr(heard)


def test_a_pickle_leaves_the_callback_behind():
    request = ImageGenerationRequest("a fox", on_progress=lambda update: None)
    assert through_pickle(request).on_progress is None


def test_a_copy_in_the_same_process_keeps_the_callback():
    assert copy.copy(ImageGenerationRequest("a fox", on_progress=print)).on_progress is print


# The request: what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "prompt must be a str, not NoneType"),
        ({"prompt": b"a fox"}, "prompt must be a str, not bytes"),
        ({"negative_prompt": 3}, "negative_prompt must be a str or None, not int"),
        ({"source_image_url": b"\x89PNG"}, "source_image_url must be a str or None, not bytes"),
        ({"width": "512"}, "width must be a whole number, not str"),
        ({"width": None}, "width must be a whole number, not NoneType"),
        ({"height": 512.0}, "height must be a whole number, not float"),
        ({"seed": True}, "seed must be a whole number, not bool"),
        ({"steps": 2.5}, "steps must be a whole number, not float"),
        ({"guidance_scale": "7"}, "guidance_scale must be a number, not str"),
        ({"strength": False}, "strength must be a number, not bool"),
        ({"style": 3}, "style must be a str or an ImageStyle, not int"),
        ({"loras": None}, "loras must be a list of (name, strength) pairs, not NoneType"),
        ({"loras": ["a.safetensors"]}, "loras must be a list of (name, strength) pairs, not str"),
        ({"loras": [("a", None)]}, "the strength of a LoRA must be a number, not NoneType"),
        ({"loras": [("a", 1.0, 1.0)]}, "loras must be a list of (name, strength) pairs, not tuple"),
        ({"extra": None}, "extra must be a dict with str keys, not NoneType"),
        ({"extra": {3: 4}}, "extra must be a dict with str keys, not dict"),
        ({"on_progress": 1}, "on_progress must be callable, not int"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_type_error_that_names_the_field(arguments, message):
    with pytest.raises(TypeError) as caught:
        ImageGenerationRequest(**{"prompt": "a fox", **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be 1 or more, not 0"),
        ({"workflow": ""}, "workflow must be the name of a workflow file, or None"),
        ({"height": -8}, "height must be 1 or more, not -8"),
        ({"num_images": 0}, "num_images must be 1 or more, not 0"),
        ({"steps": 0}, "steps must be 1 or more, not 0"),
        ({"seed": -1}, f"seed must be between 0 and {MAX_SEED}, not -1"),
        ({"seed": MAX_SEED + 1}, f"seed must be between 0 and {MAX_SEED}, not {MAX_SEED + 1}"),
        ({"strength": 1.5}, "strength must be between 0.0 and 1.0, not 1.5"),
        ({"strength": -0.1}, "strength must be between 0.0 and 1.0, not -0.1"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a finite number, not nan"),
        ({"guidance_scale": 10**400}, "guidance_scale must be a finite number, not inf"),
    ],
)
def test_a_value_out_of_range_is_a_value_error_that_names_the_range(arguments, message):
    with pytest.raises(ValueError) as caught:
        ImageGenerationRequest("a fox", **arguments)
    assert str(caught.value) == message


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.text())
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([f.name for f in dataclasses.fields(ImageGenerationRequest)]).filter(
            lambda name: name not in ("prompt", "from_template")
        ),
        anything,
    )
)
def test_whatever_is_given_is_taken_or_refused_as_type_or_value(arguments):
    try:
        request = ImageGenerationRequest("a fox", **arguments)
    except (TypeError, ValueError):
        return
    assert through_pickle(request) == request


def test_numbers_of_other_libraries_become_plain_ones():
    request = ImageGenerationRequest(
        "a fox", width=numpy.int64(512), seed=numpy.uint64(7), guidance_scale=Fraction(7, 2)
    )
    assert (request.width, request.seed, request.guidance_scale) == (512, 7, 3.5)
    assert type(request.width) is int and type(request.guidance_scale) is float


def test_a_path_is_taken_as_its_text():
    request = ImageGenerationRequest("a fox", source_image_url=Path("fox.png"))
    assert request.source_image_url == "fox.png"


def test_the_callers_own_dict_is_not_kept():
    extra = {"3.seed": 1}
    request = ImageGenerationRequest("a fox", extra=extra)
    extra["3.seed"] = 2
    assert request.extra == {"3.seed": 1}


def test_loras_become_pairs_of_text_and_float():
    assert ImageGenerationRequest("a fox", loras=[["a", 1]]).loras == (("a", 1.0),)


# Styles


@pytest.mark.parametrize("given", ["cinematic", " Cinematic ", ImageStyle.CINEMATIC])
def test_a_style_is_known_by_its_name_in_any_case(given):
    assert ImageGenerationRequest("a fox", style=given).style is ImageStyle.CINEMATIC


def test_an_unknown_style_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"unknown style 'noir'; there are: fast_draft, photoreal"):
        ImageStyle.parse("noir")


# Errors


def test_every_word_has_its_class_and_every_class_its_word():
    assert sorted(ERROR_CLASSES) == [
        "all_providers_failed",
        "authentication",
        "cancelled",
        "configuration",
        "content_rejected",
        "generation_failed",
        "invalid_request",
        "rate_limited",
        "timeout",
        "unavailable",
        "workflow",
    ]
    for word, error_class in ERROR_CLASSES.items():
        assert error_class.error_type == word
        assert error_class("it went wrong").error_type == word
        assert getattr(image_provider, error_class.__name__) is error_class


@pytest.mark.parametrize("way", [through_pickle, copy.copy])
@pytest.mark.parametrize(
    "error",
    [
        ImageGenerationError("a", provider="p", status=500, request_id="r", retryable=True),
        RateLimitedError("b", retry_after=2.5, status=429),
        WorkflowError(
            "c", file="f.json", node_id="3", class_type="K", input_name="seed", problems=["x"]
        ),
        GenerationFailedError("d", node_id="3", class_type="K", detail="out of memory"),
        AllProvidersFailedError("e", attempts=(ProviderAttempt("p", "timeout", "slow", 1.0),)),
    ],
)
def test_an_error_travels_with_its_attributes(error, way):
    arrived = way(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def test_errors_that_may_pass_say_so():
    assert RateLimitedError("").retryable and ProviderUnavailableError("").retryable
    assert not ProviderUnavailableError("", retryable=False).retryable
    assert not WorkflowError("").retryable and not ImageGenerationError("").retryable


# The result


def test_an_index_out_of_range_gives_none():
    result = success(seed=3)
    assert result.get_image_bytes() == png(3)
    assert result.get_image_bytes(1) is None and result.get_image_bytes(-1) is None
    assert result.get_image_url(5) is None


def test_a_picture_is_decoded_on_request():
    assert success().to_pil().size == (8, 8)
    with pytest.raises(IndexError, match="there is no image 1; the result has 1"):
        success().to_pil(1)


def test_a_picture_that_is_only_at_an_address_says_so_when_it_is_decoded():
    result = success()
    result.images[0] |= {"bytes": None, "url": "https://example.org/fox.png"}
    with pytest.raises(ValueError, match=r"image 0 \(picture\.png\) has no bytes .* its url"):
        result.to_pil()


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [(b"words", "text/plain"), (b"fLaC", "audio/flac"), (b"", None), (b"<svg/>", "image/svg+xml")],
)
def test_what_is_no_picture_says_so_when_it_is_decoded(data, mime_type):
    result = success()
    result.images.append({"bytes": data, "mime_type": mime_type, "filename": "5-1.txt"})
    with pytest.raises(ValueError, match=r"image 1 \(5-1\.txt\) is .* no picture"):
        result.to_pil(1)
    assert result.to_pil(0).size == (8, 8)


def test_a_repr_holds_no_pictures():
    assert "PNG" not in repr(success())


def test_saved_files_keep_their_bytes_and_order_and_name_the_seed(tmp_path):
    result = success()
    result.images = [
        {**result.images[0], "seed": seed, "bytes": png(seed)} for seed in range(9, 21)
    ]
    paths = result.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths[:2]] == ["fake-00001-9.png", "fake-00002-10.png"]
    assert paths == sorted(paths)
    assert [path.read_bytes() for path in paths] == [png(seed) for seed in range(9, 21)]


def test_saving_never_writes_over_a_file(tmp_path):
    first = success(seed=1).save(tmp_path)
    before = first[0].read_bytes()
    second = success(seed=1, images=[{**success().images[0], "seed": 1}]).save(tmp_path)
    third = success(seed=1).save(tmp_path)
    assert first[0].read_bytes() == before
    assert [p.name for p in (*first, *second, *third)] == [
        "fake-00001-1.png",
        "fake-00002-1.png",
        "fake-00003-1.png",
    ]


def test_results_saved_one_after_the_other_stay_in_that_order(tmp_path):
    (tmp_path / "fake-99998-5.png").touch()
    (tmp_path / "fakes-123456.png").touch()
    saved = [path for seed in (30, 4, 100) for path in success(seed=seed).save(tmp_path)]
    assert [path.name for path in saved] == [
        "fake-99999-30.png",
        "fake-100000-4.png",
        "fake-100001-100.png",
    ]
    many = [path for _ in range(120) for path in success(seed=7).save(tmp_path / "many")]
    assert many == sorted(many)


def test_a_name_that_another_thread_took_meanwhile_is_left_to_it(tmp_path, monkeypatch):
    (tmp_path / "fake-00001-1.png").write_bytes(b"theirs")
    monkeypatch.setattr("image_provider.os.listdir", lambda folder: [])
    assert [path.name for path in success(seed=1).save(tmp_path)] == ["fake-00001-1-2.png"]
    assert (tmp_path / "fake-00001-1.png").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["../../up", "a/b\\c", 'x:*?"<>|\n', "..", ""])
def test_odd_provider_names_and_seeds_stay_inside_the_folder(tmp_path, name):
    result = success(name)
    result.images[0]["seed"] = "../7"
    (path,) = result.save(tmp_path)
    assert path.parent == tmp_path
    assert path.name.replace("-", "").replace(".png", "").isalnum()


@pytest.mark.parametrize(
    ("mime_type", "suffix"), [("image/webp", ".webp"), (None, ".bin"), ("text/x-../../sh", ".bin")]
)
def test_the_suffix_is_that_of_the_kind_of_file(tmp_path, mime_type, suffix):
    result = success()
    result.images[0]["mime_type"] = mime_type
    assert result.save(tmp_path)[0].suffix == suffix


@pytest.mark.parametrize(
    ("mime_type", "filename", "suffix"),
    [
        ("text/plain", "5-1.txt", ".txt"),
        ("application/json", "words.json", ".json"),
        ("model/gltf-binary", "mesh.GLB", ".glb"),
        ("application/octet-stream", "a.latent", ".latent"),
        ("application/octet-stream", "A.FBX", ".fbx"),
        ("application/octet-stream", "a.exe", ".bin"),
        ("application/octet-stream", "a.latent.", ".bin"),
        ("application/octet-stream", "a.latent:stream", ".bin"),
        ("application/octet-stream", "../../a.latent/..\\.latent\0", ".bin"),
        (None, None, ".bin"),
    ],
)
def test_the_suffix_of_other_files_is_a_known_one(tmp_path, mime_type, filename, suffix):
    result = success(images=[{"bytes": b"x", "mime_type": mime_type, "filename": filename}])
    (path,) = result.save(tmp_path)
    assert path == tmp_path / f"fake-00001{suffix}"
    assert path.read_bytes() == b"x"


@given(st.text(), st.text())
def test_no_name_of_a_server_gives_a_suffix_of_its_own_making(mime_type, filename):
    suffix = file_suffix({"mime_type": mime_type, "filename": filename})
    assert re.fullmatch(r"\.[a-z0-9]+", suffix)


def test_a_file_that_could_not_be_written_whole_is_not_left(tmp_path):
    result = success()
    result.images.append({**result.images[0], "bytes": "no bytes"})
    with pytest.raises(TypeError):
        result.save(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [png()]


def test_a_picture_without_bytes_is_not_saved(tmp_path):
    assert (
        success(images=[{"bytes": None, "url": "https://example.org/a.png"}]).save(tmp_path) == []
    )


def test_a_failed_result_raises_its_own_error_again():
    error = WorkflowError("node 3 is missing", node_id="3", provider="comfyui")
    result = through_pickle(ImageGenerationResult.failed(error, "router"))
    assert (result.provider, result.error, result.error_type) == (
        "comfyui",
        "node 3 is missing",
        "workflow",
    )
    with pytest.raises(WorkflowError) as caught:
        result.raise_for_error()
    assert caught.value.node_id == "3"


def test_a_failed_result_that_somebody_made_by_hand_raises_the_class_of_its_word():
    result = ImageGenerationResult(False, [], "mine", None, "slow", error_type="timeout")
    with pytest.raises(ERROR_CLASSES["timeout"], match="slow"):
        result.raise_for_error()


def test_a_success_raises_nothing():
    success().raise_for_error()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 🦊 größe", "plain 🦊 größe"),
        ("two\nlines\tand", "two\nlines\tand"),
        ("\x1b[31mred\x07\r\u202e\x9b", "�[31mred����"),
        ("x" * 20_000, "x" * 9_999 + "…"),
    ],
)
def test_a_message_is_cut_and_has_no_control_characters(text, shown):
    error = WorkflowError(text)
    assert str(error) == error.message == shown
    assert (
        ImageGenerationResult.failed(dataclasses.replace(error, file="a"), "comfyui").error == shown
    )
