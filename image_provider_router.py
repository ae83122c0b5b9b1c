"""The router: which provider serves a request, and who stands in when it fails.

Owns the order of candidates, the check of what they can do, the fallback by error type and the
record of attempts; `image_routing/resting.py` remembers who was found away. `_initialize_providers`
registers every provider that the settings allow. Knows no HTTP, no workflow JSON and no cache.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from image_config import FLUX_HOSTS, Config
from image_provider import (
    ERROR_CLASSES,
    AllProvidersFailedError,
    ConfigurationError,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageProvider,
    InvalidRequestError,
    ProviderAttempt,
)
from image_routing.asking import (
    Candidate,
    ask,
    described,
    description,
    features_of,
    generated,
    routed,
    sharing_progress,
    without,
)
from image_routing.built_in import BUILT_IN, FLUX_KEYS, KEY_SETTINGS, Factory, rebuilt
from image_routing.parts import joined, what_is_left
from image_routing.resting import Rest, Resting
from image_routing.rules import Route, RoutingRules, load_rules, parse_rules, save_rules
from style_files import load_styles

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "image_providers"
FLUX = "flux"
"""Stands for the preferred FLUX host that has a key."""
FALLBACK_ERROR_TYPES = frozenset(
    {
        "unavailable",
        "timeout",
        "rate_limited",
        "generation_failed",
        "authentication",
        "configuration",
        "workflow",
    }
)
"""Errors after which another provider is asked; a refusal or a bad request is final."""


class ImageProviderRouter:
    """Sends requests to providers; safe for many threads.

    `clock` gives seconds, by which attempts are measured and failed providers rest.
    Raises ConfigurationError when built from settings or a routing file that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        routing_config_path: str | os.PathLike[str] = "image_routing_config.json",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._clock = clock
        self._resting = Resting(clock)
        self.routing_config_path = Path(routing_config_path)
        self._own_styles = load_styles(config.get_image_style_templates()).own_names
        self.routing_rules = load_rules(self.routing_config_path)
        self._rules()  # a broken file is told now, not at the first request
        self.providers: dict[str, ImageProvider] = {}
        self._unbuilt: dict[str, str] = {}
        self._warned_of: set[str] = set()
        self._initialize_providers()

    def _initialize_providers(self) -> None:
        """Registers the built-in providers, then those of installed packages."""
        for name, factory in BUILT_IN.items():
            provider = factory(self.config)
            if provider is not None:
                provider.rebuild = (rebuilt, (name,))
                self.providers[name] = provider
            else:
                self._unbuilt[name] = f"no key: set {KEY_SETTINGS[name]}"
        for entry in entry_points(group=ENTRY_POINT_GROUP):
            self._register_entry_point(entry)

    def _register_entry_point(self, entry: EntryPoint) -> None:
        name = entry.name
        package = entry.dist.name if entry.dist is not None else "unknown"
        is_built_in = name in BUILT_IN or name == FLUX
        if is_built_in or name in self.providers or name in self._unbuilt:
            taken = "a built-in name" if is_built_in else "a name that another package has"
            logger.warning("provider %s of package %s is left out: %s", name, package, taken)
            return
        try:
            factory: Factory = entry.load()
            provider = factory(self.config)
            if provider is None:
                self._unbuilt[name] = f"package {package} made none: what it needs is not set"
                return
            if not isinstance(provider, ImageProvider) or not hasattr(provider, "provider_name"):
                raise TypeError(f"{type(provider).__name__} is no ImageProvider with a name")
        # A stranger's package cannot stop the others, nor the program.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            why = f"package {package} cannot be loaded: {type(error).__name__}: {error}"
            logger.warning("provider %s is left out: %s", name, why)
            logger.debug("provider %s", name, exc_info=True)
            self._unbuilt[name] = why
        else:
            self.providers[name] = provider
            with suppress(AttributeError):  # of a frozen class
                provider.rebuild = provider.rebuild or (_of_package, (name,))

    def _rules(self) -> RoutingRules:
        file = self.routing_config_path.name
        return parse_rules(self.routing_rules, file, self._own_styles)

    def _name(self, name: str) -> str:
        """What `name` stands for: "flux" is the preferred host that has a key."""
        if name != FLUX:
            return name
        hosts = [self.config.get_flux_host(), *FLUX_HOSTS]
        if self.config.get_black_forest_labs_api_key() is not None:
            hosts.insert(0, "bfl")
        registered = (f"flux_{host}" for host in hosts if f"flux_{host}" in self.providers)
        return next(registered, name)

    # Choosing

    def resolve(self, request: ImageGenerationRequest) -> list[Candidate]:
        """The providers that can serve a request, in the order they are tried when none rests.

        Raises AllProvidersFailedError, with the reason of each, when there is none.
        """
        candidates, refused = self._line_up(request)
        if not candidates:
            raise _all_failed(refused)
        return candidates

    def _line_up(
        self, request: ImageGenerationRequest
    ) -> tuple[list[Candidate], list[ProviderAttempt]]:
        """Who can serve a request, in order, and who cannot and why."""
        entries = self._in_order(request)
        candidates = [entry for entry in entries if isinstance(entry, Candidate)]
        refused = [entry for entry in entries if isinstance(entry, ProviderAttempt)]
        return candidates, refused

    def _in_order(self, request: ImageGenerationRequest) -> list[Candidate | ProviderAttempt]:
        """Every provider that the rules name for a request, in their order; why, if it cannot."""
        if not isinstance(request, ImageGenerationRequest):
            raise TypeError(f"not an ImageGenerationRequest but a {type(request).__name__}")
        rules = self._rules()
        needs = rules.needs(request)
        entries: list[Candidate | ProviderAttempt] = []
        seen: set[str] = set()
        for route in rules.routes(request, self._name):
            if route.provider in seen:
                continue
            seen.add(route.provider)
            try:
                entries.append(self._candidate(request, route, needs))
            except ImageGenerationError as error:
                entries.append(ProviderAttempt(route.provider, error.error_type, str(error)))
        return entries

    def _candidate(
        self, request: ImageGenerationRequest, route: Route, needs: list[str]
    ) -> Candidate:
        """Raises ImageGenerationError, saying why, for a provider that cannot serve the request."""
        name = route.provider
        provider = self.providers.get(name)
        if provider is None:
            why = self._why_absent(name)
            if request.provider is None and name not in (FLUX, *self._unbuilt, *self._warned_of):
                self._warned_of.add(name)  # once: the others serve the requests meanwhile
                logger.warning("%s names %s: %s", self.routing_config_path.name, name, why)
            raise ConfigurationError(why)
        features = ask(name, lambda: features_of(provider))
        if route.features is not None:
            features = dict.fromkeys(route.features, True)
        lacking = [word for word in needs if not features.get(word)]
        # One that was asked for by name knows best what the model that is asked for can do.
        if lacking and request.provider is None:
            raise InvalidRequestError(f"it has no {' and no '.join(lacking)}")
        return Candidate(name, provider, ask(name, lambda: routed(request, route, provider)))

    def _why_absent(self, name: str) -> str:
        if name == FLUX:
            return f"no key: set one of {FLUX_KEYS}"
        known = ", ".join(dict.fromkeys((*self.providers, *self._unbuilt, FLUX)))
        return self._unbuilt.get(name) or f"there is no such provider; there are: {known}"

    def select_provider(self, request: ImageGenerationRequest) -> ImageProvider:
        """The first provider that can serve a request and can be used now.

        Those that rest come last. Raises AllProvidersFailedError when none can.
        """
        refused: list[ProviderAttempt] = []
        for entry in sorted(self._in_order(request), key=lambda entry: _wait(self._rest_of(entry))):
            if isinstance(entry, ProviderAttempt):
                refused.append(entry)
                continue
            told = described(entry.name, entry.provider)
            if told["available"]:
                return entry.provider
            refused.append(ProviderAttempt(entry.name, "unavailable", told["reason"]))
        raise _all_failed(refused)

    def _rest_of(self, entry: Candidate | ProviderAttempt) -> Rest | None:
        if isinstance(entry, ProviderAttempt):
            return None
        return self._resting.rest_of(entry.name, entry.provider)

    # Generating

    def generate(self, request: ImageGenerationRequest) -> ImageGenerationResult:
        """Makes the pictures with the first provider that succeeds; never raises for a failure.

        `metadata["attempts"]` tells of those that failed, and of those that were passed over since
        they rest: they are asked only when nobody else is left. Pictures that were finished before
        a failure are kept, and not made again. Raises TypeError for what is no request.
        """
        try:
            left, refused = self._line_up(request)
            if not left:
                raise _all_failed(refused)
        except ImageGenerationError as error:
            return ImageGenerationResult.failed(error, request.provider or "router")
        unset = all(attempt.error_type == "configuration" for attempt in refused)
        is_alone = len(left) == 1 and unset  # its own error says more than a list of absent ones
        left = sharing_progress(left)
        attempts: list[ProviderAttempt] = []
        failures: list[ImageGenerationResult] = []
        candidate = self._next(left, attempts)
        while True:
            left_of_it = what_is_left(candidate.request, failures)
            result = self._attempt(replace(candidate, request=left_of_it), attempts)
            if result.success:
                break
            failures.append(result)
            if not _may_fall_back(attempts):
                break
            if not left:
                if not is_alone:
                    result = ImageGenerationResult.failed(_all_failed(attempts + refused), "router")
                break
            failed, said = attempts[-1], self._shown(attempts[-1].message, candidate.request)
            candidate = self._next(left, attempts)
            logger.warning(
                "%s failed (%s): %s; trying %s",
                failed.provider,
                failed.error_type,
                said,
                candidate.name,
            )
        return _with_attempts(joined(failures, result), attempts)

    def _next(self, left: list[Candidate], attempts: list[ProviderAttempt]) -> Candidate:
        """Takes one out of those `left`: the first that does not rest, if there is any.

        When all rest, those that said themselves for how long come last, the soonest back first.
        """
        if len(left) == 1:
            return left.pop()
        rests: list[Rest] = []
        for candidate in left:
            rest = self._rest_of(candidate)
            if rest is None:
                break
            rests.append(rest)
        if len(rests) == len(left):
            return left.pop(rests.index(min(rests, key=_wait)))
        chosen = left.pop(len(rests))
        told = {attempt.provider for attempt in attempts}
        for passed, rest in zip(left, rests, strict=False):  # nothing of those behind the chosen
            if passed.name not in told:
                attempts.append(ProviderAttempt(passed.name, rest.error_type, str(rest)))
                logger.warning("%s %s; trying %s", passed.name, rest, chosen.name)
        return chosen

    def _attempt(
        self, candidate: Candidate, attempts: list[ProviderAttempt]
    ) -> ImageGenerationResult:
        """The result of one provider; a failure is added to `attempts`."""
        started = self._clock()
        name, provider = candidate.name, candidate.provider
        try:
            result = ask(name, lambda: generated(candidate))
        except ImageGenerationError as error:
            result = ImageGenerationResult.failed(error, name, provider.model)
        seconds = round(self._clock() - started, 3)
        message = ""
        if not result.success:
            kind = result.error_type or "generation_failed"
            attempts.append(ProviderAttempt(name, kind, result.error or "it did not say", seconds))
            message = self._shown(attempts[-1].message, candidate.request)
        self._resting.note(name, provider, result, started, message)
        return result

    def _shown(self, message: str, request: ImageGenerationRequest) -> str:
        """A message for the log and for other requests: without keys and prompts."""
        private = (*self.config.get_secrets(), request.prompt, request.negative_prompt)
        return without(private, message)

    # Telling

    def get_available_providers(self) -> dict[str, dict[str, Any]]:
        """Every provider by name: what it is, what it can do, and whether it can be used now."""
        told = {name: self._told(name, each) for name, each in self.providers.copy().items()}
        for name, reason in self._unbuilt.items():
            told.setdefault(name, description(name, None, {}, reason))
        return told

    def _told(self, name: str, provider: ImageProvider) -> dict[str, Any]:
        told = described(name, provider)
        rest = self._resting.rest_of(name, provider, look=True)
        if rest is not None:
            reason = rest._replace(message=told["reason"] or rest.message)
            told |= {"available": False, "reason": str(reason)}
        return told

    def save_routing_config(self) -> None:
        """Writes `routing_rules` to the routing file, whole or not at all."""
        self._rules()
        save_rules(self.routing_rules, self.routing_config_path)

    def close(self) -> None:
        """Closes every provider; a fault of one is logged.

        A later request opens anew what it needs, to be closed again.
        """
        for name, provider in self.providers.copy().items():
            with suppress(ImageGenerationError):
                ask(name, provider.close)


