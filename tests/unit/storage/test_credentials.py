"""Credentials: every kind of reference, refreshing once for all threads, and secrets that stay hidden."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from schema.errors import ConnectionFailed, CredentialsRefused
from storage.credentials import (
    Fetched,
    FixedKeys,
    Keys,
    RenewedKeys,
    customer_key,
    resolve_credentials,
)

SECRET = "s3cr3t-canary"


def test_anonymous_signs_nothing() -> None:
    assert resolve_credentials({"anonymous": True}).current() is None


def test_environment_with_prefix() -> None:
    environ = {
        "OLD_AWS_ACCESS_KEY_ID": "AK",
        "OLD_AWS_SECRET_ACCESS_KEY": SECRET,
        "OLD_AWS_SESSION_TOKEN": "T",
        "AWS_ACCESS_KEY_ID": "another",
    }
    assert resolve_credentials({"env": "OLD"}, environ=environ).current() == Keys("AK", SECRET, "T")


@pytest.mark.parametrize("present", [{}, {"OLD_AWS_ACCESS_KEY_ID": "AK"}, {"OLD_AWS_SECRET_ACCESS_KEY": SECRET}])
def test_missing_environment_names_the_variables(present: dict[str, str]) -> None:
    with pytest.raises(CredentialsRefused) as caught:
        resolve_credentials({"env": "OLD"}, environ=present)
    for name in ("OLD_AWS_ACCESS_KEY_ID", "OLD_AWS_SECRET_ACCESS_KEY"):
        assert (name in str(caught.value)) is (name not in present)
    assert SECRET not in str(caught.value)


def test_default_chain_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert resolve_credentials({}).current() == Keys("AK", SECRET, None)


def test_default_chain_says_where_it_looked() -> None:
    with pytest.raises(CredentialsRefused, match="AWS_ACCESS_KEY_ID"):
        resolve_credentials({})


def test_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(f"[old]\naws_access_key_id = AK\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert resolve_credentials({"profile": "old"}).current() == Keys("AK", SECRET, None)
    with pytest.raises(CredentialsRefused, match="new"):
        resolve_credentials({"profile": "new"})


def test_profile_changed_on_disk_is_read_anew_on_refresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[old]\naws_access_key_id = AK1\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    credentials = resolve_credentials({"profile": "old"})
    stale = credentials.current()
    assert not credentials.refresh(stale)
    file.write_text("[old]\naws_access_key_id = AK2\naws_secret_access_key = x\n")
    assert credentials.refresh(stale)
    assert credentials.current() == Keys("AK2", "x", None)


def test_renewal_before_the_end_and_only_then() -> None:
    clock = SimpleNamespace(now=0.0)
    fetched: list[bool] = []

    def fetch(anew: bool) -> Fetched:
        fetched.append(anew)
        return Fetched(Keys(f"AK{len(fetched)}", "s"), clock.now + 60)

    credentials = RenewedKeys(fetch, now=lambda: clock.now)
    assert credentials.current().access_key == "AK1"
    clock.now = 59.0
    assert credentials.current().access_key == "AK1"
    clock.now = 60.0
    assert credentials.current().access_key == "AK2"
    assert fetched == [False, False]


class Source:
    """Keys of one hour, whose renewal fails while it is told to."""

    def __init__(self, *, known: bool = True) -> None:
        self.now = 0.0
        self.failing = False
        self.asked = 0
        self._known = known

    def fetch(self, anew: bool) -> Fetched:  # noqa: ARG002  the fetch's signature
        self.asked += 1
        if self.failing:
            raise ConnectionFailed("STS is away")
        end = self.now + 3600.0
        return Fetched(Keys(f"AK{self.asked}", "s"), end - 300.0, end if self._known else None)


def test_a_renewal_that_fails_is_tried_again_while_the_old_keys_hold() -> None:
    source = Source()
    credentials = RenewedKeys(source.fetch, now=lambda: source.now)
    assert credentials.current().access_key == "AK1"
    source.failing, source.now = True, 3300.0
    assert [credentials.current().access_key for _ in range(3)] == ["AK1"] * 3
    assert source.asked == 2, "not asked again for each request"
    source.now = 3331.0
    assert credentials.current().access_key == "AK1"
    assert source.asked == 3
    source.failing, source.now = False, 3362.0
    assert credentials.current().access_key == "AK4"


def test_a_renewal_that_fails_to_the_end_is_an_error() -> None:
    source = Source()
    credentials = RenewedKeys(source.fetch, now=lambda: source.now)
    credentials.current()
    source.failing, source.now = True, 3600.0
    with pytest.raises(ConnectionFailed):
        credentials.current()


def test_keys_whose_end_is_not_known_are_not_trusted_beyond_their_time() -> None:
    source = Source(known=False)
    credentials = RenewedKeys(source.fetch, now=lambda: source.now)
    credentials.current()
    source.failing, source.now = True, 3300.0
    with pytest.raises(ConnectionFailed):
        credentials.current()


def test_keys_that_the_server_calls_expired_are_not_used_any_more() -> None:
    source = Source()
    credentials = RenewedKeys(source.fetch, now=lambda: source.now)
    stale = credentials.current()
    source.failing = True
    with pytest.raises(ConnectionFailed):
        credentials.refresh(stale)


def test_one_refresh_for_all_threads() -> None:
    fetched: list[bool] = []

    def fetch(anew: bool) -> Fetched:
        fetched.append(anew)
        return Fetched(Keys(f"AK{len(fetched)}", "s"), 1e12)

    credentials = RenewedKeys(fetch)
    stale = credentials.current()
    barrier = threading.Barrier(8)
    answers: list[bool] = []

    def refresh() -> None:
        barrier.wait(10)
        answers.append(credentials.refresh(stale))

    threads = [threading.Thread(target=refresh) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 8
    assert fetched == [False, True]


def test_fixed_keys_have_nothing_newer() -> None:
    keys = Keys("AK", SECRET)
    assert not FixedKeys(keys).refresh(keys)


def test_no_repr_shows_a_secret() -> None:
    keys = Keys("AK-canary", SECRET, "T-canary")
    renewed = RenewedKeys(lambda _anew: Fetched(keys, 1e12))
    renewed.current()
    for value in (keys, FixedKeys(keys), renewed, Fetched(keys, 1.0), [keys], {"k": keys}):
        assert "canary" not in f"{value!r} {value!s}"


def test_role_needs_a_source_that_signs() -> None:
    with pytest.raises(CredentialsRefused, match="anonymous"):
        resolve_credentials({"role_arn": "arn:aws:iam::1:role/x", "source": {"anonymous": True}})


def test_unreachable_sts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    environ = {"P_AWS_ACCESS_KEY_ID": "AK", "P_AWS_SECRET_ACCESS_KEY": SECRET}
    with pytest.raises(ConnectionFailed, match="role/x"):
        resolve_credentials({"role_arn": "arn:aws:iam::1:role/x", "source": {"env": "P"}}, environ=environ)


def test_customer_key() -> None:
    key = bytes(range(32))
    assert customer_key("K", {"K": base64.b64encode(key).decode()}) == key
    for environ in ({}, {"K": "not base64!"}, {"K": base64.b64encode(b"short").decode()}):
        with pytest.raises(CredentialsRefused, match="K"):
            customer_key("K", environ)
