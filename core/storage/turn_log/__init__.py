"""The hot path's three statements, each over many turns at once, spoken to Postgres without an ORM in between."""
