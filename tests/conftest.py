"""Fixtures that tests of several folders share."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import attrs
import pytest
import trustme
from hypothesis import settings

from trio_wsendpoint.endpoint import reader

# No test depends on speed.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def time_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have receivers read sockets themselves under the clocks of tests, too.

    Without this they would leave that to the reader task, as the time that passes before it
    takes over is not real. Tests of just that ask the clock with `is_time_real` as it is.
    """
    monkeypatch.setattr(reader, "is_time_real", lambda: True)


@attrs.frozen
class TLSContexts:
    """A server's and a client's TLS contexts that fit each other, for `localhost`."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def tls_contexts() -> TLSContexts:
    return make_tls_contexts()


def make_tls_contexts() -> TLSContexts:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return TLSContexts(server, client)


@pytest.fixture(scope="session", autouse=True)
def no_proxy_of_the_environment() -> Iterator[None]:
    """Dial directly, whatever the environment of those who run the tests says."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                patch.delenv(name)
        yield
