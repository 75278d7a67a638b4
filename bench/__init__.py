"""What we claim about speed and memory, as programs. `docs/benchmarks.md` shows what they measured."""
