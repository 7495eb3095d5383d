"""The servers that come as wheels really serve."""

import psycopg
import redis

from cli.up.checks import check_given_redis


def test_embedded_postgres_is_version_18_with_utf8(postgres_url: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        version = connection.execute("show server_version").fetchone()
        facts = connection.execute(
            "select pg_encoding_to_char(encoding), datlocprovider, datlocale from pg_database where datname = 'nock'"
        ).fetchone()
    assert version is not None
    assert version[0].startswith("18.")
    assert facts == ("UTF8", "b", "C.UTF-8")


def test_a_given_redis_that_answers_is_taken(redis_url: str) -> None:
    check_given_redis(redis_url)


def test_embedded_redis_keeps_a_value(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url.replace("redis+socket", "unix")) as client:
        client.set("greeting", "hello")
        assert client.get("greeting") == b"hello"
