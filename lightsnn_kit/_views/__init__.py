"""The widgets behind ``widgets``, with their scripts and styles."""
