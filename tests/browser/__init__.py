"""JupyterLab in a headless browser: widgets are drawn, answer, and leave pictures behind (``make test-browser``)."""
