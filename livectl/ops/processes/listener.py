"""Listens at a TCP port, and says who has it where that cannot be."""

from __future__ import annotations

import errno
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from livectl.errors import UsageError
from livectl.ops.processes import process

BACKLOG = 256
LISTENING = "0A"  # the state of a socket in /proc/net/tcp
PROC_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
MAX_LSOF_S = 3.0


def listen(host: str, port: int, hint: str) -> socket.socket:
    """A socket that listens at this address. UsageError, with this hint, when the address or port cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except BaseException as error:
        listener.close()
        if isinstance(error, OSError):
            raise UsageError(*_explain(host, port, error, hint)) from error
        raise
    return listener


def find_owner(port: int) -> str:
    """Who listens at this port, as far as this user may know: `python3 (pid 123)`; empty where nobody tells."""
    pid = _owner_from_proc(port) if sys.platform == "linux" else _owner_from_lsof(port)
    if pid is None:
        return ""
    name = process.name_of(pid)
    return f"{name} (pid {pid})" if name else f"pid {pid}"


def _explain(host: str, port: int, error: OSError, hint: str) -> tuple[str, str]:
    """What went wrong, and what to do."""
    if error.errno == errno.EADDRINUSE:
        owner = find_owner(port)
        return f"port {port} on {host} is in use{f' by {owner}' if owner else ''}", hint
    if error.errno == errno.EACCES:
        return f"port {port} is not for this user: those below 1024 are the system's", hint
    return f"nothing can listen at {host}, port {port}: {error.strerror or error}", hint


def _owner_from_proc(port: int) -> int | None:
    inodes = set()
    for table in PROC_TABLES:
        with suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            inodes |= {row[9] for row in rows if row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    wanted = {f"socket:[{inode}]" for inode in inodes - {"0"}}
    for folder in Path("/proc").glob("[0-9]*/fd") if wanted else ():
        with suppress(OSError):  # it has ended, or is another user's
            for descriptor in folder.iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in wanted:
                        return int(folder.parent.name)
    return None


def _owner_from_lsof(port: int) -> int | None:
    argv = ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fp"]
    with suppress(OSError, subprocess.TimeoutExpired):
        listed = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=MAX_LSOF_S).stdout
        if match := re.search(r"^p(\d+)", listed, re.MULTILINE):
            return int(match[1])
    return None
