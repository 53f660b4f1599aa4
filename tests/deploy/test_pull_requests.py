"""Pull and merge requests: the files are what GitHub and GitLab read, one comment is kept, long runs go on."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from support.sample_plan import sample_plan

from s3migrate.views.review.plan_markdown import plan_markdown
from s3migrate.views.review.verdict import Sample
from schema.files.planfile import write_plan

DEPLOY = Path(__file__).parents[2] / "deploy"
GITHUB = DEPLOY / "github"
FILES = {
    GITHUB / "action.yml": "github-actions",
    GITHUB / "workflow.yml": "github-workflows",
    GITHUB / "example.yml": "github-workflows",
    DEPLOY / "gitlab" / "s3migrate.gitlab-ci.yml": "gitlab-ci",
}
"""And their schemas, as check-jsonschema carries them (check-jsonschema --builtin-schema vendor.NAME)."""
BODY = plan_markdown(sample_plan(), Path("plans/p.yaml"), Sample(()))
MARKER = BODY.splitlines()[0]
URL = "https://github.example/o/r/actions/runs/1"
BOT = "github-actions[bot]"

GH = """#!/bin/sh
# Answers GET with comments.json (page 1) and notes what is sent.
echo "$*" >>"$STUB/calls"
while [ $# -gt 0 ]; do
  case $1 in
  --input) cp "$2" "$STUB/sent.json"; echo '{}'; exit 0 ;;
  *page=1) cat "$STUB/comments.json"; exit 0 ;;
  *page=*) cat "$STUB/more.json"; exit 0 ;;
  esac
  shift
done
exit 1
"""


class NoTimes(yaml.SafeLoader):
    """Reads `on` as a word, as GitHub does; nothing in these files means true by it."""


NoTimes.yaml_implicit_resolvers = {
    char: [(tag, pattern) for tag, pattern in found if char not in "oO" or tag != "tag:yaml.org,2002:bool"]
    for char, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_are_what_their_readers_want(path: Path) -> None:
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / f"{FILES[path]}.json").read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = yaml.load(path.read_text(encoding="utf-8"), NoTimes)  # noqa: S506 - a SafeLoader
    assert [error.message for error in validator.iter_errors(document)] == []
    assert not validator.is_valid({"runs": 1, "jobs": {"a": {"steps": 1}}, "x": {"script": 1}}), "a control"


def test_what_is_installed_has_no_default() -> None:
    """A name on a package index that is nobody's yet can be somebody else's tomorrow."""
    install = yaml.load((GITHUB / "workflow.yml").read_text(), NoTimes)["on"]["workflow_call"]["inputs"]["install"]  # noqa: S506
    assert install["required"] is True
    assert "default" not in install
    job = yaml.safe_load((DEPLOY / "gitlab" / "s3migrate.gitlab-ci.yml").read_text())[".s3migrate"]
    assert "INSTALL" not in job["variables"]
    asked = subprocess.run(["sh", "-c", job["before_script"][0]], env={}, capture_output=True, text=True, check=False)
    assert (asked.returncode != 0, "git+https" in asked.stderr) == (True, True)
    given = subprocess.run(["sh", "-c", job["before_script"][0]], env={"INSTALL": "x"}, check=False)
    assert given.returncode == 0


def test_nothing_that_somebody_wrote_is_part_of_a_command() -> None:
    """`${{ }}` in a script is replaced before the shell reads it; only environments and conditions may have it."""
    for path in (GITHUB / "action.yml", GITHUB / "workflow.yml"):
        document = yaml.safe_load(path.read_text())
        steps = document["runs"]["steps"] if "runs" in document else [
            step for job in document["jobs"].values() for step in job["steps"]
        ]  # fmt: skip
        scripts = [step["run"] for step in steps if "run" in step]
        assert scripts
        assert [script for script in scripts if "${{" in script] == []
        assert not any("pull_request_target" in str(key) for key in document.get(True, {})), "secrets for strangers"
        uses = {step["uses"].partition("@")[0] for step in steps if "uses" in step}
        assert uses <= {"actions/checkout", "actions/setup-python", "./deploy/github"}, "no third party's"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on PATH, with a `gh` that knows the comments of comments.json."""
    program = tmp_path / "gh"
    program.write_text(GH)
    program.chmod(0o755)
    (tmp_path / "comments.json").write_text("[]")
    (tmp_path / "more.json").write_text("[]")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STUB", str(tmp_path))
    return tmp_path


