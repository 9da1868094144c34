"""MetaWorld on Lightning: a humanoid that carries out instructions given in plain words.

See `DESIGN` in the docs for the rooms of the package and what each may know.
"""

from mwl import _torchvision  # noqa: F401  # first: lightning cannot be imported before it
