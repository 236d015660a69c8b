"""Steered models in other people's tools.

In: models, interventions. Out: their numbers, from their own runs. Touches: files that the user names.
"""
