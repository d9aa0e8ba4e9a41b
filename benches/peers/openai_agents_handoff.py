"""handoff-4 with openai-agents: a model that answers at once, and the session that comes with the library, in a file."""

import asyncio
import itertools
import json
import os
from dataclasses import dataclass, field

from agents import Agent, Model, ModelResponse, RunConfig, RunContextWrapper, Runner, SQLiteSession, Usage, function_tool
from agents import set_tracing_disabled
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from pydantic import BaseModel

import handoff

IDS = itertools.count()


@dataclass
class World:
    parameters: dict
    plans: dict = field(default_factory=dict)


def call(name, **arguments):
    return ResponseFunctionToolCall(
        type="function_call", call_id=f"call_{next(IDS)}", name=name, arguments=json.dumps(arguments)
    )


def say(text):
    content = [ResponseOutputText(type="output_text", text=text, annotations=[])]
    return ResponseOutputMessage(
        id=f"msg_{next(IDS)}", type="message", role="assistant", status="completed", content=content
    )


class Answers(Model):
    """The tool calls that a provider's model would ask for; no request is built and nothing is sent."""

    def __init__(self, *answers):
        self.answers = answers

    async def get_response(self, system_instructions, input, model_settings, tools, output_schema, handoffs, tracing, **_):
        # A turn's second request is the one whose history ends with a tool's result that is no handoff.
        last = input[-1] if isinstance(input, list) else {}
        after_tool = last.get("type") == "function_call_output" and "assistant" not in str(last.get("output"))
        answer = self.answers[-1 if after_tool else 0]
        return ModelResponse(output=[answer()], usage=Usage(), response_id=None)

    def stream_response(self, *_, **__):
        raise NotImplementedError


@function_tool
async def put_plans(context: RunContextWrapper[World], plan_id: str, units: int, held_back: int) -> str:
    """Stores a plan."""
    context.context.plans[plan_id] = {"plan_id": plan_id, "units": units, "held_back": held_back}
    return "stored"


class Price(BaseModel):
    price: float


def instructions(text):
    return lambda context, _agent: text.format(**context.context.parameters)


def network(parameters):
    pricing = Agent[World](
        name="pricing",
        instructions=instructions("Set the price; markdown checkpoint {markdown_checkpoint_week}."),
        output_type=Price,
        model=Answers(lambda: say(json.dumps({"price": handoff.price(parameters)}))),
    )
    inventory = Agent[World](
        name="inventory",
        instructions=instructions(
            "Plan what is bought, {dc_holdback_percentage} of it held back, replenished {replenishment_strategy}. "
            "Store it with put_plans. Hand off to pricing."
        ),
        tools=[put_plans],
        handoffs=[pricing],
        model=Answers(lambda: call("put_plans", **handoff.plan(parameters)), lambda: call("transfer_to_pricing")),
    )
    demand = Agent[World](
        name="demand",
        instructions=instructions("Forecast {forecast_horizon_weeks} weeks. Hand off to inventory."),
        handoffs=[inventory],
        model=Answers(lambda: call("transfer_to_inventory")),
    )
    return Agent[World](
        name="planner",
        instructions=instructions("Plan {forecast_horizon_weeks} weeks from {season_start_date}. Hand off to demand."),
        handoffs=[demand],
        model=Answers(lambda: call("transfer_to_demand")),
    )


class Runs:
    """The agents are built once, as a service would; each scenario has a session of its own in one file."""

    def __init__(self):
        set_tracing_disabled(True)
        self.planner = network(handoff.PARAMETERS)
        self.loop = asyncio.new_event_loop()
        self.keeper = None

    def __call__(self, folder, first, count):
        if self.keeper is None:
            # With one session open throughout, closing the others does not fold the file's log each time.
            self.keeper = SQLiteSession("keeper", os.path.join(folder, "sessions.db"))
            self.loop.run_until_complete(self.keeper.get_items())
        self.loop.run_until_complete(self.run(os.path.join(folder, "sessions.db"), first, count))

    async def run(self, file, first, count):
        config = RunConfig(tracing_disabled=True)
        for n in range(first, first + count):
            world = World(dict(handoff.PARAMETERS))
            session = SQLiteSession(f"run-{n}", file)
            try:
                result = await Runner.run(self.planner, handoff.MESSAGE, context=world, session=session, run_config=config)
            finally:
                session.close()
            if result.last_agent.name != "pricing":
                raise SystemExit(f"the floor ended with {result.last_agent.name}")
            handoff.check(world.plans, {"price": result.final_output.price})

    def synchronous(self):
        return self.keeper._get_connection().execute("PRAGMA synchronous").fetchone()[0]


if __name__ == "__main__":
    runs = Runs()
    handoff.measure("openai-agents", runs, runs.synchronous)
