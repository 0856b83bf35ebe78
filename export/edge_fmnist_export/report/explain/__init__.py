"""Why a model answers what it answers: how much each pixel counts, by four methods.

One module a method; :mod:`edge_fmnist_export.report.explain.methods` lists them.
"""
