"""Who serves a request, and who stands in: over fakes, and over real sockets at the end."""

from __future__ import annotations

import json
import logging
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from config import Config
from image_batches.pickling import packed
from image_provider import (
    AllProvidersFailedError,
    AuthenticationError,
    ConfigurationError,
    ContentRejectedError,
    GenerationCancelledError,
    GenerationFailedError,
    ImageGenerationRequest,
    InvalidRequestError,
    ProgressUpdate,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    WorkflowError,
)
from image_provider_router import ImageProviderRouter
from tests.fakes.provider import FakeProvider, success
from tests.router_support import FOX, asked, attempts, make_router

# Registering


def keys(*names):
    return Config(dict.fromkeys(names, "k"), None)


def test_comfyui_is_always_there_and_a_hosted_one_by_its_key():
    router = ImageProviderRouter(Config({}, None))
    assert list(router.providers) == ["comfyui"]
    told = router.get_available_providers()
    assert told["openai"] == {
        "provider": "openai",
        "model": None,
        "features": {},
        "available": False,
        "reason": "no key: set OPENAI_API_KEY",
    }
    router.close()
    router = ImageProviderRouter(
        keys("OPENAI_API_KEY", "BFL_API_KEY", "FAL_KEY", "TOGETHER_API_KEY", "REPLICATE_API_TOKEN")
    )
    assert sorted(router.providers) == [
        "comfyui",
        "flux_bfl",
        "flux_fal",
        "flux_replicate",
        "flux_together",
        "openai",
    ]
    assert router.get_available_providers()["openai"]["available"] is True
    router.close()


@pytest.mark.parametrize(
    ("environ", "preferred"),
    [
        ({"FAL_KEY": "k", "BLACK_FOREST_LABS_API_KEY": "k"}, "flux_bfl"),
        ({"FAL_KEY": "k", "BLACK_FOREST_LABS_API_KEY": "k", "FLUX_HOST": "fal"}, "flux_bfl"),
        ({"FAL_KEY": "k", "TOGETHER_API_KEY": "k", "FLUX_HOST": "together"}, "flux_together"),
        ({"TOGETHER_API_KEY": "k", "FAL_KEY": "k"}, "flux_fal"),
        ({"FLUX_API_KEY": "k", "FLUX_HOST": "replicate"}, "flux_replicate"),
        ({"FLUX_API_KEY": "k"}, "flux_bfl"),
    ],
)
def test_flux_stands_for_the_preferred_host_that_has_a_key(environ, preferred):
    router = ImageProviderRouter(Config(environ, None))
    (candidate,) = router.resolve(ImageGenerationRequest("a fox", provider="flux"))
    assert candidate.name == candidate.provider.provider_name == preferred
    router.close()


def test_flux_without_any_key_says_which_to_set():
    router = make_router(FakeProvider())
    result = router.generate(ImageGenerationRequest("a fox", provider="flux"))
    assert result.error_type == "all_providers_failed"
    assert "flux: no key: set one of BLACK_FOREST_LABS_API_KEY, FAL_KEY" in result.error


def test_a_bundled_workflow_that_is_set_counts_as_not_configured():
    set_to_default = Config({"COMFYUI_DEFAULT_WORKFLOW": "t2i_flux.json"}, None)
    assert set_to_default.get_changed("COMFYUI_DEFAULT_WORKFLOW") is None
    router = ImageProviderRouter(Config({"COMFYUI_DEFAULT_WORKFLOW": "mine.json"}, None))
    assert router.providers["comfyui"].model == "mine.json"
    router.close()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package whose entry points of the group image_providers are the given ones."""

    def install(source, package="stranger", **entries):
        folder = tmp_path / package
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / "stranger_providers.py").write_text(source, "utf-8")
        lines = [f"{name} = stranger_providers:{value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[image_providers]", *lines]), "utf-8")
        (info / "METADATA").write_text(f"Name: {package}\nVersion: 1.0\n", "utf-8")
        monkeypatch.syspath_prepend(str(folder))

    yield install
    sys.modules.pop("stranger_providers", None)


STRANGER = """
from tests.fakes.provider import FakeProvider

