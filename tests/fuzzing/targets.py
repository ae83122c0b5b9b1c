"""Every parser of foreign bytes that is fuzzed, by its name."""

from __future__ import annotations

from tests.fuzzing import (
    file_targets,
    hosted_targets,
    picture_targets,
    server_targets,
    workflow_targets,
)
from tests.fuzzing.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        workflow_targets,
        server_targets,
        hosted_targets,
        picture_targets,
        file_targets,
    )
    for target in module.TARGETS
}
