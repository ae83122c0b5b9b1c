"""A small run of the seeded plan; `python3 dev.py run tests.fault_run` makes the large one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from image_provider import ImageGenerationResult
from tests.fault_run import FAULTS, main, plan, problems, run_tasks
from tests.fault_support import Rig

pytestmark = pytest.mark.usefixtures("short_pauses")

JOBS, SEED = 60, 28  # each fault is in this plan


def test_none_is_lost_none_runs_twice_and_none_hangs():
    tasks = plan(JOBS, SEED)
    assert {task.fault for task in tasks} == set(FAULTS)
    assert run_tasks(tasks) == []


def test_run_as_a_command_tells_of_each_fault_and_ends_well(capsys):
    assert main(["--jobs", "3", "--seed", "8"]) == 0
    told = capsys.readouterr().out
    assert "3 jobs in" in told
    assert all(task.fault in told for task in plan(3, seed=8))
    assert told.endswith("0 went wrong\n")


def test_plan_is_the_same_for_the_same_seed():
    assert plan(20, seed=5) == plan(30, seed=5)[:20] != plan(20, seed=6)


def test_what_is_wrong_is_noticed():
    [task] = [each for each in plan(JOBS, SEED) if each.fault == "none"][:1]
    task = replace(task, output="SaveImage")
    with Rig() as rig:
        result = rig.run(task.seed)
        assert list(problems(task, result, rig)) == []
        other = replace(task, seed=task.seed + 1)
        assert list(problems(other, result, rig)) == ["the picture is another job's"]
        saved = rig.server.data_dir / "output" / result.images[0]["filename"]
        saved.write_bytes(b"changed")
        rig.runs.update(rig.runs)
        rig.updates.reverse()
        assert [problem.split(":")[0] for problem in problems(task, result, rig)] == [
            "the picture is not what the server saved",
            f"progress ended at {rig.updates[-1].fraction}",
            "progress fell",
            "it ran more than once",
        ]
        failed = ImageGenerationResult(False, [], "comfyui", None, "gone", error_type="unavailable")
        assert "ended as unavailable: gone" in list(problems(task, failed, rig))
