"""A cluster, and what stands behind Sentinel, as `store:`: clients find the node that has a key, or say why not."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl import cluster_keys, redis_client, replicas
from livectl.address import Address
from livectl.doctor import checks_servers, collect_servers, collect_streamers
from livectl.doctor.facts import Facts
from livectl.errors import ServerAwayError, ServerError, SettingsError
from livectl.live import cells
from livectl.ops.processes import embedded_broker
from livectl.redis_cluster import ClusterConnection
from livectl.settings import Settings
from tests.services.test_live_commands import run
from tests.support.faulty_servers import certificate, redis_server, sees_a_replica, sentinel, speaks_tls
from tests.support.redis_cluster import redis_cluster
from tests.support.servers import free_port, waits
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from livectl.models import Finding
    from tests.support.redis_cluster import ClusterNode, RedisCluster

KEYS = [f"key{number}" for number in range(20)]
COUNT = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@pytest.fixture
def address(cluster: RedisCluster) -> Address:
    return Address.parse_store(cluster.url)


@pytest.fixture
def client(address: Address) -> Iterator[Any]:
    with redis_client.open_store(address) as opened:
        yield opened


def test_each_node_has_its_share_of_the_keys(cluster: RedisCluster, client: Any) -> None:
    for key in KEYS:
        client.set(key, key)
    owners = {cluster.owner(key).port for key in KEYS}
    assert owners == {node.port for node in cluster.primaries}
    assert client.mget([*KEYS, "none"]) == [*KEYS, None]
    assert client.exists(*KEYS) == client.delete(*KEYS, "none") == len(KEYS)


def test_the_small_client_asks_the_node_that_has_the_key(address: Address) -> None:
    with redis_client.connect(address) as connection:
        assert connection.execute_all([("SET", key, key) for key in KEYS]) == ["OK"] * len(KEYS)
        assert connection.execute("MGET", *KEYS, "none") == [*map(str.encode, KEYS), None]
        assert connection.execute("EVAL", COUNT, 1, "livectl:numbers", 3) == 3
        assert connection.execute("DEL", *KEYS, "none") == len(KEYS)
        assert connection.execute("EXISTS", "livectl:{numbers}") == 1
        assert len(connection.execute("TIME")) == 2


def test_a_pipeline_goes_to_all_nodes_and_scripts_come_along(client: Any) -> None:
    script = client.register_script(COUNT)
    with client.pipeline(transaction=False) as pipe:
        for key in KEYS:
            pipe.set(key, 1)
            script(keys=[key], args=[2], client=pipe)
        pipe.mget(KEYS)
        pipe.hgetall("none")
        *counts, values, mapping = pipe.execute()
    assert counts == [True, 3] * len(KEYS)
    assert (values, mapping) == (["3"] * len(KEYS), {})
    assert script(keys=["livectl:beat:a"], args=[5]) == 5
    assert client.get("livectl:{beat}:a") == client.get("livectl:beat:a") == "5"


def test_a_refusal_in_a_pipeline_is_its_own(client: Any) -> None:
    client.hset("a", "b", "c")
    pipe = client.pipeline()
    pipe.get("a").set("b", 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        pipe.execute()
    pipe.get("a").get("b")
    refusal, value = pipe.execute(raise_on_error=False)
    assert isinstance(refusal, redis.ResponseError)
    assert value == "1"


def test_a_client_connects_with_its_first_command_and_waits_for_the_store() -> None:
    address = Address.parse_store(f"redis+cluster://127.0.0.1:{free_port()}")
    with pytest.raises(ServerAwayError, match="no server answers") as away:
        redis_client.connect(address)
    assert away.value.hint.startswith("It is a node of the cluster")
    client: Any = redis_client.store_client(address)
    script = client.register_script(COUNT)
    for ask in (lambda: client.get("a"), lambda: script(keys=["a"]), client.time):
        with pytest.raises(redis.ConnectionError):
            ask()
    client.close()


def test_slots_that_move_are_followed(cluster: RedisCluster, address: Address, client: Any) -> None:
    """Also in the middle of it, when a node sends on whoever asks for what it has given away."""
    client.set("{k}1", "x")
    giver, taker = cluster.owner("{k}1"), other_node(cluster, "{k}1")
    with redis_client.connect(address) as connection:

        def assert_found() -> None:
            assert client.get("{k}1") == "x"
            assert client.pipeline().get("{k}1").get("{k}2").execute() == ["x", None]
            assert connection.execute_all([("GET", "{k}1"), ("GET", "{k}2")]) == [b"x", None]

        set_slot(taker, "IMPORTING", giver)
        set_slot(giver, "MIGRATING", taker)
        tell(giver, "MIGRATE", "127.0.0.1", taker.port, "{k}1", 0, 5_000)
        assert_found()
        for node in (taker, giver):
            set_slot(node, "NODE", taker)
        assert_found()
    tell(taker, "DEL", "{k}1")
    wait_until_agreed(cluster)  # a word of the taker's that is still on its way would count beside the giver's
    set_slot(giver, "IMPORTING", taker)
    for node in (giver, taker):
        set_slot(node, "NODE", giver)
    wait_until_agreed(cluster)


def test_nodes_that_send_each_other_what_is_asked(
    cluster: RedisCluster, address: Address, client: Any, tmp_path: Path
) -> None:
    giver, other = cluster.owner("{k}1"), other_node(cluster, "{k}1")
    set_slot(giver, "NODE", other)  # which knows nothing of it
    with redis_client.connect(address, trial_write=False) as connection:
        with pytest.raises(ServerError, match="send each other") as refused:
            connection.execute("GET", "{k}1")
        assert refused.value.hint
        assert connection.execute("PING") == "PONG"
    with pytest.raises(ServerError, match="send each other"), redis_client.explained(address):
        client.get("{k}1")
    set_slot(giver, "NODE", giver)
    for key in (cells.SHARDS_KEY, cluster_keys.CLOCK):
        giver, other = cluster.owner(key), other_node(cluster, key)
        set_slot(giver, "NODE", other, key)
        assert_refused(tmp_path, cluster.url, "send each other")
        unfit = collect_streamers.read_fitness(address, Settings(home=tmp_path, folder=tmp_path))
        assert "send each other" in unfit.problem
        assert unfit.cure
        set_slot(giver, "NODE", giver, key)


def test_slots_that_are_nobodys(cluster: RedisCluster, tmp_path: Path) -> None:
    owner = cluster.primaries[0]
    for node in cluster.primaries:
        tell(node, "CLUSTER", "DELSLOTS", 0)
    try:
        wait_for(lambda: "cluster_state:fail" in str(tell(owner, "CLUSTER", "INFO")), what="the cluster to fail")
        assert_refused(tmp_path, cluster.url, "no node for 1 of its 16,384 slots")
    finally:
        tell(owner, "CLUSTER", "ADDSLOTS", 0)
        wait_for(lambda: all(map(is_well, cluster.primaries)), what="the cluster to be well")


def test_a_node_that_throws_keys_away(cluster: RedisCluster, address: Address, tmp_path: Path) -> None:
    node = cluster.primaries[2]
    tell(node, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ServerError, match=f":{node.port}/0 of .* maxmemory-policy is allkeys-lru") as refused:
            redis_client.open_store(address)
        assert "noeviction" in refused.value.hint
        assert_refused(tmp_path, cluster.url, "throws keys away")
    finally:
        tell(node, "CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_doctor_looks_at_each_node_and_names_those_that_forget(cluster: RedisCluster, address: Address) -> None:
    evicting, lasting, other = cluster.primaries
    tell(evicting, "CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    tell(lasting, "CONFIG", "SET", "save", "900 1")
    try:
        facts = Facts(servers=(collect_servers.read_server("store", address),))
    finally:
        tell(evicting, "CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
        tell(lasting, "CONFIG", "SET", "save", "")

    def named(check: Callable[[Facts], Iterator[Finding]]) -> list[ClusterNode]:
        (finding,) = check(facts)
        return [node for node in cluster.primaries if f"redis://127.0.0.1:{node.port}/0: " in finding.evidence]

    assert named(checks_servers.check_eviction) == [evicting]
    assert named(checks_servers.check_persistence) == [evicting, other]
    (reached,) = checks_servers.check_reachable(facts)
    assert reached.evidence.endswith(", 3 of its 3 nodes answer")


def test_a_node_that_is_full(cluster: RedisCluster, address: Address) -> None:
    node = cluster.primaries[1]
    tell(node, "CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(ServerError, match="is full"):
            redis_client.open_store(address)
    finally:
        tell(node, "CONFIG", "SET", "maxmemory", "0")


def test_a_server_by_itself_is_no_cluster(store_url: str, cluster: RedisCluster, tmp_path: Path) -> None:
    with redis_server(tmp_path) as port, pytest.raises(ServerError, match="no node of a cluster") as refused:
        redis_client.open_store(f"redis+cluster://127.0.0.1:{port}")
    assert "without +cluster" in refused.value.hint
    words = {error_of(f"redis://127.0.0.1:{node.port}") for node in cluster.primaries}
    assert any("is a node of a cluster" in each for each in words)


def test_a_primary_that_dies_and_its_replica(tmp_path: Path) -> None:
    with redis_cluster(tmp_path / "nodes", replicas=1) as cluster:
        address = Address.parse_store(cluster.url)
        with redis_client.open_store(address) as opened:
            client: Any = opened
            client.set("k", "x")
            script = client.register_script(COUNT)
            script(keys=["{k}2"], args=[1])
            owner = cluster.owner("k")
            with redis_client.open_store(f"redis+cluster://127.0.0.1:{cluster.replicas[0].port}") as by_a_replica:
                assert by_a_replica.get("k") == "x"
            with owner.client() as primary:  # which hears of its replica by and by
                wait_for(lambda: confirmed(client, primary), what="a wait")
                assert waits(primary) == 1
            wait_for(
                lambda: known_ports(address) == {node.port for node in cluster.nodes}, what="all nodes to be known"
            )
            owner.kill()
            with pytest.raises(redis.ConnectionError):
                client.get("k")

            def answer() -> Any:
                with suppress(redis.RedisError):
                    return client.get("k")

            assert wait_for(answer, what="the replica") == "x"
            pipe = client.pipeline()
            script(keys=["{k}2"], args=[1], client=pipe)
            pipe.get("{k}2")
            assert pipe.execute() == [2, "2"]
            assert script(keys=["{k}2"], args=[1]) == 3

            def answer_to_the_small_client() -> Any:
                with suppress(ServerError), redis_client.connect(address) as connection:
                    return connection.execute("GET", "k")

            # A node that has not heard of it yet sends whoever asks to the one that is dead.
            assert wait_for(answer_to_the_small_client, what="the replica, as all nodes know it") == b"x"


def test_a_cluster_with_passwords_that_speaks_tls(tmp_path: Path) -> None:
    if not speaks_tls():
        pytest.skip("this redis-server knows no TLS")
    cert = certificate(tmp_path)
    with redis_cluster(tmp_path / "nodes", certificate=cert) as cluster:
        for node in cluster.primaries:
            tell(node, "ACL", "SETUSER", "livectl", "on", ">p@ss", "~livectl:*", "+@all", "-@dangerous", "+info")
        nodes = [f"localhost:{node.port}" for node in cluster.primaries]
        url = f"rediss+cluster://livectl:p%40ss@{','.join(nodes)}?ssl_ca_certs={cert}"
        with redis_client.open_store(url) as client:
            keys = [f"livectl:{key}" for key in KEYS]
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.set(key, key)
            assert pipe.execute() == [True] * len(keys)
            assert client.mget(keys) == keys
        assert "not trusted" in error_of(url.partition("?")[0])
        assert "does not let us in" in error_of(url.replace("p%40ss", "other"))


def test_the_primary_behind_sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = ("--repl-diskless-sync-delay", "0")
    with (
        redis_server(tmp_path / "one", *sync) as first,
        redis_server(tmp_path / "two", "--replicaof", f"127.0.0.1 {first}", *sync) as other,
        sentinel(tmp_path, first) as port,
        redis.Redis(port=port, decode_responses=True) as asked,
    ):
        wait_for(lambda: asked.sentinel_slaves("shop"), what="the replica")
        away = free_port()
        url = f"redis+sentinel://127.0.0.1:{away},127.0.0.1:{port}/shop/2"
        with redis_client.open_store(url) as client:
            client.set("livectl:a", "x")
            assert client.pipeline().get("livectl:a").execute() == ["x"]
            with redis_client.connect(Address.parse_store(url)) as connection:
                assert connection.execute("GET", "livectl:a") == b"x"
            wait_for(lambda: sees_a_replica(asked), what="the replica as the sentinel sees it")
            wait_for(lambda: client.wait(1, 1000), what="the replica as the primary hears it")
            before = waits(client)
            replicas.confirm(client, ["livectl:", "livectl:beat:"])
            assert waits(client) == before + 1
            assert_that_a_primary_that_is_none_is_not_believed(client, first, other, monkeypatch)
        wait_for(lambda: _fails_over(asked), what="a replica that may become the primary")
        wait_for(lambda: redis_client.find_primary(Address.parse_store(url)).port == other, what="the sentinel")
        with redis_client.open_store(url) as client, redis_client.connect(Address.parse_store(url)) as connection:
            assert (client.get("livectl:a"), connection.execute("GET", "livectl:a")) == ("x", b"x")
        assert "no server called other" in error_of(url.replace("shop", "other"))
        assert f"127.0.0.1:{away}" in error_of(f"redis+sentinel://127.0.0.1:{away}/shop")
        assert "is no sentinel" in error_of(f"redis+sentinel://127.0.0.1:{other}/shop")


def assert_that_a_primary_that_is_none_is_not_believed(
    client: Any, first: int, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another server has just taken over, the old one still takes what is written, and the sentinels still name
    it: what it acknowledges is lost.
    """
    with redis.Redis(port=other) as taking_over:
        taking_over.replicaof("NO", "ONE")
        with pytest.raises(redis.ConnectionError, match="another server"):
            replicas.confirm(client, ["livectl:"])
        monkeypatch.setattr(replicas, "ALONE_S", 0.0)
        replicas.confirm(client, ["livectl:"])  # it is the replica that is ill
        taking_over.replicaof("127.0.0.1", str(first))
        wait_for(lambda: client.wait(1, 100), what="the replica to have it")


