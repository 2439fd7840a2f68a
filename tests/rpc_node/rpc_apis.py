"""Runtime API calls: the embedded chain's own, and what btcli asks for beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boltzmann.chain.embedded import views
from boltzmann.chain.embedded.storage import View

RuntimeApi = Callable[[View, Sequence[Any]], Any]


def _nothing(state: View, arguments: Sequence[Any]) -> Any:
    """All zero: calls cost no fees, and there are no pools."""
    return {}


RUNTIME_APIS: Mapping[tuple[str, str], RuntimeApi] = {
    **views.RUNTIME_APIS,
    ("TransactionPaymentApi", "query_info"): _nothing,
}
