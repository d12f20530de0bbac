"""redis-rs with real work: libs/rust, which `cargo xtask e2e` builds."""

import os
import subprocess
from pathlib import Path

from harness import PRODUCT


def test_redis_rs(world):
    program = os.environ.get("E2E_REDIS_RS")
    assert program and Path(program).is_file(), "E2E_REDIS_RS does not name the program: run the tests with `cargo xtask e2e`"
    group = world.group([PRODUCT, PRODUCT], [PRODUCT] * 3, down_after=10_000)
    sentinels = ",".join(f"{s.ip}:{s.port}" for s in group.sentinels)
    done = subprocess.run([program, str(group.data[0].port), group.name, sentinels], text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and "all fine" in done.stdout, done.stdout[-4000:]
    assert all(node.alive() for node in world.processes)
