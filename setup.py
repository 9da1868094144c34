"""What `pyproject.toml` can't say: a wheel takes `data/` and `conf/` along."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    """Copies what ships into the package."""

    def run(self) -> None:
        """Build, then copy, unless the repository itself is what is installed."""
        super().run()
        if self.editable_mode:
            return
        for file in (file for folder in ("data", "conf") for file in Path(folder).rglob("*") if file.is_file()):
            target = Path(self.build_lib, "mwl", "_shipped", file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithData})
