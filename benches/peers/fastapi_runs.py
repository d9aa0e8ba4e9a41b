"""Runs of the scenario `bell` over HTTP with FastAPI, in memory: what `commedia serve` checks and answers, without a log.

    uvicorn fastapi_runs:app --loop uvloop --http httptools --no-access-log
"""

import asyncio
import datetime
import itertools
import json
import os
import time
from typing import Any, Literal

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

HOUR = 3600
# How many turns a run has behind it when it is created, so that there is something to follow.
TURNS = int(os.environ.get("PEER_TURNS", "0"))
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
USUAL = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]


class NewRun(BaseModel):
    model_config = ConfigDict(extra="forbid")
    scenario: str = Field(min_length=1, max_length=200)
    parameters: dict[str, Any] = {}
    seed: int = Field(default=1, ge=0, le=2**53 - 1)
    model: str | None = Field(default=None, max_length=200, pattern=r"^(auto|stub|offline|(openai|azure|ollama|anthropic):\S+)$")
    today: datetime.date | None = None


class RunView(BaseModel):
    run_id: str
    scenario: str
    status: Literal["waiting", "running", "completed"]
    waiting_for: str | None = None
    waiting_until: str | None = None
    seed: int
    events: int
    started_at: str
    ended_at: str | None = None


class Run:
    def __init__(self, asked, at):
        self.id, self.asked, self.started, self.rung = run_id(at), asked, at, 0
        self.log, self.due = [], None

    def append(self, kind, **data):
        self.log.append({"seq": len(self.log) + 1, "at": time.time(), "kind": kind, "data": data})

    def wait(self):
        self.due = time.time() + HOUR
        self.append("timer.set", due=self.due)
        asyncio.get_running_loop().call_later(HOUR, self.ring)

    def ring(self):
        self.rung += 1
        self.append("turn.completed", writes={"rung": self.rung})
        if self.rung < 3:
            self.wait()

    def view(self):
        return RunView(
            run_id=self.id,
            scenario=self.asked.scenario,
            status="waiting",
            waiting_for="timer",
            waiting_until=text(self.due),
            seed=self.asked.seed,
            events=len(self.log),
            started_at=text(self.started),
        )


def run_id(at):
    """Sortable by creation: 48 bits of time, 80 of chance."""
    value = (int(at * 1000) << 80) | int.from_bytes(os.urandom(10))
    return "r_" + "".join(ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def text(at):
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def problem(status, code, detail, errors=()):
    body = {"type": f"/problems/{code}", "title": code, "status": status, "detail": detail, "errors": list(errors)}
    return JSONResponse(body, status, media_type="application/problem+json")


class Usual:
    """The id of each request, and the headers that every answer has."""

    def __init__(self, app):
        self.app, self.ids = app, itertools.count(1)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        request_id = given or b"req-%d" % next(self.ids)

        async def answer(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *USUAL, (b"x-request-id", request_id)]
            await send(message)

        await self.app(scope, receive, answer)


app = FastAPI()
app.add_middleware(Usual)
scenarios = {"bell": {"parameters": {}}}
runs: dict[str, Run] = {}


@app.exception_handler(RequestValidationError)
async def invalid(_: Request, fault: RequestValidationError):
    errors = [{"pointer": "/" + "/".join(map(str, e["loc"][1:])), "message": e["msg"]} for e in fault.errors()]
    return problem(422, "invalid", "the request is not as it should be", errors)


@app.post("/api/runs", status_code=201, response_model=RunView)
async def create(new: NewRun, response: Response):
    scenario = scenarios.get(new.scenario)
    if scenario is None:
        return problem(404, "not_found", f"there is no scenario `{new.scenario}` here")
    unknown = [name for name in new.parameters if name not in scenario["parameters"]]
    if unknown:
        return problem(422, "invalid", "unknown parameters", [{"pointer": f"/parameters/{n}", "message": "unknown"} for n in unknown])
    run = Run(new, time.time())
    run.append("run.created", scenario=new.scenario, seed=new.seed, parameters=new.parameters)
    for turn in range(TURNS):
        run.append("turn.completed", agent="bell", turn=turn, message="a turn of the usual size, with what it wrote and said", writes={"rung": turn})
    run.wait()
    runs[run.id] = run
    response.headers["location"] = f"/api/runs/{run.id}"
    return run.view()


@app.get("/api/runs/{run_id}", response_model=RunView)
async def one(run_id: str, response: Response):
    run = runs.get(run_id)
    if run is None:
        return problem(404, "not_found", "there is no such run here")
    response.headers["etag"] = f'"{len(run.log)}"'
    return run.view()


@app.websocket("/ws/{run_id}")
async def follow(socket: WebSocket, run_id: str, after: int = 0):
    run = runs.get(run_id)
    if run is None:
        return await socket.close(4404)
    await socket.accept()
    for event in run.log[after:]:
        frame = {"type": event["kind"], "run_id": run.id, "timestamp": text(event["at"]), "seq": event["seq"], "data": event["data"]}
        await socket.send_text(json.dumps(frame))
    await socket.receive_text()
