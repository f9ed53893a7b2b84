"""Many requests at once over curl's multi interface, on connections that outlive them."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pycurl

if TYPE_CHECKING:
    from livectl.live.network.transfer import Transfer

WIDTH = 256  # transfers at once: 10,000 answers of 50 ms in two seconds
MULTIPLEX = 2  # CURLPIPE_MULTIPLEX: several requests on one HTTP/2 connection
IDLE_CONNECTIONS = 256
LONGEST_NAP = 0.1  # seconds without a look at what select does not see, such as names being looked up
BLIND_NAP = 0.005  # seconds, where select sees nothing: no connection yet, or only descriptors beyond its 1,024


class Wire:
    """A curl multi handle. One thread at a time."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, MULTIPLEX)
        self._multi.setopt(pycurl.M_MAXCONNECTS, IDLE_CONNECTIONS)
        self._spare: list[Any] = []
        self._waiting: deque[Transfer] = deque()
        self._running: dict[Any, Transfer] = {}
        self._done: list[Transfer] = []

    def send(self, transfer: Transfer) -> None:
        self._waiting.append(transfer)

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting or self._done)

    def receive(self) -> list[Transfer]:
        """Those that are done; waits for the first."""
        self._fill()
        while self._running and not self._done:
            self._multi.perform()
            self._collect()
            self._fill()
            if self._running and not self._done:
                self._nap()
        done, self._done = self._done, []
        return done

    def drop(self) -> None:
        """Gives up what is on its way."""
        for handle in self._running:
            self._multi.remove_handle(handle)
            self._spare.append(handle)
        self._running.clear()
        self._waiting.clear()
        self._done.clear()

    def close(self) -> None:
        self.drop()
        for handle in self._spare:
            handle.close()
        self._multi.close()

    def _nap(self) -> None:
        began = time.monotonic()
        if self._multi.select(LONGEST_NAP) <= 0 and time.monotonic() - began < BLIND_NAP:
            time.sleep(BLIND_NAP)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < WIDTH:
            self._start(self._waiting.popleft())

    def _start(self, transfer: Transfer) -> None:
        handle = self._spare.pop() if self._spare else pycurl.Curl()
        if transfer.start(handle):
            self._running[handle] = transfer
            self._multi.add_handle(handle)
        else:
            self._spare.append(handle)
            self._done.append(transfer)

    def _collect(self) -> None:
        left = 1
        while left:
            left, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._end(handle, 0, "")
            for handle, error, message in failed:
                self._end(handle, error, message)

    def _end(self, handle: Any, error: int, message: str) -> None:
        self._multi.remove_handle(handle)
        transfer = self._running.pop(handle)
        finished = transfer.finish(handle, error, message)
        self._spare.append(handle)
        if finished:
            self._done.append(transfer)
        else:
            self._start(transfer)
