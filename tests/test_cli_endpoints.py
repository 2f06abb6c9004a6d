"""`batch endpoints`: what there is, and its fields."""

import json

import pytest

from batch.cli.messages import UNBROKEN
from batch.cli.views import endpoints_page
from batch.endpoints import ENDPOINTS
from batch.run.target import Environment
from tests.shell import DUALENTRY, VAYU, Ended, Shell


def test_list(offline: Shell) -> None:
    """A line for each: name, title and address."""
    expected = """dualentry.customers  DualEntry customers  https://api.dualentry.com
vayu.customers       Vayu customers       https://connect.withvayu.com
"""
    assert Ended(0, expected, "") == offline.here("endpoints")


FRAMES = {
    DUALENTRY: (
        "dualentry.customers: DualEntry customers at https://api.dualentry.com",
        """CLEAR: whether <clear> may empty it. SPACES: whether spaces around a value are trimmed or kept.
Limits: 5 a second after the first 50 in all; 1 a second after the first 10 for each kind of request \
(--max-per-second for others)
Credentials: DUALENTRY_API_KEY = the API key (Settings, API keys)
Records can also be found by: --key unique_id""",
    ),
    VAYU: (
        "vayu.customers: Vayu customers at https://connect.withvayu.com",
        """CLEAR: whether <clear> may empty it. SPACES: whether spaces around a value are trimmed or kept.
Limits: 500 a second after the first 100 in all (--max-per-second for others)
Credentials: VAYU_API_TOKEN = the API token (dashboard, API Token); VAYU_CLIENT_ID = the client id \
(dashboard, API Token); sent when set
Records can also be found by: --key externalId""",
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_page(offline: Shell, name: str) -> None:
    """A table of all fields, and what else one must know."""
    ended = offline.here("endpoints", name)
    first, last = FRAMES[name]
    lines = ended.out.splitlines()
    assert (0, "", first) == (ended.code, ended.err, lines[0])
    assert last.splitlines() == lines[-4:]
    assert ["FIELD", "CLEAR", "SPACES", "LIMITS", "ALSO", "CALLED"] == lines[2].split()
    fields = [
        "id",
        *(field.name for field in ENDPOINTS[name].fields),
        *(one for one, _ in ENDPOINTS[name].dynamic_fields),
    ]
    assert fields == [line.split()[0] for line in lines[3:-5]]


def test_enumerations(offline: Shell) -> None:
    """Choices are listed in full, in the makers' spelling."""
    lines = offline.here("endpoints", VAYU).out.splitlines()
    (due,) = [line for line in lines if line.startswith("  dueDays ")]
    assert "END_OF_MONTH, SAME_DAY, 15_DAYS, 30_DAYS, 45_DAYS, 60_DAYS, 90_DAYS" in due
    (currency,) = [line for line in lines if line.startswith("  currency ")]
    assert "USD, EUR, GBP, ILS, CAD, AUD, COP, BRL" in currency


@pytest.mark.parametrize("name", FRAMES)
def test_json(offline: Shell, name: str) -> None:
    """The same as JSON."""
    told = json.loads(offline.here("endpoints", name, "--json").out)
    assert ["name", "title", "method", "base_url", "credentials", "id", "fields", "families"] == list(told)
    assert [field.name for field in ENDPOINTS[name].fields] == [field["name"] for field in told["fields"]]
    assert sorted(ENDPOINTS) == [one["name"] for one in json.loads(offline.here("endpoints", "--json").out)]


def test_unknown(offline: Shell) -> None:
    """An unknown one is answered with the nearest."""
    message = '--endpoint "vayu": there is nothing of this name. Did you mean vayu.customers? See:  batch endpoints\n'
    assert Ended(2, "", message) == offline.here("endpoints", "vayu")


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("width", [80, 120])
def test_narrow(name: str, width: int) -> None:
    """On a terminal the fields are no wider than it, and all that is to be known of them is there."""
    wide = endpoints_page(name, Environment({}), UNBROKEN).splitlines()
    lines = endpoints_page(name, Environment({}), width).splitlines()
    listed = lines[2 : lines.index("", 2)]
    assert (True, []) == (len(max(wide, key=len)) > width, [line for line in listed if len(line) > width])
    names = [line.split()[0] for line in listed if line[2] != " "]
    assert names == [line.split()[0] for line in wide[3 : wide.index("", 3)]]
    (street,) = (
        (line for line in listed if ".street " in line and "ship" not in line.lower()) if name == DUALENTRY else "-"
    )
    assert name == VAYU or street.endswith("text, never empty")