def _fails_over(asked: Any) -> bool:
    with suppress(redis.ResponseError):  # it has not looked at the replica yet
        return bool(asked.execute_command("SENTINEL", "FAILOVER", "shop"))
    return False


def test_results_are_where_celery_can_keep_them(tmp_path: Path) -> None:
    """Not in a cluster: with the broker, or where the settings say."""
    store, other = Address.parse_store("redis+cluster://a,b"), Address.parse("redis://c")
    settings = Settings(home=tmp_path, folder=tmp_path, broker=other, store=store)
    assert embedded_broker.resolve_addresses(settings).results == other
    with_rabbitmq = Settings(home=tmp_path, folder=tmp_path, broker=Address.parse("amqp://d"), store=store)
    with pytest.raises(SettingsError, match="keeps no results in redis") as refused:
        embedded_broker.resolve_addresses(with_rabbitmq)
    assert "results:" in refused.value.hint


def test_who_has_no_replica_is_not_waited_for(client: Any, cluster: RedisCluster, store_url: str) -> None:
    replicas.confirm(client, KEYS)
    for node in cluster.primaries:
        with node.client() as primary:
            assert waits(primary) == 0
    with redis_client.open_store(store_url) as alone:
        replicas.confirm(alone, KEYS)
        assert not alone.exists(*KEYS)


