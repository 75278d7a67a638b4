"""What Segment's library for browsers (analytics-next) loads first: where to send, and nothing beyond."""

from typing import Any
from urllib.parse import urlsplit


def settings_document(key: str, public_url: str) -> dict[str, Any]:
    """For pages with this key. `public_url` is where this API is reached from outside.

    `apiHost` has a path and no scheme. Without `metrics`, the library reports on itself to Segment.
    """
    ours = urlsplit(public_url)
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": f"{ours.netloc}{ours.path.rstrip('/')}/v1",
                "protocol": ours.scheme,
                "addBundledMetadata": True,
                "maybeBundledConfigIds": {},
                "unbundledIntegrations": [],
            }
        },
        "plan": {
            "track": {"__default": {"enabled": True, "integrations": {}}},
            "identify": {"__default": {"enabled": True}},
            "group": {"__default": {"enabled": True}},
        },
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {"routingRules": []},
        "enabledMiddleware": {},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
        "metrics": {"sampleRate": 0},
    }
