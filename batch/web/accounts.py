"""Whose records: the sandbox, the companies that have a login, the environment's key, or one that is typed.

Promises: a typed key is kept in this process's memory, for the sheet that it was typed for, unless the box says that
it is to be remembered: then the API is asked first whether it accepts it, as `login` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from batch.commands.login import list_logins, log_in
from batch.credentials import check_credential, parse_credentials
from batch.endpoints.base import CredentialVariable, Endpoint
from batch.errors import CredentialError, UsageError
from batch.run.consent import Nobody
from batch.run.standing_sandbox import start_standing
from batch.run.target import SANDBOX, Environment, api_of, find_endpoint, kind_of_host, make_endpoint, variables_set
from batch.settings import Layer, Settings, SettingsFiles, config_folder, merge_layers, read_files

TYPED, LOGIN, OWN = "typed", "login", "environment"
KEY_FILE = "key_file"
"""What a form calls the text of a file that holds a key."""


@dataclass(frozen=True, slots=True)
class Account:
    """One way to open the records of an endpoint, as it is offered."""

    endpoint: str
    title: str
    """The endpoint's."""
    kind: str
    """`sandbox`, `login`, `environment` or `typed`."""
    name: str = ""
    """The company's, of a login."""
    key: str = ""
    """As it may be shown."""
    address: str = ""
    host_kind: str = ""
    """`production`, `test system`, or "" for an address that is not the maker's."""

    @property
    def value(self) -> str:
        """What a form calls it."""
        return "|".join((self.endpoint, self.kind, self.name, self.address if self.kind == TYPED else ""))


def offered(environment: Environment) -> list[Account]:
    """List all that can be chosen, the safest first."""
    logins = list_logins(Nobody(), environment)
    found: list[Account] = []
    for name, kind in environment.endpoints.items():
        own = own_settings({"endpoint": name}, environment)
        endpoint = make_endpoint(own, environment)

        def account(way: str, address: str, *, of: Endpoint = endpoint, **known: str) -> Account:
            return Account(of.name, of.title, way, address=address, host_kind=kind_of_host(address, of), **known)

        address = (own.base_url or kind.base_url).rstrip("/")
        if kind.has_sandbox:
            found.append(Account(name, kind.title, SANDBOX, host_kind=SANDBOX))
        own_logins = [one for one in logins if one.api == api_of(kind)]
        found += [account(LOGIN, one.base_url, name=one.name, key=one.shown) for one in own_logins]
        found += [account(OWN, address)] if variables_set(kind, environment) else []
        found += [account(TYPED, one) for one in ([address] if own.base_url else (address, *kind.test_urls))]
    return sorted(found, key=lambda one: (SANDBOX, LOGIN, OWN, TYPED).index(one.kind))


def own_settings(given: Mapping[str, Any], environment: Environment) -> Settings:
    """Merge what is given with this user's own settings file; raises SettingsError."""
    folder = config_folder(environment.variables)
    files = SettingsFiles(None, (), folder / "config.toml" if folder else None)
    rates = environment.documented_rates
    layers = read_files(files, given.get("endpoint"), environment.endpoint_options, lambda name: rates.get(name, 0.0))
    return merge_layers([Layer("", given), *layers])


@dataclass(frozen=True, slots=True)
class Chosen:
    """An account that was chosen: what it adds to the settings, and what opens it."""

    account: Account
    given: Mapping[str, Any]
    typed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """A typed key, by the names of its variables."""

    def settle(self, settings: Settings) -> Settings:
        """Return settings that lead to this account alone, whatever a settings file says of where and whose."""
        where = (
            {"base_url": settings.base_url} if self.account.kind == OWN else {"base_url": self.given.get("base_url")}
        )
        return replace(
            settings, **where, sandbox=self.account.kind == SANDBOX, as_login=self.given.get("as_login"),
            company=self.given.get("company"), token_file=None, token_command=None,
        )  # fmt: skip

    def environment(self, around: Environment) -> Environment:
        """Return the world in which commands take this account and no other."""
        if self.account.kind != TYPED:
            return replace(around, uses_logins=False)
        kind = find_endpoint(self.account.endpoint, around)
        others = {one.name: "" for one in kind.variables} | {f"{one.name}_FILE": "" for one in kind.variables}
        return replace(around, variables={**around.variables, **others, **self.typed}, uses_logins=False)


def choose(value: str, form: Mapping[str, str], environment: Environment) -> Chosen:
    """Return the account that a form names, with the key that was typed; raises UsageError."""
    account = next((one for one in offered(environment) if one.value == value), None)
    if account is None:
        raise UsageError("Say whose records are to be changed.")
    company = form.get("company", "").strip() or None
    match account.kind:
        case "sandbox":
            return Chosen(account, {"sandbox": True})
        case "login":
            return Chosen(account, {"as_login": account.name, **_address(account, environment)})
        case "environment":
            return Chosen(account, {"company": company} if company else {})
    kind = find_endpoint(account.endpoint, environment)
    typed = _typed(kind.variables, form)
    given: dict[str, Any] = _address(account, environment)
    if form.get("remember"):
        if company is None:
            raise UsageError("To remember the key, give the company a name.")
        settings = own_settings({"endpoint": account.endpoint, **given}, environment)
        person = _Typed(typed, kind.variables)
        kept = log_in(settings, company, None, person, environment).login
        login = replace(account, kind=LOGIN, name=kept.name, key=kept.shown)
        return Chosen(login, {"as_login": kept.name, **given})
    return Chosen(account, given | ({"company": company} if company else {}), typed)


def _address(account: Account, environment: Environment) -> dict[str, Any]:
    """Return the setting of an account's address, none for the maker's own."""
    is_own = account.address == find_endpoint(account.endpoint, environment).base_url
    return {"base_url": None if is_own else account.address}


def _typed(variables: Sequence[CredentialVariable], form: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed, or is in the file that was chosen; raises CredentialError where it is no key."""
    found, names = {}, [one.name for one in variables]
    text = form.get(KEY_FILE, "")
    given = parse_credentials(text, names, "The file with the key") if text.strip() else {}
    for one in variables:
        value = form.get(f"key_{one.name}", "").strip()
        if value and given.get(one.name):
            raise CredentialError("A key was typed, and a file with one was chosen. Do one of the two.")
        value = (value or given.get(one.name, "")).removeprefix(f"{one.name}=").strip("\"'")
        what = one.what.partition(" (")[0]
        if value:
            check_credential(what, value)
            found[one.name] = value
        elif one.is_required:
            where = f" You find it {one.found_at}." if one.found_at else ""
            raise CredentialError(f"Type or paste the {what}, or choose a file that holds it.{where}")
    return found


def begin_sandbox() -> bool:
    """Start the sandbox that stays, unless it runs; whether it was started now."""
    return start_standing(new=False)[1]


class _Typed(Nobody):
    """Whoever typed a key into the form: says it once, and no other."""

    can_ask = True

    def __init__(self, typed: Mapping[str, str], variables: Sequence[CredentialVariable]) -> None:
        self._left = [typed.get(one.name, "") for one in variables]
        self._last = ""

    def note(self, text: str) -> None:
        """Keep why a key is asked for again."""
        self._last = text

    def ask_hidden(self, question: str) -> str:
        """Say the next part of the key; raises CredentialError where that was said already."""
        if not self._left:
            raise CredentialError(self._last.removesuffix(" Please try again; Ctrl-C leaves."))
        return self._left.pop(0)

    def ask_text(self, question: str, default: str = "") -> str:
        """Say the next part of the key, which may be seen."""
        return self.ask_hidden(question)
