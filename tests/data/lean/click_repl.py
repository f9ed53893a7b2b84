"""Stands in for the shell of `celery amqp`, which no test opens: see tests/conftest.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def register_repl(group: click.Group, name: str = "repl") -> None:
    """Adds nothing."""
