"""What stands in the files that Weights & Biases writes without a network."""

import json
import struct
from collections import defaultdict
from importlib import import_module
from typing import Any

_BLOCK, _HEADER, _START = 32_768, 7, 7  # bytes: LevelDB's log, after a name and a version


def records(path):
    """The records of a file, each of one or more pieces."""
    protocol: Any = import_module("wandb.proto.wandb_internal_pb2")

    content, place, pieces = path.read_bytes(), _START, b""
    while place + _HEADER <= len(content):
        if _BLOCK - place % _BLOCK < _HEADER:  # too small for another piece
            place += _BLOCK - place % _BLOCK
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + _HEADER])
        place += _HEADER
        pieces += content[place : place + length]
        place += length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield protocol.Record.FromString(pieces)
            pieces = b""


def histories(folder):
    """The rows of each run by its ID, in the order in which they were written."""
    found = defaultdict(list)
    for path in sorted(folder.glob("offline-run-*/*.wandb")):
        name = path.stem.removeprefix("run-")
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                found[name].append({_key(item): json.loads(item.value_json) for item in items})
    return dict(found)


def _key(item):
    return item.key or ".".join(item.nested_key)
