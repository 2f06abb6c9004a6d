"""A forked start is as good as a cold one."""

import json
import signal
import subprocess
import sys

import pytest

from tests import starts
from tests.shell import DUALENTRY, Shell

BY_LIBRARIES = {
    "BUILDING_SPHINX_DOCS", "PYDANTIC_DISABLE_PLUGINS", "_PYTHON_PROJECT_BASE", "_PYTHON_SYSCONFIGDATA_NAME",
    "HOME",  # sysconfig, for where a user's own packages would lie
}  # fmt: skip
"""What libraries look for while they are imported, and what no test sets for the sake of that."""
READ_BY_IMPORTS = """
import json, os
class Recorded(dict):
    def __getitem__(self, name): read.add(name); return super().__getitem__(name)
    def __contains__(self, name): read.add(name); return super().__contains__(name)
    def get(self, name, default=None): read.add(name); return super().get(name, default)
read = set()
kept, os.environ = os.environ, Recorded(os.environ)
import tests.starts
tests.starts.import_all()
print(json.dumps(sorted(read)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked here")
def test_as_a_cold_start(offline: Shell) -> None:
    """Both end with the same code and say the same; what the interpreter looks at itself is never left to a fork."""
    sheet = offline.sheet("id,name\nx,Größe\n")
    words = ("check", sheet, "-e", DUALENTRY, "--json")
    forked, cold = offline.start(*words), offline.start(*words, cold=True)
    assert isinstance(forked, starts.ForkedProcess)
    assert not isinstance(cold, starts.ForkedProcess)
    (out, err), (cold_out, cold_err) = forked.communicate(timeout=60), cold.communicate(timeout=60)
    differs = {"run_id", "run", "started", "finished", "seconds", "files"}
    told, cold_told = json.loads(out), json.loads(cold_out)
    assert [name for name in told if told[name] != cold_told[name] and name not in differs] == []
    assert (1, 1, err, 1) == (forked.returncode, cold.returncode, cold_err, told["rows"])
    ascii_only = offline.start("--version", env={"PYTHONIOENCODING": "ascii"})
    assert (0, False) == (ascii_only.wait(60), isinstance(ascii_only, starts.ForkedProcess))


def test_its_end(offline: Shell) -> None:
    """It waits for its input, and tells how it was killed, however often it is asked."""
    process = offline.start("check", "-", "-e", DUALENTRY, stdin=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.kill()
    assert (b"", b"") == process.communicate() == process.communicate()
    assert -signal.SIGKILL == process.wait() == process.poll()
    process.kill()  # it is gone, and so may be its number


def test_imports_heed_no_environment() -> None:
    """What is imported once for all starts reads nothing that a start may say of its own."""
    code = [sys.executable, "-P", "-c", READ_BY_IMPORTS]
    said = subprocess.run(code, env=starts.environment_of_server(), capture_output=True, check=True).stdout
    read = {name for name in json.loads(said) if not name.startswith(starts.AT_THE_START)}
    assert set() == read - BY_LIBRARIES
