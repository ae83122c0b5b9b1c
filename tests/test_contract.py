"""The names, parameters and defaults that existing callers use.

New parameters may follow those that are listed here; none of these may move or change.
"""

from __future__ import annotations

import dataclasses
import inspect
from enum import Enum
from typing import Any

import pytest

import comfyui
import config
import hosted_providers
import image_provider
from comfyui_provider import ComfyUIProvider
from image_generator import ImageGenerator
from image_provider import (
    DefaultSize,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageProvider,
    ImageStyle,
    ProgressUpdate,
)
from image_provider_router import ImageProviderRouter

NO = inspect.Parameter.empty

SIGNATURES: list[tuple[Any, dict[str, Any]]] = [
    (
        ComfyUIProvider.__init__,
        {
            "server_address": "127.0.0.1:8188",
            "workflow_dir": "workflows/comfyui",
            "temp_dir": "temp_uploads",
            "client_id": None,
        },
    ),
    (ComfyUIProvider.generate, {"request": NO}),
    (
        ComfyUIProvider.execute_comfy_workflow,
        {
            "workflow_file_path": NO,
            "pos_prompt": NO,
            "neg_prompt": "",
            "seed": None,
            "steps": None,
            "cfg": None,
            "width": 1024,
            "height": 1024,
            "input_image_path": None,
            "denoise_weight": None,
            "mode_switch_value": "T2I",
        },
    ),
    (ComfyUIProvider.queue_prompt, {"prompt_json": NO, "client_id": None}),
    (ComfyUIProvider.get_history, {"prompt_id": NO}),
    (ComfyUIProvider.get_image, {"filename": NO, "subfolder": "", "folder_type": "output"}),
    (ComfyUIProvider.upload_image, {"input_path": NO, "filename": None}),
    (ComfyUIProvider.find_node_by_class_type, {"workflow_json": NO, "class_type": NO}),
    (ComfyUIProvider.get_available_models, {}),
    (ComfyUIProvider.wait_for_completion, {"prompt_id": NO, "timeout": 300}),
    (ComfyUIProvider.run_workflow, {"graph": NO, "on_progress": None}),
    (ComfyUIProvider.submit, {"request": NO}),
    (ComfyUIProvider.build_workflow, {"request": NO}),
    (ComfyUIProvider.check, {"workflow": None}),
    (ComfyUIProvider.close, {}),
    (
        ImageProviderRouter.__init__,
        {"config": NO, "routing_config_path": "image_routing_config.json"},
    ),
    (ImageProviderRouter._initialize_providers, {}),
    (ImageProviderRouter.select_provider, {"request": NO}),
    (ImageProviderRouter.generate, {"request": NO}),
    (ImageProviderRouter.get_available_providers, {}),
    (ImageProviderRouter.save_routing_config, {}),
    (ImageGenerator.__init__, {"config": None}),
    (
        ImageGenerator.generate,
        {
            "prompt": NO,
            "style": None,
            "width": 1024,
            "height": 1024,
            "seed": None,
            "num_images": 1,
            "negative_prompt": None,
            "source_image_url": None,
            "mask_image_url": None,
            "strength": None,
            "use_cache": True,
            "kwargs": NO,
        },
    ),
    (ImageGenerator.generate_from_flux_prompt, {"flux_prompt": NO, "style": None, "kwargs": NO}),
    (
        ImageGenerator.generate_many,
        {"requests": NO, "executor": None, "on_progress": None, "resume": None},
    ),
    (ImageGenerator.contact_sheet, {"results": NO}),
    (ImageGenerator.get_available_styles, {}),
    (ImageGenerator.get_available_providers, {}),
    (ImageProvider.generate, {"request": NO}),
    (ImageProvider.get_supported_features, {}),
    (ImageProvider.get_default_parameters, {"style": None}),
    (ImageGenerationResult.get_image_bytes, {"index": 0}),
    (ImageGenerationResult.get_image_url, {"index": 0}),
    (ImageGenerationResult.save, {"directory": NO}),
    (ImageGenerationResult.to_pil, {"index": 0}),
    (ImageGenerationResult.raise_for_error, {}),
    (
        hosted_providers.OpenAIImagesProvider.__init__,
        {"api_key": NO, "base_url": None, "model": None},
    ),
    (
        hosted_providers.FluxProvider.__init__,
        {"api_key": NO, "host": "bfl", "model": None, "base_url": None},
    ),
    (comfyui.Workflow.from_file, {"path": NO, "object_info": None}),
    (comfyui.Workflow.from_dict, {"data": NO, "object_info": None}),
    (comfyui.Workflow.bind, {"request": NO, "object_info": None}),
    (comfyui.Workflow.validate, {"object_info": NO}),
    (comfyui.ObjectInfo.from_dict, {"data": NO}),
    (image_provider.ImageGenerationError.__init__, {"message": NO}),
    *(
        (getattr(config.Config, name), {})
        for name in (
            "get_openai_api_key",
            "get_api_key",
            "get_flux_api_key",
            "get_flux_host",
            "get_black_forest_labs_api_key",
            "get_comfyui_server_address",
            "get_comfyui_workflow_dir",
            "get_comfyui_temp_dir",
            "get_comfyui_client_id",
        )
    ),
]


