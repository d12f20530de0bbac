"""Proof 3: a stopped master, a partitioned master, sentinels restarted in mid-failover."""

import re
import time

import pytest

from harness import PRODUCT, Writer, same_data, wait_until


def test_stopped_master_becomes_replica(world):
    """SIGSTOP looks like silence: down-after must pass. After SIGCONT the old master is told to be a replica."""
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, down_after=1500)
    writer = world.background(Writer(group, copies=1))
    writer.wait_writes()
    old = group.data[0]
    stopped = time.monotonic()
    old.pause()
    new = group.wait_new_master(old)
    assert time.monotonic() - stopped > 1.0, "a silent master was given up before down-after"
    writer.wait_writes()
    old.resume()
    old.wait_replica_of(new, 90)
    writer.close()
    same_data(*group.data)
    assert len({s.current_epoch() for s in group.sentinels}) == 1


def test_short_stop_is_no_failover(world):
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=5000)
    marks = [s.log_mark() for s in group.sentinels]
    group.data[0].pause()
    time.sleep(1.5)
    group.data[0].resume()
    time.sleep(2)
    for sentinel, mark in zip(group.sentinels, marks):
        assert "+sdown" not in sentinel.event_names(mark)
        assert sentinel.master_addr() == (group.data[0].ip, group.data[0].port)


def test_partitioned_master_with_one_sentinel(world):
    """The minority side elects nobody; after healing everybody agrees and the old master follows."""
    network = world.network
    hosts = [network.host() for _ in range(6)]
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, hosts=hosts, down_after=1000, failover_timeout=5000)
    old, minority = group.data[0], group.sentinels[0]
    mark = minority.log_mark()
    network.partition([hosts[0], hosts[3]])
    new = group.wait_new_master(old, sentinels=group.sentinels[1:])
    for node in group.data[1:]:
        if node is not new:
            node.wait_replica_of(new)
    # Seen from inside the minority: the old master still, and no election won.
    time.sleep(3)
    address = hosts[3].cli(minority, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").split()
    assert address == [old.ip, str(old.port)]
    assert "+elected-leader" not in minority.event_names(mark)
    epoch = group.sentinels[1].current_epoch()
    marks = [s.log_mark() for s in group.sentinels]
    network.heal()
    wait_until(lambda: minority.master_addr() == (new.ip, new.port), "the minority's sentinel learns the new master", 90)
    old.wait_replica_of(new, 90)
    time.sleep(2)
    for sentinel, at in zip(group.sentinels, marks):
        assert "+elected-leader" not in sentinel.event_names(at), "a second failover after healing"
        assert sentinel.master_addr() == (new.ip, new.port)
        assert sentinel.current_epoch() >= epoch
    wait_until(lambda: len({s.current_epoch() for s in group.sentinels}) == 1, "all agree on the epoch")
    same_data(*group.data)


def test_partitioned_sentinel_causes_nothing(world):
    """A sentinel that loses sight of everything calls everything down, alone, and calms down after healing."""
    network = world.network
    hosts = [network.host() for _ in range(5)]
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, hosts=hosts, down_after=800)
    master, lonely = group.data[0], group.sentinels[0]
    mark = lonely.log_mark()
    network.partition([hosts[2]])
    lonely.wait_log(r"\+sdown master mymaster", since=mark)
    network.heal()
    lonely.wait_log(r"-sdown master mymaster", since=mark, timeout=60)
    for sentinel in group.sentinels:
        assert sentinel.master_addr() == (master.ip, master.port)
    assert "+odown" not in lonely.event_names(mark)
    assert master.role_name() == "master"


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("moment", [r"\+try-failover|\+vote-for-leader", r"\+promoted-slave|\+config-update-from"],
                         ids=["vote", "promotion"])
def test_sentinel_restarted_in_mid_failover(world, victim, moment):
    """Each of the three in turn is killed as soon as a failover is under way, and started again with its file."""
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, failover_timeout=4000)
    chosen = group.sentinels[victim]
    old = group.data[0]
    marks = [s.log_mark() for s in group.sentinels]
    epochs = [s.current_epoch() for s in group.sentinels]

    def any_sentinel_at_moment():
        return any(re.search(moment, s.log_since(mark)) for s, mark in zip(group.sentinels, marks))

    old.kill9()
    wait_until(any_sentinel_at_moment, "the failover is under way", 60, 0.001)
    chosen.kill9()
    chosen.start()
    group.wait_new_master(old, timeout=120)
    group.wait_converged()
    wait_until(lambda: len({s.current_epoch() for s in group.sentinels}) == 1, "all sentinels agree on the epoch", 90)
    assert group.sentinels[0].current_epoch() > max(epochs)
    # Two sentinels never led the same epoch.
    led = []
    for sentinel, mark in zip(group.sentinels, marks):
        epoch = None
        for name, payload in sentinel.events(mark):
            if name == "+new-epoch":
                epoch = payload
            elif name == "+elected-leader":
                led.append(epoch)
    assert len(led) == len(set(led)), f"two leaders in one epoch: {led}"
    old.start()
    master = group.wait_converged()
    assert master is not old
    same_data(*group.data)


def test_all_sentinels_restarted_keep_state(world):
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3)
    old, new = group.data
    old.kill9()
    group.wait_new_master(old)
    old.start()
    old.wait_replica_of(new, 90)
    group.wait_settled()
    ids = [s.cmd("SENTINEL", "MYID") for s in group.sentinels]
    epochs = [s.current_epoch() for s in group.sentinels]
    for sentinel in group.sentinels:
        sentinel.stop()
    for sentinel in group.sentinels:
        sentinel.start()
        # Before any peer could tell: from the file alone.
        assert sentinel.master_addr() == (new.ip, new.port)
    assert [s.cmd("SENTINEL", "MYID") for s in group.sentinels] == ids
    assert [s.current_epoch() for s in group.sentinels] == epochs
    group.wait_settled()


@pytest.mark.redoubt_only
def test_crash_grace_zero_waits_for_down_after(world):
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=3000, sentinel_lines=["sentinel crash-grace mymaster 0"])
    old = group.data[0]
    killed = time.monotonic()
    old.kill9()
    group.wait_new_master(old)
    assert time.monotonic() - killed > 2.0


@pytest.mark.redoubt_only
def test_proof_of_death_does_not_wait_for_down_after(world):
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, down_after=60000)
    group.wait_voting()
    old = group.data[0]
    old.kill9()
    # Ten times the bound of half a second; down-after is a minute.
    group.wait_new_master(old, timeout=5)


@pytest.mark.redoubt_only
def test_master_restarted_within_grace_is_left_alone(world):
    group = world.group(
        [PRODUCT] * 2, [PRODUCT] * 3, down_after=30000, sentinel_lines=["sentinel crash-grace mymaster 5000"],
    )
    master = group.data[0]
    marks = [s.log_mark() for s in group.sentinels]
    master.kill9()
    time.sleep(0.3)
    master.start()
    time.sleep(6)
    for sentinel, mark in zip(group.sentinels, marks):
        assert "+odown" not in sentinel.event_names(mark)
        assert sentinel.master_addr() == (master.ip, master.port)
