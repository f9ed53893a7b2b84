"""The blueprint: the page in anybody's Flask app, at any prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.address import Address
from livectl.ops.cluster import deployment, layout
from livectl.ops.cluster.deployment import Deployment
from livectl.quantity import parse_timezone
from livectl.web import pages
from livectl.web.site import PageData
from livectl.web.source import StoreReader

if TYPE_CHECKING:
    from flask import Blueprint


def blueprint(
    store_url: str, *, broker_url: str | None = None, timezone: str = "UTC", token: str | None = None
) -> Blueprint:
    """The page of the streamers in this store, to be registered in a Flask app.

    `broker_url` is where the jobs are, if that is not the store. With a `token`, visitors need it; without, who is
    let in is up to the app.
    """
    store = Address.parse(store_url)
    _ = store.redis_url
    store_deployment = Deployment(
        broker=Address.parse(broker_url) if broker_url else store,
        results=store,
        store=store,
        layout=layout.layout_from_settings(deployment.OWN_OPTIONS),
    )
    return pages.build_blueprint(PageData(StoreReader(lambda: store_deployment), parse_timezone(timezone)), token)
