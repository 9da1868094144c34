"""Stages on an accelerator: their own tests run once more in a process where trainers take a pretended one.

Numbers are computed on the CPU all the same, so that tests that compare them hold; what a GPU would refuse, as mixing
its tensors with those of the simulation, fails. See `far_device`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RESUMED = "baselines/test_baselines.py::test_a_resumed_training_ends_as_the_uninterrupted_one"
QUICK = [
    "world_model/test_resuming.py::test_resumed_training_ends_as_the_uninterrupted_one[small]",
    "adaptation/test_stage.py::test_a_resumed_search_ends_as_the_uninterrupted_one[within one]",
    "experts/test_dagger.py::test_the_data_grow_by_what_the_student_visits",
    "experts/test_fine_tuning.py::test_fine_tuning_resumes_as_if_never_stopped",
    "experts/test_posture.py::test_posture_resumes_as_if_never_stopped[2]",
    *(f"{RESUMED}[{name}]" for name in ("sac", "ppo", "dreamer_v3")),  # TQC is trained as SAC is
    "selection/test_monte_carlo.py::test_it_resumes_as_if_never_stopped[3]",
]
WHOLE = [
    "world_model",
    "experts",
    "adaptation",
    "selection",
    "baselines/test_baselines.py",
    "semantics/test_encoder.py",
]


def passes_far_away(tests: list[str]) -> None:
    registration = pytest.importorskip("torch.utils.backend_registration")
    if not hasattr(registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch can't register a device from Python")
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "far_device", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(str(TESTS / test) for test in tests)],
        cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.long
def test_stages_train_and_resume_on_another_device() -> None:
    passes_far_away(QUICK)


@pytest.mark.slow
def test_everything_that_trains_holds_on_another_device() -> None:
    passes_far_away(WHOLE)
