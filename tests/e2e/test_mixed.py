"""Proof 2: groups of real Redis and the product, both ways, and sentinels of both kinds in one quorum."""

import pytest

from harness import PRODUCT, Writer, fill_with_everything, same_data, wait_until

PAIRS = [("redis", PRODUCT), (PRODUCT, "redis"), (PRODUCT, PRODUCT)]


def pair(world, master_kind, replica_kind, replicas=1, **options):
    master = world.server(master_kind, name=f"master-{master_kind}", **options)
    followers = [
        world.server(replica_kind, f"replicaof 127.0.0.1 {master.port}", name=f"replica{at}-{replica_kind}", **options)
        for at in range(replicas)
    ]
    return master, followers


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_all_types_reach_replicas(world, kinds):
    """First by full sync, then through the stream; digests agree, also after the replica was promoted and the roles changed."""
    master = world.server(kinds[0])
    fill_with_everything(master.client())
    replicas = [world.server(kinds[1], f"replicaof 127.0.0.1 {master.port}") for _ in range(2)]
    for replica in replicas:
        replica.wait_link_up()
    same_data(master, *replicas)
    fill_with_everything(master.client(), seed=2)
    change_everything(master.client())
    same_data(master, *replicas)

    new = replicas[0]
    wait_until(lambda: new.offset() == master.offset(), "the replica has everything")
    assert new.cmd("REPLICAOF", "NO", "ONE") == "OK"
    assert master.cmd("REPLICAOF", "127.0.0.1", new.port) == "OK"
    assert replicas[1].cmd("REPLICAOF", "127.0.0.1", new.port) == "OK"
    master.wait_replica_of(new)
    replicas[1].wait_replica_of(new)
    fill_with_everything(new.client(), seed=3)
    change_everything(new.client())
    same_data(master, *replicas)


def change_everything(client):
    """Commands whose replicated form differs from what was sent."""
    client.execute_command("SETEX", "short lived", 1000, "x")
    client.set("with px", "v", px=5_000_000)
    client.getex("with px", persist=True)
    client.incrbyfloat("float", 0.1)
    client.incrbyfloat("float", 0.2)
    client.hincrbyfloat("fhash", "f", 1.1)
    client.sadd("spop me", *range(50))
    client.spop("spop me")
    client.spop("spop me", 10)
    client.spop("spop me", 1000)
    client.expire("list:small", 10000)
    client.pexpire("hash:small", -1)
    client.rpush("moved", 1, 2, 3)
    client.lmove("moved", "moved to", "LEFT", "RIGHT")
    client.blpop("moved", 1)
    client.lmpop(2, "nothing", "moved", direction="LEFT", count=5)
    client.zmpop(1, ["zset:small"], max=True, count=3)
    client.bzpopmin("zset:small", 1)
    client.copy("zset:large", "zset:copy")
    client.rename("set:large", "set:renamed")
    client.restore("restored", 100000, client_dump(client, "int:1"), replace=True)
    with client.pipeline(transaction=True) as pipe:
        pipe.set("in multi", 1)
        pipe.incr("in multi")
        pipe.execute_command("SELECT", 5)
        pipe.set("other db", 1)
        pipe.execute_command("SELECT", 0)
        pipe.execute()
    client.execute_command("MOVE", "in multi", 7)
    client.execute_command("SWAPDB", 5, 6)
    client.getdel("int:5")
    client.setrange("str:1", 300, "tail")
    client.append("big", "more")
    client.zrangestore("stored", "zset:large", 10, 20)
    client.zunionstore("union", {"zset:large": 2, "zset:small": 1})
    client.sinterstore("sinter", "intset:large", "intset:small")
    client.ltrim("list:large", 5, 400)
    client.linsert("list:large", "BEFORE", "item 10", "new")
    client.execute_command("SELECT", 0)


def client_dump(client, key):
    import redis
    settings = dict(client.get_connection_kwargs())
    with redis.Redis(host=settings["host"], port=settings["port"]) as binary:
        return binary.dump(key)


@pytest.mark.parametrize("kinds", [["redis", PRODUCT, PRODUCT], [PRODUCT, "redis", "redis"]], ids="-".join)
def test_failover_between_kinds(world, kinds):
    """Product sentinels over a group of both kinds: the master dies, one of the other kind takes over, the old one returns."""
    group = world.group(kinds, [PRODUCT] * 3)
    writer = world.background(Writer(group, copies=1))
    writer.wait_writes()
    old = group.data[0]
    old.kill9()
    new = group.wait_new_master(old)
    assert new.kind == kinds[1]
    group.wait_replicas_follow(new)
    writer.wait_writes()
    old.start()
    old.wait_replica_of(new, 90)
    writer.close()
    same_data(*group.data)


