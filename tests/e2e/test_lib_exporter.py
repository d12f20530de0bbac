"""A Prometheus exporter written for Redis (Debian's prometheus-redis-exporter) reads data nodes and sentinels."""

import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
import redis

from harness import PRODUCT, fill_with_everything, free_port, same_data, wait_until


class Exporter:
    def __init__(self, world, *arguments):
        program = shutil.which("prometheus-redis-exporter")
        assert program, "prometheus-redis-exporter is not installed"
        self.port = free_port()
        self.path = world.dir / "exporter.log"
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen(
                [program, "-web.listen-address", f"127.0.0.1:{self.port}", "-redis.addr", "", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )
        world.background(self)
        wait_until(lambda: self._get("/health"), "the exporter listens")

    def _get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return answer.read().decode()

    def scrape(self, node, **query):
        """Metrics of this node: name with labels to value."""
        query = urllib.parse.urlencode({"target": f"redis://127.0.0.1:{node.port}", **query})
        lines = self._get(f"/scrape?{query}").splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def complaints(self):
        return [line for line in self.path.read_text().splitlines() if re.search(r"level=(error|warn|fatal|panic)", line)]

    def close(self):
        self.process.terminate()
        self.process.wait(20)


def names(metrics):
    return {re.sub(r"\{.*", "", name) for name in metrics if name.startswith("redis_")}


def work(node):
    client = node.client()
    fill_with_everything(client, size=50)
    client.xadd("stream", {"a": 1})
    client.xgroup_create("stream", "group", "0")
    client.xreadgroup("group", "me", {"stream": ">"})
    client.config_set("slowlog-log-slower-than", 0)
    client.get("int:1")
    with pytest.raises(redis.ResponseError):
        client.lpush("int:1", "x")
    client.config_set("slowlog-log-slower-than", 10000)
    client.config_set("latency-monitor-threshold", 1)
    client.execute_command("DEBUG", "SLEEP", "0.01")


def test_data_nodes(world):
    real = world.server("redis")
    ours = world.server(PRODUCT)
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {ours.port}")
    replica.wait_link_up()
    real_replica = world.server("redis", f"replicaof 127.0.0.1 {real.port}")
    real_replica.wait_link_up()
    exporter = Exporter(
        world, "-export-client-list", "-export-client-port", "-include-system-metrics", "-include-config-metrics",
        "-set-client-name", "-ping-on-connect", "-check-keys", "db0=str:*", "-count-keys", "db0=int:*", "-check-streams", "db0=stream",
        "-check-single-keys", "db0=zset:small,db3=h3", "-check-key-groups", "^(.*):.*$",
    )
    for node in (real, ours):
        work(node)
    same_data(real, real_replica)
    same_data(ours, replica)
    seen = {}
    for name, node in (("real", real), ("ours", ours), ("real replica", real_replica), ("replica", replica)):
        seen[name] = exporter.scrape(node)
        assert seen[name]["redis_up"] == 1
        error = [value for metric, value in seen[name].items() if metric.startswith("redis_exporter_last_scrape_error")]
        assert error == [0], name
    assert not exporter.complaints()
    for theirs, its in (("real", "ours"), ("real replica", "replica")):
        missing = names(seen[theirs]) - names(seen[its])
        assert not missing, f"not exported from {its}: {missing}"
    ours = seen["ours"]
    assert ours['redis_db_keys{db="db0"}'] == seen["real"]['redis_db_keys{db="db0"}'] > 100
    assert ours["redis_connected_slaves"] == 1
    assert any(name.startswith("redis_master_link_up") and value == 1 for name, value in seen["replica"].items())
    assert ours["redis_slowlog_length"] >= 1
    sizes = {name for name in ours if name.startswith("redis_key_size{")}
    assert sizes == {name for name in seen["real"] if name.startswith("redis_key_size{")} and len(sizes) > 50
    assert any(name.startswith("redis_stream_group_messages_pending") and value == 1 for name, value in ours.items())
    assert any(name.startswith("redis_commands_total{") and 'cmd="get"' in name for name in ours)


def test_sentinels(world):
    group = world.group([PRODUCT, PRODUCT], [PRODUCT, PRODUCT, "redis"], down_after=10_000)
    exporter = Exporter(world, "-set-client-name", "-ping-on-connect")
    deadline = time.monotonic() + 20
    while True:
        mine, real = exporter.scrape(group.sentinels[0]), exporter.scrape(group.sentinels[2])
        if names(real) <= names(mine) or time.monotonic() > deadline:
            break
    assert mine["redis_up"] == 1 and mine["redis_sentinel_masters"] == 1
    assert names(real) <= names(mine), names(real) - names(mine)
    assert any(name.startswith("redis_sentinel_master_ok_sentinels") and value == 3 for name, value in mine.items())
    assert any(name.startswith("redis_sentinel_master_ok_slaves") and value == 1 for name, value in mine.items())
    assert any(name.startswith("redis_sentinel_master_status") and value == 1 for name, value in mine.items())
    # It asks every server for latencies; no sentinel knows that command.
    assert not [line for line in exporter.complaints() if "LATENCY" not in line]
