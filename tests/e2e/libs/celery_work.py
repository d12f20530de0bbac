"""Starts a worker of Celery and gives it work: celery_work.py, with the broker in E2E_REDIS_URL."""

import subprocess
import sys
from pathlib import Path

from celery import chain, chord, group
from celery.result import AsyncResult
from celery_jobs import app, broken, flaky, square, total

PATIENCE = 60


def work():
    results = [square.delay(number) for number in range(50)]
    assert [result.get(timeout=PATIENCE) for result in results] == [number**2 for number in range(50)]
    assert group(square.s(number) for number in range(10))().get(timeout=PATIENCE) == [n * n for n in range(10)]
    assert chain(square.s(3), square.s())().get(timeout=PATIENCE) == 81
    assert chord((square.s(number) for number in range(10)), total.s())().get(timeout=PATIENCE) == 285
    nested = chord([chain(square.s(2), square.s()), square.s(3)], total.s())
    assert nested().get(timeout=PATIENCE) == 25
    assert flaky.delay(2).get(timeout=PATIENCE) == 2
    try:
        broken.delay().get(timeout=PATIENCE)
        raise AssertionError("a task that fails has a result")
    except KeyError as error:
        assert "on purpose" in str(error)
    later = square.apply_async((7,), countdown=1)
    assert later.get(timeout=PATIENCE) == 49
    revoked = square.apply_async((7,), countdown=3600)
    revoked.revoke()
    ranked = square.apply_async((8,), priority=3)
    assert ranked.get(timeout=PATIENCE) == 64
    assert AsyncResult(results[5].id, app=app).state == "SUCCESS"
    results[5].forget()
    assert AsyncResult(results[5].id, app=app).state == "PENDING"
    # Questions to the worker go through the broker's channels and back.
    replies = app.control.ping(timeout=5)
    assert replies and list(replies[0].values()) == [{"ok": "pong"}], replies
    stats = app.control.inspect(timeout=5).stats()
    assert stats and next(iter(stats.values()))["total"]["celery_jobs.square"] >= 70, stats


def main():
    words = [sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "--concurrency", "2", "--loglevel", "INFO"]
    with open(Path("celery.log"), "wb") as log:
        worker = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        work()
    except BaseException:
        print(Path("celery.log").read_text(errors="replace")[-4000:])
        raise
    finally:
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
    assert worker.returncode == 0, Path("celery.log").read_text(errors="replace")[-4000:]
    print("all fine")


if __name__ == "__main__":
    main()
