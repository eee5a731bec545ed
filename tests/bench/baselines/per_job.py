"""Baseline (e): yaml.safe_load, then jsonschema.validate for every job, as the two libraries' first pages show it.

``per_job.py MANIFEST SCHEMA``
"""

from __future__ import annotations

import json
import sys

import jsonschema
import yaml

with open(sys.argv[1]) as manifest, open(sys.argv[2]) as schema_file:
    document = yaml.safe_load(manifest)
    schema = json.load(schema_file)
for job in document["jobs"]:
    request = {**document["defaults"], **job}
    del request["id"]
    jsonschema.validate(request, schema)
