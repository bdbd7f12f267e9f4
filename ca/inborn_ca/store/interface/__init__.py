"""What the services ask of a store, one port for each use; whatever keeps the rows lies behind it.

A port has its reads and, in a transaction, its writes. One `Transaction` is one durable commit; reads that take long
are made on a `ReadHandle`, in a thread of their own. Rows go in and out as the values of `inborn_ca.model`.
"""

from inborn_ca.store.interface.ledger import Alive, CertificateFilter
from inborn_ca.store.interface.store import Reader, ReadHandle, Store, Transaction

__all__ = ["Alive", "CertificateFilter", "ReadHandle", "Reader", "Store", "Transaction"]
