"""The page of the playground: the robot in its world, an instruction box, and what it makes of the words."""

import threading
import time
from collections import deque
from functools import partial
from typing import Any

import numpy as np

from mwl.core.errors import MissingDependency
from mwl.playground import panels
from mwl.playground.session import Session, Status
from mwl.robot import CONTROL_HZ
from mwl.simulation import Shift

try:
    import viser
    from mjviser import ViserMujocoScene
    from mjviser.conversions import is_fixed_body, merge_geoms
except ImportError as error:
    raise MissingDependency("the playground needs viser and mjviser: pip install 'mwl[viewer]'") from error

EXAMPLES = (
    "walk two metres, turn left, walk three metres, then stop",
    "go backwards slowly for 2.5 seconds",
    "walk in a circle",
    "turn around and come back",
    "walk over to the target and touch it",
    "stop",
)
PACES = {"real time": 1.0, "half": 0.5, "a quarter": 0.25}
PUSHES = {"forwards": 0.0, "to its left": 90.0, "to its right": -90.0, "backwards": 180.0}  # degrees from its heading
AIMS = ("moves the target", "pushes the robot there")
_CHOOSE, _NOTHING = "choose one", "nothing yet"
_SHOWN = 2  # control steps per picture: 25 a second
_SAID = 10  # control steps between two refreshes of the texts
_BEHIND = 0.5  # s by which the robot may be late before time is let go
_KEPT = 8  # instructions that the history shows
_DRAWN_BACK = 100  # refreshes of the texts that the chart goes back: 20 s
_GROUND = 0.02  # m above the floor, where the way is drawn


