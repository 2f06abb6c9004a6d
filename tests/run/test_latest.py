"""`latest` and `latest-<input name>`: they lead to the run of the latest start, or are not there."""

import errno
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from batch.errors import Declined
from batch.run.latest import LatestLinks, latest_links, without_links
from tests.job_fixture import FakeReporter, JobFixture
from tests.shell import DUALENTRY, Api, Ended, Shell, until, update

NAMES = "id,name\n10001,New 1\n10002,New 2\n"


def links(folder: Path) -> dict[str, str]:
    """The links in a folder, and where they lead."""
    return {path.name: str(path.readlink()) for path in sorted(folder.iterdir()) if path.is_symlink()}


def both(name: str, run: str) -> dict[str, str]:
    return {"latest": run, f"latest-{name}": run}


@pytest.mark.parametrize("out", [[], ["--out", "runs"], ["--out", "."]], ids=str)
def test_each_command(shell: Shell, api: Api, out: list[str]) -> None:
    """Check, plan, update and undo lead to their own run, and what is named by a link is found."""
    (shell.folder / "in").mkdir()
    sheet = shell.sheet(api.names(1), "in/sheet.csv")
    shell.sheet("id,name\nx,y\n", "in/bad.csv")
    parent = out[1] if out else "in/sheet.batch"
    assert 0 == shell.here("plan", sheet, "-e", DUALENTRY, *api.options, *out).code
    (plan,) = (shell.folder / parent).glob("plan-*")
    assert both("sheet.csv", plan.name) == links(plan.parent)
    assert 0 == shell.here(*update(api, sheet, *out, "--plan", f"{parent}/latest")).code
    (run,) = (shell.folder / parent).glob("2*")
    assert both("sheet.csv", run.name) == links(plan.parent)
    assert 0 == shell.here("results", f"{parent}/latest-sheet.csv").code
    assert 0 == shell.here("undo", f"{parent}/latest", *api.options).code
    (undone,) = (shell.folder / parent).glob("undo-*")
    assert both("sheet.csv", undone.name) == links(plan.parent)
    assert 1 == shell.here("check", "in/bad.csv", "-e", DUALENTRY, *out).code
    parent = out[1] if out else "in/bad.batch"
    (check,) = (shell.folder / parent).glob("check-*")
    assert check.name == links(check.parent)["latest"] == links(check.parent)["latest-bad.csv"]
    ended = shell.here(*update(api, f"{parent}/latest/failures.csv", *out))
    run = max((shell.folder / parent).glob("2*"))
    assert (1, run.name) == (ended.code, links(check.parent)["latest-failures.csv"])
    assert f"{parent}/{run.name}/failures.csv".removeprefix("./") in ended.err


@pytest.mark.parametrize(
    "why", ["key", "input", "option", "word", "number", "header", "plan", "address", "abort", "found file"]
)
def test_could_not_start(shell: Shell, api: Api, why: str) -> None:
    """A start that ends with exit code 2 leaves none, so that nobody takes the run of yesterday for today's."""
    sheet = shell.sheet(api.names(1))
    assert 0 == shell.here(*update(api, sheet)).code
    parent = shell.only_run().parent
    assert both("sheet.csv", shell.only_run().name) == links(parent)
    options: dict[str, list[object]] = {
        "option": ["--sparse"], "word": ["--no-such-option"], "number": ["--canary", "x"],
        "plan": ["--plan", "nowhere"], "address": ["--base-url", "http://api.example.com"],
        "abort": ["--invalid", "abort", "--key", "name", "--map", "name=unique_id"],
    }  # fmt: skip
    if why == "input":
        (shell.folder / sheet).unlink()
    if why == "found file":
        (shell.folder / "batch.toml").write_text("yes = true\n")
    if why == "header":
        shell.sheet("id,nmae\n1,x\n")
    if why == "abort":
        shell.sheet(api.names(1) + "x,y\n")
        options["abort"] = ["--invalid", "abort"]
    env = {"DUALENTRY_API_KEY": ""} if why == "key" else {}
    ended = shell.here(*update(api, sheet, *options.get(why, [])), env=env)
    assert (2, {}) == (ended.code, links(parent))
    assert (2 if why == "abort" else 1) == len(shell.runs())


