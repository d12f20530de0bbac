"""Jobs that RQ's workers run in the end-to-end tests."""

import time


def square(number):
    return number * number


def total(*numbers):
    return sum(numbers)


def fail():
    raise ValueError("on purpose")


def slow(seconds):
    time.sleep(seconds)
    return "slept"
