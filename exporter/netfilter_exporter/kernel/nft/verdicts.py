"""Verdicts, and the chains that they lead to."""

from __future__ import annotations

from netfilter_exporter.kernel.netlink.attributes import attribute_map, be32, text
from netfilter_exporter.kernel.nft import uapi
from netfilter_exporter.rules.model import Verdict

VERDICTS = {
    uapi.NF_DROP: Verdict.DROP,
    uapi.NF_ACCEPT: Verdict.ACCEPT,
    uapi.NF_QUEUE: Verdict.QUEUE,
    uapi.NFT_JUMP: Verdict.JUMP,
    uapi.NFT_GOTO: Verdict.GOTO,
    uapi.NFT_RETURN: Verdict.RETURN,
}


def parse_verdict(data: memoryview) -> tuple[Verdict | None, str]:
    """Return the verdict in an NFTA_DATA_* nest, and the chain that it leads to."""
    verdict = attribute_map(data).get(uapi.NFTA_DATA_VERDICT)
    if verdict is None:
        return None, ""
    found = attribute_map(verdict)
    code = be32(found[uapi.NFTA_VERDICT_CODE]) if uapi.NFTA_VERDICT_CODE in found else 0
    chain = found.get(uapi.NFTA_VERDICT_CHAIN, memoryview(b""))
    return VERDICTS.get(code - (1 << 32) if code >> 31 else code), text(chain)
