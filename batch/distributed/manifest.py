"""The manifest of `submit`: which jobs there are, and what holds for all of them.

Promises: what makes no sense is told before anything is sent, all of it at once, with the job that it is in; a job's
options are those of `update`, by the same names, and are checked in the same way. How fast and how careful it is,
`BATCH_…` variables and settings files say as they do for `update`, where the manifest does not.
"""

import hashlib
import os
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from batch.addresses import is_address
from batch.endpoints import ENDPOINTS
from batch.errors import BatchError, SettingsError
from batch.input_names import joined, split
from batch.library.jobs import NOT_TAKEN
from batch.model import command
from batch.run.target import SANDBOX, Environment
from batch.settings import ENVIRONMENT, SETTINGS, Layer, Pace, SettingsFiles, config_folder, merge_layers, read_files
from batch.shard import MOST, Shard

OWN: Final = ("name", "shards", "token_env", "as")
"""Keys of a job that are no options of `update`."""
NOT_HERE: Final = (*NOT_TAKEN, "plan", "shard", "sandbox", "config")
PACE_AND_CARE: Final = frozenset(one.name for one in fields(Pace)) | frozenset(
    one.name for one in SETTINGS.values() if one.found_file == "if careful"
)
"""Settings that variables and settings files give, too; all others have to do with one input, or with one machine."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True)
class Job:
    """One input for one company."""

    name: str
    shards: int
    options: Mapping[str, Any] = field(repr=False)  # the address of a Redis may hold a password
    """What `batch.update` takes, with absolute paths; `input` and `endpoint` are among them."""
    token_env: str | None = None
    """The variable of the worker that holds the key or token."""
    resume_within: float = SETTINGS["resume_within"].default
    """Seconds for which what has finished stands."""

    @property
    def parent(self) -> Path:
        """The folder of its runs."""
        return Path(self.options["out"])

    @property
    def identity(self) -> str:
        """The same, whoever submits it from wherever."""
        named = [str(self.options.get(name) or "") for name in ("endpoint", "base_url", "input", "out")]
        return hashlib.sha256("\n".join(named).encode()).hexdigest()[:32]

    @property
    def shard_list(self) -> list[Shard | None]:
        """Its shards; [None] where all of it is one task."""
        return [None] if self.shards == 1 else [Shard(number, self.shards) for number in range(1, self.shards + 1)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The jobs of a file."""

    path: Path
    jobs: tuple[Job, ...]


