"""`sceneshift objectives`."""

from __future__ import annotations

from jobs.console import DONE, Console
from jobs.parameters import parameters
from jobs.schema import model_schema
from methods.train.registry import info, registered


def objectives_command(console: Console, name: str | None) -> int:
    """List what can be trained, or show one objective."""
    if name is None:
        known = sorted(registered().values(), key=lambda each: each.name)
        console.result([{"name": each.name, "summary": each.summary, "streams": each.streams} for each in known])
        rows = [(each.name, each.summary, ", ".join(each.streams)) for each in known]
        console.table(["objective", "what it trains", "data"], rows)
        return DONE
    objective = info(name)
    console.result(
        {
            "name": objective.name,
            "summary": objective.summary,
            "paper": objective.paper,
            "streams": objective.streams,
            "steps": objective.steps,
            "batch_size": objective.batch_size,
            "params": model_schema(objective.params),
        }
    )
    console.say(f"[bold]{objective.name}[/bold]  {objective.summary}\n{objective.paper}")
    console.say(f"published: {objective.steps} steps of {objective.batch_size}")
    console.table(["data", "what it is"], list(objective.streams.items()))
    console.say("\n[bold]Parameters[/bold] (objective.params)")
    console.parameters(parameters(objective.params))
    return DONE
