"""`login`, `logout`, `logins`: the key of a company, tried with a read and kept under the company's name.

Promises: a key that the API refuses is never kept; nothing is written to the API; a key is asked for where nobody sees
it, and never shown but for its last four characters; it goes to the system's keyring where there is one and a person
logs in, else to a file, which is said.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from batch.credentials import check_credential, read_credentials, shown_credential
from batch.endpoints.base import CredentialVariable, Endpoint, UnreadableReplyError
from batch.engine.api_session import ApiSession, fetch_definitions
from batch.engine.retry_loop import KEY_REFUSED
from batch.engine.shutdown import Shutdown
from batch.errors import CredentialError, Declined, StopCause, StoppedError, UsageError
from batch.extras import ExtraError, ensure_extra
from batch.http import ApiResponse
from batch.logins import Login, Logins
from batch.model import command, shorten
from batch.retry import Action
from batch.run.consent import Person
from batch.run.target import (
    Environment,
    Target,
    address_of,
    api_of,
    check_one_source,
    kind_of_host,
    login_command,
    make_endpoint,
)
from batch.settings import Settings, config_folder
from batch.system_keyring import KeyringError, may_be_there

TRIES = 3
"""Keys that are asked for when the API refuses one."""
EXAMPLES = 3
"""Records that are named."""
WIDTH = 76
"""Characters of a line that tells what was seen."""
MOST_CHARACTERS = 64
"""Of a name."""
Store = Literal["file", "keyring"]
"""Where a person wants a key to be kept; a keyring that was wished for is asked without a terminal, too."""


class LoginPerson(Person, Protocol):
    """Whoever logs in."""

    def ask_hidden(self, question: str) -> str:
        """Ask for a line that is not shown."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What can be seen with a key: enough to notice that it is another company's."""

    records: int | None
    """None where the API does not count them."""
    names: tuple[str, ...] = ()
    custom_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A login that was kept."""

    login: Login
    path: Path
    endpoint: str
    has_own_address: bool
    """Whether commands must name the address."""
    no_keyring: str = ""
    """Why it is kept in the file although that was not wished for, as a clause."""


def log_in(
    settings: Settings, name: str | None, store: Store | None, person: LoginPerson, environment: Environment
) -> LoggedIn:
    """Ask for the key of a company, try it, and keep it; raises BatchError when nothing was kept."""
    if name is not None:
        _check_name(name)
    endpoint = make_endpoint(settings, environment)
    credentials: Mapping[str, str]
    kind, logins = type(endpoint), Logins(config_folder(environment.variables))
    known = [one for one in logins.read(person.note) if one.api == api_of(kind)]
    check_one_source(settings)
    base_url = address_of(settings, kind, person.note)
    host = kind_of_host(base_url, endpoint)
    person.note(f"A login for {endpoint.title}, {base_url}" + (f" ({host})" if host else ""))
    session = ApiSession(Target(endpoint, base_url, host, {}), settings.pace, environment)
    if settings.token_file is not None or settings.token_command is not None:
        names = {one.name: one.is_required for one in kind.variables}
        given, warnings = read_credentials(
            names, settings.token_file, settings.token_command, {}, login_command(settings, kind)
        )
        for text in warnings:
            person.note(text)
        credentials, seen = given, _look(session, given, person.note)
    elif person.can_ask:
        credentials, seen = _ask_until_accepted(session, person)
    else:
        raise UsageError(
            "There is no terminal to ask for the key on. Name a file that holds it:  --token-file FILE --name COMPANY"
        )
    _tell(seen, endpoint, person.note)
    login = Login(
        _name(name, known, api_of(kind), person), api_of(kind), base_url, shown_credential(credentials), credentials,
    )  # fmt: skip
    for old in known:
        if old.is_of(login):
            person.note(f'It takes the place of the key {old.shown} of "{old.name}" for {old.base_url}.')
    kept, no_keyring = _keep(login, store, logins, person, environment)
    return LoggedIn(kept, logins.path, endpoint.name, base_url != endpoint.base_url, no_keyring)


def _keep(
    login: Login, store: Store | None, logins: Logins, person: LoginPerson, environment: Environment
) -> tuple[Login, str]:
    """Keep a login where it is wished for, else in the keyring where there is one; gives it, and why it did not."""
    if store == "file" or not (store or person.can_ask):
        why = ""
    elif not store and not may_be_there(environment.variables):
        why = "this system has no keyring"
    else:
        kept = replace(login, kept="keyring, always" if store else "keyring")
        try:
            ensure_extra("keyring", "keyring", "the keyring of this system", person.note)
            logins.keep(kept, person.note)
            return kept, ""
        except ExtraError as error:
            if store:
                raise
            person.note(str(error))
            why = "the keyring of this system cannot be used"
        except KeyringError as error:
            if store:
                raise CredentialError(f"Nothing was kept: {error}. To keep it in a file:  --store file") from None
            why = str(error)
    logins.keep(login, person.note)
    return login, why


def _ask_until_accepted(session: ApiSession, person: LoginPerson) -> tuple[Mapping[str, str], Seen]:
    """Ask for the credentials until the API accepts them, and see what can be seen with them."""
    variables = session.target.endpoint.variables
    for one in variables:
        if one.found_at:
            person.note(f"You find {one.what.partition(' (')[0]} {one.found_at}.")
    for left in reversed(range(TRIES)):
        credentials = {one.name: value for one in variables if (value := _ask(one, person))}
        person.note("Trying it with one read …")
        try:
            return credentials, _look(session, credentials, person.note)
        except CredentialError as error:
            if not left:
                raise
            person.note(f"{error} Please try again; Ctrl-C leaves.")
    raise AssertionError("the last try returns or raises")


def _ask(one: CredentialVariable, person: LoginPerson) -> str:
    """Ask for one credential until a header can carry it; "" for one that is left out."""
    what = one.what.partition(" (")[0]
    while True:
        if one.is_secret:
            said = person.ask_hidden(f"{what[:1].upper()}{what[1:]} (stays hidden while you paste or type it)")
        else:
            said = person.ask_text(f"{what[:1].upper()}{what[1:]}" + ("" if one.is_required else " (Enter: none)"))
        value = said.strip().removeprefix(f"{one.name}=").strip("\"'")
        if not value and not one.is_required:
            return ""
        try:
            check_credential(what, value)
        except CredentialError as error:
            person.note(str(error) if value else "Nothing was typed.")
        else:
            return value


def _look(session: ApiSession, credentials: Mapping[str, str], note: Callable[[str], None]) -> Seen:
    """Read one page of records; raises CredentialError where the API refuses the key."""
    target = replace(session.target, credentials=credentials)
    pace = replace(session.pace, max_attempts=3, max_wait=30.0, read_timeout=20.0)  # a person waits
    seen: Seen = session.environment.run(_Look(ApiSession(target, pace, session.environment), note).fetch)
    return seen


@dataclass(frozen=True, slots=True)
class _Look:
    session: ApiSession
    note: Callable[[str], None]

    async def fetch(self) -> Seen:
        endpoint = self.session.target.endpoint
        shutdown = Shutdown()
        try:
            async with self.session.open_client(endpoint, shutdown, lambda name: None, self.note) as client:
                if not endpoint.page_size:
                    fields = await fetch_definitions(client, self.note)
                    return Seen(None, (), tuple(one.name for one in fields))
                answer = await client.read(endpoint.page_request("", {}), refusal_of="nothing")
                if answer.status in KEY_REFUSED:
                    raise CredentialError(f"{self._maker(endpoint)} does not accept this key.")
                if not isinstance(answer.response, ApiResponse) or answer.classification.action is not Action.SUCCEED:
                    raise shutdown.as_error(f"The key could not be tried: {answer.cause}.", " Nothing was kept.")
                records = endpoint.parse_records(answer.response)
                fields = await fetch_definitions(client, self.note)
                names = [name for one in records if (name := endpoint.record_name(one))]
                return Seen(endpoint.total(answer.response), tuple(names[:EXAMPLES]), tuple(one.name for one in fields))
        except UnreadableReplyError as error:
            raise StoppedError(f"The key could not be tried: {error}. Nothing was kept.") from None
        except StoppedError as error:
            if error.cause is StopCause.CREDENTIALS:
                raise CredentialError(f"{self._maker(endpoint)} does not accept this key.") from None
            raise

    def _maker(self, endpoint: Endpoint) -> str:
        return endpoint.title.removesuffix(f" {endpoint.plural}")


def _tell(seen: Seen, endpoint: Endpoint, note: Callable[[str], None]) -> None:
    """Tell what can be seen with a key."""
    note("It works. To be seen with it:")
    count = f"{seen.records:,} {endpoint.noun if seen.records == 1 else endpoint.plural}"
    names = " · ".join(seen.names)
    parts = [endpoint.plural if seen.records is None else count, names]
    note("  " + shorten(", such as ".join(filter(None, parts)), WIDTH))
    if seen.custom_fields:
        note("  " + shorten(f"custom fields: {' · '.join(dict.fromkeys(seen.custom_fields))}", WIDTH))


def _name(given: str | None, known: list[Login], api: str, person: LoginPerson) -> str:
    """Return the company's name: what was given, else what a person says."""
    if given is not None:
        return given
    if not person.can_ask:
        raise UsageError("There is no terminal to ask for the company's name on. Give it:  --name COMPANY")
    default = "" if known else api
    while True:
        said = person.ask_text("A name for this company (shown on every screen)", default).strip()
        try:
            _check_name(said)
        except UsageError as error:
            person.note(str(error))
        else:
            return said


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or name.startswith("-") or not name.isprintable():
        raise UsageError(f'"{name}" cannot be a name: it needs a letter, and no - or space in front.')
    if len(name) > MOST_CHARACTERS:
        raise UsageError(f"A name has at most {MOST_CHARACTERS} characters.")


