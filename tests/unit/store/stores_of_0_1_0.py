"""Databases as 0.1.0 left them."""

import re
import sqlite3

from sqlalchemy import create_engine, text

# As `create_all` of 0.1.0 wrote it.
TABLES_OF_0_1_0 = """
CREATE TABLE history (
    tenant VARCHAR NOT NULL, user VARCHAR NOT NULL, id VARCHAR NOT NULL, place INTEGER NOT NULL, input TEXT NOT NULL,
    output TEXT NOT NULL, ts VARCHAR, item_id VARCHAR, context TEXT NOT NULL, PRIMARY KEY (tenant, user, id)
);
CREATE TABLE heads (
    tenant VARCHAR NOT NULL, user VARCHAR NOT NULL, version VARCHAR NOT NULL, role VARCHAR NOT NULL,
    mark VARCHAR NOT NULL, stamp VARCHAR NOT NULL, head BLOB, PRIMARY KEY (tenant, user, version, role)
);
CREATE TABLE evidence (
    tenant VARCHAR NOT NULL, user VARCHAR NOT NULL, version VARCHAR NOT NULL, role VARCHAR NOT NULL,
    item VARCHAR NOT NULL, told BLOB NOT NULL, PRIMARY KEY (tenant, user, version, role, item)
);
"""
PROFILES_OF_0_1_0 = """
CREATE TABLE profiles (
    tenant VARCHAR NOT NULL, user VARCHAR NOT NULL, kind VARCHAR NOT NULL, how VARCHAR NOT NULL, what VARCHAR NOT NULL,
    seen INTEGER NOT NULL, text TEXT NOT NULL, degraded BOOLEAN NOT NULL, dropped INTEGER NOT NULL,
    PRIMARY KEY (tenant, user, kind)
);
CREATE TABLE profile_peers (
    tenant VARCHAR NOT NULL, user VARCHAR NOT NULL, kind VARCHAR NOT NULL, peer VARCHAR NOT NULL,
    PRIMARY KEY (tenant, user, kind, peer)
);
CREATE INDEX profile_peers_by_peer ON profile_peers (tenant, peer);
"""


def path_of(url):
    return url.removeprefix("sqlite:///")


def write(url, script, *statements):
    db = sqlite3.connect(path_of(url))
    db.executescript(script)
    for statement, rows in statements:
        db.executemany(statement, rows)
    db.commit()
    db.close()


def write_to_postgres(url):
    """The tables of 0.1.0 in a PostgreSQL, with something of Ann's in each."""
    script = TABLES_OF_0_1_0 + PROFILES_OF_0_1_0
    engine = create_engine(url)
    with engine.begin() as db:
        db.execute(text(re.sub(r"\buser\b", '"user"', script).replace("BLOB", "BYTEA")))
        for row in (
            "history values ('acme', 'ann', 'film', 3, 'a robot', 'sci-fi', '2003', 'f1', 'title')",
            "heads values ('acme', 'ann', 'v1', 'adapter', 'mark', 'stamp', null)",
            "evidence values ('acme', 'ann', 'v1', 'adapter', 'film', 'told')",
            "profiles values ('acme', 'ann', 'dpl', 'how', 'what', 2, 'hers', true, 3)",
            "profile_peers values ('acme', 'ann', 'dpl', 'bob')",
        ):
            db.execute(text(f"insert into {row}"))
    engine.dispose()
