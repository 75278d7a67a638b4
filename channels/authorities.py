"""Whose certificates are believed. To read all authorities takes a tenth of a second: once is enough."""

import ssl
from functools import cache

from httpx2 import create_ssl_context


@cache
def of_the_web() -> ssl.SSLContext:
    """Those of httpx2, for calls by HTTP."""
    return create_ssl_context(trust_env=False)


@cache
def of_the_system() -> ssl.SSLContext:
    """Those of the machine, to which an operator may add the authority of a mail server of their own."""
    return ssl.create_default_context()
