"""A minimal Django project whose cache is django-redis: django_work.py PORT SENTINEL,SENTINEL,... GROUP PROTOCOL."""

import sys
import threading
import time

import django
from django.conf import settings

PORT, SENTINELS, GROUP, PROTOCOL = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3], int(sys.argv[4])


def cache(location, **options):
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        "OPTIONS": {"CONNECTION_POOL_KWARGS": {"protocol": PROTOCOL}, **options},
    }


def through_sentinels(location, client):
    return cache(
        location,
        CLIENT_CLASS=client,
        CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
        CONNECTION_POOL_CLASS="redis.sentinel.SentinelConnectionPool",
        SENTINELS=[(text.rsplit(":", 1)[0], int(text.rsplit(":", 1)[1])) for text in SENTINELS],
        SENTINEL_KWARGS={},
    )


settings.configure(
    SECRET_KEY="for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    INSTALLED_APPS=["django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_CACHE_ALIAS="default",
    DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.ConnectionFactory",
    CACHES={
        "default": cache(f"redis://127.0.0.1:{PORT}/1", CLIENT_CLASS="django_redis.client.DefaultClient"),
        "packed": cache(
            f"redis://127.0.0.1:{PORT}/2",
            COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
            SERIALIZER="django_redis.serializers.json.JSONSerializer",
        ),
        "master": through_sentinels(f"redis://{GROUP}/3?is_master=1", "django_redis.client.DefaultClient"),
        "both": through_sentinels(f"redis://{GROUP}/4", "django_redis.client.SentinelClient"),
    },
)
django.setup()

from django.core.cache import caches  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402


def count_visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


urlpatterns = [path("visits", count_visits)]


def basics(cache):
    cache.clear()
    assert cache.get("nothing") is None and cache.get("nothing", 7) == 7
    assert cache.set("k", {"a": [1, 2]}, timeout=100) is True
    assert cache.get("k") == {"a": [1, 2]}
    assert 90 < cache.ttl("k") <= 100 and cache.pttl("k") > 90_000
    assert cache.ttl("nothing") == 0
    assert cache.persist("k") and cache.ttl("k") is None
    assert cache.expire("k", 50) and cache.pexpire("k", 60_000)
    assert cache.touch("k", 10) and cache.ttl("k") <= 10
    assert cache.add("k", 1) is False and cache.add("new", 1) is True
    assert cache.set("k", 2, nx=True) is False
    cache.set("n", 1)
    assert cache.incr("n") == 2 and cache.incr("n", 5) == 7 and cache.decr("n", 2) == 5
    try:
        cache.incr("nowhere")
        raise AssertionError("incr of a key that there is not")
    except ValueError:
        pass
    cache.set_many({f"m:{at}": at for at in range(200)}, timeout=60)
    assert cache.get_many([f"m:{at}" for at in range(200)] + ["nothing"]) == {f"m:{at}": at for at in range(200)}
    assert "m:3" in cache and cache.has_key("m:3")
    assert sorted(cache.keys("m:1?")) == [f"m:1{at}" for at in range(10)]
    assert len(list(cache.iter_keys("m:*"))) == 200
    assert cache.delete_pattern("m:1*") == 111 and len(cache.keys("m:*")) == 89
    assert cache.delete_many(["m:2", "m:3", "nothing"]) == 2
    assert cache.get_or_set("late", lambda: "made", 10) == "made" and cache.get_or_set("late", "other") == "made"
    cache.set("soon", 1, timeout=0.05)
    time.sleep(0.2)
    assert cache.get("soon") is None
    cache.set("v", "old", version=1)
    assert cache.incr_version("v") == 2 and cache.get("v") is None and cache.get("v", version=2) == "old"
    assert cache.delete("v", version=2) and not cache.delete("v", version=2)


def locks(cache):
    order = []

    def critical(name):
        with cache.lock("guard", timeout=20, blocking_timeout=20):
            order.append(name)
            time.sleep(0.02)
            order.append(name)

    threads = [threading.Thread(target=critical, args=(name,)) for name in range(5)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(order) == 10 and order[::2] == order[1::2], order
    lock = cache.lock("held", timeout=0.2)
    assert lock.acquire()
    assert not cache.lock("held", blocking=False).acquire()
    lock.extend(10)
    lock.reacquire()
    lock.release()
    assert cache.lock("held", blocking=False, timeout=1).acquire()


def collections(cache):
    assert cache.sadd("set", 1, 2, 3) == 3 and cache.smembers("set") == {1, 2, 3}
    assert cache.sismember("set", 2) and cache.scard("set") == 3
    cache.hset("hash", "f", {"x": 1})
    assert cache.hkeys("hash") == ["f"] and cache.hexists("hash", "f") and cache.hlen("hash") == 1
    assert cache.zadd("board", {"ann": 3, "bob": 1}) == 2
    assert cache.zrange("board", 0, -1) == ["bob", "ann"]


def sessions():
    browser = Client()
    assert [browser.get("/visits").content for _ in range(3)] == [b"1", b"2", b"3"]
    assert Client().get("/visits").content == b"1"
    keys = caches["default"].keys("django.contrib.sessions.cache*")
    assert len(keys) == 2 and 1_209_000 < caches["default"].ttl(keys[0]) <= 1_209_600


def replicas(cache):
    """The sentinel client writes to the master and reads from the replicas, which are a little behind."""
    for at in range(20):
        cache.set(f"r:{at}", at)
    end = time.monotonic() + 30
    while cache.get_many([f"r:{at}" for at in range(20)]) != {f"r:{at}": at for at in range(20)}:
        assert time.monotonic() < end, "the replica has not got it"
        time.sleep(0.02)
    reader = cache.client.get_client(write=False)
    assert reader.role()[0] in (b"slave", "slave"), reader.role()
    assert cache.client.get_client(write=True).role()[0] in (b"master", "master")
    assert len(cache.keys("r:*")) == 20


def main():
    basics(caches["default"])
    locks(caches["default"])
    collections(caches["default"])
    sessions()
    packed = caches["packed"]
    packed.clear()
    packed.set("long", "x" * 50_000)
    assert packed.get("long") == "x" * 50_000
    basics(caches["master"])
    locks(caches["master"])
    replicas(caches["both"])
    print("all fine")


if __name__ == "__main__":
    main()
