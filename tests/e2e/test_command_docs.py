"""COMMAND DOCS has the argument trees of a real server; the client's modes that need a replica's place work on both."""

import subprocess
import time

import pytest

from harness import PATIENCE, PRODUCT, redoubt_binary, wait_until


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def fields(flat):
    return {text(flat[n]): flat[n + 1] for n in range(0, len(flat), 2)}


def arguments(listed):
    tree = []
    for flat in listed:
        argument = {name: text(value) for name, value in fields(flat).items() if name != "display_text"}
        argument["flags"] = sorted(map(text, argument.get("flags", [])))
        argument["arguments"] = arguments(argument.get("arguments", []))
        tree.append(argument)
    return tree


def trees(docs, prefix=""):
    found = {}
    for name, doc in fields(docs).items():
        doc = fields(doc)
        found[name] = arguments(doc.get("arguments", []))
        found.update(trees(doc.get("subcommands", [])))
    return found


def test_arguments_are_those_of_a_real_server(world):
    ours, real = (trees(world.server(kind).raw().command("COMMAND", "DOCS")) for kind in (PRODUCT, "redis"))
    both = ours.keys() & real.keys()
    assert len(both) > 300
    for name in sorted(both):
        assert ours[name] == real[name], name
    # A newer one has its arguments, too.
    assert [argument["name"] for argument in ours["client|setinfo"]] == ["attr"]


def cli(node, *args, timeout=PATIENCE):
    done = subprocess.run(
        [redoubt_binary(), "cli", "-p", str(node.port), *map(str, args)], capture_output=True, text=True, timeout=timeout,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", [PRODUCT, "redis"])
def test_fetching_a_file(world, kind):
    node = world.server(kind, name="node")
    for n in range(1000):
        node.cmd("SET", f"key-{n}", "x" * n)
    node.cmd("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
    whole, functions = world.dir / "whole.rdb", world.dir / "functions.rdb"
    code, _, said = cli(node, "--rdb", whole)
    assert code == 0 and "Transfer finished with success" in said
    code, _, said = cli(node, "--functions-rdb", functions)
    assert code == 0 and functions.stat().st_size < 1000 < whole.stat().st_size
    done = subprocess.run([redoubt_binary(), "cli", "-p", str(node.port), "--rdb", "-"], capture_output=True, timeout=PATIENCE)
    assert done.stdout[:5] == b"REDIS"
    # Both load in a real server.
    for file, keys in ((whole, 1000), (functions, 0)):
        other = world.server("redis", f"dbfilename {file.name}", name=f"load-{keys}", start=False)
        (other.dir / file.name).write_bytes(file.read_bytes())
        other.start()
        assert other.cmd("DBSIZE") == keys
        assert other.cmd("FCALL", "f", 0) == 1
    assert cli(node, "--rdb", "/no/such/folder/x")[0] == 1


@pytest.mark.parametrize("kind", [PRODUCT, "redis"])
def test_showing_what_replicas_get(world, kind):
    node = world.server(kind, name="node")
    process = subprocess.Popen(
        [redoubt_binary(), "cli", "-p", str(node.port), "--replica"], stdout=open(world.dir / "out", "wb"), stderr=open(world.dir / "said", "wb"),
    )
    try:
        wait_until(lambda: "Logging commands from master" in (world.dir / "said").read_text(), "the transfer is over")
        time.sleep(0.2)
        node.cmd("SET", "k", 'v"1')
        wait_until(lambda: '"set","k","v\\"1"\n' in (world.dir / "out").read_text().lower(), "the command is shown")
    finally:
        process.kill()
        process.wait()
