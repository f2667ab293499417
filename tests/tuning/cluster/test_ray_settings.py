import urllib.request

import pytest
import requests

from tune_encoder.tuning.cluster.ray_settings import reach_loopback_directly


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_what_goes_to_this_machine_passes_no_proxy(name, monkeypatch):
    for each in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(each, "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv(name, "inside.example")

    reach_loopback_directly()

    for host in ("127.0.0.1:8265", "localhost:8265", "inside.example"):
        assert urllib.request.proxy_bypass(host)
        assert requests.utils.should_bypass_proxies(f"http://{host}", no_proxy=None)
    assert not requests.utils.should_bypass_proxies("http://outside.example", no_proxy=None)
