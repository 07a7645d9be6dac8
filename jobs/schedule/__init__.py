"""Files that make a scheduler run a job again and again, rendered from templates."""
