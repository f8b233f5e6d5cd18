"""The client: dial, shake hands, run the endpoint."""

from .connect import connect
from .uri import Uri, parse_uri

__all__ = ["Uri", "connect", "parse_uri"]
