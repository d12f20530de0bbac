"""redoubt check-aof beside redis-check-aof: the same verdicts, texts and files, for whole, torn, damaged and stamped ones."""

import os
import subprocess

import pytest

from harness import PRODUCT, encode, program, wait_until
from test_aof import check_aof, folder, parts, rewrite

pytestmark = pytest.mark.redoubt_only

HEAD = encode("SELECT", "0") + encode("SET", "a", "1")
STAMPED = b"#TS:1600000000\r\n" + HEAD + b"#TS:1700000000\r\n" + encode("SET", "b", "2") + encode("SET", "b", "3")
MANIFEST = b"file base seq 1 type b\nfile i1 seq 1 type i\nfile i2 seq 2 type i\n"

SINGLE = {
    "whole": HEAD,
    "empty": b"",
    "torn argument": HEAD + encode("SET", "x", "yyyy")[:-4],
    "torn length": HEAD + b"*3\r\n$3",
    "torn count": HEAD + b"*3",
    "garbage in the middle": HEAD + b"garbage\r\n" + HEAD,
    "wrong length": HEAD + b"*2\r\n$3\r\nGETX\r\n$1\r\na\r\n",
    "open transaction": HEAD + encode("MULTI") + encode("SET", "q", "1"),
    "transaction": HEAD + encode("MULTI") + encode("SET", "q", "1") + encode("EXEC"),
    "exec alone": HEAD + encode("EXEC"),
    "multi in multi": HEAD + encode("MULTI") + encode("MULTI"),
    "time stamps": STAMPED,
    "damaged at once": b"xx" + HEAD,
}

SETS = {
    "whole": {"m": MANIFEST, "base": HEAD, "i1": HEAD, "i2": HEAD},
    "torn last": {"m": MANIFEST, "base": HEAD, "i1": HEAD, "i2": HEAD + b"*3\r\n$3"},
    "torn in the middle": {"m": MANIFEST, "base": HEAD, "i1": HEAD + b"*3\r\n$3", "i2": HEAD},
    "torn base": {"m": MANIFEST, "base": HEAD + b"*3\r\n$3", "i1": HEAD, "i2": HEAD},
    "missing": {"m": MANIFEST, "base": HEAD, "i1": HEAD},
    "empty last": {"m": MANIFEST, "base": HEAD, "i1": HEAD, "i2": b""},
    "stamped in the middle": {"m": MANIFEST, "base": HEAD, "i1": STAMPED, "i2": b"#TS:1800000000\r\n" + HEAD},
    "stamped last": {"m": MANIFEST, "base": HEAD, "i1": HEAD, "i2": STAMPED},
    "no manifest": {},
    "base alone": {"m": b"file base seq 1 type b\n", "base": HEAD},
}

FORMS = [([], ""), (["--fix"], "y\n"), (["--fix"], "n\n"), (["--truncate-to-timestamp", "1650000000"], ""),
         (["--truncate-to-timestamp", "1500000000"], ""), (["--truncate-to-timestamp", "1900000000"], ""),
         (["--truncate-to-timestamp", "x"], ""), (["--nope"], "")]


def outcome(words, where, files, flags, name, answer):
    where.mkdir(parents=True)
    for file, content in files.items():
        (where / file).write_bytes(content)
    done = subprocess.run(words + flags + [name], input=answer, capture_output=True, text=True, cwd=where, timeout=60)
    said = (done.stdout + done.stderr).replace(words[0], "redis-check-aof").replace("AOF ./", "AOF ")
    # What was found where it is damaged is told in our own words; Redis counts lines over all files.
    lines = [line.split(", ok_up_to_line")[0] for line in said.splitlines() if not line.startswith(("0x", "If you insist"))]
    return done.returncode, lines, {file.name: file.read_bytes() for file in where.iterdir()}


@pytest.mark.parametrize("kind", ["single", "manifest"])
def test_verdicts_are_those_of_redis_check_aof(world, kind):
    ours = [os.environ["REDOUBT_BIN"], "check-aof"]
    theirs = program("redis", "check-aof")
    cases = {name: ({"f": content}, "f") for name, content in SINGLE.items()} if kind == "single" else {
        name: (files, "m") for name, files in SETS.items()}
    for at, (name, (files, argument)) in enumerate(cases.items()):
        for form, (flags, answer) in enumerate(FORMS):
            there = world.dir / f"{at}-{form}"
            wanted = outcome(theirs, there / "redis", files, flags, argument, answer)
            got = outcome(ours, there / "ours", files, flags, argument, answer)
            assert got == wanted, f"{name}, {flags}"


def test_sealed_files_are_mended_for_both(world):
    """A damaged file of ours: --fix leaves what a real server loads, too."""
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always")
    node.cmd("SET", "base", "1")
    rewrite(node)
    for n in range(10):
        node.cmd("SET", f"k{n}", "value")
    node.kill9()
    incr = parts(node, "incr")[-1]
    content = incr.read_bytes()
    at = content.index(b"k5")
    incr.write_bytes(content[:at] + b"K" + content[at + 1:])
    path = folder(node) / "appendonly.aof.manifest"
    code, said = check_aof(path)
    assert code == 1 and "wrong checksum" in said, said
    code, said = check_aof(path, "--fix", answer="y\n")
    assert code == 0, said
    for kind in ("redis", PRODUCT):
        assert check_aof(path, kind=kind)[0] == 0
    node.start()
    assert sorted(node.client().keys()) == ["base", "k0", "k1", "k2", "k3", "k4"]


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_times_of_fields_survive(world, preamble):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always", f"aof-use-rdb-preamble {preamble}")
    client = node.client()
    for at in range(700):
        client.hset("big", f"f{at}", at)
    client.execute_command("HPEXPIRE", "big", 10**9, "FIELDS", 2, "f1", "f2")
    client.hset("small", mapping={"a": 1, "b": 2, "c": 3})
    client.execute_command("HEXPIRE", "small", 10**6, "FIELDS", 1, "a")
    rewrite(node)
    # Behind the rewrite, as commands.
    client.execute_command("HPEXPIREAT", "small", 4102444800000, "FIELDS", 1, "b")
    client.execute_command("HSETEX", "late", "EX", 100000, "FIELDS", 1, "x", "y")
    client.execute_command("HPEXPIRE", "small", 30, "FIELDS", 1, "c")
    client.execute_command("HPERSIST", "big", "FIELDS", 1, "f2")
    wait_until(lambda: client.hlen("small") == 2, "a field has expired")

    def times():
        return [client.execute_command("HPEXPIRETIME", key, "FIELDS", len(fields), *fields) for key, fields in
                (("big", ["f1", "f2", "f3"]), ("small", ["a", "b", "c"]), ("late", ["x"]))]

    before, digest = times(), node.digest()
    assert before[0][1] == -1 and before[1][1] == 4102444800000 and before[1][2] == -2
    node.kill9()
    node.start()
    assert times() == before and node.digest() == digest
    rewrite(node)
    node.kill9()
    node.start()
    assert times() == before and node.digest() == digest
