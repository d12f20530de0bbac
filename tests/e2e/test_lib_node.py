"""Node's client libraries with real work: ioredis, node-redis, BullMQ on both, and redlock's own test-suite.

The tests themselves are libs/js/*.test.mjs, run by Node's test runner.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import PRODUCT

HERE = Path(__file__).resolve().parent
LIBS = HERE / "libs"


def packages(variable):
    path = os.environ.get(variable)
    assert path and (Path(path) / "node_modules").is_dir(), f"{variable} does not name an installation: run the tests with `cargo xtask e2e`"
    return Path(path)


def node_tests(world, file, **environment):
    """Runs one file; returns how many of its tests passed."""
    # Modules are looked for beside the file.
    shutil.copytree(LIBS / "js", world.dir / "js")
    (world.dir / "js" / "node_modules").symlink_to(packages("E2E_NODE") / "node_modules")
    words = ["node", "--test", "--test-reporter=spec"] + (["--test-force-exit"] if node_can_force_exit() else [])
    done = subprocess.run(
        [*words, file], cwd=world.dir / "js", text=True, timeout=400, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return int(re.search(r"pass (\d+)", done.stdout).group(1))


def node_can_force_exit():
    version = subprocess.run(["node", "--version"], text=True, stdout=subprocess.PIPE, check=True).stdout
    return tuple(map(int, version.strip().lstrip("v").split(".")[:2])) >= (20, 14)


@pytest.mark.parametrize("file, least", [("ioredis.test.mjs", 22), ("node-redis.test.mjs", 19)])
def test_node_clients(world, file, least):
    group = world.group([PRODUCT, PRODUCT], [PRODUCT] * 3, down_after=10_000)
    sentinels = ",".join(f"{s.ip}:{s.port}" for s in group.sentinels)
    passed = node_tests(world, file, E2E_PORT=str(group.data[0].port), E2E_SENTINELS=sentinels, E2E_GROUP=group.name)
    assert passed >= least
    assert all(node.alive() for node in world.processes)


def test_bullmq(world):
    node = world.server(PRODUCT)
    assert node_tests(world, "bullmq.test.mjs", E2E_PORT=str(node.port)) >= 18
    # Its scripts ran, and none of them was refused.
    assert int(re.search(r"calls=(\d+)", node.info("commandstats")["cmdstat_evalsha"]).group(1)) > 300
    errors = {name for name in node.info("errorstats") if name not in ("errorstat_NOSCRIPT", "errorstat_NOTBUSY", "errorstat_ERR")}
    assert not errors, errors


def test_redlocks_own_suite(world):
    """The tests that redlock's package brings: one server and three, over node-redis 3 and ioredis 4."""
    home = packages("E2E_NODE_REDLOCK")
    words = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    words += [sys.executable, str(LIBS / "in_namespace.py"), "node", "node_modules/mocha/bin/mocha.js", "--exit",
              "--timeout", "30000", "node_modules/redlock/test.js"]
    done = subprocess.run(words, cwd=home, text=True, timeout=300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-8000:]
    assert int(re.search(r"(\d+) passing", done.stdout).group(1)) >= 80, done.stdout[-3000:]
