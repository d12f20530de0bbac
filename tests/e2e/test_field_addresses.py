"""Pains that people have with addresses and names of Redis behind Sentinel, one test each.

P13, P14, P21 ... are the numbers of the project's list of field reports; each test names reports that it stands for.
"""

import shutil
import socket
import threading
from pathlib import Path

import pytest
from redis.sentinel import Sentinel

from harness import PATIENCE, PRODUCT, wait_until
from test_views import From, Published

pytestmark = pytest.mark.skipif(PRODUCT == "redis", reason="these are what redis-sentinel does not do")


class Names:
    """The name service of one network namespace: its own /etc/hosts, and behind it a name server that never answers."""

    def __init__(self, world, host):
        self.folder = Path("/etc/netns") / host.namespace
        self.folder.mkdir(parents=True)
        (self.folder / "resolv.conf").write_text(f"nameserver {world.network.prefix}.1\n")
        self.hosts = self.folder / "hosts"
        self.hosts.write_text("")
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind((f"{world.network.prefix}.1", 53))
        self.asked = 0
        threading.Thread(target=self._listen, daemon=True).start()
        world.background(self)

    def _listen(self):
        try:
            while self.server.recv(2048):
                self.asked += 1
        except OSError:
            pass

    def set(self, **names):
        """Changes what resolves; in place, because the namespace has the file itself."""
        self.hosts.write_text("".join(f"{ip} {name.replace('_', '-')}\n" for name, ip in names.items()))

    def close(self):
        self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def named_group(world):
    """A master that is known by its name, a replica, a sentinel that resolves names."""
    hosts = [world.network.host() for _ in range(4)]
    names = Names(world, hosts[0])
    master = world.server(PRODUCT, host=hosts[1], name="master")
    names.set(redis_master=master.ip)
    replica = world.server(PRODUCT, f"replicaof {master.ip} {master.port}", host=hosts[2], name="replica")
    replica.wait_link_up()
    sentinel = world.sentinel(
        PRODUCT, "sentinel resolve-hostnames yes", f"sentinel monitor mymaster redis-master {master.port} 1",
        "sentinel down-after-milliseconds mymaster 1000", "sentinel failover-timeout mymaster 5000", host=hosts[0],
    )
    wait_until(lambda: sentinel.master_state()["num-slaves"] == "1", "the replica is known")
    wait_until(lambda: replicas_of(sentinel)[0].get("slave-repl-offset", "0") != "0", "and asked")
    return hosts, names, master, replica, sentinel


def replicas_of(sentinel):
    return [dict(zip(entry[::2], entry[1::2])) for entry in sentinel.cmd("SENTINEL", "REPLICAS", "mymaster")]


def test_p13_a_silent_name_server_does_not_blind_the_sentinel(world):
    """redis#13866, bitnami/charts#34307: getaddrinfo blocks, TILT, and no failover for 30 s each time."""
    _, names, master, replica, sentinel = named_group(world)
    # A lookup takes ten seconds now. A machine that stands still for a moment is not meant.
    sentinel.cmd("SENTINEL", "DEBUG", "tilt-trigger", 4500)
    names.set()
    master.kill9()
    wait_until(lambda: sentinel.master_addr() == (replica.ip, replica.port), "the failover is done", 4 * PATIENCE)
    wait_until(lambda: names.asked, "the name server was asked and does not answer")
    for _ in range(20):
        assert sentinel.cmd("PING") == "PONG"
    assert "+tilt" not in sentinel.event_names(), sentinel.log()


def test_p14_a_container_that_comes_back_elsewhere_under_its_name(world):
    """redis#9103, bitnami/containers#53232: the name is gone with the container, the failover is aborted, and a replica
    without address, or with the old one, stays in the list for ever."""
    hosts, names, master, replica, sentinel = named_group(world)
    names.set()
    master.kill9()
    wait_until(lambda: sentinel.master_addr() == (replica.ip, replica.port), "the failover is done", 4 * PATIENCE)
    replica.wait_role("master")
    [old] = replicas_of(sentinel)
    assert old["ip"] and not old["name"].startswith(":"), old
    # It is started again, at another address.
    back = world.server(PRODUCT, host=hosts[3], name="back", start=False)
    back.port = master.port
    back.write_config(['save ""', f"replicaof {replica.ip} {replica.port}"])
    back.start()
    names.set(redis_master=back.ip)
    back.wait_replica_of(replica)

    def listed_once():
        listed = replicas_of(sentinel)
        return len(listed) == 1 and listed[0]["ip"] == back.ip and listed[0]["flags"] == "slave"
    wait_until(listed_once, "it is one replica, at its new address", 3 * PATIENCE)


def test_p21_clients_outside_are_told_addresses_that_they_can_reach(world):
    """redis#4875, redis#6151, bitnami/containers#46594: Sentinel hands out 172.x. And P23, django-redis#807, redis-py#3483:
    nothing on the side of a Python client translates them, so it must not need to."""
    group = Published(world, data=(PRODUCT, PRODUCT), sentinels=(PRODUCT,))
    group.wait_settled()
    options = dict(socket_timeout=PATIENCE, decode_responses=True)
    [listener] = group.listeners.values()
    outside = Sentinel([("127.0.0.1", listener)], **options)
    assert outside.master_for("mymaster").set("key", "value")
    reader = outside.slave_for("mymaster")
    wait_until(lambda: reader.get("key") == "value", "it is replicated")
    connection = reader.connection_pool.get_connection()
    assert connection.port in group.outside.values()


def test_p22_nodes_do_not_take_the_way_of_clients(world):
    """redis#7460, redis#5048: one announced address for all sends replication through NAT and back."""
    group = Published(world, data=(PRODUCT, PRODUCT, PRODUCT), sentinels=(PRODUCT, "redis", PRODUCT))
    group.wait_settled()
    relays = [other for other in world.others if hasattr(other, "pairs")]
    old = group.data[0]
    old.kill9()
    sentinel = group.sentinels[0]
    wait_until(lambda: sentinel.master_addr()[1] != old.port, "the failover is done", 4 * PATIENCE)
    new = group.by_port(sentinel.master_addr()[1])
    old.start()
    for node in group.data:
        if node is not new:
            wait_until(lambda: node.info("replication").get("master_port") == str(new.port), "it follows", 4 * PATIENCE)
            node.wait_link_up(4 * PATIENCE)
    assert len(relays) == 3 and not any(relay.pairs for relay in relays), "no node has used an address of clients"


def test_p25_names_for_those_who_check_certificates(world):
    """redis#7928, StackExchange.Redis#2287: Sentinel answers an IP, the certificate holds names. A view can hold names while
    nodes know each other by address, so nothing of the group depends on a name service."""
    master = world.server(PRODUCT, "announce-view named address redis-1.example.org:6380")
    sentinel = world.sentinel(PRODUCT, f"sentinel monitor mymaster 127.0.0.1 {master.port} 1", "announce-view named user secure")
    assert sentinel.cmd("ACL", "SETUSER", "secure", "on", ">pass", "&*", "+@all") == "OK"
    asked = From("127.0.0.1", "127.0.0.1", sentinel.port, "secure", "pass")
    get = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    wait_until(lambda: asked.ask(*get) == ["redis-1.example.org", "6380"], "the name is told")
    assert sentinel.master_addr() == ("127.0.0.1", master.port)
