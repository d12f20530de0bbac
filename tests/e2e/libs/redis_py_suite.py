"""Runs redis-py's own test-suite: redis_py_suite.py SOURCES RESULTS PYTEST-ARGUMENT...

The suite wants its servers at their usual ports, so this runs in a network namespace of its own (`unshare --net`): a
master, a replica and three sentinels, and then pytest in the folder of the sources.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness  # noqa: E402


def start(world):
    def at(port, node, lines):
        node.port = port
        node.write_config(lines)
        node.start()
    plain = ['save ""', "enable-debug-command yes", "repl-diskless-sync-delay 0"]
    master = world.server(harness.PRODUCT, start=False)
    at(6379, master, plain)
    replica = world.server(harness.PRODUCT, start=False)
    at(6380, replica, [*plain, "replicaof 127.0.0.1 6379"])
    replica.wait_link_up()
    for port in (26379, 26380, 26381):
        at(port, world.sentinel(harness.PRODUCT, start=False), [
            "sentinel monitor redis-py-test 127.0.0.1 6379 2",
            "sentinel down-after-milliseconds redis-py-test 60000",
        ])
    return master


def main():
    sources, results, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    world = harness.World("redis-py-suite")
    try:
        master = start(world)
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "suite_plugin", "--tb=short", *arguments],
            cwd=sources, env={**os.environ, "PYTHONPATH": ":".join(filter(None, paths)), "E2E_SUITE_RESULTS": results},
        )
        alive = all(node.alive() for node in world.processes)
        print(f"servers alive: {alive}; master: {master.info('server').get('redis_version')}", flush=True)
        sys.exit(0 if done.returncode in (0, 1) and alive else 2)
    finally:
        world.close(keep=False)


if __name__ == "__main__":
    main()
