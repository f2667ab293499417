"""Changes of bytes and of plain values, each drawn by a generator so that it can be made again."""

import copy
import io
import json
import zipfile

import numpy as np

DEEP = "nested deeply"  # stands for lists within lists, which no writer can write
_DEEP_TEXT = "[" * 50_000 + "]" * 50_000
ODD = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-320, 1e308,
    float("inf"), float("nan"), "", " ", "x", "1", "1e3", "010", "None", "../../etc/passwd",
    "/etc/passwd", "é\u0301", "\x00", "\u202e", "\ud800", "x" * 100_000, DEEP,
    [], [[]], [1], ["x"], [None], {}, {"x": 1}, {"": None}, [{}],
)  # fmt: skip


def choose(rng, options):
    """One of the options."""
    return options[int(rng.integers(len(options)))]


# --- bytes ---------------------------------------------------------------------------------------


def damaged(rng, content):
    """The bytes with one to three changes, often near an end, where formats keep their tables."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if content:
            choose(rng, (_flip, _flip, _cut, _insert, _splice, _blank))(rng, content)
    return bytes(content)


def _place(rng, content):
    n = len(content)
    low, high = choose(rng, ((0, n), (0, min(n, 300)), (max(0, n - 1000), n)))
    return int(rng.integers(low, high))


def _flip(rng, content):
    content[_place(rng, content)] ^= 1 << int(rng.integers(8))


def _cut(rng, content):
    at = _place(rng, content)
    del content[at : choose(rng, (len(content), at + int(rng.integers(1, 64))))]


def _insert(rng, content):
    at = _place(rng, content)
    content[at:at] = rng.bytes(int(rng.integers(1, 64)))


def _splice(rng, content):
    start, at, length = _place(rng, content), _place(rng, content), int(rng.integers(1, 200))
    content[at : at + choose(rng, (0, length))] = content[start : start + length]


def _blank(rng, content):
    at, length = _place(rng, content), int(rng.integers(1, 64))
    content[at : at + length] = bytes([choose(rng, (0, 255))]) * len(content[at : at + length])


def damaged_zip(rng, content):
    """A zip file with its members removed, doubled, renamed, exchanged or damaged, valid as a zip.

    It stays valid, so that what reads the members meets the damage, and not their checksums.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = int(rng.integers(len(members)))
    name, inside = members[at]
    other, theirs = choose(rng, members)
    members[at : at + 1] = choose(
        rng,
        (
            [],
            [(name, inside), (name, theirs)],
            [(other, inside)],
            [(name, theirs)],
            [(f"../{name}", inside)],
            *([(name, damaged(rng, inside))] for _ in range(5)),
        ),
    )
    return _zipped(members, choose(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def _zipped(members, compression):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, inside in members:
            with archive.open(zipfile.ZipInfo(name), "w") as file:  # a name twice is no warning
                file.write(inside)
    return content.getvalue()


# --- plain values --------------------------------------------------------------------------------


def changed(rng, value):
    """A copy of nested lists and mappings with one to three values replaced, removed or moved."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(value))
        if places:
            _change(rng, *choose(rng, places))
    return value


def _places(value):
    """Every (container, key) within a value."""
    keys = value if isinstance(value, dict) else range(len(value)) if _is_list(value) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _is_list(value):
    return isinstance(value, list)


def _change(rng, container, key):
    how = int(rng.integers(8))
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(container, dict):
        container[choose(rng, ("x", "", f"{key}x", str(key).upper()))] = container.pop(key)
    elif how == 2:
        keys = list(container) if isinstance(container, dict) else range(len(container))
        container[key] = copy.deepcopy(container[choose(rng, keys)])
    elif how == 3:
        container[key] = [container[key]]
    elif how == 4 and isinstance(container[key], int | float):
        container[key] = container[key] * choose(rng, (-1, 0, 0.5, 10, 1e30))
    else:
        container[key] = copy.deepcopy(choose(rng, ODD))


def as_json(value):
    """JSON as bytes; lone surrogates and NaN stay, as other programs write them."""
    return json.dumps(value).replace(f'"{DEEP}"', _DEEP_TEXT).encode()


# --- arrays --------------------------------------------------------------------------------------


def odd_array(rng, like):
    """An array of another kind, shape or content than `like`."""
    with np.errstate(all="ignore"):
        return choose(
            rng,
            (
                lambda: np.array(choose(rng, ODD), dtype=object),
                lambda: np.array(choose(rng, (0, -1, 2.5, True, "x", b"x", 1j, np.nan, np.inf))),
                lambda: np.zeros(choose(rng, ((), 0, 1, (0, 0), (1,) * 20, (3, 4)))),
                lambda: like[..., None],
                lambda: like.reshape(-1)[:-1],
                lambda: np.full_like(like, "" if like.dtype.kind == "U" else 0),
                lambda: _with_one(rng, like, choose(rng, (np.nan, np.inf, -np.inf, 1e30))),
                lambda: like.astype(choose(rng, ("U8", "S8"))),
                lambda: like if like.dtype.kind == "U" else like.astype(">f8"),
                lambda: like if like.dtype.kind == "U" else like.astype(np.float16),
                lambda: np.zeros(2, dtype=[("a", "f4"), ("b", "U3")]),
                lambda: np.array("NaT", dtype="datetime64[s]"),
            ),
        )()


def _with_one(rng, like, value):
    if like.dtype.kind != "f" or not like.size:
        return np.array(value)
    array = like.copy()
    array.reshape(-1)[int(rng.integers(array.size))] = value
    return array


def npz(arrays):
    """The bytes of an npz file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def arrays_of(content):
    """The arrays of an npz file's bytes."""
    with np.load(io.BytesIO(content)) as file:
        return dict(file)
