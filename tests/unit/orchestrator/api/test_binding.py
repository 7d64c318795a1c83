"""Where the service may listen, and what it may be called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.binding import allowed_names, check_bind, host_name, is_loopback, is_same_origin
from workers.errors import InputError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_on_this_machine_alone_nothing_more_is_wanted(host):
    assert is_loopback(host)
    check_bind(host, tls=False, behind_tls_proxy=False, tokens=0)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.1.2.3", "example.com", "", "localhost.example.com", "127.0.0.1.example.com"]
)
def test_beyond_it_tls_and_a_token_are_wanted(host):
    assert not is_loopback(host)
    with pytest.raises(InputError, match="tokens on the network"):
        check_bind(host, tls=False, behind_tls_proxy=False, tokens=3)
    with pytest.raises(InputError, match="no token"):
        check_bind(host, tls=True, behind_tls_proxy=False, tokens=0)
    with pytest.raises(InputError, match="no token"):
        check_bind(host, tls=False, behind_tls_proxy=True, tokens=0)
    check_bind(host, tls=True, behind_tls_proxy=False, tokens=1)
    check_bind(host, tls=False, behind_tls_proxy=True, tokens=1)


@given(host=st.text(max_size=30), proxy=st.booleans(), tls=st.booleans(), tokens=st.integers(0, 2))
def test_whatever_is_listened_at_tokens_are_never_sent_in_the_clear(host, proxy, tls, tokens):
    try:
        check_bind(host, tls=tls, behind_tls_proxy=proxy, tokens=tokens)
    except InputError:
        return
    assert is_loopback(host) or ((tls or proxy) and tokens)


def test_it_is_called_by_its_address_its_names_and_what_this_machine_calls_itself():
    assert allowed_names("10.1.2.3", ["Train.Example.com"]) == {
        "10.1.2.3",
        "train.example.com",
        "localhost",
        "127.0.0.1",
        "::1",
    }
    assert "0.0.0.0" not in allowed_names("0.0.0.0")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8750", "localhost"),
        ("LOCALHOST", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("evil.example.com:127", "evil.example.com"),
        ("localhost:8750.evil.com", "localhost:8750.evil.com"),
        ("localhost:80:80", "localhost:80"),
        ("", ""),
    ],
)
def test_a_host_header_without_its_port(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://127.0.0.1:8750", "127.0.0.1:8750", True),
        ("https://train.example.com", "train.example.com", True),
        ("http://127.0.0.1:3000", "127.0.0.1:8750", False),
        ("http://evil.com", "127.0.0.1:8750", False),
        ("http://127.0.0.1:8750.evil.com", "127.0.0.1:8750", False),
        ("null", "127.0.0.1:8750", False),
        ("", "", False),
        ("null", "", False),
    ],
)
def test_whose_page_asks(origin, host, same):
    assert is_same_origin(origin, host) is same