def _of_package(name: str) -> ImageProvider:
    """The provider of an installed package, from the settings of the process that this runs in."""
    router = ImageProviderRouter(Config())
    if name not in router.providers:
        raise ConfigurationError(router._why_absent(name))
    return router.providers[name]


def _wait(rest: Rest | None) -> float:
    """A sort key: who does not rest, who rests by our own guess, who said how long (seconds)."""
    if rest is None:
        return -1.0
    return rest.seconds_left if rest.is_asked_for else 0.0


def _may_fall_back(attempts: list[ProviderAttempt]) -> bool:
    """By the last failure; after a time limit only once, since the job may be paid for already."""
    kinds = [attempt.error_type for attempt in attempts]
    return kinds[-1] in FALLBACK_ERROR_TYPES and kinds.count("timeout") <= 1


def _with_attempts(
    result: ImageGenerationResult, attempts: list[ProviderAttempt]
) -> ImageGenerationResult:
    """Metadata is a dict from here on, also of a provider that gives none: callers look into it."""
    told = {"attempts": [attempt._asdict() for attempt in attempts]} if attempts else {}
    result.metadata = {**(result.metadata or {}), **told}
    return result


def _all_failed(attempts: list[ProviderAttempt]) -> AllProvidersFailedError:
    """Lists each provider once, with its last reason."""
    reasons = {attempt.provider: attempt.message for attempt in attempts}
    listed = "; ".join(f"{provider}: {reason}" for provider, reason in reasons.items())
    kinds = (ERROR_CLASSES.get(attempt.error_type) for attempt in attempts)
    return AllProvidersFailedError(
        f"no provider could do it. {listed}",
        attempts=attempts,
        retryable=any(kind is not None and kind.retryable for kind in kinds),
    )
