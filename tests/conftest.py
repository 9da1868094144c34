"""Shared fixtures; importing `mwl` first lets lightning import beside a torchvision built for another torch."""

import mwl  # noqa: F401
