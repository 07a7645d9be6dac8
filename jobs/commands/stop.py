"""`sceneshift stop`."""

from __future__ import annotations

from jobs.console import DONE, FAILED, Console
from jobs.submission import ENDED, Head


def stop_command(console: Console, id_: str, address: str) -> int:
    """Stop a submitted job and say what became of it."""
    head = Head(address)
    found = head.job(head.find(id_))
    if found.status in ENDED:
        console.result({"id": found.submission_id, "status": str(found.status.value)})
        console.say(f"{found.submission_id} had ended already: {found.status.lower()}")
        return DONE
    found = head.stop(found.submission_id or id_)
    console.result({"id": found.submission_id, "status": str(found.status.value)})
    console.say(f"{found.submission_id}: {found.status.lower()}; what is committed stays, submit it again to go on")
    return DONE if found.status in ENDED else FAILED
