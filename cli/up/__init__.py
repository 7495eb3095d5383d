"""The whole stack on one machine, under supervision: Postgres, Redis, engine, gateway, learner, worker and beat."""
