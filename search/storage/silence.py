"""How long a driver waits for a server from which nothing comes: a network that is cut tells nobody.

Without this a worker would wait for a quarter of an hour, or for ever, where packets are lost on the way and nothing
answers that the connection is gone.
"""

from __future__ import annotations

from sqlalchemy.engine import URL

CONNECTING = 10
"""Seconds in which a connection is made."""
ANSWERING = 100
"""Seconds in which a statement is answered: MariaDB lets one wait for rows for 50, and we for a lock for 60."""
UNHEARD = 60
"""Seconds after which a connection counts as lost on which nothing is acknowledged."""
_LIBPQ = {
    "connect_timeout": CONNECTING,
    "keepalives_idle": UNHEARD // 2,
    "keepalives_interval": UNHEARD // 6,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * UNHEARD,
}
_MYSQL = {"connect_timeout": CONNECTING, "read_timeout": ANSWERING, "write_timeout": ANSWERING}
OPTIONS = {"psycopg": _LIBPQ, "psycopg2": _LIBPQ, "pymysql": _MYSQL, "mysqldb": _MYSQL}
"""By driver. Of others nothing is known."""


def timeouts(url: URL) -> dict[str, int]:
    """What the driver of a URL is given for a connection, but for what the URL says itself."""
    options = OPTIONS.get(url.get_driver_name(), {})
    return {name: value for name, value in options.items() if name not in url.query}
