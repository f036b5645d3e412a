"""Side-by-side measurements against stock tools: `python -m bench` writes docs/performance.md."""
