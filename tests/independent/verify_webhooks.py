"""Verifies signatures as Standard Webhooks describes: JSON lines with `id`, `timestamp`, `body`, `signature` and `key` on standard
input. Ends with an error at the first post whose signature is not of this key; says how many it verified.
"""

import base64
import hashlib
import hmac
import json
import sys


def is_genuine(post):
    key = base64.b64decode(post["key"].removeprefix("whsec_"))
    signed = f'{post["id"]}.{post["timestamp"]}.{post["body"]}'.encode()
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(candidate, expected) for candidate in post["signature"].split(" "))


def main():
    count = 0
    for line in sys.stdin:
        post = json.loads(line)
        if not is_genuine(post):
            sys.exit(f'the signature of {post["id"]} is not of this key')
        count += 1
    print(count)


if __name__ == "__main__":
    main()
