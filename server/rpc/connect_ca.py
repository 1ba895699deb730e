"""ConnectCA: roots, configuration, leaves. No command of the CA is taken from outside: what is replicated is made here.

The private key is not in this module's reach; a leaf is asked of `context.signer`.
"""

from __future__ import annotations

from functools import partial

from chowk.connect.ca.settings import shown_configuration
from chowk.connect.ca.spiffe import check_service_name
from chowk.core.errors import InvalidRequest
from chowk.core.events import ROOTS, Topic
from chowk.core.requests import (
    CA_CONFIGURATION,
    CA_CONFIGURE,
    CA_ROOTS,
    CA_ROTATE,
    CA_SIGN,
    CAConfigurationReply,
    CAConfigurationWrite,
    CARotate,
    CARotateReply,
    Read,
    RootsReply,
    SignReply,
    SignRequest,
    WriteReply,
)  # fmt: skip
from chowk.server.rpc.context import ServerContext
from chowk.server.state import changed

CSR_CHARS_MAX = 16_384


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.gate.serve(CA_ROOTS, partial(_roots, context))
    context.gate.serve(CA_CONFIGURATION, partial(_configuration, context))
    context.leader.serve(CA_CONFIGURE, partial(_configure, context))
    context.leader.serve(CA_ROTATE, partial(_rotate, context))
    context.leader.serve(CA_SIGN, partial(_sign, context))


async def _roots(context: ServerContext, request: Read) -> RootsReply:
    meta, found = await context.reads.run(request.options, (Topic(kind=ROOTS),), lambda store: store.trusted())
    return RootsReply(meta=meta, roots=found)


async def _configuration(context: ServerContext, request: Read) -> CAConfigurationReply:
    topic = Topic(kind=changed.CA_CONFIGURATION)
    meta, found = await context.reads.run(
        request.options, (topic,), lambda store: shown_configuration(store.ca_configuration, store.roots)
    )
    return CAConfigurationReply(meta=meta, configuration=found)


async def _configure(context: ServerContext, request: CAConfigurationWrite) -> WriteReply:
    return await context.signer.configure(request.configuration, request.cas)


async def _rotate(context: ServerContext, request: CARotate) -> CARotateReply:
    if request.distrust and not request.emergency:
        raise InvalidRequest(
            "old roots can be distrusted in an emergency rotation alone: others wait until leaves are renewed"
        )
    root_id = await context.signer.rotate(emergency=request.emergency, distrust=request.distrust)
    return CARotateReply(root_id=root_id)


async def _sign(context: ServerContext, request: SignRequest) -> SignReply:
    check_service_name(request.service)
    if not request.csr_pem or len(request.csr_pem) > CSR_CHARS_MAX:
        raise InvalidRequest(f"a certificate signing request (PEM) has 1 to {CSR_CHARS_MAX} characters")
    return SignReply(leaf=await context.signer.sign(request.service, request.csr_pem))