class Page:
    """What visitors see and press.

    Args:
        session: the robot.
        viewer: whose page it is: all visitors' of a server, or one visitor's own.
    """

    def __init__(self, session: Session, viewer: "viser.ViserServer | viser.ClientHandle") -> None:
        self.session, self.viewer = session, viewer
        self.dropped = 0  # control steps that were not made in time
        self.rate = 0.0  # control steps in the last second
        self.gone = threading.Event()  # set once nobody looks any more
        self._steps_asked = 0
        self._history: list[str] = []
        self._ran = 0
        self._weights: deque[tuple[float, dict[str, float]]] = deque(maxlen=_DRAWN_BACK)
        self._names: list[str] = []
        self._controls()
        self._acts()
        self._draw()

    def _controls(self) -> None:
        gui = self.viewer.gui
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.set_panel_label("mwl playground")
        with gui.add_form(None) as form:
            self.words: Any = gui.add_text("Tell it", "", hint="what it shall do, in plain words; Enter sends it")
            gui.add_button("Tell", hint="it takes up new words at once").on_click(lambda _: form.submit())
        form.on_submit(lambda _: self._submitted())
        self.examples = gui.add_dropdown("Examples", (_CHOOSE, *EXAMPLES), initial_value=_CHOOSE)
        self.examples.on_update(lambda _: self._again(self.examples))
        self.history = gui.add_dropdown("History", (_NOTHING,), initial_value=_NOTHING)
        self.history.on_update(lambda _: self._again(self.history))
        self.said = gui.add_html("")
        gui.add_button("Begin anew").on_click(lambda _: self.session.reset())
        tabs = gui.add_tab_group()
        with tabs.add_tab("World"):
            self.task = gui.add_dropdown(
                "Scene", tuple(sorted(self.session.tasks)), initial_value=self.session.status().task
            )
            self.task.on_update(lambda _: self.enter(self.task.value))
            self.payload = gui.add_slider("Load, kg", 0.0, 30.0, 1.0, 0.0)
            self.friction = gui.add_slider("Friction", 0.1, 1.5, 0.05, 1.0)
            for slider in (self.payload, self.friction):
                slider.on_update(lambda _: self.change())
        with tabs.add_tab("Push"):
            self.strength = gui.add_slider("Push, m/s", 0.1, 1.5, 0.1, 0.5)
            self.aim = gui.add_dropdown("A click", AIMS, initial_value=AIMS[0], hint="what a click on the floor does")
            for name, angle in PUSHES.items():
                gui.add_button(f"Push {name}").on_click(partial(self._pushed, angle))
        with tabs.add_tab("Time and camera"):
            self.paused = gui.add_checkbox("Pause", False)
            gui.add_button("One step").on_click(lambda _: self.step_once())
            self.pace = gui.add_dropdown("Pace", tuple(PACES), initial_value="real time")
            self.follows = gui.add_checkbox("Camera follows", True)
            self.follows.on_update(lambda _: setattr(self.scene, "camera_tracking_enabled", self.follows.value))
            self.ghosted = gui.add_checkbox("Ghost", False, hint="the pose that the reference action asks for")
            self.ghosted.on_update(lambda _: self._show_ghost())
        self.speed = gui.add_html("")
        self.viewer.scene.on_pointer_event("click")(self._clicked)

    def _acts(self) -> None:
        """The panel that says who acts, and why."""
        panel = self.viewer.gui.add_panel()
        with panel.add_tab("Who acts"):
            self.weights = self.viewer.gui.add_html("")
            empty = np.zeros(2)
            self.chart = self.viewer.gui.add_uplot(
                (empty, empty),
                ({}, {}),
                height=140,
                scales={"x": {"time": False}, "y": {"range": (-0.03, 1.03)}},
                legend={"show": False},
                padding=(12, 12, 0, 0),
            )
            self.expected = self.viewer.gui.add_html("")
        panel.float(x=15, y=15, width=320)

    def welcome(self, client: "viser.ClientHandle") -> None:
        """Let a visitor look at the robot from the side; the scene moves with it where the camera follows."""
        x, y = (0.0, 0.0) if self.follows.value else self.session.status().place
        client.camera.position, client.camera.look_at = (x + 2.5, y - 3.5, 1.2), (x, y, 0.0)

    def _submitted(self) -> None:
        words = self.words.value
        self.words.value = ""
        self.tell(words)

    def tell(self, words: str) -> None:
        """Tell the robot; what was said joins the history."""
        if not words.strip():
            return
        self.session.tell(words)
        if words not in self._history:
            self._history = [words, *self._history][:_KEPT]
            self.history.options = (_CHOOSE, *self._history)

    def _again(self, chosen: Any) -> None:
        """Tell what was chosen from a list, which is then ready to be chosen from again."""
        words, heading = chosen.value, chosen.options[0]
        if words != heading:
            chosen.value = heading
            self.tell(words)

    def enter(self, task: str) -> None:
        """Show another world."""
        if task == self.session.status().task:
            return
        self.session.enter(task)
        self._draw()

    def change(self) -> None:
        """Load the robot, or change the ground, as the sliders say."""
        self.session.change(Shift(payload=self.payload.value, friction=self.friction.value))

    def push(self, angle: float) -> None:
        """Push the robot, degrees to the left of where it faces."""
        self.session.push(self.strength.value, self.session.status().heading + angle)

    def _pushed(self, angle: float, event: object) -> None:
        self.push(angle)

    def step_once(self) -> None:
        """Make one control step while time stands."""
        self._steps_asked += 1

    def _clicked(self, event: Any) -> None:
        """Put the target where the floor, or the height that the target has, was clicked; or push the robot there."""
        goal, pushes = self.session.goal, self.aim.value != AIMS[0]
        height = float(goal[2]) if goal is not None and len(goal) > 2 and not pushes else 0.0
        origin = np.asarray(event.ray_origin) - np.asarray(self.scene.fixed_bodies_frame.position)
        ray = np.asarray(event.ray_direction)
        if abs(ray[2]) < 1e-6 or (along := (height - origin[2]) / ray[2]) <= 0:
            return
        x, y, _ = (origin + along * ray).tolist()
        if pushes:
            off = np.array([x, y]) - self.session.status().place
            self.session.push(self.strength.value, float(np.degrees(np.arctan2(off[1], off[0]))))
        elif goal is not None:
            self.session.place_goal(x, y, height)

    def _draw(self) -> None:
        """Build the scene of the present world anew."""
        with self.session.lock:
            self.viewer.scene.reset()
            model = self.session.looks
            self.scene = ViserMujocoScene(self.viewer, model, num_envs=1)  # type: ignore[arg-type]
            self.scene.camera_tracking_enabled = self.follows.value
            self.way = self.viewer.scene.add_line_segments(
                "/fixed_bodies/way", np.zeros((1, 2, 3)), (224, 49, 49), thickness=0.03, visible=False
            )
            self._ghost: dict[int, Any] = {}
            self._show_ghost()

    def _show_ghost(self) -> None:
        """Make the ghost where it is wanted for the first time, and show or hide it."""
        with self.session.lock:
            model = self.session.looks
            if self.ghosted.value and not self._ghost:
                for body in range(model.nbody):
                    drawn = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body and model.geom_group[g] < 3]
                    drawn = [g for g in drawn if model.geom_rgba[g, 3] > 0]
                    if drawn and not is_fixed_body(model, body) and model.body_mocapid[body] < 0:
                        mesh = merge_geoms(model, drawn)
                        self._ghost[body] = self.viewer.scene.add_mesh_simple(
                            f"/ghost/{body}", mesh.vertices, mesh.faces, color=(28, 126, 214), opacity=0.35
                        )
            for handle in self._ghost.values():
                handle.visible = self.ghosted.value

    def show(self, status: Status) -> None:
        """Draw the robot as it is, and say how things stand."""
        with self.session.lock, self.viewer.atomic():
            self.scene.update_from_mjdata(self.session.drawn())
            if self.ghosted.value and self._ghost:
                posed, offset = self.session.ghost(), np.asarray(self.scene.fixed_bodies_frame.position)
                for body, handle in self._ghost.items():
                    handle.position, handle.wxyz = posed.xpos[body] + offset, posed.xquat[body]
        if self._ran % _SAID == 0 or self.paused.value:
            self._say(status)

    def _say(self, status: Status) -> None:
        self.said.content = panels.said(status, self.session.alone)
        self.weights.content = panels.weighed(status)
        self.expected.content = panels.expected(status.expected)
        self.speed.content = panels.paced(self.rate, self.dropped)
        self._chart(status)
        self.way.visible = len(status.way) > 1
        if self.way.visible:
            points = np.column_stack([status.way, np.full(len(status.way), _GROUND)])
            self.way.points = np.stack([points[:-1], points[1:]], axis=1)

    def _chart(self, status: Status) -> None:
        """Who acted in the last seconds."""
        weights = status.fused or status.weights
        if self._weights and status.seconds <= self._weights[-1][0]:
            self._weights.clear()  # it began anew
        self._weights.append((status.seconds, weights))
        if list(weights) != self._names and weights:
            self._names = list(weights)
            lines = [{"stroke": panels.colour(place), "width": 2} for place in range(len(self._names))]
            self.chart.series = ({}, *lines)  # type: ignore[arg-type]
        if self._names:
            rows = [[second, *(w.get(name, 0.0) for name in self._names)] for second, w in self._weights]
            self.chart.data = tuple(np.array(rows, dtype=np.float64).T.copy())

    def run(self, seconds: float | None = None) -> None:
        """Let the robot live at 50 control steps a second, until nobody looks or for so many seconds of the clock."""
        begun = due = counted = time.perf_counter()
        steps = 0
        while not self.gone.is_set() and (seconds is None or time.perf_counter() - begun < seconds):
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
                self.rate, counted, steps = steps / (now - counted), now, 0
            if now < due:
                time.sleep(due - now)
            elif now - due > _BEHIND:
                self.dropped += int((now - due) * CONTROL_HZ)
                due = now
