"""What it takes to move a store into a cluster of three and out again, by the commands for that.

python -m benchmarks.copying [STREAMERS]

The import is killed with -9 when a third of the streamers are there, and said again. Told are the time, the processor
time and the most memory of each command, the memory of the servers, the calls that took longer than 50 ms of a server's
time, and whether the second copy says what the first one does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from benchmarks import scale
from benchmarks.store import DAY, LIVED, copy_to, live_a_year
from livectl import redis_client
from livectl.address import Address
from livectl.live.cells import Cells, target_place
from livectl.live.store import Store
from livectl.live.store_copies import TARGETS_KEY
from tests.support.redis_cluster import redis_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAMERS = 100_000
SESSIONS = 5
NAMED, TOLD = 20, 200  # one streamer in so many has a name that was looked up; one in so many was told of
LOOK_SECONDS = 0.2
NODE_TIMEOUT_MS = 15_000  # of a machine that others use too: no node is to be taken for dead
MEBIBYTE = 1024 * 1024


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    seconds: float
    cpu: float
    memory: float  # the most, in MiB


def main(count: int) -> int:
    options = (
        "--cluster-node-timeout",
        str(NODE_TIMEOUT_MS),
        "--slowlog-log-slower-than",
        str(scale.LONGEST_MS * 1000),
    )
    with (
        tempfile.TemporaryDirectory(prefix="lv-") as name,
        scale.server() as (one, socket),
        redis_cluster(Path(name) / "nodes", options=options) as cluster,
    ):
        for node in cluster.primaries:
            scale.be_urgent(node.process.pid)
        folder, nodes = Path(name), [node.client() for node in cluster.primaries]
        fill(one, count)
        print(f"{count:,} streamers of {SESSIONS} sessions: one server has {used_memory(one)}", flush=True)
        here, there = f"redis+socket://{socket}?virtual_host=0", cluster.url
        tell("export", run(folder, here, "export", "first"), folder / "first")
        with redis_client.store_client(Address.parse_store(there)) as client:
            killed = run(folder, there, "import", "first", until=lambda: count_followed(client) >= count / 3)
            tell(f"import, killed with {count_followed(client):,} there", killed)
        tell("import again", run(folder, there, "import", "first"))
        print(f"the nodes have {', '.join(map(used_memory, nodes))}")
        tell("export of the cluster", run(folder, there, "export", "second"), folder / "second")
        tell("check", run(folder, there, "check"))
        for client in (one, *nodes):
            scale.print_slow_calls(client)
        lost, invented = compare(folder / "first", folder / "second")
    print(f"of the first copy {lost} parts are not in the second, which has {invented} others")
    return lost + invented


def fill(client: Any, count: int) -> None:
    """Everybody has a past, some are live, a target has been told of some."""
    names = [f"u{number:07}" for number in range(count)]
    store = Store(client)
    store.prepare()
    store.set_followed(map(scale.named, names), scale.START)
    live_a_year(store, names[:LIVED], Random(7), SESSIONS)
    copy_to(client, names)
    scale.record(store, names, scale.START + 400 * DAY, is_live=scale.is_live)
    store.save_aliases("bench", {f"Name {name}": name for name in names[::NAMED]})
    client.hset(TARGETS_KEY, "phone", "here")
    client.hset(f"{target_place('phone')}state", mapping={"cursor": store.changes(limit=TOLD)[-1].number, "sent": 9})
    client.zadd(f"{target_place('phone')}told", {f"bench/{name}/1/live": scale.START for name in names[::TOLD]})


def run(folder: Path, store: str, word: str, *words: str, until: Callable[[], bool] | None = None) -> Ended:
    """A command of `livectl store`; with `until` it is killed when that is so."""
    environ = {
        **os.environ,
        "LIVECTL_STORE": store,
        "LIVECTL_BROKER": "redis://127.0.0.1:1",
        "LIVECTL_HOME": str(folder),
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "livectl", "--quiet", "store", word, *words], cwd=folder, env=environ
    )
    memory = 0.0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        memory = peak_memory(process.pid) or memory
        if until and until():
            process.kill()
            break
        time.sleep(LOOK_SECONDS)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, time.monotonic() - began, used.ru_utime + used.ru_stime, memory)


def peak_memory(pid: int) -> float:
    """In MiB. What the system tells of a process that has ended counts ours in, from which it was made."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024 if "VmHWM:" in status else 0.0


def tell(what: str, ended: Ended, file: Path | None = None) -> None:
    size = f", {file.stat().st_size / MEBIBYTE:.0f} MiB of file" if file else ""
    cost = f"{ended.seconds:.0f} s, {ended.cpu:.1f} CPU-s, at most {ended.memory:.0f} MiB{size}"
    print(f"{what:<40}exit {ended.code}, {cost}", flush=True)


def used_memory(client: Any) -> str:
    return f"{client.info('memory')['used_memory'] / MEBIBYTE:.0f} MiB"


def count_followed(client: Any) -> int:
    pipe = client.pipeline(transaction=False)
    for cell in Cells(client, changing=True).possible("bench"):
        pipe.hlen(f"{cell.place}follows")
    return sum(pipe.execute())


def compare(first: Path, second: Path) -> tuple[int, int]:
    """How many parts of the first copy are not in the second, and of the second not in the first."""
    parts = [{blake2b(part, digest_size=16).digest() for part in read_parts(path)} for path in (first, second)]
    return len(parts[0] - parts[1]), len(parts[1] - parts[0])


def read_parts(path: Path) -> Iterator[bytes]:
    """What a copy says: its lines, and each field of those that have some, in whichever order."""
    with path.open("rb") as file:
        next(file)
        for text in file:
            line = msgspec.json.decode(text)
            if fields := line.get("fields") or line.get("scores"):
                for name, value in fields.items():
                    yield msgspec.json.encode((line["key"], name, value))
            elif line["kind"] != "end":
                yield text


if __name__ == "__main__":
    sys.exit(int(main(int(sys.argv[1]) if len(sys.argv) > 1 else STREAMERS) > 0))
