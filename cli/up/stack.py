"""Bring the whole stack up in order, each part when what it needs is ready, and take it down again."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from cli.agents import BadAgentFile, agent_files, apply_agent
from cli.gateway import FAILURES, Gateway
from cli.up import embedded_postgres, embedded_redis
from cli.up.checks import check_disk, check_given_redis, check_packages, check_ports
from cli.up.errors import StartError
from cli.up.first_keys import ensure_keys
from cli.up.home import Home
from cli.up.leftovers import end_leftovers
from cli.up.model import find_model, served_base
from cli.up.programs import list_programs, shared_environment
from cli.up.progress import Steps
from cli.up.readiness import http_answers, state_of, wait_until_ready, worker_answers
from cli.up.settings import UpSettings
from cli.up.stopping import stop
from cli.up.supervision import Supervisor, launch

BUSY_SECONDS = 60
BEAT_SECONDS = 2


class Stack:
    """One stack while it comes up."""

    def __init__(self, home: Home, settings: UpSettings, steps: Steps) -> None:
        self.home = home
        self.settings = settings
        self.steps = steps
        self.supervisor = Supervisor(home)
        self.environment: Mapping[str, str] = {}

    def start(self, *, detached: bool) -> subprocess.Popen[bytes]:
        """Start everything; the supervisor's process. A failure or Ctrl-C stops what was started."""
        self._check()
        with self.steps.step("Model") as tell:
            model, name = find_model(self.home, self.settings.model, tell)
            if self.settings.engine_urls is not None:
                name = served_base(self.settings.engine_urls.split(",")[0].strip().rstrip("/"), self.settings.model)
        self.environment = shared_environment(self.home, self.settings, model)
        programs = list_programs(self.home, self.settings, model, name)
        if self.settings.database_url is None:
            with self.steps.step("Database folder"):
                opened = embedded_postgres.prepare(self.home.postgres, self.home.sockets / "postgres")
            if opened:
                through = ", ".join(map(str, opened))
                self.steps.say(f"  We are root, which Postgres may not be: its own account may now enter {through}.")
        self.home.address.write_text(f"{self.settings.url}\n")
        process = launch(self.home, programs, self.environment, detached=detached)
        try:
            self._start_in_order(name)
        except BaseException:
            stop(self.home, process.pid, self.steps)
            raise
        return process

    def _check(self) -> None:
        if self.supervisor.is_running():
            raise StartError(
                f"Nock already runs on {self.home.folder}.",
                advice="See `nock status`; stop it with `nock down`.",
            )
        check_packages()
        ended = end_leftovers(self.home)
        if ended:
            self.steps.say(f"Ended what a killed stack had left running: {', '.join(ended)}")
        check_ports(self.settings)
        check_disk(self.home)
        if self.settings.redis_url is not None:
            check_given_redis(self.settings.redis_url)

    def _start_in_order(self, model_name: str) -> None:
        """What takes long starts as soon as it can, and is waited for when it is needed."""
        settings, database_url = self.settings, self.environment["NOCK_DATABASE_URL"]
        sockets = self.home.sockets / "postgres"
        if settings.engine_urls is None:
            self.supervisor.start("engine")
        if settings.database_url is None:
            self._start("postgres", "Postgres", lambda: embedded_postgres.answers(sockets), seconds=120)
            embedded_postgres.create_database(sockets)
        if settings.redis_url is None:
            self._start("redis", "Redis", lambda: embedded_redis.answers(self.home.sockets), seconds=20)
        with self.steps.step("Migrations"):
            self._migrate()
        renewed = asyncio.run(ensure_keys(self.home.keys, database_url))
        if renewed:
            self.steps.say(f"  New keys for {', '.join(renewed)} in {self.home.keys}")
        for name in ("gateway", "learner", "worker"):
            self.supervisor.start(name)
        if settings.engine_urls is None:
            health = f"http://127.0.0.1:{settings.engine_port}/health"
            self._wait("engine", "Engine", lambda: http_answers(health), seconds=900)
        self._wait("gateway", "Gateway", lambda: http_answers(f"{settings.url}/readyz"), seconds=60)
        self._apply_agents(model_name)
        self._wait("learner", "Learner", lambda: self._takes_tasks("learner"), seconds=180)
        self._wait("worker", "Worker", lambda: self._takes_tasks("worker"), seconds=180)
        self._start("beat", "Beat", self._beat_stays, seconds=20)

    def _start(self, name: str, title: str, is_ready: Callable[[], bool], *, seconds: float) -> None:
        self.supervisor.start(name)
        self._wait(name, title, is_ready, seconds=seconds)

    def _wait(self, name: str, title: str, is_ready: Callable[[], bool], *, seconds: float) -> None:
        with self.steps.step(title) as tell:
            wait_until_ready(self.home, self.supervisor, name, is_ready, seconds=seconds, tell=tell)

    def _beat_stays(self) -> bool:
        """Beat answers nobody; one that could not read its schedule would have ended by now."""
        state = state_of(self.home, self.supervisor, "beat")
        return state.state in ("STARTING", "RUNNING") and time.time() - state.started_at > BEAT_SECONDS

    def _takes_tasks(self, name: str) -> bool:
        """Its answer to a ping, or its age: a given Redis may have held work that it must get through first."""
        state = state_of(self.home, self.supervisor, name)
        if state.state == "RUNNING" and time.time() - state.started_at > BUSY_SECONDS:
            return True
        return worker_answers(self.environment["NOCK_REDIS_URL"], f"{name}@nock")

    def _apply_agents(self, model_name: str) -> None:
        gateway = Gateway(self.settings.url, None, scope="admin")
        with self.steps.step("Agents"):
            try:
                done = [apply_agent(gateway, file) for file in agent_files()]
            except (*FAILURES, BadAgentFile) as error:
                raise StartError(f"An agent could not be applied: {error}", advice="Mend its file.") from error
        self.steps.say(f"  {'; '.join(done) if done else 'There are no agents/*.yaml here.'}")
        for agent in gateway.call("GET", "/admin/agents")["data"]:
            if agent["base_model"] != model_name and self.settings.engine_urls is None:
                self.steps.say(
                    f"  {agent['name']} belongs to {agent['base_model']}: it is mute while {model_name} is served."
                    " Set NOCK_MODEL to its model, or NOCK_HOME to a new folder.",
                    style="yellow",
                )

    def _migrate(self) -> None:
        log = self.home.log("migrations")
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "core.storage.migrations", "upgrade"],
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode != 0:
            raise StartError("The migrations failed.", advice="Mend what the log says, then start again.", log=log)
