"""The page of the playground: the robot in its world, an instruction box, and what it makes of the words."""

import socket
import sys
import time
from ipaddress import ip_address
from typing import Any

import numpy as np

from mwl.core.errors import BadInput, MissingDependency
from mwl.core.files import shown
from mwl.core.terminal import printable
from mwl.playground.session import Session, Status
from mwl.robot import CONTROL_HZ
from mwl.simulation import Shift
from mwl.simulation.tasks import TASKS

try:
    import viser
    from mjviser import ViserMujocoScene
except ImportError as error:
    raise MissingDependency("the playground needs viser and mjviser: pip install 'mwl[viewer]'") from error

EXAMPLES = (
    "walk two metres, turn left, walk three metres, then stop",
    "go backwards slowly for 2.5 seconds",
    "walk in a circle",
    "turn around and come back",
    "stop",
)
PACES = {"real time": 1.0, "half": 0.5, "a quarter": 0.25}
_SHOWN = 2  # control steps per picture: 25 a second
_SAID = 10  # control steps between two refreshes of the texts
_BEHIND = 0.5  # s by which the robot may be late before time is let go
_KEPT = 8  # instructions that the history shows


class Page:
    """What visitors see and press; all of them see the same robot.

    Args:
        session: the robot.
        server: of the page.
    """

    def __init__(self, session: Session, server: "viser.ViserServer") -> None:
        self.session, self.server = session, server
        self.dropped = 0  # control steps that were not made in time
        self._steps_asked, self._history = 0, [""]
        self._ran, self._rate = 0, 0.0
        self._controls()
        self._draw()

    def _controls(self) -> None:
        gui = self.server.gui
        gui.configure_theme(control_width="large", show_logo=False)
        gui.set_panel_label("mwl playground")
        with gui.add_form(None) as form:
            self.words = gui.add_text("Tell it", "", hint="what it shall do, in plain words; Enter sends it")
            gui.add_button("Tell", hint="it takes up new words at once").on_click(lambda _: form.submit())
        form.on_submit(lambda _: self.tell(self.words.value))
        self.examples = gui.add_dropdown("Examples", ("choose one", *EXAMPLES), initial_value="choose one")
        self.examples.on_update(lambda _: self._again(self.examples.value, "choose one"))
        self.history = gui.add_dropdown("History", ("nothing yet",), initial_value="nothing yet")
        self.history.on_update(lambda _: self._again(self.history.value, "nothing yet"))
        self.said = gui.add_markdown("")
        with gui.add_folder("Weights of the skills"):
            self.weights = gui.add_markdown("")
        with gui.add_folder("World"):
            self.task = gui.add_dropdown("Scene", tuple(sorted(TASKS)), initial_value=self.session.status().task)
            self.task.on_update(lambda _: self.enter(self.task.value))
            self.payload = gui.add_slider("Load, kg", 0.0, 30.0, 1.0, 0.0)
            self.friction = gui.add_slider("Friction", 0.1, 1.5, 0.05, 1.0)
            for slider in (self.payload, self.friction):
                slider.on_update(lambda _: self.change())
            strength = gui.add_slider("Push, m/s", 0.1, 1.5, 0.1, 0.5)
            gui.add_button("Push").on_click(lambda _: self.session.push(strength.value))
            gui.add_button("Begin anew").on_click(lambda _: self.session.reset())
        with gui.add_folder("Time and camera"):
            self.paused = gui.add_checkbox("Pause", False)
            gui.add_button("One step").on_click(lambda _: self.step_once())
            self.pace = gui.add_dropdown("Pace", tuple(PACES), initial_value="real time")
            self.follows = gui.add_checkbox("Camera follows", True)
            self.follows.on_update(lambda _: setattr(self.scene, "camera_tracking_enabled", self.follows.value))
            self.speed = gui.add_markdown("")
        self.server.scene.on_pointer_event("click")(self._clicked)
        self.server.on_client_connect(self._welcome)

    def _welcome(self, client: "viser.ClientHandle") -> None:
        """Let a visitor look at the robot from the side; the scene moves with it where the camera follows."""
        x, y = (0.0, 0.0) if self.follows.value else self.session.status().place
        client.camera.position, client.camera.look_at = (x + 2.5, y - 3.5, 1.2), (x, y, 0.0)

    def tell(self, words: str) -> None:
        """Tell the robot; what was said joins the history."""
        if not words.strip():
            return
        self.session.tell(words)
        if words not in self._history:
            self._history = [words, *self._history][:_KEPT]
            self.history.options = ("nothing yet", *(entry for entry in self._history if entry))

    def _again(self, words: str, nothing: str) -> None:
        if words != nothing:
            self.tell(words)

    def enter(self, task: str) -> None:
        """Show another world."""
        self.session.enter(task)
        self._draw()

    def change(self) -> None:
        """Load the robot, or change the ground, as the sliders say."""
        self.session.change(Shift(payload=self.payload.value, friction=self.friction.value))

    def step_once(self) -> None:
        """Make one control step while time stands."""
        self._steps_asked += 1

    def _clicked(self, event: Any) -> None:
        """Put the target where the floor, or the height that the target has, was clicked."""
        goal = self.session.goal
        if goal is None:
            return
        height = float(goal[2]) if len(goal) > 2 else 0.0
        origin = np.asarray(event.ray_origin) - np.asarray(self.scene.fixed_bodies_frame.position)
        ray = np.asarray(event.ray_direction)
        if abs(ray[2]) < 1e-6 or (along := (height - origin[2]) / ray[2]) <= 0:
            return
        place = origin + along * ray
        self.session.place_goal(float(place[0]), float(place[1]), height)

    def _draw(self) -> None:
        """Build the scene of the present world anew."""
        with self.session.lock:
            self.server.scene.reset()
            self.scene = ViserMujocoScene(self.server, self.session.looks, num_envs=1)
            self.scene.camera_tracking_enabled = self.follows.value

    def show(self, status: Status) -> None:
        """Draw the robot as it is, and say how things stand."""
        self.scene.update_from_mjdata(self.session.drawn())
        if self._ran % _SAID == 0:
            self.said.content = said(status)
            self.weights.content = bars(status.weights)
            self.speed.content = f"{self._rate:.0f} control steps per second, {self.dropped} dropped"

    def run(self, seconds: float | None = None) -> None:
        """Let the robot live at 50 control steps a second, for ever or so many seconds of the clock."""
        begun = due = counted = time.perf_counter()
        steps = 0
        while seconds is None or time.perf_counter() - begun < seconds:
            if self.paused.value and not self._steps_asked:
                time.sleep(1 / CONTROL_HZ)
                due = time.perf_counter()
                continue
            self._steps_asked = max(0, self._steps_asked - 1)
            status = self.session.step()
            self._ran += 1
            steps += 1
            if self._ran % _SHOWN == 0 or self.paused.value:
                self.show(status)
            due += 1 / (CONTROL_HZ * PACES[self.pace.value])
            now = time.perf_counter()
            if now - counted > 1.0:
                self._rate, counted, steps = steps / (now - counted), now, 0
            if now < due:
                time.sleep(due - now)
            elif now - due > _BEHIND:
                self.dropped += int((now - due) * CONTROL_HZ)
                due = now


