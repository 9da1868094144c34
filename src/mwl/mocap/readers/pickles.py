"""Pickles are programs: none is read. What is one is refused by name, with a command that converts it."""

from pathlib import Path

from mwl.core.errors import BadInput
from mwl.core.files import shown

_ENDINGS = (".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth")


def refuse_pickle(path: Path) -> None:
    """Refuse files of pickles by their names, and `.npy` files that hold objects.

    Raises:
        BadInput: the file is one.
    """
    if path.suffix.lower() in _ENDINGS:
        raise BadInput(
            f"{shown(path)}: is a pickle, which is a program, and never run here. Where you trust it, convert it: "
            "python -c \"import joblib, numpy; clip = joblib.load('FILE'); clip = clip if 'fps' in clip else "
            "next(iter(clip.values())); numpy.savez('clip.npz', **{key: value for key, value in clip.items() if "
            "numpy.asarray(value).dtype.kind in 'iuf'})\", then import clip.npz"
        )
    if path.suffix.lower() == ".npy":
        with open(path, "rb") as file:
            head = file.read(256)
        if b"'descr': '|O'" in head:
            raise BadInput(
                f"{shown(path)}: holds Python objects (a pickle), which is never run here; where you trust it, save "
                "its arrays of numbers with numpy.savez"
            )