@pytest.mark.parametrize(
    ("function", "promised"), SIGNATURES, ids=lambda x: getattr(x, "__qualname__", "")
)
def test_parameters_keep_their_names_order_and_defaults(function, promised):
    parameters = [p for name, p in inspect.signature(function).parameters.items() if name != "self"]
    assert [p.name for p in parameters[: len(promised)]] == list(promised)
    assert [p.default for p in parameters[: len(promised)]] == list(promised.values())
    for parameter in parameters[len(promised) :]:
        optional = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        assert optional or parameter.default is not NO, f"{parameter.name} breaks existing calls"


def fields_of(cls: type) -> dict[str, Any]:
    return {
        field.name: field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
        for field in dataclasses.fields(cls)
    }


def test_the_request_has_its_fields_in_their_order_with_their_defaults():
    promised = {
        "prompt": dataclasses.MISSING,
        "negative_prompt": None,
        "width": 1024,
        "height": 1024,
        "seed": None,
        "steps": None,
        "guidance_scale": None,
        "style": None,
        "source_image_url": None,
        "mask_image_url": None,
        "strength": None,
        "num_images": 1,
        "provider": None,
        "model": None,
        "workflow": None,
        "loras": (),
        "extra": {},
        "on_progress": None,
    }
    fields = fields_of(ImageGenerationRequest)
    assert list(fields.items())[: len(promised)] == list(promised.items())
    assert isinstance(fields["width"], DefaultSize) and isinstance(fields["height"], DefaultSize)


def test_the_result_has_its_fields_in_their_order_with_their_defaults():
    no = dataclasses.MISSING
    promised = {
        "success": no,
        "images": no,
        "provider": no,
        "model": no,
        "error": None,
        "metadata": None,
        "error_type": None,
        "recipe": None,
    }
    fields = fields_of(ImageGenerationResult)
    assert list(fields.items())[: len(promised)] == list(promised.items())


def test_a_progress_update_has_its_fields():
    assert list(fields_of(ProgressUpdate)) == [
        "stage",
        "fraction",
        "queue_position",
        "node_id",
        "node_title",
        "class_type",
        "step",
        "total_steps",
        "eta_seconds",
        "preview",
    ]


def test_the_styles_are_these():
    assert issubclass(ImageStyle, Enum)
    assert [style.value for style in ImageStyle] == [
        "fast_draft",
        "photoreal",
        "brand_layout",
        "portrait",
        "product",
        "logo_text",
        "artistic",
        "cinematic",
    ]


