"""Trainings and distillations over the same sources as a run."""