def good(config): return FakeProvider("good")
def without_key(config): return None
def broken(config): raise RuntimeError("no such luck")
def nothing(config): return object()
def leaves(config): raise SystemExit("no display")
"""


def test_an_installed_package_adds_a_provider_and_a_broken_one_is_left_out(install, caplog):
    install(
        STRANGER,
        good="good",
        without_key="without_key",
        broken="broken",
        nothing="nothing",
        absent="absent",
        leaves="leaves",
        comfyui="good",
        flux="good",
    )
    router = ImageProviderRouter(Config({}, None))
    assert list(router.providers) == ["comfyui", "good"]
    assert router.generate(ImageGenerationRequest("a fox", provider="good")).success
    told = router.get_available_providers()
    why = "package stranger cannot be loaded: RuntimeError: no such luck"
    assert told["broken"]["reason"] == why
    assert "SystemExit: no display" in told["leaves"]["reason"]
    why = "package stranger made none: what it needs is not set"
    assert told["without_key"]["reason"] == why
    warned = " ".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    for name in ("broken", "nothing", "absent", "leaves"):
        assert f"provider {name} is left out: package stranger cannot be loaded: " in warned
    for name in ("comfyui", "flux"):
        assert f"provider {name} of package stranger is left out: a built-in name" in warned
    assert type(router.providers["comfyui"]).__name__ == "ComfyUIProvider"
    router.close()


def test_a_provider_of_a_package_is_built_anew_in_other_processes(install):
    """So no state of it goes there, such as a key, and none has to pickle."""
    install(STRANGER, good="good")
    router = ImageProviderRouter(Config({}, None))
    assert packed({}, router.providers) == packed({}, {})
    build, arguments = router.providers["good"].rebuild
    assert build(*arguments).provider_name == "good"
    with pytest.raises(ConfigurationError, match="there is no such provider"):
        build("absent")
    router.close()


def test_the_first_of_two_packages_with_one_name_is_kept(install, caplog):
    install(STRANGER, package="later_on_the_path", good="good")
    install(STRANGER, package="first_on_the_path", good="without_key")
    router = ImageProviderRouter(Config({}, None))
    router.close()
    assert "good" not in router.providers
    told = router.get_available_providers()["good"]["reason"]
    assert told == "package first_on_the_path made none: what it needs is not set"
    assert (
        "provider good of package later_on_the_path is left out: a name that another package has"
    ) in caplog.text


def test_metadata_can_be_looked_into_whatever_a_provider_gives():
    router = make_router(FakeProvider("plain", success("plain", metadata=None)))
    assert router.generate(ImageGenerationRequest("a fox", provider="plain")).metadata == {}


# The routing file


def write_routing(**data):
    with open("image_routing_config.json", "w", encoding="utf-8") as file:
        json.dump(data, file)


def test_a_broken_routing_file_is_told_when_the_router_is_built():
    write_routing(style_routing={"cinematic": {"provider": "comfyui", "model": 3}})
    with pytest.raises(ConfigurationError, match=r"style_routing\.cinematic\.model"):
        ImageProviderRouter(Config({}, None))


def test_saved_rules_are_read_by_the_next_router():
    router = ImageProviderRouter(Config({}, None))
    router.routing_rules["style_routing"]["cinematic"] = {"provider": "openai", "priority": 1}
    router.save_routing_config()
    router.close()
    again = ImageProviderRouter(Config({}, None))
    assert again.routing_rules == router.routing_rules
    again.close()


def test_rules_that_are_wrong_are_not_saved():
    router = make_router(FakeProvider())
    router.routing_rules["fallback_chain"] = "flux"
    with pytest.raises(ConfigurationError, match="fallback_chain"):
        router.save_routing_config()
    result = router.generate(FOX)
    assert result.error_type == "configuration" and "fallback_chain" in result.error


def test_a_change_of_one_routers_rules_is_not_another_ones():
    one, other = make_router(FakeProvider()), make_router(FakeProvider())
    one.routing_rules["style_routing"]["cinematic"] = {"provider": "x"}
    assert other.routing_rules["style_routing"] == {}


# Choosing


def test_a_provider_that_lacks_what_a_request_needs_is_not_asked():
    router = make_router(FakeProvider("plain", features=["seeds"]), FakeProvider("able"))
    result = router.generate(ImageGenerationRequest("a fox", source_image_url="a.png"))
    assert result.provider == "able"
    assert asked(router) == {"plain": 0, "able": 1}


def test_when_nobody_can_the_error_lists_each_and_why():
    router = make_router(
        FakeProvider("a", features=[]), fallback_chain=["a", "openai", "nobody", "flux"]
    )
    request = ImageGenerationRequest("a fox", source_image_url="a.png", mask_image_url="m.png")
    with pytest.raises(AllProvidersFailedError) as caught:
        router.select_provider(request)
    assert [(a.provider, a.error_type) for a in caught.value.attempts] == [
        ("a", "invalid_request"),
        ("openai", "configuration"),
        ("nobody", "configuration"),
        ("flux", "configuration"),
    ]
    for part in ("a: it has no inpainting", "openai: no key: set OPENAI_API_KEY", "nobody: there"):
        assert part in str(caught.value)
    assert router.generate(request).error == str(caught.value)


def test_a_provider_asked_for_by_name_judges_itself():
    router = make_router(FakeProvider("a", features=[]), FakeProvider("b"))
    request = ImageGenerationRequest("a fox", source_image_url="a.png", provider="a")
    assert router.generate(request).success
    assert asked(router) == {"a": 1, "b": 0}


def test_required_features_are_never_done_without():
    rules = {"feature_routing": {"seeds": {"provider": "a", "required": True}}}
    down = ProviderUnavailableError("down")
    router = make_router(
        FakeProvider("a", down), FakeProvider("b", features=[]), FakeProvider("c"), **rules
    )
    result = router.generate(ImageGenerationRequest("a fox", seed=1))
    assert result.provider == "c"
    assert asked(router) == {"a": 1, "b": 0, "c": 1}


def test_a_name_in_the_rules_that_no_provider_has_is_told_once(caplog):
    router = make_router(FakeProvider("a"), default_provider="b", fallback_chain=["a", "flux"])
    for _ in range(2):
        assert router.generate(FOX).provider == "a"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(
        "image_routing_config.json names b: there is no such provider; there are: a, openai, "
    )


def test_a_name_that_a_request_has_is_told_in_its_error_alone(caplog):
    router = make_router(FakeProvider("openai"))
    result = router.generate(ImageGenerationRequest("a fox", provider="b"))
    assert "b: there is no such provider; there are: openai, flux_bfl, " in result.error
    assert not caplog.records


def test_preferred_features_only_order():
    rules = {"feature_routing": {"seeds": {"provider": "b"}}}
    router = make_router(
        FakeProvider("a", features=[]),
        FakeProvider("b", ProviderUnavailableError("down")),
        **rules,
    )
    assert router.generate(ImageGenerationRequest("a fox", seed=1)).provider == "a"
    assert asked(router) == {"a": 1, "b": 1}


def test_features_of_the_routing_file_take_the_place_of_the_providers_own():
    router = make_router(FakeProvider("a"), FakeProvider("b"), a={"features": ["seeds"]})
    request = ImageGenerationRequest("a fox", source_image_url="a.png")
    assert router.select_provider(request).provider_name == "b"


def test_a_route_chooses_model_and_workflow_for_its_provider_alone():
    rules = {
        "style_routing": {"cinematic": {"provider": "a", "workflow": "w.json", "model": "m"}},
        "default_provider": "b",
    }
    router = make_router(
        FakeProvider("a", ProviderUnavailableError("down")), FakeProvider("b"), **rules
    )
    request = ImageGenerationRequest("a fox", style="cinematic")
    assert router.generate(request).provider == "b"
    (of_a,), (of_b,) = router.providers["a"].requests, router.providers["b"].requests
    assert (of_a.workflow, of_a.model) == ("w.json", "m")
    assert (of_b.workflow, of_b.model) == (None, None)
    assert request == ImageGenerationRequest("a fox", style="cinematic")
    assert router.providers["a"].model == "fake-model"


def test_the_callers_model_and_workflow_beat_the_routes():
    router = make_router(FakeProvider("a"), a={"workflow": "w.json", "model": "m"})
    router.generate(ImageGenerationRequest("a fox", model="own", workflow="own.json"))
    (sent,) = router.providers["a"].requests
    assert (sent.workflow, sent.model) == ("own.json", "own")


def test_a_providers_defaults_fill_what_was_left_open_and_are_marked():
    router = make_router(FakeProvider("a", defaults={"steps": 8, "seed": 1, "unknown": 3}))
    router.generate(ImageGenerationRequest("a fox", seed=7))
    (sent,) = router.providers["a"].requests
    assert (sent.steps, sent.seed, sent.from_template) == (8, 7, {"steps"})


def test_select_takes_the_first_that_can_be_used_now():
    router = make_router(FakeProvider("a", unavailable="it sleeps"), FakeProvider("b"))
    assert router.select_provider(FOX).provider_name == "b"
    assert router.get_available_providers()["a"]["reason"] == "it sleeps"


def test_the_reasons_why_nobody_can_are_told_in_the_order_of_the_rules():
    asleep = [FakeProvider(name, unavailable="it sleeps") for name in "ac"]
    router = make_router(asleep[0], FakeProvider("b", features=[]), asleep[1])
    with pytest.raises(AllProvidersFailedError) as caught:
        router.select_provider(ImageGenerationRequest("a fox", source_image_url="a.png"))
    assert [attempt.provider for attempt in caught.value.attempts] == ["a", "b", "c"]


def test_what_is_no_request_is_a_type_error():
    router = make_router(FakeProvider())
    for ask in (router.generate, router.select_provider, router.resolve):
        with pytest.raises(TypeError, match="not an ImageGenerationRequest but a str"):
            ask("a fox")


# Fallback


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailableError("x"),
        ProviderTimeoutError("x"),
        RateLimitedError("x"),
        GenerationFailedError("x"),
        AuthenticationError("x"),
        ConfigurationError("x"),
        WorkflowError("x"),
    ],
    ids=lambda error: error.error_type,
)
def test_another_provider_stands_in_for_one_that_failed(error, caplog):
    router = make_router(FakeProvider("a", error), FakeProvider("b"))
    result = router.generate(FOX)
    assert result.success and result.provider == "b"
    assert attempts(result) == [("a", error.error_type, "x")]
    assert result.metadata["attempts"][0]["seconds"] >= 0
    assert f"a failed ({error.error_type}): x; trying b" in caplog.text


@pytest.mark.parametrize(
    "error",
    [InvalidRequestError("x"), ContentRejectedError("x"), GenerationCancelledError("x")],
    ids=lambda error: error.error_type,
)
def test_a_refusal_is_final(error):
    router = make_router(FakeProvider("a", error), FakeProvider("b"))
    result = router.generate(FOX)
    assert (result.error_type, result.provider) == (error.error_type, "a")
    assert asked(router) == {"a": 1, "b": 0}
    assert attempts(result) == [("a", error.error_type, "x")]


def test_an_override_has_no_fallback():
    router = make_router(FakeProvider("a", ProviderUnavailableError("down")), FakeProvider("b"))
    result = router.generate(ImageGenerationRequest("a fox", provider="a"))
    assert (result.error_type, result.error) == ("unavailable", "down")
    assert asked(router) == {"a": 1, "b": 0}


def test_when_all_fail_the_error_has_every_attempt():
    router = make_router(
        FakeProvider("a", ProviderUnavailableError("down")),
        FakeProvider("b", RateLimitedError("slow down")),
        fallback_chain=["b", "openai"],
    )
    result = router.generate(FOX)
    assert result.error_type == "all_providers_failed"
    assert attempts(result) == [("a", "unavailable", "down"), ("b", "rate_limited", "slow down")]
    for part in ("a: down", "b: slow down", "openai: no key"):
        assert part in result.error
    with pytest.raises(AllProvidersFailedError) as caught:
        result.raise_for_error()
    assert [attempt.provider for attempt in caught.value.attempts] == ["a", "b", "openai"]


@pytest.mark.parametrize(
    ("errors", "retryable"),
    [
        ((AuthenticationError("bad key"), RateLimitedError("slow down")), True),
        ((AuthenticationError("bad key"), ConfigurationError("no folder")), False),
    ],
)
def test_when_all_fail_it_is_worth_a_retry_if_one_is(errors, retryable):
    router = make_router(*map(FakeProvider, "ab", errors))
    assert router.generate(FOX).exception.retryable is retryable


@pytest.mark.parametrize(
    ("error", "finally_by"),
    [(GenerationFailedError("broken"), "router"), (ContentRejectedError("no"), "b")],
    ids=["all_failed", "refused"],
)
def test_pictures_that_were_finished_before_a_failure_are_in_it(error, finally_by):
    def half(request):
        images = [image for seed in (1, 2) for image in success("a", seed).images]
        recipe = {"provider": "a", "seeds": [1, 2]}
        result = success("a", success=False, error="away", error_type="unavailable", recipe=recipe)
        result.images = images
        return result

    router = make_router(FakeProvider("a", half), FakeProvider("b", error))
    result = router.generate(ImageGenerationRequest("a fox", num_images=4))
    assert (result.success, result.provider) == (False, finally_by)
    assert [image["seed"] for image in result.images] == [1, 2]
    assert result.recipe == {"provider": "a", "seeds": [1, 2]}


def test_a_stand_in_makes_what_is_missing_and_nothing_is_lost():
    asked = []

    def half(request):
        result = success("a", success=False, error="away", error_type="unavailable")
        result.images = [image for seed in (7, 8) for image in success("a", seed).images]
        result.metadata, result.recipe = {"finished": 2}, {"provider": "a", "seeds": [7, 8]}
        return result

    def rest(request):
        asked.append((request.num_images, request.seed))
        result = success("b", recipe={"provider": "b", "seeds": [9]})
        result.images = success("b", 9).images
        return result

    router = make_router(FakeProvider("a", half), FakeProvider("b", rest))
    request = ImageGenerationRequest("a fox", num_images=3, seed=7)

    result = router.generate(request)

    assert asked == [(1, 9)]
    assert (result.success, result.provider) == (True, "b")
    assert [image["seed"] for image in result.images] == [7, 8, 9]
    assert [(part["provider"], part["images"]) for part in result.metadata["parts"]] == [
        ("a", 2),
        ("b", 1),
    ]
    assert result.recipe["seeds"] == [7, 8, 9]
    assert [part["provider"] for part in result.recipe["parts"]] == ["a", "b"]


def test_a_stand_in_for_one_that_does_not_say_what_it_finished_makes_all_anew():
    half = success("a", success=False, error="away", error_type="unavailable")
    router = make_router(FakeProvider("a", half), FakeProvider("b"))
    result = router.generate(FOX)
    assert (result.success, result.provider, len(result.images)) == (True, "b", 1)


def test_progress_never_falls_when_another_one_stands_in():
    def works(*fractions):
        def work(request):
            for fraction in fractions:
                request.on_progress(ProgressUpdate("running", fraction, step=1))
            return result

        result = success("b") if 1.0 in fractions else success("a", success=False, error="broken")
        return work

    router = make_router(
        FakeProvider("a", works(0.0, 0.6)), FakeProvider("b", works(0.1, 0.7, 1.0))
    )
    seen = []
    request = ImageGenerationRequest("a fox", on_progress=seen.append)
    assert router.generate(request).provider == "b"
    assert [update.fraction for update in seen] == [0.0, 0.6, 0.6, 0.7, 1.0]
    assert {(update.stage, update.step) for update in seen} == {("running", 1)}


def test_one_provider_alone_fails_with_its_own_error_and_no_talk_of_a_fallback(caplog):
    router = make_router(FakeProvider("a", WorkflowError("node 3")))
    result = router.generate(FOX)
    assert (result.provider, result.error_type, result.error) == ("a", "workflow", "node 3")
    assert "trying" not in caplog.text


def test_a_lone_provider_that_fails_is_told_with_those_that_lack_a_feature():
    router = make_router(
        FakeProvider("a", ProviderUnavailableError("down")),
        FakeProvider("b", features=[]),
        fallback_chain=["b", "openai"],
        feature_routing={"negative_prompts": {"provider": "a", "required": True}},
    )
    result = router.generate(ImageGenerationRequest("a fox", negative_prompt="dogs"))
    assert result.error_type == "all_providers_failed"
    for part in ("a: down", "b: it has no negative_prompts", "openai: no key"):
        assert part in result.error
    assert asked(router) == {"a": 1, "b": 0}


def test_a_warning_of_a_fallback_has_no_prompt_and_no_key(caplog):
    error = GenerationFailedError('sk-very-secret cannot draw "a red fox" without dogs')
    router = make_router(
        FakeProvider("a", error),
        FakeProvider("b"),
        config=Config({"OPENAI_API_KEY": "sk-very-secret"}, None),
    )
    request = ImageGenerationRequest("a red fox", negative_prompt="dogs")
    assert attempts(router.generate(request)) == [("a", "generation_failed", str(error))]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        'a failed (generation_failed): […] cannot draw "[…]" without […]; trying b'
    )


def test_after_two_time_limits_nobody_else_is_paid():
    late = ProviderTimeoutError("late")
    router = make_router(FakeProvider("a", late), FakeProvider("b", late), FakeProvider("c"))
    result = router.generate(FOX)
    assert (result.error_type, result.provider) == ("timeout", "b")
    assert asked(router) == {"a": 1, "b": 1, "c": 0}


def test_a_fault_in_a_providers_code_is_a_failed_generation(caplog):
    router = make_router(FakeProvider("a", ZeroDivisionError("secret detail")))
    result = router.generate(FOX)
    assert result.error_type == "generation_failed" and result.provider == "a"
    assert "ZeroDivisionError" in result.error and "secret" not in result.error
    (record,) = [r for r in caplog.records if r.exc_info]
    assert record.levelno == logging.WARNING and "provider a " in record.getMessage()


@pytest.mark.parametrize(
    "made",
    [
        None,
        success(images=None),
        success(images=["a.png"]),
        success(metadata="fine"),
        success(success=False, error=404),
    ],
    ids=["nothing", "no images", "names of files", "metadata", "error"],
)
def test_a_fault_in_a_providers_code_has_a_stand_in(made):
    router = make_router(FakeProvider("a", lambda request: made), FakeProvider("b"))
    result = router.generate(FOX)
    assert result.provider == "b"
    assert attempts(result)[0][:2] == ("a", "generation_failed")


@pytest.mark.parametrize(
    "method", ["get_supported_features", "get_default_parameters", "unavailable_reason"]
)
def test_a_fault_in_what_a_provider_tells_of_itself_leaves_it_out(method):
    class Faulty(FakeProvider):
        pass

    setattr(Faulty, method, lambda *args: 1 / 0)
    router = make_router(Faulty("a"), FakeProvider("b"))
    if method != "unavailable_reason":
        assert router.generate(FOX).provider == "b"
    assert router.select_provider(FOX).provider_name == "b"
    told = router.get_available_providers()
    assert told["b"]["available"]
    if method != "get_default_parameters":
        assert "ZeroDivisionError" in told["a"]["reason"]


def test_features_that_are_no_dict_leave_a_provider_out():
    class Faulty(FakeProvider):
        def get_supported_features(self):
            return None

    router = make_router(Faulty("a"), FakeProvider("b"))
    request = ImageGenerationRequest("a fox", source_image_url="a.png")
    assert router.generate(request).provider == "b"
    assert "TypeError" in router.get_available_providers()["a"]["reason"]


def test_ctrl_c_passes():
    router = make_router(FakeProvider("a", KeyboardInterrupt()), FakeProvider("b"))
    with pytest.raises(KeyboardInterrupt):
        router.generate(FOX)
    assert asked(router) == {"a": 1, "b": 0}


def test_many_threads_get_their_own_pictures():
    together = threading.Barrier(8, timeout=10)

    def wait_for_the_others(request):
        together.wait()
        return success("b", request.seed)

    down = ProviderUnavailableError("down")
    router = make_router(FakeProvider("a", down), FakeProvider("b", wait_for_the_others))
    requests = [ImageGenerationRequest("a fox", seed=seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(router.generate, requests))
    assert [result.images[0]["seed"] for result in results] == list(range(16))
    for result in results:
        ((provider, kind, message),) = attempts(result)
        assert (provider, kind) == ("a", "unavailable") and message.endswith("down")


@pytest.fixture
def often_switching():
    """Threads take turns so often that one is interrupted anywhere."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_rules_and_providers_may_change_while_others_ask(often_switching):
    router = make_router(FakeProvider("a"))
    stops = threading.Event()

    def change():
        styles = router.routing_rules["style_routing"]
        while not stops.is_set():
            for number in range(50):
                router.providers[f"p{number}"] = FakeProvider("p")
                router.routing_rules[f"p{number}"] = {"priority": number}
                styles["cinematic"] = styles["artistic"] = {"provider": "a"}
            for number in range(50):
                del router.providers[f"p{number}"], router.routing_rules[f"p{number}"]
                styles.clear()

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        try:
            for _ in range(100):
                assert router.generate(FOX).success
                assert router.select_provider(FOX).provider_name == "a"
                assert "a" in router.get_available_providers()
        finally:
            stops.set()
        changing.result(10)