def read_manifest(path: Path, environment: Environment | None = None) -> Manifest:
    """Read a manifest, and what variables and settings files say; raises SettingsError with all that is wrong in it.

    Without an `environment` the manifest alone counts.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: it cannot be read: {error}") from None
    defaults, tables = data.pop("defaults", {}), data.pop("job", [])
    problems = [f"{path}: there is no table [{key}]. A manifest has [defaults] and [[job]]." for key in data]
    if not isinstance(defaults, Mapping) or not isinstance(tables, list) or not tables:
        problems.append(f"{path}: it names no jobs. Each begins with [[job]], and has a name and an input.")
        tables = []
    jobs: list[Job] = []
    for number, table in enumerate(tables, 1):
        try:
            jobs.append(_job(path, number, {**defaults, **table}, environment))
        except BatchError as error:
            problems += [line for line in str(error).splitlines() if line not in problems]
    for what, found in (("name", [one.name for one in jobs]), ("out", [str(one.parent) for one in jobs])):
        problems += [f"{path}: {what} {one}: several jobs have it." for one, n in Counter(found).items() if n > 1]
    if problems:
        raise SettingsError("\n".join([*problems, "Nothing was sent."]))
    return Manifest(path, tuple(jobs))


def _job(path: Path, number: int, given: Mapping[str, Any], environment: Environment | None) -> Job:
    values = {str(key).replace("-", "_"): value for key, value in given.items()}
    name = values.pop("name", "")
    where = f"{path}, job {name or number}"
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SettingsError(f"{where}: name {name!r}: it should be letters, digits, dots and dashes, such as acme-us.")
    shards, token_env = values.pop("shards", 1), values.pop("token_env", None)
    if type(shards) is not int or not 1 <= shards <= MOST:
        raise SettingsError(f"{where}: shards {shards!r}: it should be a whole number from 1 to {MOST:,}.")
    if token_env is not None and not (isinstance(token_env, str) and token_env):
        raise SettingsError(f"{where}: token_env {token_env!r}: it should be the name of a variable.")
    login = values.pop("as", None)
    for key in [key for key in ("input", "endpoint") if not values.get(key)]:
        raise SettingsError(f"{where}: there is no {key}.")
    _check_keys(where, values)
    folder = path.absolute().parent
    values["input"] = _inputs(values["input"], folder, where)
    values.setdefault("out", str(path.absolute().with_suffix(".batch") / name))
    for key in ("out", "token_file", "work_dir", "store"):
        if isinstance(values.get(key), str) and not is_address(values[key]):
            values[key] = str(folder / os.path.expanduser(values[key]))
    if is_address(str(values["out"])):
        raise SettingsError(f"{where}: out {values['out']}: shards are put together in a folder. Name a folder.")
    own = {one.name for kind in ENDPOINTS.values() for one in kind.options} & values.keys()
    layers = [Layer(where, {key: value for key, value in values.items() if key not in own})]
    if environment is not None:
        layers += _around(environment, folder, values["endpoint"])
    settings = merge_layers(layers)
    if settings.endpoint not in ENDPOINTS:
        what = f'there is nothing called "{settings.endpoint}" to send to'
        raise SettingsError(f"{where}: {what}. What there is:  {command()} endpoints")
    if sum(one is not None for one in (token_env, login, settings.token_file, settings.token_command)) > 1:
        raise SettingsError(f"{where}: token_env, token_file, token_command and as: name one of them.")
    options = {key: value for key, value in values.items() if key != "full_input"} | ({"login": login} if login else {})
    options |= {key: getattr(settings, key) for key in PACE_AND_CARE & settings.sources.keys() - values.keys()}
    return Job(name, shards, options, token_env, settings.resume_within)


def _around(environment: Environment, folder: Path, endpoint: str) -> list[Layer]:
    """Return what variables and settings files say of how fast and how careful a job is; raises SettingsError."""
    variables, config = environment.variables, config_folder(environment.variables)
    named = variables.get("BATCH_CONFIG")
    files = SettingsFiles(Path(named) if named else None, [folder, Path()], config and config / "config.toml")
    rates = environment.documented_rates
    from_files = read_files(files, endpoint, environment.endpoint_options, lambda name: rates.get(name, 0.0))
    given = {name: variables.get(SETTINGS[name].variable) for name in PACE_AND_CARE}
    layers = [Layer(ENVIRONMENT, {name: value for name, value in given.items() if value}), *from_files]
    return [
        replace(one, values={name: value for name, value in one.values.items() if name in PACE_AND_CARE})
        for one in layers
    ]


def _check_keys(where: str, values: Mapping[str, Any]) -> None:
    known = [one.name for one in SETTINGS.values() if "update" in one.commands and one.name not in NOT_HERE]
    known += ["input", *(one.name for kind in ENDPOINTS.values() for one in kind.options)]
    for key in values:
        if key not in known:
            near = get_close_matches(key, [*known, *OWN], n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise SettingsError(f'{where}: there is no setting "{key}" of a job{hint}')


def _inputs(given: Any, folder: Path, where: str) -> str:
    """Return what is to be read, from the manifest's folder."""
    if not isinstance(given, str):
        raise SettingsError(f"{where}: input {given!r}: it should be a file, a folder, a pattern or an address.")
    if is_address(given):
        return given
    if given == "-":
        raise SettingsError(f"{where}: input -: workers cannot read standard input. Name a file.")
    return joined([os.path.normpath(folder / os.path.expanduser(one)) for one in split(given)])


def in_sandbox(manifest: Manifest, url: str) -> Manifest:
    """Return the jobs as they go to a sandbox at this address, each with a key (`sandbox_key`) and a folder for it."""
    jobs = []
    for one in manifest.jobs:
        gone = ("login", "token_file", "token_command", "allow_http")
        options = {key: value for key, value in one.options.items() if key not in gone}
        own = {"base_url": url, "out": str(one.parent / SANDBOX)}
        fast = {"max_per_second": options.get("max_per_second", SANDBOX_RATE)}
        jobs.append(replace(one, options=options | fast | own, token_env=None))
    return replace(manifest, jobs=tuple(jobs))


SANDBOX_RATE: Final = 20.0
"""Requests a second that the fast sandbox lets through on each route."""


def sandbox_key(job: Job) -> str:
    """Return the key of a job's company in a sandbox; it opens nothing else."""
    return f"sandbox-of-{job.name}"
