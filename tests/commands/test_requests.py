"""What a run says that it asked is what the sandbox's ledger has, to the request, over real sockets."""

import pytest

from tests.job_fixture import DUALENTRY, VAYU, JobFixture, summary


def ids(endpoint: str, count: int) -> list[str]:
    return [
        str(10_001 + one) if endpoint == DUALENTRY else f"{0x65F000000000000000000001 + one:024x}"
        for one in range(count)
    ]


@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
@pytest.mark.parametrize("differing", [2, 40])
@pytest.mark.parametrize("key", [None, "--key"])
def test_ledger(job: JobFixture, endpoint: str, differing: int, key: str | None) -> None:
    """Compared by lists, pages or one by one, changed or not, with a second start that finds nothing to do."""
    key_field = {DUALENTRY: "unique_id", VAYU: "externalId"}[endpoint] if key else None
    shown = [job.record(one, endpoint) for one in ids(endpoint, 40)]
    names = [one["name"] if number >= differing else f"New {number}" for number, one in enumerate(shown)]
    rows = [f'{one[key_field or "id"]},"{name}"' for one, name in zip(shown, names, strict=True)]
    sheet = job.sheet("\n".join([f"{key_field or 'id'},name", *rows, ""]))
    asked = 0
    for updated in (differing, 0):
        closing = job.update(sheet, endpoint, key=key_field)
        asked, before = len(job.ledger()), asked
        said = summary(closing.folder)
        assert (updated, 40 - updated) == (said["outcomes"]["updated"], said["outcomes"]["unchanged"])
        assert (asked - before, asked - before) == (said["requests"], said["attempts"])
