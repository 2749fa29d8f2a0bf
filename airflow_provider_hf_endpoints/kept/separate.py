"""Records in Airflow Variables, one Variable `key.…` for each, so that no other writer can overwrite a record.

Airflow 3.3 lists the Variables. On 3.0 a task cannot list, so one more Variable named `key` has the list. Writers add
their own key. A writer that adds a key also drops the keys of removed records. The last remover removes the list. Only
the list has several writers. Two that change it at the same moment can lose a key, so a writer reads the list back
after a moment, and adds its key again if the key is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_hf_endpoints.kept.attempts import StoreError
from airflow_provider_hf_endpoints.kept.places import Records
from airflow_provider_hf_endpoints.kept.variables import WRITE_TRIES, VariableDocument, can_list, listed, settle


class SeparateVariables(Records):
    """A Variable for each record.

    :param key: what the keys of all these Variables begin with
    :param known: keys that are looked for without a list
    """

    asks_airflow = True

    def __init__(self, key: str, description: str, known: Sequence[str] = ()) -> None:
        self._key, self._description, self._known = key, description, tuple(known)
        self._list = VariableDocument(key, f"{description}: the index")

    def read(self) -> dict[str, Any]:
        """All of them."""
        read = {key: self._document(key).read() for key in self._keys()}
        return {key: record for key, record in read.items() if record is not None}  # None: removed since it was listed

    def write(self, key: str, record: Any) -> None:
        """Keep this one."""
        if can_list():
            self._document(key).write(record)
            return
        document = self._document(key)
        before = document.read()
        for _ in range(WRITE_TRIES):
            document.write(record)
            # Airflow 3.0 only logs an error of a write. (A third value comes from another writer.)
            if not document.read() == before != record:
                break
            # Or somebody has removed the record at this moment, as others do with that of a holder that has left.
        else:
            raise StoreError(f"{document} did not store what was written to it.")
        if key not in self._known:
            self._enlist(key, new=before is None)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove these."""
        for key in keys:
            self._document(key).remove()
        if not can_list():
            self._drop_list_of_nothing()

    def _document(self, key: str) -> VariableDocument:
        return VariableDocument(f"{self._key}.{key}", self._description)

    def _keys(self) -> list[str]:
        if can_list():
            prefix = f"{self._key}."
            return [each.removeprefix(prefix) for each in listed(prefix)]
        return [*self._enlisted(), *self._known]

    def _drop_list_of_nothing(self) -> None:
        """Remove the list if no record of it is left. A writer that adds a key at this moment reads that back."""
        keys = self._enlisted()
        if any(self._document(each).read() is not None for each in keys):
            return
        if self._list.read() is not None and self._enlisted() == keys:
            self._list.remove()

    def _enlisted(self) -> list[str]:
        keys = self._list.read()
        if keys is None or (isinstance(keys, list) and all(isinstance(each, str) for each in keys)):
            return keys or []
        raise StoreError(
            f"{self._list} contains {keys!r}, not a list of keys. Another program may have written it. Delete it."
        )

    def _enlist(self, key: str, *, new: bool) -> None:
        """Add `key` to the list if it is missing.

        :param new: whether its record is new: another writer may be about to drop the key from the list
        """
        if not new and key in self._enlisted():
            return
        gone = {each for each in self._enlisted() if each != key and self._document(each).read() is None}
        for turn in range(WRITE_TRIES):
            began = time.monotonic()
            keys = self._enlisted()
            if turn > 0 and key in keys:
                return
            self._list.write(sorted({*keys, key} - gone))
            settle(turn, time.monotonic() - began)
            gone = set()  # who was gone may have come again meanwhile
        if key not in self._enlisted():
            raise StoreError(f"{self._list} lost an added entry {WRITE_TRIES} times in a row.")
