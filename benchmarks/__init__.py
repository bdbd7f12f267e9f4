"""Named, repeatable measurements in ratios: `python -m benchmarks [--json] [--full] [NAME ...]`."""
