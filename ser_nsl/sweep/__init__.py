"""Many trainings, one line each: what the graph is worth, with controls."""
