"""Serves the page: one robot for all visitors, or one each for some."""

import asyncio
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import torch

from mwl.core.errors import BadInput
from mwl.core.files import shown
from mwl.core.terminal import tell
from mwl.playground.entrance import Entrance, listen, make_token
from mwl.playground.page import Page, viser
from mwl.playground.session import Session
from mwl.simulation.rendering.scene import quiet_server

MOST_ROBOTS = 8
FULL = "All robots of this playground are taken. This page goes on by itself as soon as one is free."


class Visitors:
    """Gives each visitor a robot of their own while there are some.

    Args:
        make: a new robot.
        robots: how many there are.
    """

    def __init__(self, make: Callable[[], Session], robots: int) -> None:
        self._free = [make() for _ in range(robots)]
        self._pages: dict[int, Page] = {}
        self._waiting: dict[int, viser.ClientHandle] = {}
        self._left: set[int] = set()
        self._lock = threading.Lock()
        self._threads: dict[int, threading.Thread] = {}
        self._closed = False
        self._failed: list[Exception] = []
        self._over = threading.Event()

    def come(self, client: "viser.ClientHandle") -> None:
        """Give a visitor a free robot, or let them wait."""
        with self._lock:
            if not self._free:
                self._waiting[client.client_id] = client
                client.gui.add_markdown(FULL)
                return
            session = self._free.pop()
        client.gui.reset()
        session.reset()
        page = self._pages[client.client_id] = Page(session, client)
        page.welcome(client)
        if self._closed:
            return
        if client.client_id in self._left:
            page.gone.set()  # before the page was there
        self._threads[client.client_id] = thread = threading.Thread(target=self._live, args=(page, client), daemon=True)
        thread.start()

    def go(self, client: "viser.ClientHandle") -> None:
        """Take the robot back of a visitor who has gone."""
        self._left.add(client.client_id)
        self._waiting.pop(client.client_id, None)
        if page := self._pages.pop(client.client_id, None):
            page.gone.set()

    def close(self) -> None:
        """Let nobody live on."""
        self._closed = True
        while self._threads:
            for page in list(self._pages.values()):
                page.gone.set()
            for thread in list(self._threads.values()):
                thread.join()

    def wait(self) -> None:
        """Wait until one of the robots can't live on.

        Raises:
            Exception: why.
        """
        self._over.wait()
        raise self._failed[0]

    def _live(self, page: Page, client: "viser.ClientHandle") -> None:
        try:
            page.run()
        except Exception as error:
            self._failed.append(error)
            self._over.set()
        with self._lock:
            self._free.append(page.session)
            following = next(iter(self._waiting), None)
            waiting = None if following is None else self._waiting.pop(following)
        if waiting is not None:
            self.come(waiting)
        self._threads.pop(client.client_id, None)


def serve(make: Callable[[], Session], host: str, port: int | None, token: bool = False, robots: int = 0) -> None:
    """Serve the page until Ctrl-C, see `served`."""
    torch.set_num_threads(1)  # a robot's small batches gain nothing from more, which wait for cores the browser has
    with served(make, host, port, token, robots) as (address, live):
        print(f"mwl playground: {address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        live()


@contextmanager
def served(
    make: Callable[[], Session], host: str, port: int | None, token: bool = False, robots: int = 0
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Let visitors come; gives the page's whole address, and a function in which the robots live.

    Args:
        make: a robot.
        host: address to listen at.
        port: see `mwl.playground.entrance.listen`.
        token: ask visitors for a secret, see `mwl.playground.entrance.make_token`.
        robots: visitors that get one of their own; 0: all see the same.

    Raises:
        BadInput: nobody can listen there, or what `make` raises.
    """
    if not 0 <= robots <= MOST_ROBOTS:
        raise BadInput(f"--robots {robots}: at most {MOST_ROBOTS} visitors can have one of their own")
    secret = make_token() if token else None
    with listen(host, port) as bound:
        ip = ip_address(bound.getsockname()[0])
        if not ip.is_loopback:
            who = "who knows the token can tell the robot" if secret else "without --token none of them is let in"
            tell(f"{shown(host)} can be reached from other machines; {who}")
        session = None if robots else make()
        visitors = Visitors(make, robots)
        warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")  # to one who has just gone
        with quiet_server() as server:
            if session is None:
                server.on_client_connect(visitors.come)
                server.on_client_disconnect(visitors.go)
                live = visitors.wait
            else:
                page = Page(session, server)
                server.on_client_connect(page.welcome)
                live = page.run
            entrance = Entrance(bound, server.get_port(), secret)
            asyncio.run_coroutine_threadsafe(entrance.open(), server.get_event_loop()).result()
            named = "localhost" if ip.is_unspecified else f"[{host}]" if ":" in host else host
            try:
                yield f"http://{named}:{entrance.port}/" + (f"?token={secret}" if secret else ""), live
            finally:
                visitors.close()