def test_the_features_are_these():
    with ComfyUIProvider() as provider:
        assert provider.provider_name == "comfyui"
        assert provider.get_supported_features() == {
            "img2img": True,
            "inpainting": True,
            "upscaling": True,
            "variations": True,
            "seeds": True,
            "negative_prompts": True,
            "control_net": True,
            "custom_nodes": True,
        }


@pytest.mark.parametrize(
    ("error_class", "word", "attributes"),
    [
        ("ConfigurationError", "configuration", ()),
        ("AuthenticationError", "authentication", ()),
        ("InvalidRequestError", "invalid_request", ()),
        ("ContentRejectedError", "content_rejected", ()),
        ("RateLimitedError", "rate_limited", ("retry_after",)),
        ("ProviderUnavailableError", "unavailable", ()),
        ("ProviderTimeoutError", "timeout", ()),
        (
            "WorkflowError",
            "workflow",
            ("file", "node_id", "class_type", "input_name", "problems"),
        ),
        ("GenerationFailedError", "generation_failed", ("node_id", "class_type", "detail")),
        ("GenerationCancelledError", "cancelled", ()),
        ("AllProvidersFailedError", "all_providers_failed", ("attempts",)),
    ],
)
def test_every_error_has_its_word_and_attributes(error_class, word, attributes):
    error = getattr(image_provider, error_class)("it went wrong")
    assert isinstance(error, image_provider.ImageGenerationError) and str(error) == "it went wrong"
    assert error.error_type == word
    for name in ("provider", "retryable", "status", "request_id", *attributes):
        assert hasattr(error, name), name


def test_the_comfyui_package_exports_its_names():
    assert set(comfyui.__all__) >= {"Workflow", "ObjectInfo", "BoundWorkflow", "WorkflowProblem"}
    for fields, cls in (
        ({"graph", "bindings", "ignored"}, comfyui.BoundWorkflow),
        (
            {"kind", "node_id", "class_type", "title", "input_name", "message"},
            comfyui.WorkflowProblem,
        ),
    ):
        assert fields <= {field.name for field in dataclasses.fields(cls)}


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        (lambda: hosted_providers.OpenAIImagesProvider("k"), "openai", "gpt-image-2"),
        (lambda: hosted_providers.FluxProvider("k"), "flux_bfl", "flux-2-pro"),
        (lambda: hosted_providers.FluxProvider("k", "fal"), "flux_fal", "fal-ai/flux-2"),
        (
            lambda: hosted_providers.FluxProvider("k", host="together"),
            "flux_together",
            "black-forest-labs/FLUX.2-pro",
        ),
        (
            lambda: hosted_providers.FluxProvider("k", "replicate"),
            "flux_replicate",
            "black-forest-labs/flux-2-pro",
        ),
    ],
)
def test_every_provider_has_its_name_and_default_model(provider, name, model):
    made = provider()
    assert isinstance(made, ImageProvider)
    assert (made.provider_name, made.model) == (name, model)
    made.close()


def test_the_low_level_find_takes_the_first_in_file_order():
    graph = {"9": {"class_type": "A", "inputs": {}}, "1": {"class_type": "A", "inputs": {}}}
    with ComfyUIProvider() as provider:
        assert provider.find_node_by_class_type(graph, "A") == "9"
        assert provider.find_node_by_class_type(graph, "B") is None


def test_the_router_and_the_generator_have_their_attributes():
    with ImageGenerator() as generator:
        assert isinstance(generator.config, config.Config)
        router = generator.router
        assert isinstance(router, ImageProviderRouter) and isinstance(router.routing_rules, dict)
        assert list(router.providers) == ["comfyui"]
        assert generator.get_available_styles() == [style.value for style in ImageStyle]
        told = generator.get_available_providers()
        assert set(told) == {
            "comfyui",
            "openai",
            "flux_bfl",
            "flux_fal",
            "flux_together",
            "flux_replicate",
        }
        for entry in told.values():
            assert set(entry) == {"provider", "model", "features", "available", "reason"}
