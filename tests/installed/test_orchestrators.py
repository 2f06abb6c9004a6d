"""The samples for Airflow, Dagster and Prefect, really run against a sandbox, in the versions that their page names.

And the recipes for shards, as they stand on the page that has them: only the addresses are those of the test.
"""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from batch.sandbox.options import SandboxOptions
from tests.installed.conftest import bare, tool
from tests.redis_server import RedisServer, require_redis
from tests.remote.objects import Objects
from tests.sandbox.control import ControlledSandbox
from tests.shell import ROOT

pytestmark = pytest.mark.long
SAMPLES = ROOT / "samples" / "pipelines"
MIXED = "id,name,phone\n10001,Acme Renamed,\n10002,,bad x\n"
Ended = subprocess.CompletedProcess[str]
SECONDS = 900.0
"""Importing an orchestrator takes a minute where the processor is shared."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[ControlledSandbox]:
    with ControlledSandbox(SandboxOptions(limits="off", ledger=tmp_path / "ledger.jsonl")) as found:
        yield found


class Orchestrator:
    """An environment for one of them, with a home of its own."""

    def __init__(self, venv: Path, folder: Path, sandbox: ControlledSandbox) -> None:
        self.venv, self.folder, self.sandbox = venv, folder, sandbox
        self.key = sandbox.environment()["DUALENTRY_API_KEY"]
        self.environment = dict(bare(PATH=f"{venv}/bin:/usr/bin:/bin", HOME=str(folder)))
        self.environment["PYTHONPYCACHEPREFIX"] = str(folder / "pycache")  # nothing is left beside the samples

    def sheet(self, text: str) -> Path:
        """Write an input."""
        path = self.folder / "customers.csv"
        path.write_text(text)
        return path

    def run(self, *words: object, **more: str) -> Ended:
        """Run a command of it to its end, whatever that is; what it said is in `stdout`."""
        command = [self.venv / "bin" / str(words[0]), *map(str, words[1:])]
        around = {"cwd": self.folder, "env": self.environment | more, "timeout": SECONDS, "check": False}
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **around)


@pytest.fixture
def orchestrator(orchestrators: Path, tmp_path: Path, sandbox: ControlledSandbox) -> Orchestrator:
    return Orchestrator(orchestrators, tmp_path, sandbox)


# -- Airflow --------------------------------------------------------------------------------------------------------


def set_up_airflow(airflow: Orchestrator, dags: Path, **more: str) -> None:
    """Give it a database, and see that it reads the DAGs of a folder."""
    airflow.environment |= {
        "AIRFLOW_HOME": str(airflow.folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
        **more,
    }
    assert 0 == airflow.run("airflow", "db", "migrate").returncode
    errors = airflow.run("airflow", "dags", "list-import-errors")
    assert (0, True) == (errors.returncode, "No data found" in errors.stdout), errors.stdout


def airflow_ends(airflow: Orchestrator, sheet: Path) -> tuple[str, str]:
    """Run the task once; gives the state that it ends in, and all that was said."""
    where = json.dumps({"input": str(sheet), "runs": str(airflow.folder / "runs")})
    ended = airflow.run("airflow", "tasks", "test", "update_customers", "update", "2026-11-27", "-t", where)
    states = re.findall(r"new_state=(\w+)", ended.stdout)
    assert states, ended.stdout[-3000:]
    return states[-1], ended.stdout


def test_airflow(orchestrator: Orchestrator) -> None:
    """The task succeeds, skips what follows, is retried, or fails for good, and says why and what to do."""
    connection = {"conn_type": "http", "password": orchestrator.key, "host": orchestrator.sandbox.url}
    set_up_airflow(orchestrator, SAMPLES, AIRFLOW_CONN_DUALENTRY=json.dumps(connection))
    sheet = orchestrator.sheet("id,name\n10001,Acme Renamed\n")
    state, said = airflow_ends(orchestrator, sheet)
    assert ("success", True) == (state, "1 rows: 1 updated. Run folder: " in said), said[-3000:]
    state, said = airflow_ends(orchestrator, orchestrator.sheet(MIXED))
    assert ("skipped", True) == (state, "Some rows need a person; the others are done: " in said), said[-3000:]
    state, said = airflow_ends(orchestrator, orchestrator.folder / "none.csv")
    assert ("failed", True) == (state, "AirflowFailException: none.csv does not exist" in said), said[-3000:]
    orchestrator.sandbox.set_faults("429=1.0")
    orchestrator.sandbox.behave(retry_after="3600")
    state, said = airflow_ends(orchestrator, orchestrator.sheet("id,name\n10001,Acme Again\n"))
    assert ("up_for_retry", True) == (state, "Rows are left to retry; the next try goes on: " in said), said[-3000:]
    assert orchestrator.key not in said


POD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import airflow_pod_dag
task = airflow_pod_dag.update_customers_in_a_pod().get_task("update")
pod = task.build_pod_request_obj(None)
print(json.dumps({"spec": pod.to_dict()["spec"], "skip": task.skip_on_exit_code}, default=str))
"""
NO_CLUSTER = {
    "apiVersion": "v1", "kind": "Config", "current-context": "none",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "none", "user": {}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
}  # fmt: skip
"""The operator wants to know of a cluster before it makes a pod; none is asked."""


