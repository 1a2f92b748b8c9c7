"""What an editor knows of a study file, made once: to check the schema itself takes seconds, and a test does it."""

from __future__ import annotations

import jsonschema
import pytest

from tunemax.search.question.schema import json_schema


@pytest.fixture(scope="session")
def editor() -> jsonschema.Draft202012Validator:
    """The schema of study files, which validates data."""
    return jsonschema.Draft202012Validator(json_schema())
