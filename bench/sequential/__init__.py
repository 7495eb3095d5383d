"""How often the sequential test errs, and how soon it decides."""
