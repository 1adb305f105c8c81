"""MigrationService: changes the version of the embedder that a gallery is bound to."""

from typing import Any

import grpc

from sameface.access.caller import present_caller
from sameface.api import requests
from sameface.api.migration_responses import migration_to, plan_to
from sameface.api.names import parse_migration_name, parse_name
from sameface.api.pages import page_of
from sameface.api.policies import policy_from, set_settings
from sameface.errors import ModelNotFound
from sameface.pipeline.operations import FaceOperations
from sameface.v1 import migration_pb2, migration_service_pb2, migration_service_pb2_grpc
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.migration import DEFAULT_RATE, HIGHEST_RATE, LOWEST_RATE, Migration

Context = grpc.aio.ServicerContext[Any, Any]


def check_rate(rate: float) -> float:
    """Return a rate, or raise InvalidArgument if it is not in [`LOWEST_RATE`, `HIGHEST_RATE`]."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InvalidArgument(
            f"templates_per_second is {rate:g}; expected {LOWEST_RATE:g} to {HIGHEST_RATE:g}",
            metadata={"field": "templates_per_second"},
        )
    return rate


class MigrationServicer(migration_service_pb2_grpc.MigrationServiceServicer):  # type: ignore[misc]  # generated, untyped
    """Implements MigrationService; protos/sameface/v1/migration_service.proto describes every rpc and its errors."""

    def __init__(self, operations: FaceOperations) -> None:
        self._operations = operations
        self._store = operations.store
        self._embedders = operations.embedders

    async def CreateMigration(
        self, request: migration_service_pb2.CreateMigrationRequest, context: Context
    ) -> migration_service_pb2.CreateMigrationResponse:
        """Begin a migration, or plan it."""
        (gallery,) = parse_name(request.parent, "parent", 1)
        request_id = requests.request_id_from(request.request_id)
        rate = check_rate(request.templates_per_second or DEFAULT_RATE)
        contract = (await self._store.galleries.get(gallery)).contract
        if request_id and not request.validate_only:
            # A repeat may come when the gallery has its new contract already, from which no map leads further.
            earlier = await self._store.migrations.earlier(
                gallery, request_id, version=request.embedder_version, rate=rate
            )
            if earlier is not None:
                return migration_service_pb2.CreateMigrationResponse(migration=self._answer(earlier))
        card, template_map = self._embedders.mapping(contract, request.embedder_version or None)
        if request.validate_only:
            plan = await self._store.migrations.plan(gallery, template_map, operating_points=card.points, rate=rate)
            return migration_service_pb2.CreateMigrationResponse(
                plan=plan_to(plan, self._embedders.licence_restriction(plan.new))
            )
        migration = await self._store.migrations.create(
            gallery,
            template_map,
            operating_points=card.points,
            rate=rate,
            request_id=request_id,
            author=present_caller().name,
        )
        return migration_service_pb2.CreateMigrationResponse(migration=self._answer(migration))

    async def GetMigration(
        self, request: migration_service_pb2.GetMigrationRequest, context: Context
    ) -> migration_pb2.Migration:
        """Return one migration with its progress."""
        return self._answer(await self._store.migrations.get(*parse_migration_name(request.name)))

    async def ListMigrations(
        self, request: migration_service_pb2.ListMigrationsRequest, context: Context
    ) -> migration_service_pb2.ListMigrationsResponse:
        """Return one page of a gallery's migrations."""
        (gallery,) = parse_name(request.parent, "parent", 1)
        await self._store.galleries.get(gallery)
        migrations, token = await page_of(
            lambda size: self._store.migrations.list(gallery=gallery, page_size=size, page_token=request.page_token),
            self._answer,
            requests.page_size_from(request.page_size),
        )
        return migration_service_pb2.ListMigrationsResponse(migrations=migrations, next_page_token=token)

    async def PauseMigration(
        self, request: migration_service_pb2.PauseMigrationRequest, context: Context
    ) -> migration_pb2.Migration:
        """Let the mapping stand still."""
        named = parse_migration_name(request.name)
        return self._answer(await self._store.migrations.pause(*named, etag=request.etag))

    async def ResumeMigration(
        self, request: migration_service_pb2.ResumeMigrationRequest, context: Context
    ) -> migration_pb2.Migration:
        """Let the mapping go on."""
        named = parse_migration_name(request.name)
        return self._answer(await self._store.migrations.resume(*named, etag=request.etag))

    async def PromoteMigration(
        self, request: migration_service_pb2.PromoteMigrationRequest, context: Context
    ) -> migration_pb2.Migration:
        """Let the gallery decide under the new contract."""
        named = parse_migration_name(request.name)
        policy = set_settings(request.policy)
        if "presentation_attack" in policy:
            contract = (await self._store.migrations.get(*named)).new
            self._operations.check_policy(policy_from(request.policy), contract)
        return self._answer(
            await self._store.migrations.promote(
                *named,
                policy=policy,
                drop_identity_thresholds=request.drop_identity_thresholds,
                author=present_caller().name,
                etag=request.etag,
            )
        )

    async def RollBackMigration(
        self, request: migration_service_pb2.RollBackMigrationRequest, context: Context
    ) -> migration_pb2.Migration:
        """Let the gallery decide under the old contract again."""
        named = parse_migration_name(request.name)
        self._check_served(await self._store.migrations.get(*named))
        return self._answer(
            await self._store.migrations.roll_back(
                *named, discard_new=request.discard_new, author=present_caller().name, etag=request.etag
            )
        )

    async def CancelMigration(
        self, request: migration_service_pb2.CancelMigrationRequest, context: Context
    ) -> migration_pb2.Migration:
        """Give up a migration that was not promoted."""
        named = parse_migration_name(request.name)
        return self._answer(await self._store.migrations.cancel(*named, etag=request.etag))

    async def FinishMigration(
        self, request: migration_service_pb2.FinishMigrationRequest, context: Context
    ) -> migration_pb2.Migration:
        """Erase the templates of the old contract."""
        named = parse_migration_name(request.name)
        return self._answer(await self._store.migrations.finish(*named, etag=request.etag))

    def _answer(self, migration: Migration) -> migration_pb2.Migration:
        return migration_to(migration, self._embedders.licence_restriction(migration.new))

    def _check_served(self, migration: Migration) -> None:
        """Check that the gallery could decide after a roll back.

        Raises:
            ModelNotFound: the old version is not served. The gallery would embed no photo.
        """
        if migration.state.ended:
            return
        try:
            self._embedders.card_for(migration.old)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{error.message}; the gallery {migration.gallery!r} would have no model after a roll back: serve "
                f"version {migration.old.version} too (SAMEFACE_EMBEDDER_VERSIONS), restart, and repeat",
                metadata=error.metadata,
            ) from None
