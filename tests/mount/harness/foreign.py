"""Another program on an LMDB environment: opens the one it is given and obeys orders from standard input.

A byte string is written as `=` and hexadecimal. Every order is answered with one line; `error ...` tells of a failure.
"""

import sys

import lmdb

environment = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=16, max_readers=126)
held = None


def bytes_of(word):
    return bytes.fromhex(word[1:])


def obey(order, *words):
    global held
    if order == "put":
        with environment.begin(write=True) as transaction:
            transaction.put(bytes_of(words[0]), bytes_of(words[1]))
        return "done"
    if order == "fill":  # fill PREFIX FIRST COUNT SIZE: many values in one commit
        first, count, size = map(int, words[1:])
        with environment.begin(write=True) as transaction:
            for number in range(first, first + count):
                transaction.put(bytes_of(words[0]) + b"%08d" % number, b"%08d" % number * (size // 8))
        return "done"
    if order == "delete":
        with environment.begin(write=True) as transaction:
            return str(transaction.delete(bytes_of(words[0])))
    if order == "get":
        with environment.begin() as transaction:
            value = transaction.get(bytes_of(words[0]))
        return "absent" if value is None else "=" + value.hex()
    if order == "keys":
        with environment.begin() as transaction:
            return " ".join("=" + key.hex() for key in transaction.cursor().iternext(values=False))
    if order == "database":  # database NAME FLAG...: makes a named database
        flags = {flag: True for flag in words[1:]}
        environment.open_db(bytes_of(words[0]), **flags)
        return "done"
    if order == "put-in":  # put-in DATABASE KEY VALUE [FLAG...]
        database = environment.open_db(bytes_of(words[0]), **{flag: True for flag in words[3:]})
        with environment.begin(write=True, db=database) as transaction:
            transaction.put(bytes_of(words[1]), bytes_of(words[2]))
        return "done"
    if order == "list-in":  # list-in DATABASE [FLAG...]: its pairs, key:value
        database = environment.open_db(bytes_of(words[0]), create=False, **{flag: True for flag in words[1:]})
        with environment.begin(db=database) as transaction:
            return " ".join("=%s:=%s" % (key.hex(), value.hex()) for key, value in transaction.cursor())
    if order == "hold":
        held = environment.begin(write=True)
        return "done"
    if order == "release":
        held.abort()
        held = None
        return "done"
    return "error: no such order"


print("ready", flush=True)
for line in sys.stdin:
    try:
        print(obey(*line.split()), flush=True)
    except Exception as error:
        print("error", type(error).__name__, error, flush=True)
