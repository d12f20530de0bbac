"""A small Django project whose cache, queue and own keys all live behind the sentinels."""

from .celery import app as celery_app

__all__ = ["celery_app"]
