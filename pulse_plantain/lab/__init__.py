"""The toolbox behind the scripts: synthetic clips, baselines, metrics, training."""
