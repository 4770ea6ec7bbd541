"""Cutting long recordings at their pauses."""
