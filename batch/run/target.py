"""Where a job sends to, and as whom: endpoint, host, credentials, and the sandbox where one is wanted.

Promises: a credential is never sent anywhere but to the host that was named, never over plain HTTP, and never shown but
for its last four characters.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final

import anyio
import httpx

from batch import sources
from batch.addresses import is_address
from batch.credentials import (
    Company,
    Redaction,
    fingerprint,
    has_variable,
    read_credentials,
    run_token_command,
    shown_credential,
)
from batch.endpoints import ENDPOINTS
from batch.endpoints.base import Endpoint
from batch.endpoints.cell_types import ParseOptions
from batch.errors import CredentialError, Declined, SettingsError, UsageError
from batch.extras import ensure_extra
from batch.http import check_base_url, is_loopback
from batch.logins import Login, Logins, credentials_of
from batch.mappings import Mappings
from batch.model import command, command_line
from batch.remote import StorageAccess
from batch.run.consent import Person
from batch.run.journal_copies import JournalCopies, copy_name
from batch.run.metadata import RunMetadata
from batch.run.remote_input import open_remote
from batch.run.upload import Upload, uploading
from batch.settings import Settings, config_folder
from batch.sources import Table
from batch.system_keyring import KeyringError

SANDBOX: Final = "sandbox"
STANDING: Final = "your sandbox"
"""The sandbox that stays from one command to the next."""
SANDBOXES: Final = (SANDBOX, STANDING)
FAST: Final = 20.0
"""How much faster than documented a sandbox may be asked, unless it was started otherwise."""


def run_in_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an async function to its end on asyncio, with uvloop where it is installed."""
    has_uvloop = find_spec("uvloop") is not None
    is_ours = threading.current_thread() is threading.main_thread()
    is_ours = is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        return anyio.run(function, *arguments, backend_options={"use_uvloop": has_uvloop})
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt at once, also what does not await; asyncio takes the default handler's place with one that waits."""
    raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class Environment:
    """What a job needs of the world around it; tests put their own in its place."""

    variables: Mapping[str, str]
    run: Callable[..., Any] = run_in_loop
    """Runs an async function to its end, as `anyio.run` does."""
    transport: Callable[[], httpx.AsyncBaseTransport] | None = None
    """Makes the transport; None for real sockets."""
    endpoints: Mapping[str, type[Endpoint]] = field(default_factory=lambda: ENDPOINTS)
    """The endpoints that a job may name."""
    has_terminal: bool = False
    """Whether somebody sees a window that a keyring opens."""
    fetch_credentials: Callable[[], Mapping[str, str]] | None = None
    """Gives the credentials anew, by variable; None where the variables are all there is."""
    uses_logins: bool = True
    """Whether the only login is taken where no key is given."""
    frames: Mapping[str, Table] = field(default_factory=dict)
    """Tables in memory, by the names that settings have for them as inputs."""
    is_cancelled: Callable[[], bool] | None = None
    """Whether a caller of the library wants the job to end; None where none can."""
    finished_since: float | None = None
    """From when on (seconds since 1970) a run of the same input that has finished stands: AlreadyFinished tells of it,
    and no new one begins. None: none does."""

    def open_input(self, settings: Settings, spool: Path, note: Callable[[str], None]) -> sources.Input:
        """Open the input that settings name; `spool` is a folder for copies. Raises InputError."""
        name, frame = settings.input, self.frames.get(settings.input)
        if frame is not None:
            return sources.open_frame(frame, name, spool)
        if is_address(name):
            return open_remote(settings.full_input, _access(settings), spool, note, self.run)
        return sources.open_input(name, spool, note)

    def uploading(self, settings: Settings, note: Callable[[str], None]) -> AbstractContextManager[Upload]:
        """Give what uploads the results of a start, where they go to an address; raises UsageError where it cannot."""
        out = os.fspath(settings.out or "")
        if settings.part and settings.uploads:  # as its runs on this machine have a folder of their own
            out = f"{out.rstrip('/')}/{settings.part.folder}"
        return uploading(out, _access(settings), settings.input, self.run, note)

    def journal_copies(
        self, settings: Settings, identity: str, company: Company, note: Callable[[str], None]
    ) -> JournalCopies | None:
        """Give what copies the record of a run, None where that is not wanted; raises FolderError, SettingsError."""
        if settings.store is None:
            return None
        return JournalCopies(settings.store, _access(settings), copy_name(identity, company), self.run, note)

    def check_cancelled(self) -> None:
        """Raise KeyboardInterrupt where the caller of the library wants the job to end."""
        if self.is_cancelled is not None and self.is_cancelled():
            raise KeyboardInterrupt

    @property
    def is_in_real_time(self) -> bool:
        """Whether jobs run on the host's clock, which other processes share."""
        return self.run is run_in_loop

    @property
    def mappings(self) -> Mappings:
        """The mappings of this user."""
        return Mappings(config_folder(self.variables))

    @property
    def endpoint_options(self) -> dict[str, dict[str, type]]:
        """The types of the options that each endpoint has of its own."""
        return {name: {one.name: one.type for one in kind.options} for name, kind in self.endpoints.items()}

    @property
    def documented_rates(self) -> dict[str, float]:
        """The requests a second that the API of each endpoint documents, of those that document any."""
        buckets = {name: (kind.limits.total, kind.limits.per_route) for name, kind in self.endpoints.items()}
        rates = {name: [one.per_second for one in both if one is not None] for name, both in buckets.items()}
        return {name: float(min(found)) for name, found in rates.items() if found}


