"""GitHub's workflows, templates and rules refer to what exists, and run nothing that can change unnoticed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def load(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return load(path)["jobs"]


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job.get("steps", [])


def test_the_workflows_are_the_expected_ones() -> None:
    """The tests below would pass without any workflow."""
    assert {"ci", "release"} <= {path.stem for path in WORKFLOWS}


@each_workflow
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    """A tag can be moved to other code after a review; the comment is what Dependabot and readers compare."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert lines
    for line in lines:
        if "uses: ./" in line:
            assert (ROOT / line.split("uses: ")[1]).is_file(), line
        else:
            assert re.fullmatch(r"(- )?uses: [\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_version_in_all_workflows() -> None:
    """Otherwise a job is tested with one version and released with another."""
    used = {step["uses"] for path in WORKFLOWS for step in steps(path) if "uses" in step}
    assert len({use.split("@")[0] for use in used}) == len(used), sorted(used)


@each_workflow
def test_commands_run_scripts_and_targets_that_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for step in steps(path):
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        for word in step.get("run", "").split():
            if word.startswith((".ci/", "tests/", "requirements/")):
                assert (ROOT / word).exists(), word
        if step.get("run", "").startswith(".ci/"):
            assert (ROOT / step["run"].split()[0]).stat().st_mode & 0o100, f"{step['run']} is not executable"


@each_workflow
def test_jobs_have_a_time_limit_and_least_permissions(path: Path) -> None:
    """A job that hangs costs six hours; a token that can write is what a compromised dependency looks for."""
    assert load(path)["permissions"] in ({}, {"contents": "read"})
    for name, job in jobs(path).items():
        assert "timeout-minutes" in job or "uses" in job, name
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        # What GitHub substitutes becomes part of the script: a tag or title can contain commands.
        assert "${{" not in step.get("run", ""), step["run"]


class TestRelease:
    """The release workflow publishes what was tested, and only that."""

    JOBS = jobs(GITHUB / "workflows/release.yml")

    def before(self, name: str) -> set[str]:
        """Return all jobs that have to succeed before this one."""
        needs = self.JOBS[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*(self.before(other) for other in direct))

    def test_starts_for_version_tags_only(self) -> None:
        """PyYAML reads the key `on` as the boolean."""
        assert load(GITHUB / "workflows/release.yml")[True] == {"push": {"tags": ["v*"]}}

    def test_publishes_nothing_before_everything_was_tested(self) -> None:
        writing = {name for name, job in self.JOBS.items() if "write" in job["permissions"].values()}
        assert writing == {"attest", "images", "pypi", "github-release"}
        for name in writing:
            assert {"notes", "test", "build", "install"} <= self.before(name), name

    def test_checks_the_tag_with_the_script_that_writes_the_notes(self) -> None:
        assert any("python3 .ci/release.py" in step.get("run", "") for step in self.JOBS["notes"]["steps"])

    def test_jobs_that_sign_or_publish_files_run_no_code_of_the_repository(self) -> None:
        for name in ("attest", "pypi", "github-release"):
            assert not any("checkout" in step.get("uses", "") for step in self.JOBS[name]["steps"]), name

    def test_no_secret_but_the_jobs_token_is_used(self) -> None:
        text = (GITHUB / "workflows/release.yml").read_text(encoding="utf-8")
        assert set(re.findall(r"secrets\.(\w+)", text)) == {"GITHUB_TOKEN"}

    def test_every_artifact_that_is_downloaded_was_uploaded_before(self) -> None:
        def artifacts(name: str, action: str) -> set[str]:
            steps = self.JOBS[name].get("steps", [])
            used = [step for step in steps if step.get("uses", "").startswith(f"actions/{action}-artifact@")]
            return {step["with"].get("name") or step["with"]["pattern"] for step in used}

        for name in self.JOBS:
            available = {artifact for other in self.before(name) for artifact in artifacts(other, "upload")}
            # A matrix uploads one for each of its entries.
            available |= {f"{artifact.split('$')[0]}*" for artifact in available if "$" in artifact}
            assert artifacts(name, "download") <= available, name

    def test_builds_every_image(self) -> None:
        """An image without a release would be used with an older version of the code."""
        built = {
            (entry["dockerfile"], entry["target"] or None)
            for entry in self.JOBS["images"]["strategy"]["matrix"]["include"]
        }
        for path in (ROOT / "infra/containers").glob("*.Dockerfile"):
            # A stage that no other stage begins with or copies from is a target; one without a name is the last.
            text = path.read_text(encoding="utf-8")
            named = re.findall(r"^FROM \S+(?: AS (\S+))?$", text, re.MULTILINE)
            used = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) | set(re.findall(r"--from=(\S+)", text))
            targets = {(str(path.relative_to(ROOT)), name or None) for name in named if name not in used}
            assert targets
            assert targets == {one for one in built if one[0] == str(path.relative_to(ROOT))}

    def test_images_are_signed_by_digest_and_listed_in_the_release(self) -> None:
        """A tag could be moved between build and signature."""
        steps = self.JOBS["images"]["steps"]
        [sign] = [step for step in steps if "cosign sign" in step.get("run", "")]
        assert sign["env"]["DIGEST"] == "${{ steps.push.outputs.digest }}"
        assert '"$IMAGE@$DIGEST"' in sign["run"]
        [listed] = [step for step in self.JOBS["github-release"]["steps"] if "digest.txt" in step.get("run", "")]
        assert "notes.md" in listed["run"]


def test_dependabot_covers_everything_with_a_version() -> None:
    """An update that is not proposed is not made, security updates included."""
    covered: dict[str, set[str]] = {}
    for update in load(GITHUB / "dependabot.yml")["updates"]:
        covered[update["package-ecosystem"]] = set(update.get("directories", [])) | {update.get("directory")} - {None}
    manifests = {
        "pip": ["pyproject.toml", "requirements/*.txt"],
        "docker": [
            "infra/containers/*Dockerfile",
            "infra/kubernetes/serving/base/inference_service.yaml",
            "infra/kubernetes/trainer/sweeper.yaml",
        ],
        "terraform": ["infra/terraform/versions.tf"],
    }
    assert covered.keys() == manifests.keys() | {"github-actions"}
    assert covered["github-actions"] == {"/"}
    for ecosystem, patterns in manifests.items():
        found = [path for pattern in patterns for path in ROOT.glob(pattern)]
        folders = {("/" + str(path.parent.relative_to(ROOT))).replace("/.", "/") for path in found}
        assert covered[ecosystem] == folders


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_what_github_requires(path: Path) -> None:
    """GitHub drops a form that it cannot read, without a message."""
    form = load(path)
    assert {"name", "description", "body"} <= form.keys()
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_rules_of_codeowners_match_something() -> None:
    """A folder that was moved would lose its reviewers."""
    lines = (GITHUB / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert rules[0][0] == "*"
    for pattern, *owners in rules[1:]:
        assert pattern.startswith("/")
        assert (ROOT / pattern.strip("/")).exists(), pattern
        assert owners
        assert all(re.fullmatch(r"@[\w-]+/[\w-]+", owner) for owner in owners), owners


def test_the_pull_request_template_names_targets_and_files_that_exist() -> None:
    text = (GITHUB / "pull_request_template.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert f"\n{target}:" in makefile
    for name in re.findall(r"`(\w+\.md)`", text):
        assert (ROOT / name).is_file()
