"""Named, repeatable measurements, in ratios to a floor taken in the same run."""
