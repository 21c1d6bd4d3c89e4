"""profiles.yml says where; secrets come from the environment and are written nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lakewright.errors import ProfileError
from lakewright.settings.profile import load_profile
from lakewright.workspace import Workspace

PROFILES = """\
default: team
profiles:
  team:
    workspace: shared
    storage_options:
      AWS_SECRET_ACCESS_KEY: ${env:LAKE_SECRET}
  other:
    workspace: ${env:NOT_SET_ANYWHERE}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles.yml").write_text(PROFILES)
    return tmp_path


def test_the_default_profile_and_its_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_SECRET", "hush")
    profile = load_profile()
    assert profile.workspace == str(folder.resolve() / "shared")
    assert profile.secrets() == {"AWS_SECRET_ACCESS_KEY": "hush"}
    assert "hush" not in repr(profile) and "hush" not in profile.model_dump_json()


def test_a_variable_that_is_not_set_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKE_SECRET", raising=False)
    with pytest.raises(ProfileError, match=r"profiles.yml:6: .*LAKE_SECRET, which is not set"):
        load_profile()


def test_unknown_profiles_and_keys_name_the_nearest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_SECRET", "hush")
    with pytest.raises(ProfileError) as caught:
        load_profile("taem")
    assert "did you mean 'team'?" in caught.value.remedy
    (folder / "profiles.yml").write_text("profiles:\n  team:\n    worksapce: here\n")
    with pytest.raises(ProfileError) as caught:
        load_profile("team")
    assert "profiles.yml:3: 'profiles.team.worksapce'" in caught.value.cause
    assert "workspace" in caught.value.remedy


def test_without_a_file_there_is_the_built_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_profile().workspace == str(tmp_path.resolve() / ".lakewright")
    with pytest.raises(ProfileError, match=r"no profiles\.yml was found"):
        load_profile("prod")


def test_no_cpu_in_place_of_a_gpu_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from lakewright.errors import UsageError

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.chdir(tmp_path)
    workspace = Workspace.open(load_profile().model_copy(update={"device": "cuda"}))
    with pytest.raises(UsageError, match="torch finds no GPU"):
        _ = workspace.device


def test_a_machine_without_a_gpu_is_known_without_torch(tmp_path: Path) -> None:
    """torch's import takes seconds, which a run of trees would wait for."""
    if any(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has a GPU")
    script = (
        "import sys; from lakewright.settings.profile import load_profile; from lakewright.workspace import Workspace; "
        "print(Workspace.open(load_profile()).device, 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["cpu", "False"]
