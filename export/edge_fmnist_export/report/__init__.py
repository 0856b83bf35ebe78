"""The report on a model: its data, training, results and mistakes on one page."""
