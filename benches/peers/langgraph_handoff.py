"""handoff-4 with LangGraph: four nodes that hand off with `Command`, a checkpoint in a file after each."""

import os
import sqlite3
from typing import Annotated, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command

import handoff


class State(TypedDict):
    parameters: dict
    messages: Annotated[list[AnyMessage], add_messages]
    plans: dict
    result: dict


class Answers(BaseChatModel):
    """A chat model that says what it is told to; nothing is sent."""

    answer: AIMessage

    def _generate(self, messages, stop=None, run_manager=None, **_):
        return ChatResult(generations=[ChatGeneration(message=self.answer)])

    @property
    def _llm_type(self):
        return "answers"


THROUGH_A_MODEL = False


def ask(text, state, answer, *calls):
    """The request that a model would get, and the answer it would give; with `--nodes model` through a chat model."""
    request = [SystemMessage(text.format(**state["parameters"])), *state["messages"]]
    said = AIMessage(answer, tool_calls=[{"name": n, "args": a, "id": f"{n}-1", "type": "tool_call"} for n, a in calls])
    return Answers(answer=said).invoke(request) if THROUGH_A_MODEL else said


def transfer(to, answer, **update):
    told = ToolMessage(f"transferred to {to}", tool_call_id=f"transfer_to_{to}-1")
    return Command(goto=to, update={"messages": [*update.pop("before", []), answer, told], **update})


def planner(state):
    text = "Plan {forecast_horizon_weeks} weeks from {season_start_date}. Hand off to demand."
    return transfer("demand", ask(text, state, "", ("transfer_to_demand", {})))


def demand(state):
    text = "Forecast {forecast_horizon_weeks} weeks. Hand off to inventory."
    return transfer("inventory", ask(text, state, "", ("transfer_to_inventory", {})))


def inventory(state):
    text = (
        "Plan what is bought, {dc_holdback_percentage} of it held back, replenished {replenishment_strategy}. "
        "Store it with put_plans. Hand off to pricing."
    )
    plan = handoff.plan(state["parameters"])
    stored = [ask(text, state, "", ("put_plans", plan)), ToolMessage("stored", tool_call_id="put_plans-1")]
    answer = ask(text, state, "", ("transfer_to_pricing", {}))
    return transfer("pricing", answer, before=stored, plans={**state["plans"], plan["plan_id"]: plan})


def pricing(state):
    answer = ask("Set the price; markdown checkpoint {markdown_checkpoint_week}.", state, "priced")
    return Command(goto=END, update={"messages": [answer], "result": {"price": handoff.price(state["parameters"])}})


def network(saver):
    graph = StateGraph(State)
    graph.add_node("planner", planner, destinations=("demand",))
    graph.add_node("demand", demand, destinations=("inventory",))
    graph.add_node("inventory", inventory, destinations=("pricing",))
    graph.add_node("pricing", pricing, destinations=(END,))
    graph.add_edge(START, "planner")
    return graph.compile(checkpointer=saver)


class Runs:
    """The graph is compiled once, as a service would; each scenario is a thread of its own."""

    def __init__(self):
        self.graph = None

    def open(self, folder):
        self.connection = sqlite3.connect(os.path.join(folder, "checkpoints.db"), check_same_thread=False)
        self.graph = network(SqliteSaver(self.connection))

    def __call__(self, folder, first, count):
        if self.graph is None:
            self.open(folder)
        for n in range(first, first + count):
            start = {"parameters": dict(handoff.PARAMETERS), "messages": [HumanMessage(handoff.MESSAGE)], "plans": {}}
            end = self.graph.invoke(start, {"configurable": {"thread_id": f"run-{n}"}}, durability="sync")
            handoff.check(end["plans"], end["result"])

    def synchronous(self):
        return self.connection.execute("PRAGMA synchronous").fetchone()[0]


if __name__ == "__main__":
    THROUGH_A_MODEL = handoff.arguments().nodes == "model"
    runs = Runs()
    handoff.measure("langgraph", runs, runs.synchronous)
