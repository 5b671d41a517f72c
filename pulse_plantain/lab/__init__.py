"""The laboratory behind the scripts: data sets, renderer, baselines, metrics, training, results.

Here live the rooms that train and measure the pipeline; nothing outside uses them.
"""
