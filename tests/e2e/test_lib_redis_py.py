"""redis-py's own test-suite, as its package ships it, against Redoubt.

What does not pass stands with its reason in libs/redis_py_known.tsv. A part runs always; the whole, in both protocols, with
and without hiredis, by `cargo xtask e2e libs-full`.
"""

import fnmatch
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
KNOWN = HERE / "libs" / "redis_py_known.tsv"
FULL = os.environ.get("E2E_LIBS_FULL") == "1"

# What speaks to a server. Clusters, modules, Redis Enterprise and the client's own inner parts are not ours.
FILES = [
    "cache", "client", "command_parser", "commands", "connect", "connection", "connection_pool", "credentials", "cwe_404",
    "encoding", "function", "hash", "keyspace_notifications", "lock", "monitor", "multiprocessing", "pipeline", "pubsub",
    "retry", "scripting", "sentinel", "sentinel_managed_connection", "usage_counter",
]
PART_SYNC = ["commands", "pipeline", "scripting", "function", "hash", "lock", "monitor", "sentinel_managed_connection", "cache"]
PART_ASYNC = ["commands", "pipeline", "scripting", "hash", "lock", "sentinel_managed_connection"]


def sources():
    path = os.environ.get("E2E_REDIS_PY")
    assert path and Path(path).is_dir(), "E2E_REDIS_PY does not name redis-py's sources: run the tests with `cargo xtask e2e`"
    return Path(path)


def known(protocol):
    rows = [line.split("\t") for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")]
    assert all(len(row) == 3 and row[2] for row in rows), rows
    return [row[0] for row in rows if str(protocol) in row[1].split(",")]


def run_suite(world, protocol, files, *arguments, without="", at_least):
    """Runs these files of the suite and compares what failed with what is known to fail."""
    results, log = world.dir / "results.tsv", world.dir / "log"
    words = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    words += [sys.executable, str(HERE / "libs" / "redis_py_suite.py"), str(sources()), str(results), f"--protocol={protocol}",
              "-m", "not onlycluster and not redismod", *arguments, *files]
    with open(log, "wb") as out:
        done = subprocess.run(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, timeout=1500,
                              env={**os.environ, "E2E_SUITE_WITHOUT": without})
    assert done.returncode == 0, log.read_text(errors="replace")[-6000:]
    rows = [line.split("\t") for line in results.read_text().splitlines()]
    patterns = known(protocol)
    names = {row[0]: re.sub(r"\[.*\]$", "", row[0]) for row in rows}
    listed = {nodeid: [p for p in patterns if fnmatch.fnmatchcase(name, p)] for nodeid, name in names.items()}
    new = [f"{nodeid}: {why}" for nodeid, outcome, why in rows if outcome == "failed" and not listed[nodeid]]
    passed = sum(outcome == "passed" for _, outcome, _ in rows)
    print(f"{passed} of {len(rows)} tests passed, {sum(row[1] == 'failed' for row in rows)} failed")
    assert not new, f"{len(new)} tests that are not in {KNOWN.name} failed:\n" + "\n".join(new)
    assert passed >= at_least, f"only {passed} tests passed"
    failing = {p for nodeid, outcome, _ in rows if outcome == "failed" for p in listed[nodeid]}
    ran = {p for nodeid, outcome, _ in rows if outcome == "passed" for p in listed[nodeid]}
    for pattern in sorted(ran - failing):
        warnings.warn(f"{KNOWN.name}: {pattern} passes now (RESP{protocol}): its row can go")


def in_suite(folder, names):
    return [name for name in (f"{folder}/test_{name}.py" for name in names) if (sources() / name).is_file()]


def test_a_part_of_the_suite(world):
    run_suite(world, 3, in_suite("tests", PART_SYNC), at_least=560)


def test_a_part_of_the_suite_for_asyncio(world):
    files = in_suite("tests/test_asyncio", PART_ASYNC)
    run_suite(world, 2, files, "-k", "not pool", without="hiredis", at_least=350)


@pytest.mark.skipif(not FULL, reason="takes minutes: cargo xtask e2e libs-full")
@pytest.mark.parametrize("without", ["", "hiredis"], ids=["hiredis", "pure"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_the_whole_suite(world, protocol, without):
    files = in_suite("tests", FILES) + in_suite("tests/test_asyncio", FILES)
    run_suite(world, protocol, files, without=without, at_least=2000)
