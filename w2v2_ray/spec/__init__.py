"""Job specs: pydantic models, presets, YAML loading. Imports neither torch nor ray."""