def _access(settings: Settings) -> StorageAccess:
    """Return what opens object stores."""
    return StorageAccess(settings.storage_option, settings.allow_http)


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint at a host, and what opens it."""

    endpoint: Endpoint
    base_url: str
    kind: str
    """"production", "test system", one of SANDBOXES, or "" for an address that is not the maker's."""
    credentials: Mapping[str, str] = field(repr=False)
    company_name: str | None = None
    """The name that was given with --company."""
    fetch_again: Callable[[], Mapping[str, str]] | None = field(default=None, repr=False)
    """Gets the credentials anew where the API does not accept them any more; None where nothing can."""
    limits_factor: float = 1.0
    """How much faster than documented this host may be asked (sandboxes only)."""

    @property
    def host(self) -> str:
        """What tells this host from others when a run is resumed: sandboxes have now this port, now that."""
        return self.kind if self.kind in SANDBOXES else self.base_url

    @property
    def shown_credential(self) -> str:
        """The credential as it may be shown."""
        return shown_credential(self.credentials)

    @property
    def account_names(self) -> list[str]:
        """The credentials that are no secrets, such as a client id."""
        names = [one.name for one in self.endpoint.variables if not one.is_secret]
        return [self.credentials[name] for name in names if name in self.credentials]

    def redaction(self) -> Redaction:
        """Make what takes the credentials out of what is shown and written to files."""
        made = Redaction(self.account_names)
        for one in self.endpoint.variables:
            if one.is_secret:
                made.add_secret(self.credentials.get(one.name, ""))
        return made

    @property
    def company(self) -> Company:
        """Whose records these are."""
        return Company(self.fingerprint("company"), self.company_name)

    @property
    def owners(self) -> list[str]:
        """Names of the company for locks: a run of the same key or of the same name waits for this one."""
        return [self.fingerprint("lock"), *([f"name {self.company_name}"] if self.company_name else [])]

    def fingerprint(self, label: str) -> str:
        """Return a name for origin and required credential that gives neither away, another one for each label."""
        required = [self.credentials.get(one.name, "") for one in self.endpoint.variables if one.is_required]
        origin = f"http://{SANDBOX}" if self.kind in SANDBOXES else self.base_url
        return fingerprint(origin, next(iter(required), ""), label)


def find_endpoint(name: str, environment: Environment) -> type[Endpoint]:
    """Find an endpoint by name; SettingsError names the nearest."""
    kind = environment.endpoints.get(name)
    if kind is None:
        near = get_close_matches(name, environment.endpoints, n=1, cutoff=0.3)
        hint = f" Did you mean {near[0]}?" if near else ""
        said = f'--endpoint "{name}": there is nothing of this name.'
        raise SettingsError(f"{said}{hint} See:  {command()} endpoints")
    return kind


