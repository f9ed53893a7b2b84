"""Many requests at once over curl's multi interface, on connections that outlive them."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pycurl

if TYPE_CHECKING:
    from livectl.live.network.transfer import Transfer

MAX_TRANSFERS = 256  # transfers at once: 10,000 answers of 50 ms in two seconds
CURLPIPE_MULTIPLEX = 2  # CURLPIPE_MULTIPLEX: several requests on one HTTP/2 connection
MAX_IDLE_CONNECTIONS = 256
MAX_WAIT_S = 0.1  # seconds without a look at what select does not see, such as names being looked up
BLIND_WAIT_S = 0.005  # seconds, where select sees nothing: no connection yet, or only descriptors beyond its 1,024


class CurlPool:
    """A curl multi handle. One thread at a time."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, CURLPIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAXCONNECTS, MAX_IDLE_CONNECTIONS)
        self._idle_handles: list[Any] = []
        self._waiting: deque[Transfer] = deque()
        self._running: dict[Any, Transfer] = {}
        self._finished: list[Transfer] = []

    def send(self, transfer: Transfer) -> None:
        self._waiting.append(transfer)

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting or self._finished)

    def receive(self) -> list[Transfer]:
        """Those that are done; waits for the first."""
        self._start_waiting()
        while self._running and not self._finished:
            self._multi.perform()
            self._collect_finished()
            self._start_waiting()
            if self._running and not self._finished:
                self._wait()
        finished, self._finished = self._finished, []
        return finished

    def cancel_all(self) -> None:
        """Gives up what is on its way."""
        for handle in self._running:
            self._multi.remove_handle(handle)
            self._idle_handles.append(handle)
        self._running.clear()
        self._waiting.clear()
        self._finished.clear()

    def close(self) -> None:
        self.cancel_all()
        for handle in self._idle_handles:
            handle.close()
        self._multi.close()

    def _wait(self) -> None:
        started = time.monotonic()
        if self._multi.select(MAX_WAIT_S) <= 0 and time.monotonic() - started < BLIND_WAIT_S:
            time.sleep(BLIND_WAIT_S)

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < MAX_TRANSFERS:
            self._start_transfer(self._waiting.popleft())

    def _start_transfer(self, transfer: Transfer) -> None:
        handle = self._idle_handles.pop() if self._idle_handles else pycurl.Curl()
        if transfer.start(handle):
            self._running[handle] = transfer
            self._multi.add_handle(handle)
        else:
            self._idle_handles.append(handle)
            self._finished.append(transfer)

    def _collect_finished(self) -> None:
        remaining = 1
        while remaining:
            remaining, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._finish_transfer(handle, 0, "")
            for handle, error, message in failed:
                self._finish_transfer(handle, error, message)

    def _finish_transfer(self, handle: Any, error: int, message: str) -> None:
        self._multi.remove_handle(handle)
        transfer = self._running.pop(handle)
        finished = transfer.finish(handle, error, message)
        self._idle_handles.append(handle)
        if finished:
            self._finished.append(transfer)
        else:
            self._start_transfer(transfer)
