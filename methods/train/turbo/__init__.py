"""What both Turbo trainings share."""
