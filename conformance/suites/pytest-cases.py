#!/usr/bin/env python3
"""Turns a JUnit file of pytest into lines: case, passed or failed or skipped, words; fields separated by tabs.

A case with subtests is in the file once for each of them that did not pass; it is as good as the worst of them.
"""

import sys
import xml.etree.ElementTree as xml

RANK = {"passed": 0, "skipped": 1, "failed": 2}
cases = {}
for case in xml.parse(sys.argv[1]).iter("testcase"):
    module, _, group = case.get("classname").rpartition(".")
    name = "{}::{}::{}".format(module.rpartition(".")[2], group, case.get("name"))
    status, words = "passed", ""
    for found in case:
        if found.tag in ("failure", "error"):
            status, words = "failed", found.get("message", "")
        elif found.tag == "skipped" and status == "passed":
            status, words = "skipped", found.get("message", "")
    if name not in cases or RANK[status] > RANK[cases[name][0]]:
        cases[name] = status, " ".join(words.split())[:120]
for name, (status, words) in sorted(cases.items()):
    print(name, status, words, sep="\t")
