"""What lies at addresses: copied here before it is read, and results written there.

    copy.py           an input -> files of this machine
    (https:// itself is read by `batch.http.download`, over our own transport)
    object_store.py   s3://, gs://, az:// by obstore, an extra
    failures.py       what went wrong there, in plain words

Promises: a copy is whole or there is none; it never fills the disk; nothing that may be a key is in any sentence. Only
what is encrypted on its way is read and written, but on this machine itself and at the host of --allow-http.
"""

from batch.remote.copy import CopiedInput, check_encrypted, copy_input
from batch.remote.failures import RemoteError
from batch.remote.object_store import ObjectStore, StorageAccess

__all__ = ["CopiedInput", "ObjectStore", "RemoteError", "StorageAccess", "check_encrypted", "copy_input"]
