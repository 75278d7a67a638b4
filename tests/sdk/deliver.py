"""Delivers every kind of call by Segment's library for Python: deliver.py <host> <write key> <how many>.

It runs with that library's own folder on the path, and knows nothing of ours.
"""

import sys
import time

from segment import analytics  # type: ignore[import-not-found]

host, write_key, count = sys.argv[1:]
failures: list[object] = []
analytics.host = host
analytics.write_key = write_key
analytics.on_error = lambda error, batch: failures.append(error)

for n in range(int(count)):
    user = f"python-{n % 100}"
    analytics.identify(user, {"n": n, "email": f"{user}@example.com"})
    analytics.track(user, "Python Tracked", {"n": n})
    analytics.page(user, "Shop", "Home", {"n": n})
    analytics.screen(user, "Shop", "Home", {"n": n})
    analytics.group(user, f"group-{n % 10}", {"n": n})
    analytics.alias(f"was-python-{n}", user)
    if n % 50 == 49:
        print(n + 1, flush=True)  # noqa: T201 – how far it is.
        time.sleep(0.02)
analytics.shutdown()
sys.exit(f"not delivered: {failures}" if failures else 0)
