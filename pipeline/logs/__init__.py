"""What is logged where: standard `logging`, one logger per module below `sceneshift.`, and the log files of a run."""