def test_airflow_pod(orchestrator: Orchestrator) -> None:
    """The operator makes a pod of the sample: not root, read-only, with the key as a file."""
    config = orchestrator.folder / "kubeconfig"
    config.write_text(json.dumps(NO_CLUSTER))
    orchestrator.environment |= {"AIRFLOW_HOME": str(orchestrator.folder / "airflow"), "KUBECONFIG": str(config)}
    ended = orchestrator.run("python", "-c", POD, SAMPLES)
    assert 0 == ended.returncode, ended.stdout[-3000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    container = told["spec"]["containers"][0]
    assert (["update", "/data/customers.csv"], True) == (
        container["args"][:2], container["security_context"]["read_only_root_filesystem"],
    )  # fmt: skip
    mounted = {one["mount_path"] for one in container["volume_mounts"]}
    assert {"/data", "/tmp", "/secrets"} == mounted  # noqa: S108 - of the pod
    assert told["skip"] in (1, [1])


# -- Dagster --------------------------------------------------------------------------------------------------------


def test_dagster(orchestrator: Orchestrator) -> None:
    """The asset is materialised, its check fails where a person is needed; what cannot begin fails with the reason."""
    home = orchestrator.folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").touch()
    orchestrator.environment |= {"DAGSTER_HOME": str(home), "DUALENTRY_API_KEY": orchestrator.key}

    def execute(sheet: Path) -> Ended:
        given = {"input": str(sheet), "runs": str(orchestrator.folder / "runs"), "base_url": orchestrator.sandbox.url}
        config = orchestrator.folder / "config.yaml"
        config.write_text(json.dumps({"resources": {"customers": {"config": given}}}))
        file = SAMPLES / "dagster_asset.py"
        return orchestrator.run("dagster", "job", "execute", "-f", file, "-j", "update_customers", "-c", config)

    ended = execute(orchestrator.sheet(MIXED))
    assert (0, True) == (ended.returncode, "ASSET_MATERIALIZATION" in ended.stdout), ended.stdout[-3000:]
    assert "'nothing_to_fix' on 'updated_customers' did not pass" in ended.stdout
    assert "invalid: phone has letters in it" in ended.stdout
    ended = execute(orchestrator.folder / "none.csv")
    assert (1, True) == (ended.returncode, "Failure: none.csv does not exist" in ended.stdout), ended.stdout[-3000:]
    assert "STEP_UP_FOR_RETRY" not in ended.stdout
    assert "Acme Renamed" == orchestrator.sandbox.record("dualentry", 10001)["name"]


# -- Prefect --------------------------------------------------------------------------------------------------------

BLOCK = """
import os
from prefect.blocks.system import Secret
Secret(value=os.environ["KEY"]).save("dualentry-api-key", overwrite=True)
"""
SOON = """
import asyncio, prefect_flow
prefect_flow.update = prefect_flow.update.with_options(retries=1, retry_delay_seconds=1)
asyncio.run(prefect_flow.update_customers{where})
"""


def test_prefect(orchestrator: Orchestrator) -> None:
    """The flow runs in Prefect's event loop, names what a person has to fix, and fails at once where no retry helps."""
    orchestrator.environment |= {
        "PREFECT_HOME": str(orchestrator.folder / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    saved = orchestrator.run("python", "-c", BLOCK, KEY=orchestrator.key)
    assert 0 == saved.returncode, saved.stdout[-3000:]

    def execute(sheet: Path) -> Ended:
        words = [sheet, orchestrator.folder / "runs", orchestrator.sandbox.url]
        return orchestrator.run("python", SAMPLES / "prefect_flow.py", *words)

    ended = execute(orchestrator.sheet(MIXED))
    assert (0, True) == (ended.returncode, "Rows to fix: " in ended.stdout), ended.stdout[-3000:]
    assert "2 rows: 1 updated, 1 invalid. Run folder: " in ended.stdout
    ended = execute(orchestrator.folder / "none.csv")
    assert (1, True) == (ended.returncode, "none.csv does not exist" in ended.stdout), ended.stdout[-3000:]
    assert 1 == ended.stdout.count("Task run failed") + ended.stdout.count("Finished in state Failed('Task run")
    orchestrator.sandbox.set_faults("429=1.0")
    orchestrator.sandbox.behave(retry_after="3600")
    where = (str(orchestrator.sheet("id,name\n10001,Acme Again\n")), "runs", orchestrator.sandbox.url)
    ended = orchestrator.run("python", "-c", SOON.format(where=where), PYTHONPATH=str(SAMPLES))
    assert 2 == ended.stdout.count("1 rows: 1 unsent. Run folder: "), ended.stdout[-3000:]
    assert orchestrator.key not in ended.stdout


# -- shards -----------------------------------------------------------------------------------------------------------

PAGE = ROOT / "batch" / "distributed" / "README.md"
SHARDS, ROWS = 16, 40
SHEET = "id,name\n" + "".join(f"{10001 + number},Firm {number}\n" for number in range(ROWS))
NO_OTHER_FIELDS = """
import json, sys
from kubernetes import client
asked = json.load(sys.stdin)
body = type("Body", (), {"data": json.dumps(asked)})
api = client.ApiClient()
assert api.sanitize_for_serialization(api.deserialize(body, "V1Job")) == asked
"""
"""What Kubernetes does not know is gone when its client has read it."""


def recipe(kind: str, begins: str, **instead: str) -> str:
    """A recipe of the page, with these texts, which are in it, instead of others."""
    found = re.findall(rf"^```{kind}\n({re.escape(begins)}.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert 1 == len(found), (kind, begins)
    return with_addresses(found[0], **instead)


def with_addresses(text: str, **instead: str) -> str:
    names = {"redis": "redis://redis:6379/0", "sheet": "/data/customers.csv", "bucket": "s3://finance"}
    for name, address in instead.items():
        assert names[name] in text
        text = text.replace(names[name], address)
    return text


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    require_redis()
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def assert_all_updated(sandbox: ControlledSandbox) -> None:
    """Every row of the sheet was applied, once."""
    sent = Counter(line["id"] for line in sandbox.read_ledger() if line["applied"] and line["by"] == "client")
    assert {str(10001 + number): 1 for number in range(ROWS)} == dict(sent)


def test_airflow_shards(orchestrator: Orchestrator, redis: RedisServer) -> None:
    """Airflow maps the task over all shards, and each of them does its own."""
    sheet = orchestrator.sheet(SHEET)
    text = recipe("python", "from airflow", redis=redis.url, sheet=str(sheet))
    called, at = 'endpoint="dualentry.customers"', f', base_url="{orchestrator.sandbox.url}"'
    assert called in text
    dags = orchestrator.folder / "dags"
    dags.mkdir()
    (dags / "customers.py").write_text(text.replace(called, called + at))
    set_up_airflow(orchestrator, dags, DUALENTRY_API_KEY=orchestrator.key)
    ended = orchestrator.run("airflow", "dags", "test", "customers")
    assert (0, SHARDS) == (ended.returncode, ended.stdout.count("new_state=success")), ended.stdout[-3000:]
    assert_all_updated(orchestrator.sandbox)
    orchestrator.sheet(SHEET.replace("10001,Firm 0", "10001,Other").replace("10002,Firm 1", "no id,Firm 1"))
    ended = orchestrator.run("airflow", "dags", "test", "customers")
    failed = "AirflowFailException: .*/16: rows to fix: .*failures.csv"
    assert (1, True) == (ended.returncode, re.search(failed, ended.stdout) is not None), ended.stdout[-3000:]
    assert "UP_FOR_RETRY" not in ended.stdout.upper()


def test_kubernetes_shards(orchestrator: Orchestrator, redis: RedisServer) -> None:
    """Kubernetes knows every field of the Job, and its pods, of which four run at a time, do all shards."""
    (orchestrator.folder / "kubernetes").mkdir()
    with Objects() as bucket:
        text = recipe("yaml", "apiVersion: batch/v1", redis=redis.url, bucket="s3://bucket")
        manifest = yaml.safe_load(text)
        told = json.dumps(manifest)
        read = subprocess.run(
            [orchestrator.venv / "bin" / "python", "-c", NO_OTHER_FIELDS], input=told, text=True, check=False,
            capture_output=True,
        )  # fmt: skip
        assert 0 == read.returncode, read.stderr[-2000:]
        spec = manifest["spec"]
        (rule,) = spec["podFailurePolicy"]["rules"]
        assert ("Indexed", SHARDS, {1, 2, 4, 6}) == (
            spec["completionMode"], spec["completions"], set(rule["onExitCodes"]["values"])
        )  # fmt: skip
        (container,) = spec["template"]["spec"]["containers"]
        assert ["DUALENTRY_API_KEY"] == [one["name"] for one in container["env"]]
        bucket.objects["customers.csv"] = SHEET.encode()

        def run(index: int) -> Ended:
            """Be a pod: nothing is there but what the manifest and the cluster give it."""
            home = orchestrator.folder / f"pod-{index}"
            home.mkdir()
            variables = {
                "PATH": f"{orchestrator.venv}/bin:/usr/bin:/bin", "XDG_STATE_HOME": str(home / ".state"),
                "JOB_COMPLETION_INDEX": str(index), "DUALENTRY_API_KEY": orchestrator.key,
                "BATCH_BASE_URL": orchestrator.sandbox.url, **bucket.variables,
            }  # fmt: skip
            words = [*container["command"], *container["args"]]
            given = {"cwd": home, "env": variables, "timeout": SECONDS, "check": False}
            return subprocess.run(words, capture_output=True, text=True, **given)

        with ThreadPoolExecutor(spec["parallelism"]) as pods:
            ended = list(pods.map(run, range(SHARDS)))
        assert [0] * SHARDS == [one.returncode for one in ended], [one.stderr[-500:] for one in ended]
        assert ROWS == sum(json.loads(one.stdout)["outcomes"]["updated"] for one in ended)
        folders = {key.split("/")[1] for key in bucket.objects if key.startswith("runs/") and "results.csv" in key}
        assert {f"shard-{number}-of-{SHARDS}" for number in range(1, SHARDS + 1)} == folders
        assert SHARDS == len([key for key in bucket.objects if key.startswith("copies/")])
    assert_all_updated(orchestrator.sandbox)


def test_parallel_shards(orchestrator: Orchestrator) -> None:
    """GNU parallel does all shards, with the shell that people paste it into."""
    tool("parallel")
    orchestrator.sheet(SHEET)
    line = recipe("console", "parallel").replace("./run.sh", str(orchestrator.venv / "bin" / "batch"))
    variables = {"BATCH_BASE_URL": orchestrator.sandbox.url, "DUALENTRY_API_KEY": orchestrator.key}
    ended = subprocess.run(
        [tool("bash"), "-c", line], cwd=orchestrator.folder, env=orchestrator.environment | variables, check=False,
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert 0 == ended.returncode, ended.stderr[-3000:]
    assert SHARDS == len([*orchestrator.folder.glob("customers.batch/shard-*-of-16/latest/results.csv")])
    assert_all_updated(orchestrator.sandbox)
