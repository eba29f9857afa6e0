"""JupyterLab in a headless browser: widgets are drawn, answer, and leave pictures behind (``make test-browser``)."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.lab")  # before its import, so that its asserts tell what they compared
