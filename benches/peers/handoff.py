"""What both peers share: the workload's parameters and numbers, and the clock that is put around it."""

import argparse
import json
import resource
import sys
import tempfile
import time
from importlib.metadata import version

PARAMETERS = {
    "forecast_horizon_weeks": 12,
    "season_start_date": "2026-03-02",
    "replenishment_strategy": "weekly",
    "dc_holdback_percentage": 0.45,
    "markdown_checkpoint_week": None,
}
MESSAGE = "Plan the season."


def units(parameters):
    return 100 * parameters["forecast_horizon_weeks"]


def plan(parameters):
    planned = units(parameters)
    return {"plan_id": "season", "units": planned, "held_back": int(planned * parameters["dc_holdback_percentage"])}


def price(parameters):
    return 49.0 if parameters["markdown_checkpoint_week"] is None else 44.0


def check(plans, result):
    """A peer that did not do the work is not measured."""
    expected = {"season": {"plan_id": "season", "units": 1200, "held_back": 540}}
    if plans != expected or result != {"price": 49.0}:
        sys.exit(f"the scenario came out wrong: {plans} {result}")


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def arguments():
    known = argparse.ArgumentParser()
    known.add_argument("--runs", type=int, default=300)
    known.add_argument("--folder", required=True)
    known.add_argument("--nodes", choices=["functions", "model"], default="model", help="LangGraph only: who decides")
    return known.parse_args()


def measure(package, scenarios, synchronous):
    """Calls `scenarios(folder, first, count)` to warm up and to measure; prints what a scenario cost as JSON."""
    given = arguments()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        warm_up = max(1, given.runs // 10)
        scenarios(folder, 0, warm_up)
        begun, cpu = time.perf_counter(), cpu_seconds()
        scenarios(folder, warm_up, given.runs)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - begun
        print(
            json.dumps(
                {
                    "package": package,
                    "version": version(package),
                    "runs": given.runs,
                    "cpu_us_per_scenario": cpu * 1e6 / given.runs,
                    "scenarios_per_s": given.runs / wall,
                    "sqlite_synchronous": synchronous(),
                }
            )
        )
