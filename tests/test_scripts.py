"""scripts/run.sh from a pipe; scripts/upgrade.sh among signed and unsigned versions."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
SIGNER = "keeper@example.org"


GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "keeper",
    "GIT_AUTHOR_EMAIL": SIGNER,
    "GIT_COMMITTER_NAME": "keeper",
    "GIT_COMMITTER_EMAIL": SIGNER,
}


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A bash command line in a folder, with nobody's own git settings and no terminal."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **GIT, "HOME": str(folder)},
        text=True,
        capture_output=True,
        timeout=60,
        start_new_session=True,
    )


def done(command: str, folder: Path) -> str:
    finished = run(command, folder)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with version v1.9.0, signed, and a run.sh that tells how it was called."""
    folder = tmp_path / "origin"
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts" / "run.sh").write_text('echo "started in $PWD with: $*"; cat\n')
    done("git init -q -b main && ssh-keygen -q -t ed25519 -N '' -f ../key", folder)
    done("git config gpg.format ssh && git config user.signingkey $PWD/../key", folder)
    done("git add -A && git commit -qm one && git tag -s v1.9.0 -m one", folder)
    return folder


@pytest.fixture
def checkout(origin: Path) -> Path:
    """A user's clone at v1.9.0, who trusts the signer; then v1.10.0 comes out."""
    folder = origin.parent / "checkout"
    done(f"git clone -q {shlex.quote(str(origin))} checkout", origin.parent)
    key = (origin.parent / "key.pub").read_text()
    (origin.parent / "trusted").write_text(f"{SIGNER} {key}")
    done("git config gpg.ssh.allowedSignersFile $PWD/../trusted", folder)
    done("git commit -q --allow-empty -m two && git tag -s v1.10.0 -m two", origin)
    return folder


def upgrade(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = shlex.quote(str(SCRIPTS / "upgrade.sh"))
    return run(f"set -euo pipefail; . {script}; upgrade {shlex.join(arguments)}", folder)


def version(folder: Path) -> str:
    return done("git describe --tags --always", folder).strip()


class TestUpgrade:
    def test_it_moves_to_the_newest_signed_version(self, checkout: Path) -> None:
        finished = upgrade(checkout)
        assert finished.returncode == 0, finished.stderr
        assert "this is v1.10.0 now" in finished.stdout
        assert version(checkout) == "v1.10.0"

    def test_or_to_the_one_that_is_named(self, checkout: Path) -> None:
        upgrade(checkout)
        assert upgrade(checkout, "v1.9.0").returncode == 0
        assert version(checkout) == "v1.9.0"

    def test_nobody_trusted_has_signed_it(self, checkout: Path) -> None:
        done("git config --unset gpg.ssh.allowedSignersFile", checkout)
        finished = upgrade(checkout)
        assert finished.returncode == 1
        assert "not signed by a key you trust: nothing was changed" in finished.stderr
        assert version(checkout) == "v1.9.0"

    def test_another_key_than_the_trusted_one_has_signed_it(self, checkout: Path) -> None:
        origin = checkout.parent / "origin"
        done("ssh-keygen -q -t ed25519 -N '' -f ../other", origin)
        done("git -c user.signingkey=$PWD/../other tag -s v2.0.0 -m three", origin)
        assert upgrade(checkout).returncode == 1
        assert version(checkout) == "v1.9.0"

    def test_an_unsigned_tag_is_no_version(self, checkout: Path) -> None:
        done("git tag v3.0.0", checkout.parent / "origin")
        finished = upgrade(checkout)
        assert "the tag v3.0.0 is not a signed one of that name: nothing" in finished.stderr
        assert version(checkout) == "v1.9.0"

    def test_an_old_version_does_not_pose_as_a_new_one(self, checkout: Path) -> None:
        done("git update-ref refs/tags/v9.0.0 refs/tags/v1.9.0", checkout.parent / "origin")
        finished = upgrade(checkout)
        assert finished.returncode == 1
        assert "(it was signed as v1.9.0)" in finished.stderr

    def test_changes_of_ones_own_are_left_alone(self, checkout: Path) -> None:
        (checkout / "scripts" / "run.sh").write_text("mine\n")
        finished = upgrade(checkout)
        assert finished.returncode == 1
        assert "git stash" in finished.stderr
        assert (checkout / "scripts" / "run.sh").read_text() == "mine\n"


class TestFromAPipe:
    def pipe(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = shlex.quote(str(SCRIPTS / "run.sh"))
        return run(f"cat {script} | bash -s -- {shlex.join(arguments)}", folder)

    def test_it_clones_and_goes_on_with_the_other_options(
        self, origin: Path, tmp_path: Path
    ) -> None:
        home = tmp_path / "new home"
        home.mkdir()
        for _ in range(2):  # the second time it uses what lies there
            finished = self.pipe(home, "--from", str(origin), "miner", "--netuid", "220")
            assert finished.returncode == 0, finished.stderr
            assert finished.stdout == f"started in {home} with: miner --netuid 220\n"

    def test_alone_and_without_an_address_it_says_what_is_missing(self, tmp_path: Path) -> None:
        finished = self.pipe(tmp_path, "miner")
        assert finished.returncode == 2
        assert "--from GIT_ADDRESS" in finished.stderr
        assert list(tmp_path.iterdir()) == []

    def test_of_a_script_that_was_cut_short_nothing_runs(
        self, origin: Path, tmp_path: Path
    ) -> None:
        text = (SCRIPTS / "run.sh").read_text()
        (tmp_path / "cut.sh").write_text(text[: text.rindex("main ")])
        finished = run(f"bash -s -- --from {shlex.quote(str(origin))} < cut.sh", tmp_path)
        assert finished.returncode == 0
        assert not (tmp_path / "boltzmann").exists()
