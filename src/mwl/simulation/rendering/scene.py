"""Records an episode as a page: a scene that opens in a browser without Python, in which the reader moves about."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from html import escape
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import mujoco

from mwl.core.errors import BadInput, MissingDependency, WriteFailed
from mwl.core.files import write_text
from mwl.core.terminal import printable
from mwl.robot import CONTROL_HZ
from mwl.robot.model import build_model
from mwl.simulation.env import HumanoidEnv
from mwl.simulation.task import Task

if TYPE_CHECKING:
    import viser

ENDINGS = (".html",)
_CAPTION = (
    '<div style="position:fixed;right:1em;top:1em;z-index:10;font:0.9em sans-serif;background:#fffc;'
    'padding:0.3em 0.6em">{}</div></body>'
)


def can_record() -> bool:
    """Whether what draws scenes is installed."""
    return all(find_spec(name) is not None for name in ("viser", "mjviser"))


@contextmanager
def quiet_server(**options: Any) -> "Iterator[viser.ViserServer]":
    """A viser server at any free port of this machine alone, which says nothing of that port and publishes nothing.

    Raises:
        MissingDependency: viser is not installed.
    """
    try:
        import viser
    except ImportError as error:
        raise MissingDependency("scenes in the browser need viser and mjviser: pip install 'mwl[viewer]'") from error

    class Server(viser.ViserServer):
        def request_share_url(self, verbose: bool = True) -> None:
            """Publish nothing, whatever a visitor asks for: viser would, on a server of its own."""

    with redirect_stdout(io.StringIO()):
        server = Server(host="127.0.0.1", port=0, verbose=False, **options)
    try:
        yield server
    finally:
        with redirect_stdout(io.StringIO()):
            server.stop()


class SceneRecorder:
    """Collects one environment of a batch into a page; fits `run_episodes(on_step=...)`.

    As a context manager: the page appears at the end of the block, if that ends well and there was a step.

    Args:
        path: file to write, see `ENDINGS`.
        caption: shown in a corner, as text.
        every: control steps per picture; the page plays in real time.
        max_steps: control steps that are recorded.
        index: which environment.
        failed: called where the page can't be written, as on a full disk; None lets the error out.

    Raises:
        MissingDependency: viser or mjviser is not installed.
    """

    def __init__(
        self,
        path: Path,
        caption: str = "",
        every: int = 2,
        max_steps: int = 1000,
        index: int = 0,
        failed: Callable[[WriteFailed], None] | None = None,
    ) -> None:
        if not can_record():
            raise MissingDependency("a scene needs viser and mjviser: pip install 'mwl[viewer]'")
        self.path, self.caption, self.every, self.max_steps, self.index = path, caption, every, max_steps, index
        self._stack, self._failed = ExitStack(), failed
        self._server: viser.ViserServer | None = None

    def __enter__(self) -> "SceneRecorder":
        return self

    def __call__(self, step: int, env: HumanoidEnv, agent: object = None) -> None:
        """Record one control step.

        Raises:
            BadInput: the environment is not of the embedded suite, whose bodies can be drawn.
        """
        if step % self.every or step >= self.max_steps:
            return
        if self._server is None:
            self._begin(env)
        measured, data = env.measurement, self._data
        data.qpos[:] = measured.qpos[self.index]
        if self._scene.mj_model.nmocap:
            data.mocap_pos[0] = measured.goal[self.index]
        mujoco.mj_kinematics(self._scene.mj_model, data)
        self._scene.update_from_mjdata(data)
        self._recording.insert_sleep(self.every / CONTROL_HZ)

    def _begin(self, env: HumanoidEnv) -> None:
        from mjviser import ViserMujocoScene

        if not isinstance(env.task, Task):
            raise BadInput("--scene: a scene is of the embedded suite; leave it out, or --suite")
        self._server = server = self._stack.enter_context(quiet_server())
        server.initial_camera.position, server.initial_camera.look_at = (1.8, -2.6, 0.8), (0.0, 0.0, 0.0)
        model = build_model(env.task, visual=True)
        self._data, self._scene = mujoco.MjData(model), ViserMujocoScene(server, model, num_envs=1)
        self._recording = server.get_scene_serializer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if self._server is None or kind is not None:
                return
            page = self._recording.as_html().replace("</body>", _CAPTION.format(escape(printable(self.caption))), 1)
            try:
                write_text(self.path, page)
            except WriteFailed as failure:
                if self._failed is None:
                    raise
                self._failed(failure)