def elect(world, leader_at, data=None):
    """Two real sentinels and one of the product in one quorum; only the chosen one may reach its own quorum."""
    group = world.group(data or [PRODUCT] * 3, ["redis", "redis", PRODUCT])
    for at, sentinel in enumerate(group.sentinels):
        # The quorum is each sentinel's own: 4 of 3 never suffices, so only the chosen one starts a failover; all answer and vote.
        assert sentinel.cmd("SENTINEL", "SET", "mymaster", "quorum", 2 if at == leader_at else 4) == "OK"
    group.wait_voting()
    writer = world.background(Writer(group))
    writer.wait_writes()
    old = group.data[0]
    marks = [s.log_mark() for s in group.sentinels]
    old.kill9()
    group.wait_new_master(old)
    group.wait_converged()
    writer.wait_writes()
    for at, sentinel in enumerate(group.sentinels):
        names = sentinel.event_names(marks[at])
        assert ("+elected-leader" in names) == (at == leader_at), f"{sentinel.name}: {names}"
        wait_until(lambda: "+switch-master" in sentinel.event_names(marks[at]), f"{sentinel.name} switches")
    # Votes were given to the leader by both kinds, and kept on disk.
    runid = group.sentinels[leader_at].cmd("SENTINEL", "MYID")
    epoch = group.sentinels[leader_at].current_epoch()
    for at, sentinel in enumerate(group.sentinels):
        voted = [payload for name, payload in sentinel.events(marks[at]) if name == "+vote-for-leader"]
        assert f"{runid} {epoch}" in voted, f"{sentinel.name}: {voted}"
        assert f"sentinel leader-epoch mymaster {epoch}" in sentinel.config_text()
    assert len({s.current_epoch() for s in group.sentinels}) == 1
    old.start()
    group.wait_converged()
    writer.close()
    same_data(*group.data)


def test_one_quorum_real_sentinel_leads(world):
    elect(world, 0)


def test_one_quorum_product_sentinel_leads(world):
    elect(world, 2)


def test_one_quorum_over_mixed_data(world):
    elect(world, 2, ["redis", PRODUCT, "redis"])


def test_real_sentinels_over_product_nodes(world):
    """Three real redis-sentinels: two failovers and the return of the old masters."""
    group = world.group([PRODUCT] * 3, ["redis"] * 3, password="pw-real")
    writer = world.background(Writer(group, copies=1))
    for _ in range(2):
        group.wait_settled(60)
        writer.wait_writes()
        old = group.by_address(group.sentinels[0].master_addr())
        old.kill9()
        group.wait_new_master(old)
        group.wait_converged()
        writer.wait_writes()
        old.start()
        group.wait_converged()
    writer.close()
    same_data(*group.data)


def test_product_sentinels_over_real_nodes(world):
    group = world.group(["redis"] * 3, [PRODUCT] * 3, password="pw-product")
    writer = world.background(Writer(group, copies=1))
    writer.wait_writes()
    old = group.data[0]
    old.kill9()
    new = group.wait_new_master(old)
    group.wait_replicas_follow(new)
    old.start()
    old.wait_replica_of(new, 90)
    writer.wait_writes()
    writer.close()
    same_data(*group.data)


# What a node must allow a sentinel for a whole failover.
SENTINEL_RULES = (
    "resetchannels &__sentinel__:hello +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info "
    "+client|setname +client|kill +script|kill"
)


def test_acl_users_of_real_nodes(world):
    """masteruser, masterauth and auth-user, proven against a real server's ACL."""
    users = [
        "user default on >pw ~* &* +@all",
        "user replicator on >reppw +psync +replconf +ping",
        f"user watcher on >watchpw {SENTINEL_RULES}",
    ]
    master = world.server("redis", *users, name="master", password="pw")
    replica = world.server(
        PRODUCT, f"replicaof 127.0.0.1 {master.port}", "masteruser replicator", "masterauth reppw", name="replica",
    )
    replica.wait_link_up()
    fill_with_everything(master.client())
    same_data(master, replica)
    sentinel = world.sentinel(
        PRODUCT, f"sentinel monitor mymaster 127.0.0.1 {master.port} 1",
        "sentinel auth-user mymaster watcher", "sentinel auth-pass mymaster watchpw",
    )
    wait_until(lambda: sentinel.master_state()["flags"] == "master", "the sentinel may watch the master")
    wait_until(lambda: sentinel.master_state()["num-slaves"] == "1", "the sentinel sees the replica")


def test_wrong_password_keeps_trying(world):
    master = world.server("redis", "requirepass right", name="master", password="right")
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}", "masterauth wrong", name="replica")
    replica.wait_log("Unable to AUTH to MASTER")
    assert replica.info("replication")["master_link_status"] == "down"
    replica.cmd("CONFIG", "SET", "masterauth", "right")
    replica.wait_link_up()
