"""The embedded stack behind `make demo`, `make dev` and the tests."""
