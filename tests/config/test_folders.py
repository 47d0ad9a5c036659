"""The cache folder, from the environment."""

import pytest

from jft.config.folders import cache_folder


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("JFT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert str(cache_folder()) == "/home/somebody/.cache/jft"
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert str(cache_folder()) == "/scratch/jft"
    monkeypatch.setenv("JFT_CACHE", "~/weights")
    assert str(cache_folder()) == "/home/somebody/weights"
