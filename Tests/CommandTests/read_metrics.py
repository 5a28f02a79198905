"""Reads Prometheus' text format from standard input with the client's own parser, and prints each sample as JSON."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        line = {
            "name": sample.name,
            "type": family.type,
            "help": family.documentation,
            "labels": sample.labels,
            "value": sample.value,
        }
        print(json.dumps(line))
