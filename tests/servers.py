"""Database servers of a test session's own: on a free port of 127.0.0.1, in a temporary folder, gone at the end.

Use the fixtures `postgresql` and `mariadb`, or `server`, which is each in turn; `database()` is the URL of a new, empty
database. `stop` and `start` are for what goes on while a server is away.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import ClassVar, Self

import sqlalchemy
from waiting import until

NAME, PASSWORD = "tunemax", "s3cret"
PLACES = (*sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True), "/usr/sbin", "/usr/local/sbin")
"""Where servers lie that are not on the path of users."""


class Server:
    """Start a server; in a `with` block it is stopped at the end, and everything of it removed.

    Raises RuntimeError if it is not installed, or does not start.
    """

    title: ClassVar[str]
    script: ClassVar[str]
    """Which installs it."""
    account: ClassVar[str]
    """Whose it is when root runs the tests: it refuses to be root's."""
    scheme: ClassVar[str]
    first: ClassVar[str]
    """A database that is there from the start."""
    ending: ClassVar[signal.Signals]
    """Ends it without waiting for its clients."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="tunemax-"))  # a socket's path must be short
        if os.geteuid() == 0:
            shutil.chown(self.folder, self.account, self.account)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.make()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def make(self) -> None:
        """Make an empty server in the folder, with an account."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder, **self._as())
        until(self._answers)

    def stop(self) -> None:
        """End it at once, and with it every connection."""
        self.process.send_signal(self.ending)
        self.process.wait()

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"studies_{uuid.uuid4().hex[:8]}"
        self._execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"{self.scheme}://{NAME}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def program(self, name: str) -> str:
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES))
        if not (program := shutil.which(name, path=path)):
            raise RuntimeError(f"{self.title} is not installed, and studies on it are tested: `sudo {self.script}`")
        return program

    def run(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._as())
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")

    def _as(self) -> dict[str, str]:
        return {"user": self.account, "group": self.account} if os.geteuid() == 0 else {}

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.title} has ended: {(self.folder / 'log').read_text()}")
        with contextlib.suppress(sqlalchemy.exc.OperationalError):
            self._execute("SELECT 1")
            return True
        return False

    def _execute(self, statement: str) -> None:
        engine = sqlalchemy.create_engine(self.url(self.first), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)
        finally:
            engine.dispose()


class PostgreSQL(Server):
    title, script, account = "PostgreSQL", ".ci/postgresql", "postgres"
    scheme, first, ending = "postgresql+psycopg", "postgres", signal.SIGINT

    def make(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        initdb = [self.program("initdb"), "--no-sync", "--username", NAME, "--pwfile", str(password)]
        self.run(*initdb, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", str(self.folder / "data"))

    def command(self) -> list[str]:
        # What the folder holds is worth nothing after the tests
        settings = ("fsync=off", f"unix_socket_directories={self.folder}", "listen_addresses=127.0.0.1")
        words = [word for setting in settings for word in ("-c", setting)]
        return [self.program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *words]


class MariaDB(Server):
    title, script, account = "MariaDB", ".ci/mariadb", "mysql"
    scheme, first, ending = "mysql+pymysql", "mysql", signal.SIGTERM

    def make(self) -> None:
        install = [self.program("mariadb-install-db"), "--no-defaults", "--skip-test-db"]
        self.run(*install, "--auth-root-authentication-method=normal", f"--datadir={self.folder / 'data'}")
        account = f"CREATE USER IF NOT EXISTS {NAME}@localhost IDENTIFIED BY '{PASSWORD}';"
        (self.folder / "account.sql").write_text(f"{account}\nGRANT ALL ON *.* TO {NAME}@localhost;\n")

    def command(self) -> list[str]:
        places = (f"--datadir={self.folder / 'data'}", f"--socket={self.folder / 'socket'}", f"--port={self.port}")
        account = f"--init-file={self.folder / 'account.sql'}"
        settings = ("--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0")
        return [self.program("mariadbd"), "--no-defaults", *places, account, *settings]