def test_renamed(shell: Shell, api: Api) -> None:
    """A run whose folder was renamed gets no link, which could not be told from somebody else's: nothing is blocked."""
    ids = api.ids(2)
    sheet = shell.sheet("id,name\n" + "".join(f"{one},New\n" for one in ids))
    api.sandbox.set_faults(f"503=id:{ids[1]}")
    assert 3 == shell.here(*update(api, sheet, "--max-attempts", 1)).code
    folder = shell.only_run().rename(shell.folder / "sheet.batch" / "for my boss")
    ended = shell.here(*update(api, sheet, "--max-attempts", 1))
    api.sandbox.set_faults()
    assert (3, {}) == (ended.code, links(folder.parent))
    assert "no link to this run is made, since its folder was renamed: sheet.batch/for my boss" in ended.err
    assert 0 == shell.here(*update(api, sheet)).code


def test_declined(job: JobFixture) -> None:
    """Who says no leaves none either; the folder that was made for it is gone."""
    job.reporter = FakeReporter(answers=[False])
    with pytest.raises(Declined):
        job.update(job.sheet(NAMES))
    assert not (job.folder / "sheet.batch").exists()
    job.reporter.answers.append(False)
    with pytest.raises(Declined):
        job.update(job.sheet(NAMES), out=job.folder / "made" / "for it")
    assert not (job.folder / "made" / "for it").exists()
    (job.folder / "mine").mkdir()
    job.reporter.answers.append(False)
    with pytest.raises(Declined):
        job.update(job.sheet(NAMES), out=job.folder / "mine")
    assert [] == list((job.folder / "mine").iterdir())


def test_held(shell: Shell, api: Api) -> None:
    """While a run goes on they lead to it, also after a second start that found its input held."""
    sheet = shell.sheet(api.names(2))
    api.sandbox.set_faults("hang-before=nth:1")
    first = shell.start(*update(api, sheet, "--max-at-once", 1))
    until(api.writes, first)
    expected = both("sheet.csv", shell.only_run().name)
    assert expected == links(shell.only_run().parent)
    assert (5, expected) == (shell.here(*update(api, sheet)).code, links(shell.only_run().parent))
    assert (5, expected) == (
        shell.here("undo", shell.only_run(), *api.options).code, links(shell.only_run().parent)
    )  # fmt: skip
    first.send_signal(signal.SIGKILL)
    first.wait()
    api.sandbox.set_faults()
    assert (0, expected) == (shell.here(*update(api, sheet)).code, links(shell.only_run().parent))


@pytest.mark.parametrize("name", ["latest", "latest-sheet.csv"])
@pytest.mark.parametrize("what", ["file", "folder", "link", "dangling"])
def test_in_the_way(shell: Shell, api: Api, name: str, what: str) -> None:
    """What is not ours is neither removed nor followed: the start is refused before anything is asked."""
    sheet = shell.sheet(api.names(1))
    path = shell.folder / name
    match what:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("sheet.csv")
        case "dangling":
            path.symlink_to("gone/20260101-000000")
    before = os.lstat(path)
    for command in ("update", "plan", "check"):
        ended = shell.here(command, sheet, "-e", DUALENTRY, *api.options, "--out", ".")
        said = (
            f"{name}: this name is for a link to the latest run, and something else has it. Move it away, or "
            "name another folder with --out.\n"
        )
        assert Ended(2, "", said) == ended
    assert (before, [], {name, "sheet.csv"}) == (
        os.lstat(path),
        api.lines(),
        {one.name for one in path.parent.iterdir()},
    )


