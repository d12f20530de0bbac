"""Tasks of Celery with the broker and the result backend at E2E_REDIS_URL."""

import os

from celery import Celery

URL = os.environ["E2E_REDIS_URL"]
app = Celery("e2e", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 60, "master_name": os.environ.get("E2E_GROUP")},
    result_backend_transport_options={"master_name": os.environ.get("E2E_GROUP")},
    result_expires=600,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    task_track_started=True,
)


@app.task
def square(number):
    return number * number


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def flaky(self, wanted):
    if self.request.retries < wanted:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def broken():
    raise KeyError("on purpose")