def make_endpoint(settings: Settings, environment: Environment) -> Endpoint:
    """Make the endpoint that the settings name, with its options; SettingsError when there is none."""
    kind = find_endpoint(settings.endpoint, environment)
    for name in settings.endpoint_options.keys() - {one.name for one in kind.options}:
        raise SettingsError(f"--{name.replace('_', '-')}: {kind.name} has no such option. Leave it out.")
    options = {one.name: settings.endpoint_options.get(one.name, one.default) for one in kind.options}
    for one in kind.options:
        if not isinstance(options[one.name], one.type):  # of a journal that was changed by hand
            raise SettingsError(f"{kind.name}: {one.name} cannot be {options[one.name]!r}.")
    return kind(parse_options=ParseOptions(settings.decimal, settings.date_format), **options)


def with_login(settings: Settings, environment: Environment, person: Person) -> Settings:
    """Return the settings with the login that is meant where none is named, and nothing else that has a key.

    The only one is taken; of several the person is asked which. Raises CredentialError, which names them, where nobody
    can be asked.
    """
    kind = find_endpoint(settings.endpoint, environment)
    is_named = bool(settings.sandbox or settings.as_login or settings.token_file or settings.token_command)
    is_named |= not kind.variables
    if is_named or not environment.uses_logins:
        return settings
    if variables_set(kind, environment):
        return settings
    found = [one for one in _logins(environment).read(person.note) if one.api == api_of(kind)]
    found = [one for one in found if settings.company in (None, one.name) and _is_at(one, settings, kind)]
    if len(found) < 2:
        return replace(settings, as_login=found[0].name) if found else settings
    names = ", ".join(one.name for one in found)
    if not person.can_ask:
        raise CredentialError(f"There are several logins: {names}. Name the company that is meant:  --as NAME")
    shown = [f"{one.name}  key {one.shown}" for one in found]
    chosen = person.choose("Which company is this for? (Enter: none)", shown)
    if chosen is None:
        raise Declined("Nothing was sent.")
    return replace(settings, as_login=found[chosen].name)


def make_target(settings: Settings, environment: Environment, stack: ExitStack, warn: Callable[[str], None]) -> Target:
    """Find out where to send and as whom, before the input is read; `stack` ends a sandbox that was started."""
    endpoint = make_endpoint(settings, environment)
    company = _company(settings)
    if settings.sandbox:
        return _sandbox(settings, endpoint, stack, warn)
    base_url = address_of(settings, type(endpoint), warn)
    credentials, warnings = _credentials(settings, type(endpoint), base_url, environment, warn)
    for text in warnings:
        warn(text)
    again = _fetcher(settings, type(endpoint), environment)
    return Target(endpoint, base_url, kind_of_host(base_url, endpoint), credentials, company, again)


def address_of(settings: Settings, kind: type[Endpoint], warn: Callable[[str], None] = lambda text: None) -> str:
    """Return the address that the settings mean, and warn where the key goes there without encryption.

    Raises SettingsError or CredentialError where it will not do: the maker's own is never asked without encryption.
    """
    host = settings.allow_http
    makers = {httpx.URL(url).host for url in (kind.base_url, *kind.test_urls)}
    if host is not None and host in makers:
        raise SettingsError(
            f"--allow-http {host}: this is the maker's own host, which is never asked without encryption."
        )
    base_url = check_base_url(settings.base_url or kind.base_url, has_credentials=True, allow_http=host)
    if base_url.startswith("http://") and not is_loopback(httpx.URL(base_url).host):
        warn(f"The key goes to {base_url} without encryption (--allow-http).")
    return base_url


def check_one_source(settings: Settings) -> None:
    """Raise SettingsError where several options say which key to take."""
    given = {
        "--token-command": settings.token_command, "--token-file": settings.token_file, "--as": settings.as_login
    }  # fmt: skip
    named = [option for option, value in given.items() if value is not None]
    if len(named) > 1:
        raise SettingsError(f"{' and '.join(named)}: each says which key to take. Leave all but one of them out.")


def _fetcher(
    settings: Settings, kind: type[Endpoint], environment: Environment
) -> Callable[[], Mapping[str, str]] | None:
    """Return what gets the credentials anew: the token command, or the library's caller."""
    command = settings.token_command
    if command is None:
        return environment.fetch_credentials
    return lambda: run_token_command(command, [one.name for one in kind.variables])


