"""The lab: run folders, notebooks as functions, background jobs, experiments and their rows."""
