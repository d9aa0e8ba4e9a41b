"""A server of tools made with the public SDK for Python (PyPI `mcp`), over standard input and output."""

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("notebook")
notes: list[str] = []


@server.tool()
def add(text: str) -> dict[str, Any]:
    """Adds a note, and says how many there are."""
    notes.append(text)
    return {"notes": len(notes)}


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ToolError("the notebook is wet")


server.run()
