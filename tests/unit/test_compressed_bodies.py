"""A compressed body is opened to so many bytes and no further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kombu import compression

from livectl.ops.transport.guarded_channel import bound_decompression

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 100_000
KINDS = compression.encoders()


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    decoders = dict(compression._decoders)
    bound_decompression(LIMIT)
    yield
    compression._decoders.update(decoders)


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_opened_up_to_the_limit(kind: str) -> None:
    body, name = compression.compress(b"x" * LIMIT, kind)
    assert compression.decompress(body, name) == b"x" * LIMIT
    with pytest.raises(ValueError, match=r"more than 100,000 bytes"):
        compression.decompress(compression.compress(b"x" * 20_000_000, kind)[0], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_that_ends_too_early_is_none(kind: str) -> None:
    body, _ = compression.compress(bytes(range(256)) * 10, kind)
    with pytest.raises(Exception, match=r"."):
        compression.decompress(body[: len(body) // 2], kind)