def _company(settings: Settings) -> str | None:
    """Return the name of the company; raises SettingsError where two are given."""
    if settings.as_login and settings.company not in (None, settings.as_login):
        raise SettingsError(
            f"--as {settings.as_login} and --company {settings.company}: a login's name is its company's. "
            "Leave one of them out."
        )
    return settings.as_login or settings.company


def _credentials(
    settings: Settings, kind: type[Endpoint], base_url: str, environment: Environment, warn: Callable[[str], None]
) -> tuple[Mapping[str, str], list[str]]:
    """Read the credentials where the settings say, else in the environment, with warnings about their keeping."""
    check_one_source(settings)
    if settings.as_login is None:
        names = {variable.name: variable.is_required for variable in kind.variables}
        return read_credentials(
            names, settings.token_file, settings.token_command, environment.variables, login_command(settings, kind)
        )
    login = _find_login(settings.as_login, settings, kind, environment, warn)
    if login.base_url != base_url:
        raise CredentialError(
            f'--as {login.name}: the key of "{login.name}" is for {login.base_url}, and is not sent to {base_url}. '
            f"To go there:  --base-url {login.base_url}"
        )
    names_set = variables_set(kind, environment)
    return _open(login, settings, kind, environment, warn), [
        f'{name} is set in the environment, and is not used: the key of "{login.name}" is (--as).' for name in names_set
    ]


def _find_login(
    name: str, settings: Settings, kind: type[Endpoint], environment: Environment, note: Callable[[str], None]
) -> Login:
    found = {one.name: one for one in _logins(environment).read(note) if one.api == api_of(kind)}
    if name in found:
        return found[name]
    others = f"There are logins for: {', '.join(found)}." if found else "There is none yet."
    more = ["--name", name]
    raise CredentialError(
        f"--as {name}: there is no login of that name. {others} To make it:  {login_command(settings, kind, *more)}"
    )


def _open(
    login: Login, settings: Settings, kind: type[Endpoint], environment: Environment, note: Callable[[str], None]
) -> Mapping[str, str]:
    """Return the credentials of a login; the keyring is asked on a terminal, else only where the login says so."""
    odd = f'The key of "{login.name}" is in the keyring of this system'
    where = ["--name", login.name, "--store", "file"]
    instead = f"To keep it in a file instead:  {login_command(settings, kind, *where)}"
    if login.kept == "keyring" and not environment.has_terminal:
        raise CredentialError(f"{odd}, which is asked on a terminal only, since it may open a window. {instead}")
    if login.kept != "file":
        ensure_extra("keyring", "keyring", "the keyring of this system", note)
    try:
        return credentials_of(login)
    except KeyringError as error:
        raise CredentialError(f"{odd}, but {error}. {instead}") from None


def login_command(settings: Settings, kind: type[Endpoint], *more: str) -> str:
    """Spell the command that sets up a key, to paste."""
    where = ["--base-url", settings.base_url] if settings.base_url else []
    return command_line("login", "-e", kind.name, *where, *more)


def api_of(kind: type[Endpoint]) -> str:
    """Name the API of an endpoint: its other endpoints have the same key."""
    return kind.name.partition(".")[0]


def _logins(environment: Environment) -> Logins:
    return Logins(config_folder(environment.variables))


def variables_set(kind: type[Endpoint], environment: Environment) -> list[str]:
    """Name the required variables that are set."""
    return [one.name for one in kind.variables if one.is_required and has_variable(one.name, environment.variables)]


def has_key(kind: type[Endpoint], environment: Environment, note: Callable[[str], None]) -> bool:
    """Whether there is a key for an endpoint, in the environment or of a login, wherever it is for."""
    is_known = any(one.api == api_of(kind) for one in _logins(environment).read(note))
    return is_known or not kind.variables or bool(variables_set(kind, environment))


def _is_at(login: Login, settings: Settings, kind: type[Endpoint]) -> bool:
    """Whether a login is for the address that the settings mean."""
    return login.base_url == address_of(settings, kind)


