"""Who asks, as we see them: for any credential."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from api.callers import Asker
from api.manners import Feature
from api.shapes import Out, example
from domain.roles import KeyKind, Permission, Role

router = Feature(prefix="/whoami", tags=["auth"])


class WhoamiOut(Out):
    kind: Literal["user", "key"]
    id: UUID = Field(description="The user's or the key's.")
    name: str = Field(description="A user's address, or a key's name.")
    workspace_id: UUID | None = Field(description="Null for somebody with several, or none, who named none.")
    role: Role | None = Field(description="A user's in that workspace.")
    key_kind: KeyKind | None
    permissions: list[Permission]

    model_config = example(
        {
            "kind": "user",
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "name": "ada@example.com",
            "workspace_id": "01920000-0000-7000-8000-000000000001",
            "role": "marketer",
            "key_kind": None,
            "permissions": ["campaigns:read", "campaigns:send"],
        }
    )


@router.get("")
async def whoami(asker: Asker) -> WhoamiOut:
    """Whose this credential is, where, and what it may do."""
    return WhoamiOut(
        kind=asker.kind,
        id=asker.id,
        name=asker.name,
        workspace_id=asker.workspace_id,
        role=asker.role,
        key_kind=asker.key_kind,
        permissions=sorted(asker.permissions),
    )
