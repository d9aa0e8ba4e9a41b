#!/usr/bin/env python3
"""Shows whether costs grow linearly: the processor time of one unit of work, at growing sizes, as a multiple of the first.

    python3 benches/growth.py [--commedia PATH] [--flags '--durability process'] [--only PART] [--json]

Each part does about the same amount of work at each size, so that a cost of one unit that does not change means linear growth.
User and system time of the whole process are counted, its start taken off where a unit is small.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

EVENTS = """
name: events
clock: {{tick: PT1M, ticks: {ticks}}}
world: {{state: {{n: {{type: integer, default: 0}}}}}}
agents: {{one: {{kind: rules, handles: [tick], rules: [{{otherwise: true, emit: [{{set: {{n: "state.n + tick"}}}}]}}]}}}}
"""

# A record more at each tick; the tick's record is read back.
WRITTEN = """
name: written
clock: {{tick: PT1M, ticks: {ticks}}}
world:
  state: {{n: {{type: integer, default: 0}}}}
  collections:
    items: {{key: id, index: [band], schema: {{type: object, properties: {{id: {{type: integer}}, band: {{type: string}}, units: {{type: integer}}}}}}}}
agents:
  one:
    kind: rules
    handles: [tick]
    rules:
      - otherwise: true
        emit:
          - put: items
            value: {{id: tick, band: "'b' + string(tick / 10)", units: "tick % 7"}}
          - {{set: {{n: "state.n + size(where(items, {{'band': 'b' + string(tick / 10)}}))"}}}}
"""

# {n} records are there from the start; each tick makes {of} look-ups over all of them, or none.
LOOKED_UP = """
name: looked-up
clock: {{tick: PT1M, ticks: {ticks}}}
world:
  state: {{n: {{type: integer, default: 0}}}}
  collections:
    items:
      key: id
      index: [band]
      schema: {{type: object, properties: {{id: {{type: integer}}, band: {{type: string}}, units: {{type: integer}}}}}}
      seed: {{file: items.csv}}
agents:
  one:
    kind: rules
    handles: [tick]
    rules: [{{otherwise: true, emit: [{{set: {{n: "sum(range({of}).map(i, {what}))"}}}}]}}]
"""
# Which record the i-th look-up of a tick asks for, before it is taken modulo the records.
PLACES = {"in order": "(tick * 1000 + i)", "scattered": "(tick * 7919 + i * 104729)"}
BY = {
    "key": ("items[{place} % {n}].units", "{place} % {n}"),
    "index": ("size(where(items, {{'band': 'b' + string({place} % ({n} / 10))}}))", "size('b' + string({place} % ({n} / 10)))"),
}


class Machine:
    def __init__(self, given, folder):
        self.binary, self.flags, self.folder = commedia(given.commedia), given.flags.split(), folder
        self.full = not given.quick

    def __call__(self, *arguments):
        """Runs a command on a data folder of its own: its JSON and the processor time it took, in seconds."""
        data = self.folder / "data"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [self.binary, "--data", str(data), *arguments, "--output", "json", "--quiet", *self.flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        shutil.rmtree(data, ignore_errors=True)
        if done.returncode != 0:
            sys.exit(f"`{' '.join(command)}` ended with {done.returncode}")
        return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def play(self, text, runs=1):
        file = self.folder / "growth.scenario.yaml"
        file.write_text(text)
        return self("run", str(file), "--runs", str(runs))


def sizes(first, last):
    while first <= last:
        yield first
        first *= 10


def runs(machine):
    """Scenarios of handoff-4 by rules, 1,000 at once; the bench measures itself, after a warm-up."""
    for n in sizes(1_000, 100_000 if machine.full else 10_000):
        found, _ = machine("bench", "--workload", "handoff-4-rules", "--runs", str(n), "--parallel", "1000")
        yield n, found["cpu_us_per_scenario"]


def one_tick(machine, text):
    """What the process costs before the first tick."""
    return min(machine.play(text.format(ticks=1))[1] for _ in range(3))


def events(machine):
    """Events of one run that does not grow: a turn and a write each tick."""
    total, nothing = 200_000 if machine.full else 20_000, one_tick(machine, EVENTS)
    for n in sizes(100, total // 2):
        found, cpu = machine.play(EVENTS.format(ticks=n // 2), total // n)
        run = found["runs"][0] if "runs" in found else found
        yield n, (cpu - nothing) / (run["events"] * (total // n)) * 1e6


def written(machine):
    """Records written and read back by one run whose collection grows to that size."""
    total, nothing = 100_000 if machine.full else 10_000, one_tick(machine, WRITTEN)
    for n in sizes(100, total):
        _, cpu = machine.play(WRITTEN.format(ticks=n), total // n)
        yield n, (cpu - nothing) / total * 1e6


def looked_up(by, place):
    def part(machine):
        ticks, of = (2_000, 1_000) if machine.full else (400, 1_000)
        for n in sizes(100, 100_000):
            rows = (f"{i},b{i % (n // 10)},{i % 7}\n" for i in range(n))
            (machine.folder / "items.csv").write_text("id,band,units\n" + "".join(rows))
            # The same expression without its look-up is taken off, and with it the process' start and the records' loading.
            cost = [
                min(machine.play(LOOKED_UP.format(n=n, ticks=ticks, of=of, what=what))[1] for _ in range(2))
                for what in (expression.format(place=PLACES[place], n=n) for expression in BY[by])
            ]
            yield n, (cost[0] - cost[1]) / (ticks * of) * 1e6

    part.__doc__ = f"Look-ups by {by} in a collection of so many records, {place}" + ("; ten found each time." if by == "index" else ".")
    return part


PARTS = {
    "runs": runs,
    "events": events,
    "written": written,
    "key": looked_up("key", "in order"),
    "key-scattered": looked_up("key", "scattered"),
    "index": looked_up("index", "in order"),
    "index-scattered": looked_up("index", "scattered"),
}


def commedia(given):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    for place in [given, target / "release" / "commedia", shutil.which("commedia")]:
        if place and Path(place).is_file():
            return str(Path(place).resolve())
    sys.exit(f"there is no commedia in {target}/release: `cargo build --release` first, or name it with --commedia PATH")


def main():
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--commedia", metavar="PATH", help="the program; else the one in target/release, else the one on the PATH")
    known.add_argument("--flags", default="", help="further flags of commedia, such as '--durability process'")
    known.add_argument("--folder", type=Path, default=ROOT / "target", help="where the data goes: a disk, not a file system in memory")
    known.add_argument("--only", choices=PARTS, help="this part alone")
    known.add_argument("--quick", action="store_true", help="a tenth of the work")
    known.add_argument("--json", action="store_true", help="JSON instead of a table")
    given = known.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    document = {}
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="growth-") as folder:
        machine = Machine(given, Path(folder))
        for name in [given.only] if given.only else PARTS:
            found = list(PARTS[name](machine)) if given.json else []
            document[name] = {str(n): cost for n, cost in found}
            if given.json:
                continue
            print(f"{name}: {PARTS[name].__doc__}")
            first = None
            for n, cost in PARTS[name](machine):
                first = first or cost
                print(f"  {n:>9,}  {cost:>9.2f} µs each  {cost / first:>6.2f} x", flush=True)
    if given.json:
        print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