def test_close_closes_every_provider():
    router = make_router(FakeProvider("a"), FakeProvider("b"))
    router.close()
    assert all(provider.closed for provider in router.providers.values())


def test_a_provider_that_cannot_be_closed_keeps_none_of_the_others_open(caplog):
    class Faulty(FakeProvider):
        def close(self):
            raise RuntimeError

    router = make_router(Faulty("a"), FakeProvider("b"))
    router.close()
    assert router.providers["b"].closed and "provider a " in caplog.text


# Over sockets


def test_a_server_that_is_away_has_a_stand_in_and_is_used_when_it_is_there(comfyui_server):
    address = comfyui_server.address
    router = ImageProviderRouter(Config({"COMFYUI_SERVER_ADDRESS": address}, None))
    router.providers["stand-in"] = FakeProvider("stand-in")
    router.routing_rules["fallback_chain"] = ["stand-in"]
    comfyui_server.stop()
    assert router.generate(FOX).provider == "stand-in"
    router.close()
    comfyui_server.start()
    router = ImageProviderRouter(Config({"COMFYUI_SERVER_ADDRESS": address}, None))
    result = router.generate(ImageGenerationRequest("a fox", seed=5))
    router.close()
    assert (result.provider, result.images[0]["seed"]) == ("comfyui", 5)
    assert result.metadata["server"] == "embedded"


# Other processes


def test_providers_pickle_without_keys_and_read_the_settings_of_the_other_process(monkeypatch):
    key = "sk-of-this-process"
    settings = {"OPENAI_API_KEY": key, "COMFYUI_API_KEY": key, "COMFYUI_SERVER_ADDRESS": "one:1"}
    router = ImageProviderRouter(Config(settings, env_file=None))
    pickled = {name: pickle.dumps(provider) for name, provider in router.providers.items()}
    router.close()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-other")
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", "other:2")

    rebuilt = {name: pickle.loads(data) for name, data in pickled.items()}

    assert not any(key.encode() in data for data in pickled.values())
    assert rebuilt["comfyui"].server_address == "other:2"
    assert rebuilt["openai"].provider_name == "openai"
    for provider in rebuilt.values():
        provider.close()


def test_a_provider_whose_key_is_missing_there_says_so(monkeypatch):
    router = ImageProviderRouter(Config({"FAL_KEY": "k"}, env_file=None))
    data = pickle.dumps(router.providers["flux_fal"])
    router.close()

    with pytest.raises(ConfigurationError, match="FAL_KEY"):
        pickle.loads(data)
