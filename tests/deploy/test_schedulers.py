"""The unit, the cloud-init file and the batch script: they parse, and say what the table of exit codes says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from schema.exit_codes import AfterExit, ExitCode

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "vm" / "s3migrate@.service"
SCRIPT = DEPLOY / "slurm" / "s3migrate.sbatch"


def codes(*kinds: AfterExit) -> list[int]:
    return sorted(code for code in ExitCode if code.then in kinds)


def listed(name: str) -> list[int]:
    (line,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return [int(word) for word in line.split()]


def test_systemd_starts_again_by_the_table_of_exit_codes() -> None:
    assert listed("RestartForceExitStatus") == codes(AfterExit.AGAIN, AfterExit.RETRY)
    assert listed("RestartPreventExitStatus") == codes(AfterExit.PERSON)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "s3migrate@run.service"
    unit.write_text(
        UNIT.read_text().replace("/opt/s3migrate/bin/s3migrate", "/bin/true").replace("User=s3migrate\n", "")
    )
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "s3migrate@" in line]) == (0, [])


def test_a_machine_of_a_scaling_group_gets_the_same_unit() -> None:
    text = (DEPLOY / "vm" / "cloud-init.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    files = {file["path"]: file["content"] for file in yaml.safe_load(text)["write_files"]}
    assert files["/etc/systemd/system/s3migrate@.service"] == UNIT.read_text()


def test_slurm_requeues_by_the_table_of_exit_codes() -> None:
    cases = re.findall(r"^  ([\d|]+)\)(.*?);;", SCRIPT.read_text(), re.MULTILINE)
    found = {tuple(map(int, case.split("|"))): action.strip() for case, action in cases}
    assert sorted(found) == sorted(tuple(codes(kind)) for kind in (AfterExit.AGAIN, AfterExit.RETRY, AfterExit.PERSON))
    assert found[tuple(codes(AfterExit.AGAIN))].startswith("scontrol requeue")
    assert "SLURM_RESTART_COUNT" in found[tuple(codes(AfterExit.RETRY))]
    assert found[tuple(codes(AfterExit.PERSON))] == ""


def test_bash_understands_the_script() -> None:
    done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