def log_out(name: str | None, api: str | None, person: Person, environment: Environment) -> tuple[Login, str]:
    """Forget a login, the one that is meant; gives it, and where its key can be revoked."""
    logins = Logins(config_folder(environment.variables))
    found = [one for one in logins.read(person.note) if name in (None, one.name) and api in (None, one.api)]
    if not found:
        raise UsageError(
            f'There is no login "{name}". See:  {command()} logins'
            if name
            else "There is no login, so there is nothing to forget."
        )
    one = found[0]
    if len(found) > 1:
        if not person.can_ask:
            raise UsageError(
                f"There are several logins: {', '.join(f'{one.name} ({one.api})' for one in found)}. "
                f"Name the one that is meant:  {command()} logout NAME -e ENDPOINT"
            )
        shown = [f"{one.name}  {one.api}, {one.shown}" for one in found]
        chosen = person.choose("Which login is to be forgotten? (Enter: none)", shown)
        if chosen is None:
            raise Declined("Nothing was forgotten.")
        one = found[chosen]
    logins.remove(one, person.note)
    kinds = [kind for kind in environment.endpoints.values() if api_of(kind) == one.api]
    where = next((variable.found_at for kind in kinds for variable in kind.variables if variable.found_at), "")
    return one, where


def list_logins(person: Person, environment: Environment) -> list[Login]:
    """List what there is."""
    return Logins(config_folder(environment.variables)).read(person.note)
