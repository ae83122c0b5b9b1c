"""The providers that come with the library: how each is built from the settings.

Owns which setting goes where, and that a provider without its key is not built. Imports a provider
only when it is. Knows no routing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from image_config import Config
from image_provider import ConfigurationError, ImageProvider

if TYPE_CHECKING:
    from image_io.source_images import LoadSource

Factory = Callable[[Config], "ImageProvider | None"]
"""Builds a provider from the settings; None when these have no key for it."""


def _make_comfyui(config: Config) -> ImageProvider:
    from comfyui.client import Limits
    from comfyui_provider import ComfyUIProvider

    times = ("connect", "read", "queue", "stall", "total", "unreachable")
    limits = Limits(
        **{name: config.get_seconds(f"COMFYUI_{name.upper()}_TIMEOUT") for name in times},
        silence=config.get_seconds("COMFYUI_SILENCE"),
        queue_interval=config.get_seconds("COMFYUI_QUEUE_INTERVAL"),
    )
    return ComfyUIProvider(
        config.get_comfyui_server_address(),
        config.get_comfyui_workflow_dir(),
        config.get_comfyui_temp_dir(),
        config.get_comfyui_client_id(),
        api_key=config.get("COMFYUI_API_KEY"),
        comfy_org_api_key=config.get("COMFY_ORG_API_KEY"),
        default_workflow=config.get_changed("COMFYUI_DEFAULT_WORKFLOW"),
        i2i_workflow=config.get_changed("COMFYUI_I2I_WORKFLOW"),
        inpaint_workflow=config.get_changed("COMFYUI_INPAINT_WORKFLOW"),
        source_roots=config.get_image_source_roots(),
        source_hosts=config.get_image_source_hosts(),
        source_max_side=config.get_image_source_max_side(),
        allowed_nodes=config.get_comfyui_allowed_nodes(),
        denied_nodes=config.get_comfyui_denied_nodes(),
        limits=limits,
        preview_method=config.get_comfyui_preview_method(),
        ca_bundle=config.get("COMFYUI_CA_BUNDLE"),
    )


def _source_loader(config: Config) -> LoadSource:
    from image_io.source_images import source_loader

    return source_loader(
        config.get_image_source_roots(),
        config.get_image_source_hosts(),
        config.get_image_source_max_side(),
    )


def _make_openai(config: Config) -> ImageProvider | None:
    key = config.get_openai_api_key()
    if key is None:
        return None
    from hosted_providers import OpenAIImagesProvider

    return OpenAIImagesProvider(
        key,
        base_url=config.get("OPENAI_BASE_URL"),
        job_timeout=config.get_seconds("HOSTED_JOB_TIMEOUT"),
        load_source=_source_loader(config),
    )


def _make_flux(host: str, config: Config) -> ImageProvider | None:
    key = config.get_flux_keys().get(host)
    if key is None:
        return None
    from hosted_providers import FluxProvider

    return FluxProvider(
        key,
        host,
        base_url=config.get(f"{host.upper()}_BASE_URL"),
        job_timeout=config.get_seconds("HOSTED_JOB_TIMEOUT"),
        load_source=_source_loader(config),
    )


BUILT_IN: dict[str, Factory] = {
    "comfyui": _make_comfyui,
    "openai": _make_openai,
    "flux_bfl": partial(_make_flux, "bfl"),
    "flux_fal": partial(_make_flux, "fal"),
    "flux_together": partial(_make_flux, "together"),
    "flux_replicate": partial(_make_flux, "replicate"),
}


def rebuilt(name: str) -> ImageProvider:
    """A built-in provider, from the settings of the process that this runs in."""
    provider = BUILT_IN[name](Config())
    if provider is None:
        raise ConfigurationError(f"there is no key for {name} here: set {KEY_SETTINGS[name]}")
    return provider


KEY_SETTINGS = {
    "openai": "OPENAI_API_KEY",
    "flux_bfl": "BLACK_FOREST_LABS_API_KEY",
    "flux_fal": "FAL_KEY",
    "flux_together": "TOGETHER_API_KEY",
    "flux_replicate": "REPLICATE_API_TOKEN",
}
FLUX_KEYS = ", ".join(key for name, key in KEY_SETTINGS.items() if name.startswith("flux_"))
"""The keys of which any makes "flux" a provider."""
