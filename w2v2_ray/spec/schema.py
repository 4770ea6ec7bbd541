"""JSON Schema of job files, for completion and checks in editors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.diagnostics import did_you_mean
from w2v2_ray.spec.kinds import JOB_KINDS
from w2v2_ray.spec.presets import preset_names

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema(kind: str | None = None) -> dict[str, Any]:
    """JSON Schema of what a job file may hold: presets and short forms admitted.

    It checks one field at a time; rules between fields are `w2v2-ray validate`'s.

    Args:
        kind: One kind of job, or None for all of them.

    Raises:
        SpecError: When there is no such kind.
    """
    if kind is not None and kind not in JOB_KINDS:
        raise SpecError(f"kind: {kind}: unknown: {did_you_mean(kind, list(JOB_KINDS))}")
    schemas = [_schema_of(name) for name in ([kind] if kind else JOB_KINDS)]
    if len(schemas) == 1:
        return {"$schema": _DIALECT, **schemas[0]}
    definitions: dict[str, Any] = {}
    for schema in schemas:
        definitions.update(schema.pop("$defs", {}))
    return {"$schema": _DIALECT, "anyOf": schemas, "$defs": definitions}


def _schema_of(kind: str) -> dict[str, Any]:
    schema = JOB_KINDS[kind].model_json_schema()
    names = preset_names(kind)
    preset = {"enum": names, "description": "Preset that this file changes: " + ", ".join(names) + "."}
    schema["properties"] = {
        "kind": schema["properties"].pop("kind"),
        **({"preset": preset} if names else {}),
        **schema["properties"],
    }
    schema["required"] = ["kind", *schema.get("required", [])]
    definitions = schema["$defs"]
    if "DataSpec" in definitions:
        _admit_paths(definitions)
        _tell_policies_apart(definitions)
    _admit_sweep_short_forms((schema, *definitions.values()))
    for definition in (schema, *definitions.values()):
        _admit_partial_choice(definition)
    return schema


def _admit_paths(definitions: dict[str, Any]) -> None:
    """Datasets may be a path, a mapping, or a list of either."""
    for key in ("train", "validation"):
        field = definitions["DataSpec"]["properties"][key]
        one = {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/DatasetRef"}]}
        several: dict[str, Any] = {"type": "array", "items": one}
        if "minItems" in field:
            several["minItems"] = field.pop("minItems")
        for name in ("type", "items"):
            field.pop(name, None)
        field["anyOf"] = [*one["anyOf"], several]


def _admit_sweep_short_forms(definitions: Iterable[dict[str, Any]]) -> None:
    """`base` and `space` may be a path alone, the values of a parameter a list alone."""
    for definition in definitions:
        fields = definition.get("properties", {})
        for key in ("base", "space"):
            if "$ref" in fields.get(key, {}):
                fields[key]["anyOf"] = [{"type": "string", "minLength": 1}, {"$ref": fields[key].pop("$ref")}]
        if "additionalProperties" in fields.get("parameters", {}):
            one = fields["parameters"]["additionalProperties"]
            fields["parameters"]["additionalProperties"] = {"anyOf": [{"type": "array", "minItems": 1}, one]}


def _tell_policies_apart(definitions: dict[str, Any]) -> None:
    """A schedule without `policy` is the default one, so the others must name theirs."""
    definitions["ExpSchedule"]["required"] = sorted({"policy", *definitions["ExpSchedule"].get("required", [])})


def _admit_partial_choice(definition: dict[str, Any]) -> None:
    """Write choices by `policy` as plain alternatives, which every editor understands."""
    for field in definition.get("properties", {}).values():
        if "oneOf" in field:
            field["anyOf"] = field.pop("oneOf")
            field.pop("discriminator", None)
            for alternative in field["anyOf"]:
                alternative.pop("default", None)
