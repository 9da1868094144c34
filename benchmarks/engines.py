"""What an engine adds to a pipeline: once for its start, and for every stage.

    python benchmarks/engines.py --stages 4

Pipelines of one and of more stages run on every engine that is installed; SLURM's is submitit's own stand-in, on this
machine. A stage needs the one before and does next to nothing. Its time is the difference, by the stages more. What an
engine adds to a stage does not grow with it, so of a stage of ten minutes it is the share that is shown.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import yaml

from mwl.evaluation.table import report

LINE = """
import lightning.pytorch as lightning
import torch


class Line(lightning.LightningModule):
    def __init__(self, upstream: str | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return ((self.weight - 2) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def artifact(self) -> dict:
        return {"stage": "line", "name": "line", "robot": "none", "checkpoint": {"state_dict": self.state_dict()}}


class Rounds(lightning.LightningDataModule):
    def train_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(torch.arange(10), batch_size=1)
"""
ENGINES = {
    "local": ("mwl", {}),
    "ray": ("ray", {"engine": "ray"}),
    "slurm": ("submitit", {"engine": "slurm", "slurm": {"cluster": "local"}}),
}
TEN_MINUTES = 600.0


def seconds(engine: dict[str, object], stages: int, folder: Path) -> float:
    """Wall time of a pipeline of so many stages."""
    fit = {"model": {"class_path": "line.Line"}, "data": {"class_path": "line.Rounds"}}
    fit["trainer"] = {"max_epochs": 1, "accelerator": "cpu", "logger": False}  # type: ignore[dict-item]
    folder.mkdir()
    (folder / "line.py").write_text(LINE)
    (folder / "stage.yaml").write_text(yaml.safe_dump(fit))
    chain: dict[str, object] = {}
    for number in range(stages):
        upstream = {"model": {"init_args": {"upstream": f"${{s{number - 1}}}"}}} if number else {}
        chain[f"s{number}"] = {"kind": "fit", "config": "stage.yaml", "overrides": upstream}
    (folder / "chain.yaml").write_text(
        yaml.safe_dump({"name": "chain", "imports": ["line.py"], "stages": chain, **engine})
    )
    command = [sys.executable, "-m", "mwl", "run", "chain.yaml"]
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table as JSON")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: list[list[object]] = []
    here = 0.0
    with tempfile.TemporaryDirectory() as place:
        for name, (package, settings) in ENGINES.items():
            if find_spec(package) is None:
                continue
            one, several = (seconds(settings, count, Path(place, f"{name}{count}")) for count in (1, options.stages))
            stage = (several - one) / (options.stages - 1)
            here = here if rows else stage
            added = stage - here
            rows.append([name, *(round(value, 1) for value in (one, stage, added, 100 * added / TEN_MINUTES))])
    head = [
        "engine",
        "one stage, with the command, s",
        "each further stage, s",
        "more than here, s",
        "of ten minutes, %",
    ]
    report(head, rows, options.table)


if __name__ == "__main__":
    main()
