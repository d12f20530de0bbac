"""Fixtures of the end-to-end tests, and what a failed test shows."""

import pytest

import harness


def pytest_configure(config):
    config.addinivalue_line("markers", "redoubt_only: about something that only the product has")


def pytest_collection_modifyitems(config, items):
    # When the tests themselves are proven against real Redis, what only the product has is left out, visibly as deselected.
    if harness.PRODUCT == "redis":
        left_out = [item for item in items if item.get_closest_marker("redoubt_only")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)
    world = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.failed and world is not None and report.when == "call":
        report.sections.append(("servers", world.logs()))


@pytest.fixture
def world(request):
    world = harness.World(request.node.name)
    yield world
    failed = getattr(request.node, "report_call", None) is None or request.node.report_call.failed
    world.close(keep=failed)
