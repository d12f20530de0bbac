"""Tasks."""

from celery import shared_task


@shared_task
def add(a, b):
    """The sum."""
    return a + b
