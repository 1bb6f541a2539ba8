"""Framelane's messages, generated from `framelane/v1/*.proto` (see generate.py): every field is described there."""