@pytest.fixture
def comment() -> ModuleType:
    """deploy/github/comment.py."""
    spec = importlib.util.spec_from_file_location("comment", GITHUB / "comment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commented(stub: Path, comment: ModuleType, body: str) -> list[str]:
    """What `gh` was asked to send for *body*: method and path; the text is in sent.json."""
    (stub / "calls").write_text("")
    path = stub / "body.md"
    path.write_text(body, encoding="utf-8")
    assert comment.main("o/r", "7", str(path), summary_url=URL, author=BOT) == 0
    calls = [line.split() for line in (stub / "calls").read_text().splitlines()]
    return [f"{words[3]} {words[1]}" for words in calls if "--method" in words]


def comments(*said: tuple[int, str | None], by: str = BOT) -> list[dict[str, Any]]:
    """As GitHub lists them."""
    return [{"id": number, "body": text, "user": {"login": by}} for number, text in said]


def sent(stub: Path) -> str:
    text: str = json.loads((stub / "sent.json").read_text())["body"]
    return text


def test_the_first_plan_posts_and_the_next_replaces_the_same_comment(stub: Path, comment: ModuleType) -> None:
    assert commented(stub, comment, BODY) == ["POST repos/o/r/issues/7/comments"]
    assert sent(stub) == BODY
    found = comments((1, "nice"), (2, MARKER.replace("6f1d", "0000")), (3, None), (42, BODY))
    (stub / "comments.json").write_text(json.dumps(found))
    assert commented(stub, comment, f"{BODY}\nmore") == ["PATCH repos/o/r/issues/comments/42"]
    assert sent(stub) == f"{BODY}\nmore"


def test_somebody_elses_comment_is_left_alone_whatever_it_begins_with(stub: Path, comment: ModuleType) -> None:
    gone = {"id": 9, "body": BODY, "user": None}
    (stub / "comments.json").write_text(json.dumps([*comments((8, BODY), by="mallory"), gone]))
    assert commented(stub, comment, BODY) == ["POST repos/o/r/issues/7/comments"]
    (stub / "comments.json").write_text(
        json.dumps([*comments((8, BODY), by="mallory"), gone, *comments((42, "x"), (43, BODY))])
    )
    assert commented(stub, comment, f"{BODY}\nmore") == ["PATCH repos/o/r/issues/comments/43"]


def test_an_unchanged_plan_sends_nothing(stub: Path, comment: ModuleType) -> None:
    (stub / "comments.json").write_text(json.dumps(comments((42, BODY.replace("\n", "\r\n") + "\n"))))
    assert commented(stub, comment, BODY + "\n") == []


def test_the_comment_is_found_on_a_later_page(stub: Path, comment: ModuleType) -> None:
    (stub / "comments.json").write_text(json.dumps(comments(*((n, "x") for n in range(100)))))
    (stub / "more.json").write_text(json.dumps(comments((142, BODY))))
    assert commented(stub, comment, BODY + "\nmore") == ["PATCH repos/o/r/issues/comments/142"]


def test_what_github_would_refuse_becomes_headline_and_link(stub: Path, comment: ModuleType) -> None:
    assert commented(stub, comment, BODY + "x" * 65_536) == ["POST repos/o/r/issues/7/comments"]
    text = sent(stub)
    assert text.splitlines()[:2] == BODY.splitlines()[:2]
    assert f"[job summary]({URL})" in text
    assert len(text) < 65_536
    assert commented(stub, comment, "x".join([BODY, "y" * (65_535 - len(BODY))])) != []
    assert URL not in sent(stub), "65,536 characters are taken"


def test_a_comment_shrinks_when_there_is_nothing_to_do(stub: Path, comment: ModuleType) -> None:
    (stub / "comments.json").write_text(json.dumps(comments((42, BODY))))
    one_line = f"{MARKER}\n**s3migrate** `photos`: nothing to do, 9 objects already there."
    assert commented(stub, comment, one_line) == ["PATCH repos/o/r/issues/comments/42"]
    assert sent(stub) == one_line


def test_text_without_a_marker_is_refused_and_gh_is_believed(stub: Path, comment: ModuleType) -> None:
    (stub / "body.md").write_text("### hello")
    assert comment.main("o/r", "7", str(stub / "body.md"), summary_url=URL, author=BOT) == 65
    (stub / "gh").write_text("#!/bin/sh\necho 'HTTP 403' >&2\nexit 4\n")
    (stub / "body.md").write_text(BODY)
    with pytest.raises(SystemExit) as caught:
        comment.main("o/r", "7", str(stub / "body.md"), summary_url=URL, author=BOT)
    assert caught.value.code == 4


S3MIGRATE = """#!/bin/sh
echo "$*" >>"$STUB/calls"
case $1 in
plan) exit "${PLAN_CODE:-0}" ;;
apply) exit "${APPLY_CODE:-0}" ;;
report) echo "# all well" ;;
show)
  format=$4
  while [ $# -gt 0 ]; do [ "$1" = --output ] && out=$2; shift; done
  [ "$format" = json ] && text='{"plan_id": "sha256:abc", "batches": [1]}' || text="<!-- $format -->"
  if [ -n "$out" ]; then echo "$text" >"$out"; else echo "$text"; fi ;;
esac
"""


def scripted(stub: Path, script: str, **environment: str) -> tuple[int, str, list[str]]:
    """Exit code, $GITHUB_OUTPUT and the calls of s3migrate of one of the folder's scripts."""
    program = stub / "s3migrate"
    program.write_text(S3MIGRATE)
    program.chmod(0o755)
    for name in ("calls", "output", "summary"):
        (stub / name).write_text("")
    given = {
        "GITHUB_OUTPUT": str(stub / "output"), "GITHUB_STEP_SUMMARY": str(stub / "summary"), "RUNNER_TEMP": str(stub),
        "PLAN": str(stub / "p.yaml"),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", GITHUB / script], capture_output=True, text=True, env={**os.environ, **given, **environment}, cwd=stub
    )
    return done.returncode, (stub / "output").read_text(), (stub / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("code", "ends", "again"), [(0, 0, "false"), (75, 0, "true"), (3, 3, "false"), (7, 7, "false")]
)
def test_apply_goes_on_after_75_and_tells_every_other_code(stub: Path, code: int, ends: int, again: str) -> None:
    found, output, calls = scripted(stub, "apply.sh", MINUTES="5", APPLY_CODE=str(code))
    assert (found, output) == (ends, f"again={again}\n")
    assert f"apply {stub}/p.yaml --expect-plan-id abc" in calls
    assert (stub / "summary").read_text() == "# all well\n"


@pytest.mark.parametrize(("since", "ends", "again"), [(120, 137, "false"), (300, 0, "true"), (900, 0, "true")])
def test_a_killed_run_goes_on_only_when_its_time_was_over(stub: Path, since: int, ends: int, again: str) -> None:
    """bash counts SECONDS on from what it is given. Killed before, it lacked memory, and would again."""
    found, output, _ = scripted(stub, "apply.sh", MINUTES="5", APPLY_CODE="137", EXPECT_PLAN_ID="a", SECONDS=str(since))
    assert (found, output) == (ends, f"again={again}\n")


@pytest.mark.parametrize("minutes", ["", "0", "1.5", "5m", "a[$(touch x)]"])
def test_minutes_are_whole_ones(stub: Path, minutes: str) -> None:
    code, output, calls = scripted(stub, "apply.sh", MINUTES=minutes, EXPECT_PLAN_ID="a")
    assert (code, output, calls) == (64, "", [])


def test_apply_takes_the_approved_id(stub: Path) -> None:
    _, _, calls = scripted(stub, "apply.sh", MINUTES="5", EXPECT_PLAN_ID="def")
    assert calls[0] == f"apply {stub}/p.yaml --expect-plan-id def"


def test_a_run_whose_time_is_over_stops_in_order_and_goes_on(stub: Path) -> None:
    """timeout's own exit code would hide that of s3migrate."""
    script = (GITHUB / "apply.sh").read_text()
    assert "--preserve-status" in script
    (stub / "slow").write_text("#!/bin/sh\ntrap 'exit 75' INT\nwhile :; do sleep 0.01; done\n")
    (stub / "slow").chmod(0o755)
    done = subprocess.run(["timeout", "--preserve-status", "--signal=INT", "0.1", stub / "slow"], check=False)
    assert done.returncode == 75


def test_plan_writes_summary_outputs_and_the_base(stub: Path) -> None:
    code, output, calls = scripted(stub, "plan.sh", MODE="plan", DECLARATION="m.yaml", PLAN_CODE="2", BASE_SHA="")
    assert code == 0
    assert output == f"plan-id=abc\nchanges=true\nbody={stub}/s3migrate-comment.md\n"
    assert calls[0] == f"plan m.yaml --output {stub}/p.yaml --detailed-exitcode"
    assert (stub / "summary").read_text() == "<!-- md -->\n"
    code, _, calls = scripted(stub, "plan.sh", MODE="plan", DECLARATION="m.yaml", PLAN_CODE="7")
    assert (code, len(calls)) == (7, 1), "a refused plan shows nothing"
    code, _, calls = scripted(stub, "plan.sh", MODE="check", DECLARATION="")
    assert (code, calls[0]) == (0, f"check {stub}/p.yaml")


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_the_plan_before_is_that_of_the_branch_it_goes_to(stub: Path) -> None:
    (stub / "p.yaml").write_text("old")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for words in (["init", "--quiet"], ["add", "p.yaml"], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *words], cwd=stub, check=True)
    code, _, calls = scripted(stub, "plan.sh", MODE="check", DECLARATION="", PLAN="p.yaml", BASE_SHA="HEAD")
    assert (code, [line for line in calls if "--base ./.before.plan.yaml" in line and "--format md" in line] != []) == (
        0, True
    )  # fmt: skip
    assert not (stub / ".before.plan.yaml").exists()


@pytest.mark.soak
def test_a_fork_sees_the_plan_whose_manifests_it_has_no_key_to(stub: Path) -> None:
    """The real program, without any credentials."""
    sections = tuple(
        replace(each, destination=replace(each.destination, credentials={"env": "NOBODY"}, ca_bundle=None))
        for each in sample_plan().sections
    )
    write_plan(stub / "p.yaml", sample_plan(manifest_store="s3://elsewhere/manifests", sections=sections))
    program = stub / "s3migrate"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m s3migrate "$@"\n')
    program.chmod(0o755)
    given = {name: str(stub / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    given |= {"RUNNER_TEMP": str(stub), "PLAN": "p.yaml", "MODE": "check", "PYTHONPATH": str(DEPLOY.parent)}
    done = subprocess.run(
        ["bash", GITHUB / "plan.sh"], capture_output=True, text=True, env={**os.environ, **given}, cwd=stub, check=False
    )
    assert (done.returncode, "the manifests were not proven" in done.stdout) == (0, True), done.stderr
    assert "incomplete" in (stub / "github_step_summary").read_text()
    assert "plan-id=" in (stub / "github_output").read_text()
