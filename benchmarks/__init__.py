"""Speed against other libraries: `python -m benchmarks` measures, prints and writes RESULTS.md."""
