"""`sceneshift methods`."""

from __future__ import annotations

from jobs.console import DONE, Console
from jobs.parameters import parameters
from jobs.schema import model_schema
from methods.registry import info, registered


def methods_command(console: Console, name: str | None) -> int:
    """List the methods, or show one."""
    if name is None:
        known = sorted(registered().values(), key=lambda each: each.name)
        console.result([{"name": each.name, "summary": each.summary, "presets": list(each.presets)} for each in known])
        rows = [(each.name, each.summary, ", ".join(each.presets) or "-") for each in known]
        console.table(["method", "what it does", "presets"], rows)
        return DONE
    method = info(name)
    console.result(
        {
            "name": method.name,
            "summary": method.summary,
            "paper": method.paper,
            "inputs": method.inputs,
            "shard_size": method.shard_size,
            "presets": {key: {"summary": p.summary, "weights": p.weights} for key, p in method.presets.items()},
            "params": model_schema(method.params),
        }
    )
    console.say(f"[bold]{method.name}[/bold]  {method.summary}\n{method.paper}")
    presets = [(key, preset.summary, preset.weights or "-") for key, preset in method.presets.items()]
    if presets:
        console.table(["preset", "what it does", "weights"], presets)
    console.say("\n[bold]Parameters[/bold] (method.params)")
    console.parameters(parameters(method.params))
    return DONE
