"""Plays one failover scene many times and prints its figures as JSON: `bench_failover.py KIND SCENE RUNS`.

Asked for by `cargo xtask bench failover`. A group is kept over all runs; after each run the old master is started again.
"""

import json
import re
import sys
import time

from harness import RUNS, World, Writer, wait_until


def clock(line):
    """The time of day of a log line, in seconds."""
    found = re.search(r"\d{4} (\d\d):(\d\d):(\d\d\.\d{3})", line)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


def odown_to_switch(sentinel, mark):
    """The time from +odown to +switch-master in the leader's log."""
    lines = sentinel.log_since(mark).splitlines()
    if not any("+elected-leader" in line for line in lines):
        return None
    odown = next((clock(line) for line in lines if "+odown master" in line), None)
    switch = next((clock(line) for line in lines if "+switch-master" in line), None)
    return None if odown is None or switch is None else (switch - odown) % 86400


class Scene:
    def __init__(self, world, kind, name):
        self.name = name
        self.kill_leader = name.startswith("leader-killed")
        down_after = 5000 if self.kill_leader else int(name.split("-")[1])
        lines = []
        if kind == "redoubt" and "grace0" in name:
            lines.append("sentinel crash-grace mymaster 0")
        self.group = world.group(
            [kind] * 3, [kind] * 3, down_after=down_after, failover_timeout=10000, sentinel_lines=lines,
        )
        self.world = world
        self.figures = {"outages": [], "failovers": [], "returns": [], "switches": []}

    def run(self):
        group = self.group
        # Redis wants twice the failover-timeout between two failovers of a master.
        group.wait_converged()
        group.wait_settled(60)
        writer = Writer(group)
        writer.wait_writes(100)
        old = group.by_address(group.sentinels[0].master_addr())
        marks = {s: s.log_mark() for s in group.sentinels}
        killed = time.monotonic()
        if self.name.startswith("stop"):
            old.stop()
        else:
            old.kill9()
        victim = self.kill_a_leader(marks) if self.kill_leader else None
        before = len(writer.acknowledged)
        wait_until(lambda: len(writer.acknowledged) >= before + 200, "writes go on", 120)
        new = group.wait_new_master(old, 120)
        # A storm would show by now.
        time.sleep(2)
        writer.close()
        if victim:
            victim.start()
        self.figures["outages"].append(round(writer.longest_gap(killed - 1), 4))
        elections = sum(s.log_since(mark).count("+elected-leader") for s, mark in marks.items())
        self.figures["failovers"].append(elections)
        if elections != 1 and not self.kill_leader:
            self.keep_logs()
        for sentinel, mark in marks.items():
            took = odown_to_switch(sentinel, mark)
            if took is not None:
                self.figures["switches"].append(round(took, 4))
        self.figures["returns"].append(self.bring_back(old, new))

    def keep_logs(self):
        """What the nodes wrote in a run that did not go as it should."""
        path = RUNS / f"failover-{self.name}-run{len(self.figures['failovers'])}.log"
        path.write_text(self.world.logs())
        print(f"see {path}", file=sys.stderr)

    def kill_a_leader(self, marks):
        """Kills the sentinel that was elected, as soon as it says so."""
        def leader():
            for sentinel, mark in marks.items():
                if "+elected-leader" in sentinel.log_since(mark):
                    return sentinel
            return None
        victim = wait_until(leader, "a leader is elected", 60, 0.001)
        victim.kill9()
        return victim

    def bring_back(self, old, new):
        """Starts the old master; the time from its first answer until it is a replica of the new one."""
        old.start()
        answered = time.monotonic()
        wait_until(lambda: old.role_name() == "slave", "the old master becomes a replica", 120, 0.005)
        took = time.monotonic() - answered
        self.group.wait_converged()
        return round(took, 4)


def main():
    kind, name, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    world = World(f"bench-{kind}-{name}")
    try:
        scene = Scene(world, kind, name)
        for _ in range(runs):
            scene.run()
        print(json.dumps(scene.figures))
    except BaseException:
        print(world.logs(), file=sys.stderr)
        raise
    finally:
        world.close(keep=False)


if __name__ == "__main__":
    main()
