"""The methods of the clients for migrations of galleries to another version of the embedder."""

import uuid
from typing import Unpack

from sameface.client.answers.migrations import Migration, MigrationPlan
from sameface.client.fields import check_known, filled, gallery_name, migration_name, writable
from sameface.client.options import PolicyOptions
from sameface.client.rpc import Call, Listing, Pages, Rpc
from sameface.v1 import gallery_pb2
from sameface.v1 import migration_service_pb2 as protos


class MigrationCalls:
    """Migrations, see docs/model-change.md. A migration is named by its id."""

    @Rpc
    def plan_migration(
        self, gallery: str, *, embedder_version: int = 0, templates_per_second: float = 0.0
    ) -> Call[MigrationPlan]:
        """Return what a migration would do. Nothing is changed. Without a version it is the embedder's default."""
        request = protos.CreateMigrationRequest(
            parent=gallery_name(gallery),
            embedder_version=embedder_version,
            templates_per_second=templates_per_second,
            validate_only=True,
        )
        return Call(request, MigrationPlan, part="plan")

    @Rpc
    def create_migration(
        self, gallery: str, *, embedder_version: int = 0, templates_per_second: float = 0.0
    ) -> Call[Migration]:
        """Begin to map the templates of a gallery for another version of its embedder, in the background.

        Without ``templates_per_second`` it is 25.
        """
        request = protos.CreateMigrationRequest(
            parent=gallery_name(gallery),
            embedder_version=embedder_version,
            templates_per_second=templates_per_second,
            request_id=str(uuid.uuid4()),
        )
        return Call(request, Migration, part="migration")

    @Rpc
    def get_migration(self, gallery: str, migration: str) -> Call[Migration]:
        """Return a migration with its progress."""
        return Call(protos.GetMigrationRequest(name=migration_name(gallery, migration)), Migration)

    @Listing
    def migrations(self, gallery: str) -> Pages[Migration]:
        """Return every migration of a gallery, page by page, also those that have ended."""
        return Pages(protos.ListMigrationsRequest(parent=gallery_name(gallery)), "migrations", Migration)

    @Rpc
    def pause_migration(self, gallery: str, migration: str, *, etag: str = "") -> Call[Migration]:
        """Let the mapping stand still."""
        request = protos.PauseMigrationRequest(name=migration_name(gallery, migration), etag=etag)
        return Call(request, Migration, repeat_lost_races=not etag)

    @Rpc
    def resume_migration(self, gallery: str, migration: str, *, etag: str = "") -> Call[Migration]:
        """Let a mapping go on that was paused, by a call or because the disk was full."""
        request = protos.ResumeMigrationRequest(name=migration_name(gallery, migration), etag=etag)
        return Call(request, Migration, repeat_lost_races=not etag)

    @Rpc
    def promote_migration(
        self,
        gallery: str,
        migration: str,
        *,
        drop_identity_thresholds: bool = False,
        etag: str = "",
        **policy: Unpack[PolicyOptions],
    ) -> Call[Migration]:
        """Let the gallery decide under the new contract.

        ``policy`` gives settings for the new contract. A threshold that it does not give becomes that of the model card
        or of the template map. With ``drop_identity_thresholds`` those of identities are cleared.
        """
        check_known(policy, writable(gallery_pb2.Policy))
        request = protos.PromoteMigrationRequest(
            name=migration_name(gallery, migration),
            policy=filled(gallery_pb2.Policy, **policy),
            drop_identity_thresholds=drop_identity_thresholds,
            etag=etag,
        )
        return Call(request, Migration, repeat_lost_races=not etag)

    @Rpc
    def roll_back_migration(
        self, gallery: str, migration: str, *, discard_new: bool = False, etag: str = ""
    ) -> Call[Migration]:
        """Let the gallery decide under the old contract again, with its old templates and its old policy.

        With ``discard_new``, templates without a form under the old contract are erased.
        """
        request = protos.RollBackMigrationRequest(
            name=migration_name(gallery, migration), discard_new=discard_new, etag=etag
        )
        return Call(request, Migration, repeat_lost_races=not etag)

    @Rpc
    def cancel_migration(self, gallery: str, migration: str, *, etag: str = "") -> Call[Migration]:
        """Give up a migration that was not promoted, and erase the new templates."""
        request = protos.CancelMigrationRequest(name=migration_name(gallery, migration), etag=etag)
        return Call(request, Migration, repeat_lost_races=not etag)

    @Rpc
    def finish_migration(self, gallery: str, migration: str, *, etag: str = "") -> Call[Migration]:
        """Erase the templates of the old contract. The migration cannot be rolled back then."""
        request = protos.FinishMigrationRequest(name=migration_name(gallery, migration), etag=etag)
        return Call(request, Migration, repeat_lost_races=not etag)
