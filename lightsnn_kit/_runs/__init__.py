"""Files, provenance, notebooks and progress behind ``runs``, ``jobs`` and the command line."""
