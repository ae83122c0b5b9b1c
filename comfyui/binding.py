"""Writes a request's values into the inputs of a graph that take them, and says why there.

Owns the rules of each parameter; where the inputs are is found by `comfyui/tracing.py`. Pure: works
on a copy, knows no files and no sockets. A value of None leaves what the graph has, and a parameter
that found no place is listed as ignored with the reason, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from comfyui.bound_workflow import Binding, BoundWorkflow, Ignored
from comfyui.claims import (
    PARAMETERS,
    PREFIX_INPUT,
    given_values,
    hinted_spots,
    named_spot,
    overridden_spots,
    prefix_spots,
    titled_spots,
    why_nowhere,
)
from comfyui.following import DeadEnd, Found, Spot, spots_of
from comfyui.loras import LoraChains
from comfyui.modes import find_mode
from comfyui.object_info import ObjectInfo
from comfyui.pictures import Pictures
from comfyui.placeholders import (
    Place,
    fill_placeholders,
    has_placeholder,
    keep_placeholders,
    restore_placeholders,
)
from comfyui.prompt_places import PromptPlaces
from comfyui.tracing import Tracer
from image_provider import MAX_SEED

if TYPE_CHECKING:
    from comfyui.workflow import Workflow
    from image_provider import ImageGenerationRequest

__all__ = ["Binding", "BoundWorkflow", "Ignored", "bind"]

_VENDOR_SEEDS = (0, 2**31 - 1)
"""What an API node takes that does not say it."""
_NO_TEXT = "no sampler has a text encoder on this side"


class _Range(NamedTuple):
    """An input that names a step, and the input with the number of all of them."""

    spot: Spot
    number: Any
    of: Spot
    before: Any


def bind(
    workflow: Workflow,
    request: ImageGenerationRequest,
    object_info: ObjectInfo | None = None,
    left: Container[str] = (),
) -> BoundWorkflow:
    """The request's values on a copy of the workflow's graph; parameters in `left` stay.

    What the user says wins: `extra`, the bindings file beside the workflow, titles, placeholders;
    then the links decide. `source_image_url` and `mask_image_url` are written as they are: whoever
    sends the graph names files of the server there. Raises WorkflowError when several inputs have
    the same claim.
    """
    bound = BoundWorkflow(workflow.graph)
    binder = _Binder(bound, object_info, workflow.source)
    binder.bind_extra(request.node_inputs)
    binder.bind_mode(request.source_image_url is not None)
    binder.bind(request, given_values(request, left), workflow.overrides)
    return bound


class _Binder:
    """The rules of the parameters over one graph; what was written before stays as it is."""

    def __init__(
        self, bound: BoundWorkflow, object_info: ObjectInfo | None, source: str | None
    ) -> None:
        self.bound = bound
        self.graph = bound.graph
        self.object_info = object_info
        self.source = source
        self.fixed: dict[Place, str] = {}
        """The inputs that the user spoke of, each with what set it."""
        self.own = restore_placeholders(self.graph)
        """The texts that a user gave, when the graph was bound before."""
        self.claimed: set[str] = set()
        """The parameters whose place he named."""

    @cached_property
    def tracer(self) -> Tracer:
        """Made once the links are as they stay: `extra` can change them, switches decide."""
        return Tracer(self.graph, self.object_info)

    def bind_extra(self, extra: Mapping[str, Any]) -> None:
        """Writes what the request says of single inputs."""
        source = f"workflow {self.source or 'given'}"
        for key, value in extra.items():
            if key != PREFIX_INPUT:
                spot = named_spot(self.graph, key, self.object_info, source)
                nothing = why_nowhere(self.graph, key, self.object_info) if spot is None else ""
                self._write_extra(key, value, [] if spot is None else [spot], nothing)
        # Last, so that one node can be told of on its own.
        if PREFIX_INPUT in extra:
            spots, nothing = prefix_spots(self.graph), "no node of the workflow saves a file"
            self._write_extra(PREFIX_INPUT, extra[PREFIX_INPUT], spots, nothing)

    def _write_extra(self, key: str, value: Any, spots: list[Spot], nothing: str) -> None:
        parameter = f"extra[{key!r}]"
        self._claim(parameter, spots, {parameter: value}, nothing)

    def bind_mode(self, wants_picture: bool) -> None:
        """Sets the switches between text-to-image and image-to-image, where there are some.

        One that the user set the other way says that he wants that, whatever picture there is.
        """
        for wanted in (wants_picture, not wants_picture):
            switches = find_mode(self.graph, wanted, self.object_info)
            if all(spot.key not in self.fixed for spot in switches):
                for spot, value in switches.items():
                    self.bound.write("source_image_url", spot, value)
                    self.fixed[spot.key] = "the mode"
                return

    def bind(
        self,
        request: ImageGenerationRequest,
        values: Mapping[str, Any],
        overrides: Mapping[str, Sequence[str]],
    ) -> None:
        """Writes the request's fields, of which `values` has those that are given."""
        ranges = [] if request.steps is None else self._ranges()
        self._claim_overrides(values, overrides)
        self._claim_titles(values)
        # A size that was not given has a number all the same; a placeholder has to become one.
        size = {"width": int(request.width), "height": int(request.height)}
        filled = self._claim_placeholders({**values, **size})
        rules: dict[str, Callable[[Any], None]] = {
            "prompt": self._prompt,
            "negative_prompt": self._negative_prompt,
            "model": self._model,
            "seed": self._seed,
            "steps": self._steps,
            "guidance_scale": self._guidance,
            "strength": self._strength,
            "width": self._width,
            "height": self._height,
            "source_image_url": self._image,
            "mask_image_url": self._mask,
        }
        for parameter, rule in rules.items():
            if parameter in values and parameter not in self.claimed:
                rule(values[parameter])
        self._scale(ranges)
        self._loras(request.loras)
        written = {(entry.node_id, entry.input_name) for entry in self.bound.bindings}
        keep_placeholders(self.graph, filled, self.own | written)

    def _claim_overrides(
        self, values: Mapping[str, Any], overrides: Mapping[str, Sequence[str]]
    ) -> None:
        """Writes where the bindings file says."""
        spots = overridden_spots(self.graph, overrides, self.object_info, self.source)
        for parameter in PARAMETERS:
            if parameter in spots:
                self._claim(parameter, spots[parameter], values)

    def _claim_titles(self, values: Mapping[str, Any]) -> None:
        """Writes where a title says; a text with placeholders is left to them."""
        for parameter, spot in titled_spots(self.tracer, self.tracer.running).items():
            is_filled = spot.key not in self.own and has_placeholder(self._value(spot))
            if parameter not in self.claimed and not is_filled:
                self._claim(parameter, [spot], values)

    def _claim(
        self, parameter: str, spots: list[Spot], values: Mapping[str, Any], nothing: str = ""
    ) -> None:
        self.claimed.add(parameter)
        if parameter in values:
            self._write_all(parameter, values[parameter], spots, nothing)
            self.fixed |= {s.key: parameter for s in spots if s.key not in self.fixed}

    def _claim_placeholders(self, values: Mapping[str, Any]) -> dict[Place, str]:
        """Fills the placeholders; the texts that had them."""
        texts = {}
        skipped = self.own | self.fixed.keys()
        for filling in fill_placeholders(self.graph, values, skipped, self.source):
            texts[filling.spot.key] = filling.text
            self.claimed.update(filling.placed)
            for parameter in filling.parameters:
                self.bound.write(parameter, filling.spot, filling.value)
                self.fixed[filling.spot.key] = parameter
        return texts

    def _prompt(self, prompt: str) -> None:
        self._write_all("prompt", prompt, self._texts.positive(), self._led(_NO_TEXT))

    def _negative_prompt(self, negative_prompt: str) -> None:
        found = self._texts.negative()
        self._write_all("negative_prompt", negative_prompt, found, self._led(_NO_TEXT))

    @property
    def _texts(self) -> PromptPlaces:
        return PromptPlaces(self.tracer, self.fixed, self.source, self._hints.get("prompt"))

    @cached_property
    def _hints(self) -> dict[str, Spot]:
        """Places that titles suggest; they count where the links lead nowhere."""
        return hinted_spots(self.tracer, self.tracer.running)

    def _seed(self, seed: int) -> None:
        found = self.tracer.seeds()
        # Samplers that had one seed keep having one; others get the next, and the next.
        numbers: dict[str, int] = {}
        for spot in spots_of(found):
            if spot.key not in self.fixed:
                offset = numbers.setdefault(repr(self._value(spot)), len(numbers))
                self.bound.write("seed", spot, self._as_taken(spot, seed + offset))
        if not numbers:
            nothing = self._led("no sampler that adds noise was found")
            self._write_all("seed", seed, found, nothing)

    def _as_taken(self, spot: Spot, seed: int) -> int:
        """The seed itself, or for an API node, which takes fewer, the one that stands for it."""
        low, high = 0, MAX_SEED
        if self.tracer.makers:
            low, high = self._range_of(spot) or _VENDOR_SEEDS
        return low + (seed - low) % (high - low + 1)

    def _range_of(self, spot: Spot) -> tuple[int, int] | None:
        """The least and the largest whole number that an input takes, where its class says so."""
        class_type = self.graph[spot.node_id]["class_type"]
        known = self.object_info.get(class_type) if self.object_info is not None else None
        entry = known.inputs.get(spot.input_name) if known is not None else None
        low, high = (entry.settings.get(end) if entry else None for end in ("min", "max"))
        if isinstance(low, int) and isinstance(high, int) and low <= high:
            return low, high
        return None

    def _steps(self, steps: int) -> None:
        found = self.tracer.steps()
        self._write_led("steps", steps, found, "no sampler or scheduler with steps was found")

    def _ranges(self) -> list[_Range]:
        """Which part of the steps each sampler runs that does not run all, as it stands."""
        ranges = {spot.key: (spot, of) for spot, of in self.tracer.step_ranges()}
        return [
            _Range(spot, self._value(spot), of, self._value(of)) for spot, of in ranges.values()
        ]

    def _scale(self, ranges: Iterable[_Range]) -> None:
        """Keeps every sampler's share of the steps, whoever said where their number goes."""
        for spot, number, of, before in ranges:
            steps = self._value(of)
            are_numbers = all(type(value) is int for value in (number, before, steps))
            if spot.key not in self.fixed and are_numbers and 0 < number <= before:
                self.bound.write("steps", spot, (number * steps + before // 2) // before)

    def _guidance(self, scale: float) -> None:
        found = self.tracer.guidance() or self.tracer.cfg()
        self._write_led("guidance_scale", scale, found, "no guidance or cfg input was found")

    def _strength(self, strength: float) -> None:
        # Where every latent is new there is nothing to keep, whatever a title says.
        write = self._write_all if self.tracer.new_latents else self._write_led
        nothing = "no sampler with denoise starts from a picture"
        write("strength", strength, self.tracer.denoise(), nothing)

    def _width(self, width: int) -> None:
        self._write_led("width", width, self.tracer.size("width"), "there is no empty latent")

    def _height(self, height: int) -> None:
        found = self.tracer.size("height")
        shared = [spot for spot in spots_of(found) if spot.key in self._written("width")]
        if any(self._value(spot) != height for spot in shared):
            reason = "width and height are one value in this workflow, and it has the width"
            self.bound.ignore("height", reason)
        else:
            self._write_led("height", height, found, "there is no empty latent")

    def _written(self, parameter: str) -> set[tuple[str, str]]:
        bindings = (entry for entry in self.bound.bindings if entry.parameter == parameter)
        return {(entry.node_id, entry.input_name) for entry in bindings}

    def _model(self, model: str) -> None:
        nothing = self._led("no model loader was found")
        self._write_all("model", model, self.tracer.model_files(), nothing)

    def _loras(self, loras: Sequence[tuple[str, float]]) -> None:
        if not loras:
            return
        loaders = [i for i in self.tracer.model_loaders() if self.tracer.users(i, 0)]
        if not loaders:
            self.bound.ignore("loras", self._led("no model loader was found"))
            return
        chains = LoraChains(self.graph, loaders, self.tracer.running, self.fixed)
        for name, strength in loras:
            found = chains.apply(name, strength)
            for spot in spots_of(found):
                self.bound.note("loras", spot, (name, strength))
            for item in found:
                if isinstance(item, DeadEnd):
                    self.bound.ignore("loras", f"{name}: {item.reason}")

    @cached_property
    def _pictures(self) -> Pictures:
        return Pictures(self.tracer)

    def _image(self, image: str) -> None:
        self._write_all("source_image_url", image, [self._pictures.source], "")

    def _mask(self, mask: str) -> None:
        self._write_all("mask_image_url", mask, [self._pictures.mask], "")

    def _write_led(self, parameter: str, value: Any, found: Sequence[Found], nothing: str) -> None:
        """Writes where the links lead, else where a title suggests."""
        hint = self._hints.get(parameter)
        if hint is not None and not spots_of(found):
            found = [hint]
        self._write_all(parameter, value, found, self._led(nothing))

    def _led(self, nothing: str) -> str:
        """Why the links led nowhere: this, or that there is nothing to start from."""
        if self.tracer.samplers:
            return nothing
        if self.tracer.makers:
            names = ", ".join(map(self.tracer.name, self.tracer.makers))
            return f"{names} has no input that takes it"
        return "no sampler feeds an output of the workflow"

    def _write_all(self, parameter: str, value: Any, found: Sequence[Found], nothing: str) -> None:
        reasons = [item.reason for item in found if isinstance(item, DeadEnd)]
        placed = False
        for spot in spots_of(found):
            reason = self._why_not(parameter, spot, value)
            if reason is None:
                self.bound.write(parameter, spot, deepcopy(value))
                placed = True
            else:
                reasons.append(reason)
        if not placed:
            why = "; ".join(dict.fromkeys(reasons or [nothing]))
            self.bound.ignore(parameter, why, is_overruled=bool(spots_of(found)))

    def _why_not(self, parameter: str, spot: Spot, value: Any) -> str | None:
        """What keeps a value from a place that is there; None where nothing does."""
        place = f"{spot.node_id}.{spot.input_name}"
        if parameter == "mask_image_url" and spot.key in self._written("source_image_url"):
            if self._value(spot) == value:
                return None
            return f"{place} holds the source, whose alpha is the mask: give one file for both"
        return f"{self.fixed[spot.key]} sets {place}" if spot.key in self.fixed else None

    def _value(self, spot: Spot) -> Any:
        return self.graph[spot.node_id]["inputs"].get(spot.input_name)
