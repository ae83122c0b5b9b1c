"""Which inputs take the prompt and the negative prompt, where several could.

Owns the choice among text encoders, and among texts that a workflow puts together; where they are
is found by `comfyui/tracing.py`. Pure. What is left open is a WorkflowError that lists the inputs
and shows what to write: a guess would draw another picture than the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from comfyui.claims import bindings_file
from comfyui.following import DeadEnd, Found, Spot, spots_of
from comfyui.placeholders import Place
from comfyui.tracing import Tracer
from image_provider import WorkflowError

_MOST_PLACES = 10
"""Candidates that an error names."""

_Encoders = dict[str, list[Found]]


class _Claim(NamedTuple):
    """Inputs that may take a text, with their names; `text` is theirs now, None for several."""

    places: dict[str, Spot]
    text: str | None


class PromptPlaces:
    """The choice over one graph.

    `fixed` are the inputs that something else sets, `hint` is one whose title suggests the prompt.
    """

    def __init__(
        self, tracer: Tracer, fixed: Collection[Place], source: str | None, hint: Spot | None = None
    ) -> None:
        self._tracer = tracer
        self._fixed = fixed
        self._source = source
        self._hint = hint

    def positive(self) -> list[Found]:
        """Where the prompt goes; raises WorkflowError when several inputs have the same claim."""
        found = self._chosen("prompt", "positive", self._tracer.texts("positive"), set())
        if self._hint is None or spots_of(found):
            return found
        negative = self._tracer.texts("negative").values()
        taken = {spot.key for items in negative for spot in spots_of(items)}
        return found if self._hint.key in taken else [self._hint]

    def negative(self) -> list[Found]:
        """The same for the negative prompt, which is never written over the prompt."""
        positive = self._tracer.texts("positive")
        taken = {spot.key for found in positive.values() for spot in spots_of(found)}
        negative = self._tracer.texts("negative")
        for encoder, found in negative.items():
            if taken & {spot.key for spot in spots_of(found)}:
                name = self._tracer.name(encoder)
                negative[encoder] = [DeadEnd(f"{name} holds the text of the prompt")]
        return self._chosen("negative_prompt", "negative", negative, taken)

    def _chosen(
        self, parameter: str, side: str, encoders: _Encoders, taken: set[Place]
    ) -> list[Found]:
        """The places of all encoders of one text; encoders of different texts compete for it."""
        whole = {spot.key for found in encoders.values() for spot in spots_of(found)}
        encoders = {
            encoder: [place for item in found for place in self._settled(item, whole, taken)]
            for encoder, found in encoders.items()
        }
        leading = self._tracer.texts(side, of_noisy=True)
        claims = {i: claim for i in leading if (claim := self._claim(i, encoders[i])).places}
        if _is_open(claims.values()):
            hinted = self._hinted(encoders) if side == "positive" else {}
            # What is only previewed on the way is no match for what is saved.
            kept = self._tracer.kept()
            saved = [claim for encoder, claim in claims.items() if encoder in kept]
            if not hinted and (not saved or _is_open(saved)):
                raise self._ambiguous(parameter, claims.values())
            encoders = hinted or {i: found for i, found in encoders.items() if i in kept}
        return [item for found in encoders.values() for item in found]

    def _hinted(self, encoders: _Encoders) -> _Encoders:
        """The encoders of the text that a title suggests, where it is one of theirs."""
        hint = self._hint
        if hint is None:
            return {}
        for encoder, found in encoders.items():
            claim = self._claim(encoder, found)
            if claim.text is None and hint in claim.places.values():
                return {encoder: [hint]}
            if claim.text is not None and hint in spots_of(found):
                return {i: f for i, f in encoders.items() if self._claim(i, f).text == claim.text}
        return {}

    def _settled(self, item: Found, whole: set[Place], taken: set[Place]) -> Iterable[Found]:
        """Of texts that are put together the one that is left to take it, where it is but one."""
        if isinstance(item, Spot) or not item.rivals:
            return [item]
        fixed = [spot for spot in item.rivals if spot.key in self._fixed]
        left = [spot for spot in item.rivals if spot.key not in taken and spot not in fixed]
        if len(left) == len(item.rivals):
            # What another encoder takes whole is the prompt here, too.
            left = [spot for spot in left if spot.key in whole] or left
        if len(left) > 1:
            return [DeadEnd(item.reason, tuple(left))]
        return left or fixed or [DeadEnd(item.reason)]

    def _claim(self, encoder: str, found: list[Found]) -> _Claim:
        """The inputs of an encoder that nobody else sets, and what they hold."""
        rivals = [spot for item in found if isinstance(item, DeadEnd) for spot in item.rivals]
        if rivals:
            names = [f"{self._tracer.name(spot.node_id)}.{spot.input_name}" for spot in rivals]
            return _Claim(dict(zip(names, rivals, strict=True)), None)
        free = [spot for spot in spots_of(found) if spot.key not in self._fixed]
        graph = self._tracer.graph
        texts = {repr(graph[spot.node_id]["inputs"].get(spot.input_name)) for spot in free}
        return _Claim({self._tracer.name(encoder): spot for spot in free[:1]}, repr(sorted(texts)))

    def _ambiguous(self, parameter: str, claims: Collection[_Claim]) -> WorkflowError:
        places = {name: spot for claim in claims for name, spot in claim.places.items()}
        names, first = list(places), next(iter(places.values()))
        more = f" and {len(names) - _MOST_PLACES} more" if len(names) > _MOST_PLACES else ""
        place = f"{first.node_id}.{first.input_name}"
        joined = any(claim.text is None for claim in claims)
        why = "whose texts are put together" if joined else "which have different texts"
        return WorkflowError(
            f"workflow {self._source or 'given'}: {parameter} could go to "
            f"{', '.join(names[:_MOST_PLACES])}{more}, {why}; "
            "set all but one of them yourself, for example "
            f'extra={{"{place}": "…"}}, or name the places in '
            f'{bindings_file(self._source)}: {{"{parameter}": ["{place}"]}}',
            file=self._source,
            node_id=first.node_id,
            class_type=self._tracer.graph[first.node_id]["class_type"],
            input_name=first.input_name,
        )


def _is_open(claims: Iterable[_Claim]) -> bool:
    texts = [claim.text for claim in claims]
    return None in texts or len({*texts}) > 1
