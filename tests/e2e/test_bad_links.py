"""A chain over links with delay, loss and cuts, in network namespaces: no full sync where the backlog suffices, equal data at the end.

CI gives it half a minute; REDOUBT_LINKS_SECONDS=120 is the long form.
"""

import os
import random
import subprocess
import threading
import time

import pytest
import redis

from harness import PRODUCT, same_data, wait_until
from network import sh

SECONDS = float(os.environ.get("REDOUBT_LINKS_SECONDS", "30"))


def has_netem():
    done = subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms"], capture_output=True)
    if done.returncode == 0:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], capture_output=True)
    return done.returncode == 0


def spoil(host, rng):
    """Delay and loss by netem where the kernel has it, else some packets are dropped by iptables, if that is there."""
    inner = f"{host.outer}i"
    if spoil.netem:
        sh("ip", "netns", "exec", host.namespace, "tc", "qdisc", "replace", "dev", inner, "root", "netem",
           "delay", f"{rng.randint(1, 20)}ms", f"{rng.randint(0, 10)}ms", "loss", f"{rng.choice([0, 1, 3])}%")
        return
    subprocess.run(["ip", "netns", "exec", host.namespace, "iptables", "-F", "INPUT"], capture_output=True)
    subprocess.run(
        ["ip", "netns", "exec", host.namespace, "iptables", "-A", "INPUT", "-i", inner, "-m", "statistic", "--mode", "random",
         "--probability", f"{rng.choice([0.0, 0.01, 0.03])}", "-j", "DROP"], capture_output=True,
    )


class Load:
    """One client that writes from inside the master's own namespace, by the loopback."""

    def __init__(self, node):
        self.stopping = threading.Event()
        self.written = 0
        self.node = node
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        client = self.node.client()
        while not self.stopping.is_set():
            try:
                pipe = client.pipeline(transaction=False)
                for _ in range(10):
                    at = self.written
                    pipe.set(f"k:{at % 3000}", f"{at}:{'x' * 40}")
                    pipe.rpush(f"l:{at % 30}", at)
                    pipe.ltrim(f"l:{at % 30}", -50, -1)
                    self.written += 1
                pipe.execute()
            except redis.RedisError:
                pass
            time.sleep(0.02)

    def close(self):
        self.stopping.set()
        self.thread.join(60)


@pytest.mark.parametrize("kinds", [(PRODUCT, PRODUCT, "redis", PRODUCT), ("redis", PRODUCT, PRODUCT)], ids="-".join)
def test_chain_over_flapping_links(world, kinds):
    spoil.netem = has_netem()
    rng = random.Random(7)
    hosts = [world.network.host() for _ in kinds]
    lines = ["repl-backlog-size 64mb", "repl-timeout 3", "repl-ping-replica-period 1"]
    nodes = []
    for at, (kind, host) in enumerate(zip(kinds, hosts)):
        above = [f"replicaof {nodes[-1].ip} {nodes[-1].port}"] if nodes else []
        node = world.server(kind, *lines, *above, name=f"n{at}-{kind}", host=host)
        if nodes:
            node.wait_link_up(60)
        nodes.append(node)
    syncs = [int(node.info("stats")["sync_full"]) for node in nodes]
    load = world.background(Load(nodes[0]))
    wait_until(lambda: load.written > 100, "the load runs")
    until = time.monotonic() + SECONDS / 2
    cuts = 0
    while time.monotonic() < until:
        host = rng.choice(hosts[1:])
        spoil(host, rng)
        if rng.random() < 0.5:
            cuts += 1
            sh("ip", "link", "set", host.outer, "down")
            # Sometimes shorter and sometimes longer than it takes to notice.
            time.sleep(rng.choice([0.2, 1.0, 4.5]))
            sh("ip", "link", "set", host.outer, "up")
        time.sleep(rng.uniform(0.2, 1.5))
    load.close()
    for host in hosts:
        if spoil.netem:
            subprocess.run(["ip", "netns", "exec", host.namespace, "tc", "qdisc", "del", "dev", f"{host.outer}i", "root"],
                           capture_output=True)
        else:
            subprocess.run(["ip", "netns", "exec", host.namespace, "iptables", "-F", "INPUT"], capture_output=True)
    assert cuts >= 2 and load.written > 200
    for node in nodes[1:]:
        node.wait_link_up(120)
    same_data(*nodes, timeout=120)
    wait_until(lambda: len({node.offset() for node in nodes}) == 1, "equal offsets", 60)
    assert [int(node.info("stats")["sync_full"]) for node in nodes] == syncs, "a full sync where the backlog sufficed"
