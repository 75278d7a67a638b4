"""As much as a server takes, by `wrk` of Debian's package of that name, which waits for each answer."""

import asyncio
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dev.process import StackError

# A body for each request: of many people, so that no two neighbours are about the same.
_SCRIPT = """
local key, each = "{key}", {each}
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. key
math.randomseed({seed})
local function event(n)
  return '{{"email":"p' .. math.random(0, 99999) .. '@example.com","name":"event ' .. (n % 50)
    .. '","properties":{{"page":"/p/' .. (n % 1000) .. '","value":' .. (n % 97) .. ',"ref":"newsletter"}}}}'
end
-- Made beforehand: to write a body costs more than to take it in.
local pool, n = {{}}, 0
init = function()
  for i = 1, each == 1 and 20000 or 400 do
    if each == 1 then
      pool[i] = wrk.format(nil, "/track", nil, event(i))
    else
      local events = {{}}
      for k = 1, each do events[k] = event(i * each + k) end
      pool[i] = wrk.format(nil, "/track/batch", nil, '{{"events":[' .. table.concat(events, ",") .. ']}}')
    end
  end
end
request = function()
  n = n % #pool + 1
  return pool[n]
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %f\\n", summary.requests, summary.duration,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout, latency:percentile(99) / 1000))
end
"""


@dataclass(frozen=True)
class Loaded:
    """What `wrk` saw. `p99` is in milliseconds, of a load that waits for answers: it flatters."""

    answered: int
    seconds: float
    refused: int
    broken: int
    p99: float

    @property
    def rate(self) -> float:
        return self.answered / self.seconds


async def load(port: int, key: str, connections: int, seconds: float, each: int = 1) -> Loaded:
    """Ask for so many seconds, with `each` events a request. Raises StackError where there is no `wrk`."""
    program = shutil.which("wrk")
    if program is None:
        raise StackError("there is no `wrk` here: install Debian's package of that name")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT.format(key=key, each=each, seed=connections))
        command = [
            program,
            "-t1",
            f"-c{connections}",
            f"-d{seconds:g}s",
            "--timeout",
            "10s",
            "-s",
            str(script),
        ]
        child = await asyncio.create_subprocess_exec(
            *command, f"http://127.0.0.1:{port}", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await child.communicate()
    found = re.search(rb"RESULT (\d+) (\d+) (\d+) (\d+) ([0-9.]+)", said)
    if found is None:
        raise StackError(f"wrk did not end well: {said.decode(errors='replace')[:300]}")
    answered, micro, refused, broken = (int(found[n]) for n in range(1, 5))
    return Loaded(answered, micro / 1e6, refused, broken, float(found[5]))
