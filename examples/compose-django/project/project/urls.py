"""Three pages: the cache, a task, and a key of our own by way of redis-py."""

from django.conf import settings
from django.core.cache import cache
from django.http import JsonResponse
from django.urls import path
from redis.sentinel import Sentinel

from .tasks import add

sentinel = Sentinel(settings.SENTINELS, socket_timeout=1)
# Looks up the master anew whenever it connects.
master = sentinel.master_for(settings.MASTER_NAME, **settings.SOCKET_OPTIONS)


def cached(request):
    """Counts visits in Django's cache."""
    cache.add("visits", 0, timeout=None)
    return JsonResponse({"visits": cache.incr("visits")})


def task(request):
    """Has a worker add two numbers."""
    return JsonResponse({"sum": add.delay(2, 3).get(timeout=30)})


def counter(request):
    """Counts in a key of our own, and says who is master."""
    return JsonResponse({"count": master.incr("counter"), "master": sentinel.discover_master(settings.MASTER_NAME)})


urlpatterns = [path("cached", cached), path("task", task), path("counter", counter)]
