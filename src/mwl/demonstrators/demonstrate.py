"""Recording of any demonstrator from its configuration file."""

from pathlib import Path

from mwl.datasets.demonstrations import recording_file
from mwl.demonstrators.registry import load_demonstration_config, record


def demonstrate(config: str, out: str, *, force: bool = False) -> Path:
    """Record demonstrations: noise in the executed action, clean labels.

    Args:
        config: YAML of the demonstrator and the recording, for example `conf/demonstrators/walk.yaml`.
        out: file to write (.npz); its manifest goes beside it (.json).
        force: replace a recording that is there.
    """
    target = recording_file(out, force)
    return record(load_demonstration_config(config)).save(target)
