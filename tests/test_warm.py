"""The compiled renderer before a run, and where it cannot be kept."""

import dataclasses
import errno
import importlib.util
import os
import sys
import time

import numba.core.caching
import pytest
from conftest import RECIPES, shipped_recipe

from hazegen import planning, warm, work
from hazegen.make import make


@pytest.fixture
def settings(photos, make_options, tmp_path):
    return planning.settings_for(make_options(photos, tmp_path / "out"), shipped_recipe("aod-released"))


def test_kernel_of_another_place_or_an_older_one_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not warm.is_kept()
    (tmp_path / "hazegen_1").mkdir()
    index = tmp_path / "hazegen_1" / f"kernel.add_haze-1.py{sys.version_info.major}{sys.version_info.minor}.nbi"
    index.touch()
    assert warm.is_kept()
    os.utime(index, (0, 0))
    assert not warm.is_kept()


def test_what_is_kept_is_not_rendered_again(settings, monkeypatch):
    monkeypatch.setattr(warm, "is_kept", lambda: True)
    monkeypatch.setattr(warm, "render_once", lambda settings: pytest.fail("rendered"))
    warm.warm_up(settings, pytest.fail)


@pytest.mark.parametrize(("seconds", "told"), [(0.0, []), (0.3, ["compiling the renderer, once after installation"])])
def test_only_what_takes_long_is_told(settings, monkeypatch, seconds, told):
    lines = []
    monkeypatch.setattr(warm, "is_kept", lambda: False)
    monkeypatch.setattr(warm, "TELL_AFTER_S", 0.1)
    monkeypatch.setattr(warm, "render_once", lambda settings: time.sleep(seconds))
    warm.warm_up(settings, lines.append)
    assert lines == told


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_shipped_recipe_renders_the_picture(settings, monkeypatch, name):
    rendered = []
    records = warm.variants.scene_records
    monkeypatch.setattr(warm.variants, "scene_records", lambda *given: map(rendered.append, records(*given)))
    warm.render_once(dataclasses.replace(settings, recipe=shipped_recipe(name)))
    assert len(rendered) == 1


@pytest.mark.parametrize(("workers", "times"), [(2, 1), (1, 0)])
def test_run_of_several_processes_warms_up_once(photos, make_options, tmp_path, monkeypatch, workers, times):
    done = []
    monkeypatch.setattr(work.warm, "warm_up", lambda settings, tell: done.append(settings))
    make(make_options(photos, tmp_path / "out", shard_mb=0.02, workers=workers), shipped_recipe("aod-released"))
    assert len(done) == times


def test_full_disk_under_the_machine_code_ends_no_run(tmp_path, monkeypatch):
    """As where Numba writes while the disk fills up."""
    (tmp_path / "kept.py").write_text("import numba\n@numba.njit(cache=True)\ndef twice(x):\n    return 2 * x\n")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))

    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", full)
    spec = importlib.util.spec_from_file_location("kept", tmp_path / "kept.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    warm.keep_going_without_cache()
    assert module.twice(21) == 42
