"""A plugin of pytest for test-suites of others: writes what came of each test to E2E_SUITE_RESULTS, a line each.

E2E_SUITE_WITHOUT names modules that the suite shall not find, though they are installed.
"""

import os
import sys

for name in filter(None, os.environ.get("E2E_SUITE_WITHOUT", "").split(",")):
    sys.modules[name] = None

_results = {}


def pytest_runtest_logreport(report):
    worst = {"passed": 0, "skipped": 1, "failed": 2}
    outcome = "passed" if getattr(report, "wasxfail", None) is not None and not report.failed else report.outcome
    if report.when != "call" and outcome == "passed":
        return
    before = _results.get(report.nodeid)
    if before is None or worst[outcome] > worst[before[0]]:
        text = report.longreprtext.strip().splitlines() if report.failed else []
        errors = [line[2:].strip() for line in text if line.startswith("E ")]
        _results[report.nodeid] = (outcome, " ".join(errors[:2] or text[-1:])[:300])


def pytest_sessionfinish(session):
    with open(os.environ["E2E_SUITE_RESULTS"], "w") as file:
        for nodeid, (outcome, why) in _results.items():
            file.write(f"{nodeid}\t{outcome}\t{why}\n")
