"""Which addresses of the network may be reached on behalf of what somebody pasted: the public ones.

Judged is the address a socket is about to connect to. Names and odd spellings (2130706433, 0x7f.1, [::ffff:7f00:1])
are all resolved by then, and no second look-up can change it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Protocol assignments, which older Pythons call global; the relay of 6to4, which leads to wherever the packet says.
SPECIAL_NETWORKS = tuple(IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))
GLOBAL_UNICAST = IPv6Network(
    "2000::/3"
)  # all that is given out; the rest wraps IPv4 (mapped, NAT64), is local or multicast
TUNNEL_NETWORKS = tuple(IPv6Network(text) for text in ("2001::/23", "2002::/16"))  # Teredo, ORCHID and the like; 6to4


def is_public(text: str) -> bool:
    """Whether this numeric address belongs to nobody's own network."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return _is_public_ipv4(address) if isinstance(address, IPv4Address) else _is_public_ipv6(address)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return (
        address.is_global and not address.is_multicast and not any(address in network for network in SPECIAL_NETWORKS)
    )


def _is_public_ipv6(address: IPv6Address) -> bool:
    return (
        address in GLOBAL_UNICAST and address.is_global and not any(address in network for network in TUNNEL_NETWORKS)
    )
