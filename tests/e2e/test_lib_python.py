"""What is built on redis-py, with real work: django-redis, channels_redis, RQ, Celery."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from harness import PRODUCT, wait_until

LIBS = Path(__file__).resolve().parent / "libs"
LONG = 120


def python(words, world, **environment):
    """Runs a Python program beside the tests; its output is shown if it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=world.dir, text=True, timeout=LONG, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(LIBS), **environment},
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


class Aside:
    """A program that runs until the world ends; its output is in a file."""

    def __init__(self, words, world, name, **environment):
        self.path = world.dir / f"{name}.log"
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, words)], cwd=world.dir, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(LIBS), **environment},
            )
        world.background(self)

    def text(self):
        return self.path.read_text(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.mark.parametrize("protocol", [2, 3])
def test_django_redis(world, protocol):
    """A Django project: cache, versions, patterns, locks, sessions; the same through sentinels."""
    group = world.group([PRODUCT, PRODUCT], [PRODUCT] * 3, down_after=10_000)
    sentinels = ",".join(f"{s.ip}:{s.port}" for s in group.sentinels)
    out = python([LIBS / "django_work.py", group.data[0].port, sentinels, group.name, protocol], world)
    assert "all fine" in out


# --- channels_redis

async def layer_works(layer, joined=None):
    """What the specification of channel layers asks for; `joined` waits until the server has taken in the last subscription."""
    name = await layer.new_channel()
    if joined:
        await joined()
    await layer.send(name, {"type": "one", "n": 1, "bytes": b"\x00\xff"})
    assert await asyncio.wait_for(layer.receive(name), 20) == {"type": "one", "n": 1, "bytes": b"\x00\xff"}
    others = [await layer.new_channel() for _ in range(3)]
    for other in others:
        await layer.group_add("room", other)
    if joined:
        await joined()
    await layer.group_send("room", {"type": "news", "text": "hello"})
    got = await asyncio.wait_for(asyncio.gather(*(layer.receive(other) for other in others)), 20)
    assert got == [{"type": "news", "text": "hello"}] * 3
    await layer.group_discard("room", others[0])
    await layer.group_send("room", {"type": "news", "text": "again"})
    got = await asyncio.wait_for(asyncio.gather(*(layer.receive(other) for other in others[1:])), 20)
    assert [message["text"] for message in got] == ["again"] * 2
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(layer.receive(others[0]), 0.3)
    # A hundred messages from several senders, in the order of each.
    target = await layer.new_channel()
    if joined:
        await joined()
    await asyncio.gather(*(send_row(layer, target, sender) for sender in range(5)))
    rows = [await asyncio.wait_for(layer.receive(target), 20) for _ in range(100)]
    for sender in range(5):
        assert [row["n"] for row in rows if row["sender"] == sender] == list(range(20))


async def send_row(layer, target, sender):
    for number in range(20):
        await layer.send(target, {"type": "row", "sender": sender, "n": number})


def hosts_of(world, kind):
    if kind == "plain":
        node = world.server(PRODUCT)
        return [f"redis://127.0.0.1:{node.port}/2"]
    group = world.group([PRODUCT, PRODUCT], [PRODUCT] * 3, down_after=10_000)
    return [{"master_name": group.name, "sentinels": [(s.ip, s.port) for s in group.sentinels]}]


@pytest.mark.parametrize("kind", ["plain", "sentinels"])
def test_channels_redis_core(world, kind):
    from channels.exceptions import ChannelFull
    from channels_redis.core import RedisChannelLayer

    async def work(hosts):
        layer = RedisChannelLayer(hosts=hosts, capacity=100, expiry=60)
        await layer_works(layer)
        await layer.send("small", {"type": "x"})
        assert await asyncio.wait_for(layer.receive("small"), 20) == {"type": "x"}
        for _ in range(100):
            await layer.send("full", {"type": "x"})
        with pytest.raises(ChannelFull):
            await layer.send("full", {"type": "x"})
        await layer.flush()
        await layer.close_pools()
        secret = RedisChannelLayer(hosts=hosts, symmetric_encryption_keys=[])
        await secret.send("again", {"type": "y"})
        assert await asyncio.wait_for(secret.receive("again"), 20) == {"type": "y"}
        short = RedisChannelLayer(hosts=hosts, expiry=1, prefix="short")
        await short.send("gone", {"type": "z"})
        await asyncio.sleep(1.5)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(short.receive("gone"), 0.5)
        await secret.close_pools()
        await short.close_pools()
    asyncio.run(work(hosts_of(world, kind)))


@pytest.mark.parametrize("kind", ["plain", "sentinels"])
def test_channels_redis_pubsub(world, kind):
    from channels_redis.pubsub import RedisPubSubChannelLayer

    async def work(hosts):
        layer = RedisPubSubChannelLayer(hosts=hosts)

        async def joined():
            # It subscribes without waiting for the answer: a message on another connection may overtake that.
            for shard in layer._shards:
                async with asyncio.timeout(30):
                    while not {name.encode() for name in shard._subscribed_to} <= set(await shard._redis.pubsub_channels()):
                        await asyncio.sleep(0.01)
        await layer_works(layer, joined)
        await layer.flush()
    asyncio.run(work(hosts_of(world, kind)))


# --- RQ

def test_rq(world):
    """Jobs with dependencies, failures, retries and schedules, run by RQ's own worker."""
    from rq import Queue, Retry
    from rq.job import Job

    import_jobs()
    node = world.server(PRODUCT)
    url = f"redis://127.0.0.1:{node.port}"
    client = redis.Redis(port=node.port)
    world.clients.append(client)
    high, low = Queue("high", connection=client), Queue("low", connection=client)
    jobs = [low.enqueue("rq_jobs.square", number) for number in range(20)]
    jobs += low.enqueue_many([Queue.prepare_data("rq_jobs.square", (number,)) for number in range(20, 30)])
    bad = high.enqueue("rq_jobs.fail", retry=Retry(max=2))
    parent = high.enqueue("rq_jobs.square", 3)
    child = low.enqueue("rq_jobs.total", 1, 2, depends_on=[parent, jobs[0]])
    assert child.get_status() == "deferred"
    from datetime import timedelta
    later = low.enqueue_in(timedelta(seconds=1), "rq_jobs.total", 40, 2)
    cancelled = low.enqueue("rq_jobs.square", 1)
    cancelled.cancel()
    assert low.count == 30
    worker = Aside(["-m", "rq.cli", "worker", "--url", url, "--with-scheduler", "high", "low"], world, "rq")
    wait_until(lambda: all(job.get_status() == "finished" for job in [*jobs, parent, child]), "all jobs are finished", LONG)
    assert [job.return_value() for job in jobs] == [number**2 for number in range(30)]
    assert child.return_value() == 3
    wait_until(lambda: bad.get_status() == "failed", "the failing job gave up", LONG)
    assert "on purpose" in bad.latest_result().exc_string
    assert bad.id in high.failed_job_registry.get_job_ids()
    wait_until(lambda: later.get_status() == "finished", "the scheduled job ran", LONG)
    assert later.return_value() == 42
    assert cancelled.get_status() == "canceled"
    assert Job.fetch(jobs[3].id, connection=client).return_value() == 9
    assert len(low.finished_job_registry) == 32
    # A second try by hand, and a job that is told to stop.
    slow = high.enqueue("rq_jobs.slow", 60)
    wait_until(lambda: slow.get_status() == "started", "the long job runs", LONG)
    from rq.command import send_stop_job_command
    send_stop_job_command(client, slow.id)
    wait_until(lambda: slow.get_status() == "stopped", "it was stopped", LONG)
    assert "Traceback" not in worker.text().replace("Traceback (most recent call last):\n  File", "", 9), worker.text()[-3000:]


def import_jobs():
    if str(LIBS) not in sys.path:
        sys.path.append(str(LIBS))


# --- Celery

@pytest.mark.parametrize("over", ["plain", "sentinels"])
def test_celery(world, over):
    """Fifty tasks, groups, chains, chords, retries, failures and revocations, by a worker with two processes."""
    if over == "plain":
        node = world.server(PRODUCT)
        url = f"redis://127.0.0.1:{node.port}/5"
    else:
        group = world.group([PRODUCT, PRODUCT], [PRODUCT] * 3, down_after=10_000)
        url = ";".join(f"sentinel://{s.ip}:{s.port}/5" for s in group.sentinels)
    out = python([LIBS / "celery_work.py"], world, E2E_REDIS_URL=url, E2E_GROUP="mymaster")
    assert "all fine" in out