def known_ports(address: Address) -> set[int]:
    with redis_client.connect(address) as connection:
        assert isinstance(connection, ClusterConnection)
        return {port for _, port in connection.find_nodes()}


def confirmed(client: Any, primary: Any) -> int:
    """How often this primary was asked to wait for its replicas, after once more something was to be confirmed."""
    replicas.confirm(client, ["k", "{k}2"])
    return waits(primary)


def assert_refused(folder: Path, url: str, words: str) -> None:
    """A person gets one sentence, and what to do about it."""
    (folder / "livectl.yaml").write_text(f"store: {url}\nbroker: redis://127.0.0.1:{free_port()}\n")
    code, out, err = run(folder, "", "store", "check")
    assert (code, out) == (4, "")
    said, hint = err.strip().splitlines()
    assert words in said
    assert hint


def error_of(url: str) -> str:
    try:
        redis_client.open_store(url).close()
    except ServerError as error:
        return error.message
    return ""


def other_node(cluster: RedisCluster, key: str) -> ClusterNode:
    owner = cluster.owner(key)
    return next(node for node in cluster.primaries if node is not owner)


def tell(node: ClusterNode, *command: str | int) -> Any:
    with node.client() as client:
        return client.execute_command(*command)


def set_slot(node: ClusterNode, how: str, other: ClusterNode, key: str = "{k}1") -> None:
    """About the slot of this key."""
    tell(node, "CLUSTER", "SETSLOT", cluster_keys.key_slot(key), how, tell(other, "CLUSTER", "MYID"))


def wait_until_agreed(cluster: RedisCluster) -> None:
    """Until all have heard who has which slots, and whose word is the newest."""
    wait_for(lambda: len(set(map(view_of, cluster.nodes))) == 1, what="all nodes to know the same")


def view_of(node: ClusterNode) -> frozenset[tuple[str, ...]]:
    """Of each node its id, its epoch and its slots, as this one knows them."""
    rows = map(str.split, str(tell(node, "CLUSTER", "NODES")).splitlines())
    return frozenset((row[0], row[6], *(slots for slots in row[8:] if slots[0] != "[")) for row in rows)


def is_well(node: ClusterNode) -> bool:
    return "cluster_state:ok" in str(tell(node, "CLUSTER", "INFO"))
