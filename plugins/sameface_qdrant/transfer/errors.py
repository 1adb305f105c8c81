"""Errors of exports and imports. The service never raises them, so `sameface_qdrant.errors` does not list them."""

from sameface_qdrant.errors import SamefaceError


class ExportCorrupt(SamefaceError):
    """The file is no export, or it was cut or changed. Nothing was written."""

    reason = "EXPORT_CORRUPT"


class ExportKeyRefused(SamefaceError):
    """The passphrase or key file does not open the file. Nothing was written."""

    reason = "EXPORT_KEY_REFUSED"


class ExportTooNew(SamefaceError):
    """A newer release wrote the file. Nothing was written."""

    reason = "EXPORT_TOO_NEW"


class ExportMismatch(SamefaceError):
    """The export does not fit the store, or the list of erasures does not fit the export. Nothing was written."""

    reason = "EXPORT_MISMATCH"
