"""What a check is given: peers of its own, and a way to have the backend owe them commands."""

import asyncio
import json
import secrets
import shlex
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from agent_core.conform.peer import Broken, Peer, Record, Untestable
from agent_core.plain import plain

COMMAND_TYPE = "send_message_now"
ENQUEUE_WITHIN = 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """The backend that is judged. `enqueue` is a command line with {agent}, {type} and {payload}; `agents` are ids that it knows."""

    url: str
    socket_url: str
    secret: str = field(repr=False)
    admin_token: str | None = field(default=None, repr=False)
    enqueue: str | None = None
    agents: tuple[str, ...] = ()

    @property
    def queues(self) -> bool:
        return self.admin_token is not None or self.enqueue is not None


class Bench:
    """For one check; `record` is what its peers said and heard."""

    def __init__(self, target: Target, stack: AsyncExitStack, free: "asyncio.Queue[str] | None") -> None:
        self.target = target
        self.record = Record((target.secret, *filter(None, (target.admin_token,))))
        self._stack = stack
        self._free = free

    async def peer(self, agent_id: str | None = None, suffix: str = "") -> Peer:
        """An agent that no other check plays. `suffix` is put behind its id, where ids can be invented. Raises Untestable."""
        if agent_id is None and self._free is not None:
            if suffix:
                raise Untestable("takes an id of other characters, and only --agent ids may be used")
            agent_id = await self._free.get()
            self._stack.callback(self._free.put_nowait, agent_id)
        chosen = agent_id or f"conform-{secrets.token_hex(4)}{suffix}"
        return await self._stack.enter_async_context(Peer(self.target.url, self.target.socket_url, chosen, self.target.secret, self.record))

    async def owe(self, peer: Peer) -> str:
        """Have the backend owe the peer a command; the mark by which it is known. Raises Broken, Untestable."""
        mark = f"conform {secrets.token_hex(6)}"
        payload = {"thread_id": "+13105550100", "text": mark}
        self.record.add("·", f"queue {COMMAND_TYPE} {json.dumps(payload)} for {peer.agent_id}")
        if self.target.admin_token is not None:
            await self._post(peer.agent_id, payload, self.target.admin_token)
        elif self.target.enqueue is not None:
            await self._run(peer.agent_id, payload, self.target.enqueue)
        else:
            raise Untestable("needs a way to queue commands: --enqueue or --admin-token")
        return mark

    async def _post(self, agent_id: str, payload: Mapping[str, str], token: str) -> None:
        body = {"edge_agent_id": agent_id, "command_type": COMMAND_TYPE, "payload": payload}
        url = f"{self.target.url.rstrip('/')}/admin/commands"
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=ENQUEUE_WITHIN) as client:
                answer = await client.post(url, json=body, headers={"Authorization": f"Bearer {token}"})
        except httpx.HTTPError as error:
            raise Broken(f"POST /admin/commands: {str(error) or type(error).__name__}") from None
        if not answer.is_success:
            raise Untestable(f"POST /admin/commands was answered {answer.status_code}: {plain(answer.text, 100)}")

    async def _run(self, agent_id: str, payload: Mapping[str, str], template: str) -> None:
        values = {"{agent}": agent_id, "{type}": COMMAND_TYPE, "{payload}": json.dumps(payload)}
        words = [values.get(word, word) for word in shlex.split(template)]
        try:
            process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        except OSError as error:
            raise Untestable(f"--enqueue: {words[0]}: {error.strerror}") from None
        try:
            async with asyncio.timeout(ENQUEUE_WITHIN):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise Untestable(f"--enqueue took longer than {ENQUEUE_WITHIN:g} s") from None
        if process.returncode:
            raise Untestable(f"--enqueue ended with {process.returncode}: {plain(said.decode('utf-8', 'replace').strip(), 100)}")