def address_of_run(
    folder: Path, known: RunMetadata, settings: Settings, environment: Environment, what: str
) -> str | None:
    """Return the address to which the run in `folder` went, as this start names it: None for the maker's own.

    Raises UsageError where that is another one, or must be named, or its sandbox is gone.
    `what` says what there is nothing left for where the run's sandbox is gone. No address is taken from a folder.
    """
    given = settings.base_url
    if known.host == STANDING and not given:
        _check_standing(folder, settings)
        return None
    if settings.sandbox or (known.host == SANDBOX and not given):
        raise UsageError(
            f"{folder}: this run went to a sandbox that was started for it and ended with it, so there is nothing left "
            f"{what}."
            if known.host == SANDBOX
            else f"{folder}: this run went to {known.base_url}, and there is nothing {what} in a sandbox."
        )
    own, went_to = find_endpoint(known.endpoint, environment).base_url, known.base_url
    if given and known.host != SANDBOX and given.rstrip("/") != went_to.rstrip("/"):
        raise SettingsError(f"--base-url {given}: this run went to {went_to}. Leave the option out.")
    if not given and went_to.rstrip("/") != own.rstrip("/"):
        raise UsageError(
            f"{folder}: this run went to {went_to}, which is not the maker's own address, and an address is not taken "
            f"from a folder. Name it:  --base-url {went_to}"
        )
    return given


def _check_standing(folder: Path, settings: Settings) -> None:
    """Raise UsageError unless the sandbox that stays is meant, and runs."""
    from batch.run.standing_sandbox import standing_sandbox

    if not settings.sandbox:
        raise UsageError(f"{folder}: this run went to your sandbox. Say that it is meant:  --sandbox")
    if standing_sandbox() is None:
        raise UsageError(
            f"{folder}: this run went to your sandbox, which does not run now. Start it:  {command()} sandbox start"
        )


def kind_of_host(base_url: str, endpoint: Endpoint) -> str:
    """Return "production", "test system", or "" for an address that is not the maker's."""
    url = base_url.rstrip("/")
    if url == endpoint.base_url:
        return "production"
    return "test system" if url in endpoint.test_urls else ""


@contextmanager
def sandbox_of(keys: Sequence[str]) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Start a sandbox with a company for each of these keys; yield its address, and by key what opens the APIs."""
    from batch.sandbox.options import SandboxOptions  # needed by these runs only
    from batch.sandbox.process import SandboxProcess

    with SandboxProcess(SandboxOptions(limits="fast", keys=tuple(keys))) as sandbox:
        ids = {name: value for name, value in sandbox.environment().items() if value not in keys}
        secrets = sandbox.environment().keys() - ids.keys()
        yield sandbox.url, {key: {**ids, **dict.fromkeys(secrets, key)} for key in keys}


def _sandbox(settings: Settings, endpoint: Endpoint, stack: ExitStack, warn: Callable[[str], None]) -> Target:
    """Take the sandbox that stays, else start one for this run; its records are no company's, whatever is named."""
    from batch.run.standing_sandbox import is_stopped, standing_sandbox
    from batch.sandbox.options import SandboxOptions  # needed by these runs only
    from batch.sandbox.process import SandboxProcess

    if not endpoint.has_sandbox:
        raise SettingsError(f"--sandbox: there is no imitation of {endpoint.name}. Leave the option out.")
    if settings.base_url:
        raise SettingsError("--sandbox and --base-url: name one of them.")
    names = [variable.name for variable in endpoint.variables]
    standing = standing_sandbox()
    if standing is not None:
        credentials = {name: value for name, value in standing.credentials.items() if name in names}
        factor = FAST if standing.is_fast else 1.0
        return Target(endpoint, standing.url, STANDING, credentials, limits_factor=factor)
    if is_stopped():
        warn(
            "Your sandbox is stopped, so this goes to another one, with other records, which ends with this command. "
            f"To go on with yours:  {command()} sandbox start"
        )
    sandbox = stack.enter_context(SandboxProcess(SandboxOptions(limits="fast")))
    credentials = {name: value for name, value in sandbox.environment().items() if name in names}
    return Target(endpoint, sandbox.url, SANDBOX, credentials, limits_factor=FAST)
