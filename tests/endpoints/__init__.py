"""What every endpoint must keep, and one that is not built in."""

import pytest

pytest.register_assert_rewrite("tests.endpoints.conformance")