def said(status: Status) -> str:
    """How things stand, in Markdown; what a visitor typed is shown as text."""
    lines = [f"**{_text(status.instruction) or 'told nothing yet'}**"]
    marks = {"done": "✓", "at work": "▶", "waits": "·"}
    lines += [f"{marks.get(step.state, '✗')} {_text(step.text)} ({step.skill}): {step.state}" for step in status.plan]
    if status.verdict and status.instruction:
        lines.append(f"**{_text(status.verdict)}**")
    if status.refused:
        lines.append(f"refused: {_text(status.refused)}")
    if status.fallen:
        lines.append("It lies on the floor and will begin anew.")
    x, y = status.place
    lines.append(f"at ({x:.2f}, {y:.2f}) m, heading {status.heading:.0f}°, {status.speed:.2f} m/s")
    return "\n\n".join(lines)


def bars(weights: dict[str, float]) -> str:
    """Weights of the skills as bars, the heaviest first, in Markdown."""
    rows = sorted(weights.items(), key=lambda item: -item[1])
    return "\n\n".join(f"`{'█' * round(20 * weight):<20}` {name} {weight:.2f}" for name, weight in rows)


def _text(words: str) -> str:
    """Words without the marks of Markdown and HTML."""
    return "".join("\\" + sign if sign in "\\`*_{}[]()<>#+-!|" else sign for sign in printable(words))


def serve(session: Session, host: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Args:
        session: the robot.
        host: address to listen at.
        port: the first to try.

    Raises:
        BadInput: nobody can listen there.
    """
    try:
        with socket.socket() as trial:
            trial.bind((host, 0))
    except OSError as error:
        raise BadInput(f"--host {shown(host)}: {error.strerror or error}") from error
    if not ip_address(socket.gethostbyname(host)).is_loopback:
        print(f"mwl: {host} is not this machine alone; whoever reaches it can tell the robot", file=sys.stderr)
    server = viser.ViserServer(host=host, port=port, verbose=False)
    print(f"mwl playground: http://{host}:{server.get_port()} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    try:
        Page(session, server).run()
    finally:
        server.stop()
