"""Translates migrations to protos. Pure functions."""

from sameface.api.names import migration_name
from sameface.api.responses import contract_to
from sameface.v1 import migration_pb2
from sameface_qdrant.values.migration import Migration, MigrationPlan


def migration_to(migration: Migration, licence_restriction: str) -> migration_pb2.Migration:
    """Return the proto of a migration."""
    return migration_pb2.Migration(
        name=migration_name(migration.gallery, migration.id),
        state=f"STATE_{migration.state}",
        old_contract=contract_to(migration.old),
        new_contract=contract_to(migration.new),
        map_sha256=migration.map_sha256,
        template_count=migration.total,
        mapped_count=migration.mapped,
        native_count=migration.native,
        templates_per_second=migration.rate,
        failure=migration.failure,
        author=migration.author,
        create_time=migration.create_time,
        update_time=migration.update_time,
        end_time=migration.end_time,
        estimated_end_time=migration.estimated_end,
        etag=migration.etag,
        licence_restriction=licence_restriction,
    )


def plan_to(plan: MigrationPlan, licence_restriction: str) -> migration_pb2.MigrationPlan:
    """Return the proto of a plan."""
    return migration_pb2.MigrationPlan(
        old_contract=contract_to(plan.old),
        new_contract=contract_to(plan.new),
        map_sha256=plan.map_sha256,
        template_count=plan.templates,
        native_count=plan.native,
        mapped_count=plan.mapped,
        expired_count=plan.expired,
        seconds=plan.seconds,
        bytes=plan.bytes_needed,
        identity_thresholds=plan.identity_thresholds,
        compared_decisions=plan.compared,
        changed_decisions=plan.changed,
        problems=plan.problems,
        thresholds=[
            migration_pb2.PlannedThresholds(
                operation=f"OPERATION_{one.operation}", present=one.present, native=one.native, mapped=one.mapped
            )
            for one in plan.thresholds
        ],
        licence_restriction=licence_restriction,
    )
