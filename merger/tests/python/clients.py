"""What prometheus_client reads, as a service on a pipe.

A request is a byte for the parser (t text, o OpenMetrics), a byte for the answer (c count, s samples),
the length of the page as four bytes, and the page. An answer is its length as four bytes, and JSON:
{"error": "..."} where the parser refused the page, {"count": n} or {"samples": [...]} else. A sample is
[name, {label: value}, value, milliseconds or null, exemplar or null], an exemplar [{label: value}, value,
milliseconds or null]. Numbers are told as Python spells a float, so that equal ones are equal text.

One process answers all requests: starting Python takes longer than reading a page.
"""

import json
import re
import struct
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

COUNTERS = re.compile(r"^\s*#\s*TYPE\s+(\S+)\s+counter\s*$", re.MULTILINE)


def main():
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := requests.read(6):
        parser, wanted, length = struct.unpack(">ccI", head)
        answer = json.dumps(respond(parser, wanted, requests.read(length))).encode()
        answers.write(struct.pack(">I", len(answer)) + answer)
        answers.flush()


def respond(parser, wanted, page):
    try:
        page = page.decode()
        families = list((text if parser == b"t" else openmetrics)(page))
    # It has no error of its own: a page can make it stumble anywhere, and each is a refusal.
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    if wanted == b"c":
        return {"count": sum(len(family.samples) for family in families)}
    declared = iter(COUNTERS.findall(page))
    samples = []
    for family in families:
        # Its text parser gives the samples of a counter without `_total` one. This is undone, so that
        # names are the page's. Both `x` and `x_total` become the family `x`: its TYPE line tells them.
        is_renamed = parser == b"t" and family.type == "counter" and is_declared(family.name, declared)
        samples += (tell(sample, is_renamed) for sample in family.samples)
    return {"samples": samples}


def is_declared(family, declared):
    """Whether the next TYPE line of a counter that this family can be of has its name as it is."""
    return next((name for name in declared if name in (family, family + "_total")), None) == family


def tell(sample, is_renamed):
    name = sample.name.removesuffix("_total") if is_renamed else sample.name
    exemplar = sample.exemplar and (
        sample.exemplar.labels, number(sample.exemplar.value), milliseconds(sample.exemplar.timestamp))
    return name, sample.labels, number(sample.value), milliseconds(sample.timestamp), exemplar


def number(value):
    return repr(float(value))


def milliseconds(seconds):
    return None if seconds is None else round(float(seconds) * 1000)


if __name__ == "__main__":
    main()
