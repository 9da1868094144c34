"""Writes films: frames go to ffmpeg, and the file appears under its name when it is whole."""

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from mwl.core.errors import WriteFailed
from mwl.core.files import shown, writing

if TYPE_CHECKING:
    import numpy as np

_QUALITY = 15  # libx264's constant rate factor: 0 is lossless, 51 the worst


class Film:
    """A film that is being written; as a context manager it appears at the end of the block, if that ends well.

    Args:
        path: file to write; its ending, one of `FILM_ENDINGS`, decides the format.
        fps: frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps, self.frames = path, fps, 0
        self._size: tuple[int, ...] = ()
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def __enter__(self) -> "Film":
        return self

    def add(self, picture: "np.ndarray") -> None:
        """Append one frame, `[H, W, 3]` uint8; all have the same size, even numbers.

        Raises:
            WriteFailed: the disk is full, or the place can't be written.
        """
        if self._process is None:
            self._start(picture.shape)
        assert self._process is not None
        assert self._process.stdin is not None
        assert picture.shape == self._size
        assert picture.dtype == "uint8"
        try:
            self._process.stdin.write(picture.tobytes())
        except OSError as error:  # ffmpeg has given up and closed its end
            raise self._failed() from error
        self.frames += 1

    def _start(self, shape: Sequence[int]) -> None:
        import imageio_ffmpeg

        self._size = tuple(shape)
        scratch = self._stack.enter_context(writing(self.path))
        self._said = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
        size = f"{shape[1]}x{shape[0]}"
        given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{self.fps:g}", "-i", "-", "-an"]
        wanted = ["-vcodec", "libx264", "-pix_fmt", "yuv420p", "-crf", str(_QUALITY)]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *given, *wanted, str(scratch.absolute())]
        # A session of its own: a Ctrl-C is for us, who then end it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True
        )
        self._stack.callback(_end, self._process)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None or kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            with suppress(OSError):  # its exit code says more
                self._process.stdin.close()  # type: ignore[union-attr]
            if self._process.wait() != 0:
                raise self._failed()

    def abandon(self) -> None:
        """End without a film."""
        self.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    def _failed(self) -> WriteFailed:
        """What to tell; ffmpeg's last line says why."""
        assert self._process is not None
        assert self._said is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip().splitlines() or ["ffmpeg ended"]
        # the reason stands behind the last colon: "Error writing trailer: No space left on device"
        why = next((line for line in said if ": " in line), said[-1]).rpartition(": ")[2].lower()
        return WriteFailed(f"{shown(self.path)}: the film could not be written ({why[:100]}); nothing was changed")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    with suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]
    process.wait()
