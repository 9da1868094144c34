"""Whatever bytes a file holds, it is refused in a line, with exit code 2, or read as something sound.

The suite tries a few inputs for each loader. `MWL_FUZZ_INPUTS=2000 pytest tests/fuzz` tries more; a failure says the
numbers of its inputs, and `MWL_FUZZ_FIRST=number MWL_FUZZ_INPUTS=1 pytest tests/fuzz -k loader` repeats one.
"""

import os
from pathlib import Path

import pytest
from artifacts import ARTIFACTS
from guidance import GUIDANCE
from motions import MOTIONS
from policies import POLICIES
from running import fuzz
from settings import SETTINGS

TARGETS = [*MOTIONS, *ARTIFACTS, *SETTINGS, *POLICIES, *GUIDANCE]
FEW = 12
INPUTS = int(os.environ.get("MWL_FUZZ_INPUTS", FEW))
FIRST = int(os.environ.get("MWL_FUZZ_FIRST", "0"))

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="bounds the memory as Linux does")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_spoilt_file_is_refused_or_read_as_something_sound(target, tmp_path: Path) -> None:
    count = max(1, round(INPUTS * target.share)) if INPUTS > 1 else 1
    result = fuzz(target, tmp_path, FIRST, count)
    faults = result["faults"]
    assert not faults, f"{len(faults)} of {count} inputs:\n" + "\n".join(faults[:20])
    assert result["refused"] + result["read"] == count
    if count >= FEW * target.share:
        assert result["refused"], "no input was bad enough: the fuzzer changes what nobody reads"
