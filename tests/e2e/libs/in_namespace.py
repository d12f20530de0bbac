"""Runs a program beside a server at the usual port: in_namespace.py PROGRAM ARGUMENT...

For test-suites that know no other port than 6379; started with `unshare --net`.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness  # noqa: E402


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    world = harness.World("usual-port")
    try:
        node = world.server(harness.PRODUCT, start=False)
        node.port = 6379
        node.write_config(['save ""'])
        node.start()
        done = subprocess.run(sys.argv[1:])
        sys.exit(done.returncode if node.alive() else 3)
    finally:
        world.close(keep=False)


if __name__ == "__main__":
    main()
