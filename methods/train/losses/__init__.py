"""Discriminators and distances that the objectives train with."""
