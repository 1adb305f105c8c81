"""`sameface info` names the parts that do not serve."""

from sameface.cli.info import rows_of
from sameface.client.answer import read
from sameface.client.answers.service import ServerInfo
from sameface.v1 import system_service_pb2


def test_each_part_that_does_not_serve_has_a_row() -> None:
    told = system_service_pb2.GetServerInfoResponse(version="1.0.0")
    assert not [name for name, _ in rows_of(read(ServerInfo, told)) if name.startswith("part")]
    part = system_service_pb2.GetServerInfoResponse.Part
    told.parts.extend([part(name="models", serving=True), part(name="writes", serving=True)])
    assert ("parts", "all serve") in rows_of(read(ServerInfo, told))
    told.parts[1].serving, told.parts[1].reason = False, "STORE_FULL"
    told.parts[1].since_time.FromJsonString("2026-11-30T22:13:35Z")
    rows = rows_of(read(ServerInfo, told))
    assert [row for row in rows if row[0].startswith("part")] == [
        ("part writes", "does not serve since 2026-11-30 22:13:35 UTC: STORE_FULL")
    ]


def test_the_versions_between_which_galleries_can_migrate_have_a_row() -> None:
    told = system_service_pb2.GetServerInfoResponse(version="1.0.0")
    assert "galleries can migrate" not in dict(rows_of(read(ServerInfo, told)))
    one = system_service_pb2.GetServerInfoResponse.TemplateMap
    told.template_maps.extend([one(old_version=1, new_version=3), one(old_version=2, new_version=3)])
    assert dict(rows_of(read(ServerInfo, told)))["galleries can migrate"] == "from version 1 to 3, 2 to 3"
