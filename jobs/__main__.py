"""`python -m jobs` is `sceneshift`."""

from jobs.cli import main

main()