def test_without_links(shell: Shell, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system has no links a line says so, and the run goes on."""

    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.symlink", refuses)
    ended = shell.here(*update(api, shell.sheet(api.names(1)), "--out", "runs"))
    run = shell.only_run("runs")
    note = f"runs/latest: no link to this run could be made (operation not permitted): runs/{run.name}"
    assert (0, 1, {}) == (ended.code, ended.err.splitlines().count(note), links(run.parent))


def test_out_is_a_link(shell: Shell, api: Api) -> None:
    """--out may be a link to a folder of runs; one that leads nowhere is refused."""
    (shell.folder / "disk").mkdir()
    (shell.folder / "runs").symlink_to("disk")
    (shell.folder / "nowhere").symlink_to("gone")
    sheet = shell.sheet(api.names(1))
    assert 0 == shell.here(*update(api, sheet, "--out", "runs")).code
    assert both("sheet.csv", shell.only_run("disk").name) == links(shell.folder / "disk")
    assert 0 == shell.here("undo", "runs/latest", *api.options).code
    assert 2 == len(shell.runs("disk"))
    ended = shell.here(*update(api, sheet, "--out", "nowhere"))
    said = "nowhere: results cannot be written there (file exists). Name another place with --out.\n"
    assert Ended(2, "", said) == Ended(ended.code, ended.out, ended.err)


def test_two_at_once(shell: Shell, api: Api) -> None:
    """Of two inputs that start in one folder at the same moment, each has its own link, and the later one both."""
    names = [f"{number}.csv" for number in range(4)]
    started = [shell.start(*update(api, shell.sheet(api.names(2), name), "--out", "runs")) for name in names]
    assert [0] * 4 == [one.wait() for one in started]
    found = links(shell.folder / "runs")
    assert {one.name for one in shell.runs("runs")} == {found[f"latest-{name}"] for name in names}
    assert found["latest"] in {one.name for one in shell.runs("runs")}


def test_lost_folder(job: JobFixture) -> None:
    """Where a run's folder is replaced while it goes on, no link leads to what has its place now."""
    ids = "".join(f"{10_001 + number},New\n" for number in range(200))
    parent = job.folder / "sheet.batch"

    def replace_later() -> None:
        until(lambda: len(job.writes()) >= 10)
        (folder,) = parent.glob("2*")
        shutil.copytree(folder, parent / "copy")
        shutil.rmtree(folder)
        (parent / "copy").rename(folder)

    thread = threading.Thread(target=replace_later)
    thread.start()
    finished = job.update(job.sheet("id,name\n" + ids), max_per_second=60.0, max_at_once=4)
    thread.join()
    assert (3, "rescue", {}) == (finished.summary.exit_code, finished.folder.parent.name, links(parent))


def test_run_elsewhere(tmp_path: Path) -> None:
    """A run that a start goes on with may lie in another folder than where runs go: the links lead there."""
    run, parent = tmp_path / "sheet.batch" / "20261121-120000", tmp_path / "runs"
    run.mkdir(parents=True)
    parent.mkdir()
    for _ in range(2):  # the second time it takes away what the first one made
        with latest_links(parent, "sheet.csv", pytest.fail) as made:
            assert {} == links(parent)
            made.point_to(run)
            made.settle(0)
        assert both("sheet.csv", f"../sheet.batch/{run.name}") == links(parent)
        assert run == without_links(parent / "latest").resolve()


@pytest.mark.parametrize("code", [2, 5])
def test_of_others(tmp_path: Path, code: int) -> None:
    """A start that ends without a run leaves what another one made meanwhile, and what somebody put there."""
    (tmp_path / "20260101-000000").mkdir()
    (tmp_path / "20260102-000000").mkdir()
    (tmp_path / "latest").symlink_to("20260101-000000")
    ours, theirs = (LatestLinks(tmp_path, name, print) for name in ("a.csv", "b.csv"))
    ours.remove()
    theirs.remove()
    theirs.point_to(tmp_path / "20260102-000000")
    (tmp_path / "latest-a.csv").write_text("mine")
    ours.settle(code)
    assert both("b.csv", "20260102-000000") == links(tmp_path)
    assert "mine" == (tmp_path / "latest-a.csv").read_text()


def test_somebody_came_first(tmp_path: Path) -> None:
    """What got the name of a link while the input was read stays, which is said; nothing is written over."""
    notes: list[str] = []
    given = LatestLinks(tmp_path, "a.csv", notes.append)
    given.remove()
    (run := tmp_path / "20260101-000000").mkdir()
    (tmp_path / "latest").write_text("mine")
    given.point_to(run)
    assert [f"{tmp_path}/latest: no link to this run could be made (something else has this name): {run}"] == notes
    assert "mine" == (tmp_path / "latest").read_text()


def test_back_in_between(tmp_path: Path) -> None:
    """What a start that found its input held puts back goes again when the one that held it ends with 2."""
    (tmp_path / "20260101-000000").mkdir()
    (tmp_path / "latest").symlink_to("20260101-000000")
    first, second = (LatestLinks(tmp_path, "a.csv", print) for _ in range(2))
    second.remove()
    (tmp_path / "latest").symlink_to("20260101-000000")
    first.remove()
    second.settle(5)
    assert {"latest": "20260101-000000"} == links(tmp_path)
    first.settle(2)
    assert {} == links(tmp_path)


def test_other_names(offline: Shell) -> None:
    """Standard input, folders and patterns have links as well."""
    ended = offline.run("check", "-", "-e", DUALENTRY, stdin=b"id,name\nx,y\n")
    (run,) = offline.runs("stdin.batch")
    assert (1, both("stdin", run.name)) == (ended.code, links(run.parent))
