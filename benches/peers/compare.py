#!/usr/bin/env python3
"""Runs handoff-4 with commedia, openai-agents and LangGraph on this machine and prints what each costs, as ratios.

    python3 benches/peers/compare.py [--commedia PATH] [--rounds N] [--runs N] [--venv DIR] [--json]

Installs the peers (requirements.txt) from PyPI into a folder of its own and removes it. README.md says what is compared.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = {
    "openai-agents": ["openai_agents_handoff.py"],
    "langgraph, chat model": ["langgraph_handoff.py", "--nodes", "model"],
    "langgraph, functions": ["langgraph_handoff.py", "--nodes", "functions"],
}
OURS = {"commedia, stub": "handoff-4-stub", "commedia, rules": "handoff-4-rules"}


def commedia(given):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    places = [given, target / "release" / "commedia", shutil.which("commedia")]
    for place in places:
        if place and Path(place).is_file():
            return str(Path(place).resolve())
    sys.exit(f"there is no commedia in {target}/release: `cargo build --release` first, or name it with --commedia PATH")


def installed(folder):
    """The Python of a virtual environment that holds the peers."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    needed = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(HERE / "requirements.txt")]
    subprocess.run(needed, check=True)
    return python


def output(arguments):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, cwd=HERE)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(map(str, arguments))}` ended with {done.returncode}")
    return json.loads(done.stdout)


def middle(measured):
    """The round in the middle, by processor time."""
    return sorted(measured, key=lambda m: m["cpu_us_per_scenario"])[(len(measured) - 1) // 2]


def measure(given, folder):
    binary = commedia(given.commedia)
    python = installed(given.venv or folder / "venv")
    found = {name: [] for name in [*PEERS, *OURS]}
    for n in range(given.rounds):
        print(f"round {n + 1} of {given.rounds}", file=sys.stderr)
        for name, script in PEERS.items():
            found[name].append(output([python, *script, "--runs", str(given.runs), "--folder", str(folder)]))
        for name, workload in OURS.items():
            bench = [binary, "--data", str(folder / "data"), "bench", "--workload", workload, "--output", "json"]
            found[name].append(output([*bench, "--runs", str(given.our_runs), "--parallel", "1000", *given.flags.split()]))
    return found


def table(found):
    middles = {name: middle(measured) for name, measured in found.items()}
    ours = {name: middles[name]["cpu_us_per_scenario"] for name in OURS}
    rows = [["", "CPU per scenario", "scenarios/s", "of the stub's", "of the rules'"]]
    for name, measured in middles.items():
        cpu = measured["cpu_us_per_scenario"]
        ratios = [f"{cpu / ours[our]:.1f} x" for our in OURS]
        rows.append([name, f"{cpu:,.0f} µs", f"{measured['scenarios_per_s']:,.0f}", *ratios])
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths))) for row in rows)


def head(found):
    peers = {m[0]["package"]: m[0]["version"] for name, m in found.items() if name in PEERS}
    words = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
    synchronous = sorted({words[m[0]["sqlite_synchronous"]] for name, m in found.items() if name in PEERS})
    our = found["commedia, rules"][0]
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}\n"
        f"commedia: {our['engine']}, durability {our['durability']}, {our['parallel']} at once, {our['runs']} scenarios a round\n"
        + "".join(f"{name} {version}\n" for name, version in peers.items())
        + f"peers: SQLite in a file, synchronous = {', '.join(synchronous)}, "
        f"one at a time, {found['openai-agents'][0]['runs']} scenarios a round\n"
    )


def main():
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--commedia", metavar="PATH", help="the program; else the one in target/release, else the one on the PATH")
    known.add_argument("--rounds", type=int, default=3, help="rounds, each of all five; the one in the middle counts")
    known.add_argument("--runs", type=int, default=300, help="scenarios of a peer in a round")
    known.add_argument("--our-runs", type=int, default=20_000, help="scenarios of commedia in a round")
    known.add_argument("--flags", default="", help="further flags of commedia, such as '--durability process'")
    known.add_argument("--folder", type=Path, default=ROOT / "target", help="where all files go: a disk, not a file system in memory")
    known.add_argument("--venv", type=Path, metavar="DIR", help="a virtual environment to make or use again")
    known.add_argument("--json", action="store_true", help="all that was measured, as JSON")
    given = known.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="peers-") as folder:
        found = measure(given, Path(folder))
    print(json.dumps(found, indent=2) if given.json else head(found) + "\n" + table(found))


if __name__ == "__main__":
    main()
