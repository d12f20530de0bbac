"""Settings: everything about Redis comes from the environment, as in the tutorials."""

import os

SECRET_KEY = "an example has no secrets"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = []
MIDDLEWARE = []
USE_TZ = True
TIME_ZONE = "UTC"

MASTER_NAME = os.environ.get("MASTER_NAME", "redis")
# host:port,host:port: redis-py wants pairs.
SENTINELS = [
    (host, int(port))
    for host, port in (
        pair.rsplit(":", 1)
        for pair in os.environ.get("SENTINEL_URL", "localhost:26379,localhost:26380,localhost:26381").split(",")
    )
]

# A frozen host answers nothing and closes nothing: without time-outs a client would wait for it for ever.
SOCKET_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 5}

# --- the cache: one pool for the master, one for the replicas
DJANGO_REDIS_CONNECTION_FACTORY = "django_redis.pool.SentinelConnectionFactory"
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://{MASTER_NAME}/2",
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "SENTINELS": SENTINELS,
            "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
            "CONNECTION_POOL_KWARGS": SOCKET_OPTIONS,
            "SENTINEL_KWARGS": {"socket_timeout": 1, "socket_connect_timeout": 1},
        },
    }
}

# --- Celery
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", ";".join(f"sentinel://{h}:{p}" for h, p in SENTINELS))
CELERY_RESULT_BACKEND = os.environ.get(
    "CELERY_RESULT_BACKEND", ";".join(f"sentinel://{h}:{p}/1" for h, p in SENTINELS)
)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "master_name": MASTER_NAME,
    "visibility_timeout": int(os.environ.get("CELERY_VISIBILITY_TIMEOUT", 3600)),
    "retry_on_timeout": True,
    "sentinel_kwargs": {"socket_timeout": 1, "socket_connect_timeout": 1},
    **SOCKET_OPTIONS,
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {
    "master_name": MASTER_NAME,
    "sentinel_kwargs": {"socket_timeout": 1, "socket_connect_timeout": 1},
}
# The result backend does not read the transport options for these.
CELERY_REDIS_SOCKET_TIMEOUT = 5
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 2
CELERY_REDIS_RETRY_ON_TIMEOUT = True
CELERY_REDIS_BACKEND_HEALTH_CHECK_INTERVAL = 5
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# READONLY from a master that was demoted: connect anew instead of giving up.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_TASK_ACKS_LATE = True
