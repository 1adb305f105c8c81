"""Writes docs/errors.md, docs/metrics.md, docs/api.md, docs/roles.md, and files of the chart.

--check writes nothing, and fails if they are old.
"""

import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2

from sameface.access.roles import KNOWING, RULES, Role, Rule
from sameface.api.status import DOMAIN, ERRORS
from sameface.metrics.definitions import METRICS, OTHER
from sameface.variables import known_variables

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ("rules.yaml", "dashboard.json")
FILES = (
    *("face_service", "gallery_service", "migration_service", "system_service"),
    *("decision", "gallery", "migration", "calibration", "face"),
)
# How Envoy turns canonical codes into HTTP statuses. tests/http asks it for each.
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "DATA_LOSS": 500,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
Descriptor = descriptor_pb2.DescriptorProto | descriptor_pb2.EnumDescriptorProto
# Field numbers of descriptor.proto, which are the paths of comments.
MESSAGE, ENUM, SERVICE, METHOD, FIELD, NESTED, NESTED_ENUM, VALUE = 4, 5, 6, 2, 2, 3, 4, 2
SCALARS = {
    number: name.removeprefix("TYPE_").lower() for name, number in descriptor_pb2.FieldDescriptorProto.Type.items()
}


def error_table() -> str:
    """Return docs/errors.md."""
    rows = [
        f"| `{reason}` | {row.code.name} | {HTTP_STATUS[row.code.name]} | {row.metadata} | {row.remedy} |"
        for reason, row in sorted(ERRORS.items())
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            "*Written by `make docs` from `server/sameface/api/status.py`.*",
            "",
            "Every call that the service fails carries a canonical gRPC status and, in its details, a",
            f"`google.rpc.ErrorInfo` with domain `{DOMAIN}` and one of these reasons. The message is for people and",
            "may change; reason and metadata are for programs. A wrong field is also named in a",
            "`google.rpc.BadRequest`; where the same call may succeed later, a `google.rpc.RetryInfo` says when.",
            "If nothing answered, or the deadline passed, there is no reason, only the status.",
            "",
            "The third column is the status [over HTTP](http.md#errors). A call that never reaches the service has no",
            "details there. The commands have reasons of their own for what they find before they call, such as UNLIKE",
            "([quick start](quick-start.md)); they print them in the same way. A part of the service that hangs has",
            "the reason NO_ANSWER in `GetServerInfo` ([operations](operations.md#health)); calls never get it.",
            "",
            "| reason | status | HTTP | metadata | what to do |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def role_table() -> str:
    """Return docs/roles.md."""
    rows = [
        f"| {rpc} | {_place(rule)} | {' | '.join(_right(role, rule) for role in Role)} |" for rpc, rule in RULES.items()
    ]
    return "\n".join(
        [
            "# Roles",
            "",
            "*Written by `make docs` from `server/sameface/access/roles.py`; a test calls every rpc with every role.*",
            "[Security](security.md) says how a caller gets a role.",
            "",
            *(f"- **{role}**: {_said_of(role)}" for role in Role),
            "",
            f"| rpc | needed in | {' | '.join(Role)} |",
            f"| --- | --- |{' --- |' * len(Role)}",
            *rows,
            "",
            "*T*: without the fields that set a threshold or a margin. With them a caller could find out a score by",
            "trying.",
            "Health checks are open to everybody. So is reflection, unless `SAMEFACE_REFLECTION=false`. With "
            "`SAMEFACE_SERVER_INFO=false` only an admin of all galleries may call GetServerInfo.",
            "",
        ]
    )


def _said_of(role: Role) -> str:
    """Return the documentation of a role, which is below its value in the source."""
    source = inspect.getsource(Role)
    found = re.search(rf'{role.name} = "{role.value}"\n\s+"""(.*?)"""', source, re.DOTALL)
    assert found is not None
    return " ".join(found[1].split())


def _place(rule: Rule) -> str:
    if rule.gallery is None:
        return "any gallery"
    return f"the gallery of `{rule.gallery}`" if rule.gallery else "all galleries (`*`)"


def _right(role: Role, rule: Rule) -> str:
    if role not in rule.roles:
        return ""
    return "T" if rule.tuning and role not in KNOWING else "yes"


def api_reference() -> str:
    """Return docs/api.md."""
    lines = [
        "# API reference",
        "",
        "*Written by `make docs` from `protos/sameface/v1`.* Errors are explained in [errors.md](errors.md).",
        "",
    ]
    files = {Path(file.name).stem: file for file in _descriptors().file if file.name.startswith("sameface/")}
    for name in FILES:
        lines += _Page(files[name]).lines()
    return "\n".join(lines).rstrip() + "\n"


def _descriptors() -> descriptor_pb2.FileDescriptorSet:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set.binpb"
        protos = sorted(str(path) for path in (ROOT / "protos" / "sameface" / "v1").glob("*.proto"))
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", f"-I{ROOT / 'protos/vendor'}"]
        command += ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}", *protos]
        subprocess.run(command, check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())


class _Page:
    """One proto file as Markdown."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(location.path): location.leading_comments.strip() for location in file.source_code_info.location
        }

    def lines(self) -> Iterator[str]:
        """Yield services first, then messages, then enums."""
        for index, service in enumerate(self._file.service):
            yield from (f"## {service.name}", "", *self._prose((SERVICE, index)), "")
            for number, method in enumerate(service.method):
                yield from (
                    f"### {method.name}",
                    "",
                    f"{_stream(method.client_streaming)}{_linked(method.input_type)} → "
                    f"{_stream(method.server_streaming)}{_linked(method.output_type)}",
                    "",
                    # The errors start a new paragraph.
                    re.sub(
                        r"\s+(Errors\b[^.;]*:)",
                        r"\n\n\1",
                        "\n".join(self._prose((SERVICE, index, METHOD, number))),
                    ),
                    "",
                )
        for index, message in enumerate(self._file.message_type):
            yield from self._message(message, (MESSAGE, index), "")
        for index, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (ENUM, index), "")

    def _message(self, message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], parent: str) -> Iterator[str]:
        name = f"{parent}{message.name}"
        yield from (f"### {name}", "", *self._prose(path), "")
        if message.field:
            yield from ("| field | type | |", "| --- | --- | --- |")
            for number, field in enumerate(message.field):
                comment = " ".join(self._prose((*path, FIELD, number)))
                yield f"| `{field.name}` | {self._type(field, message)} | {_behaviour(field)}{_cell(comment)} |"
            yield ""
        for number, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, (*path, NESTED, number), f"{name}.")
        for number, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, NESTED_ENUM, number), f"{name}.")

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...], parent: str) -> Iterator[str]:
        yield from (f"### {parent}{enum.name}", "", *self._prose(path), "", "| value | |", "| --- | --- |")
        for number, value in enumerate(enum.value):
            comment = " ".join(self._prose((*path, VALUE, number)))
            yield f"| `{value.name}` | {_cell(comment)} |"
        yield ""

    def _prose(self, path: Iterable[int]) -> list[str]:
        return [line.strip() for line in self._comments.get(tuple(path), "").splitlines()]

    @staticmethod
    def _type(field: descriptor_pb2.FieldDescriptorProto, message: descriptor_pb2.DescriptorProto) -> str:
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{nested.name}"):
                return "map of string to string"
        repeated = "repeated " if field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED else ""
        kind = _linked(field.type_name) if field.type_name else SCALARS[field.type]
        optional = "optional " if field.proto3_optional else ""
        return f"{repeated}{optional}{kind}"


def _behaviour(field: descriptor_pb2.FieldDescriptorProto) -> str:
    behaviours = field.options.Extensions[field_behavior_pb2.field_behavior]
    names = [field_behavior_pb2.FieldBehavior.Name(behaviour) for behaviour in behaviours]
    shown = [name.lower().replace("_", " ") for name in names if name != "OPTIONAL"]
    return f"*{', '.join(shown)}* · " if shown else ""


def _linked(name: str) -> str:
    """Return the name of a message or enum, linked to its heading if it is in sameface.v1."""
    own = name.removeprefix(".sameface.v1.")
    return f"[{own}](#{own.replace('.', '').lower()})" if own != name else name.removeprefix(".")


def _stream(streaming: bool) -> str:
    return "stream " if streaming else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def settings_list() -> str:
    """Return docker/chart/settings.txt, with which the chart finds misspelt settings."""
    return "".join(f"{name}\n" for name in sorted(known_variables()))


def metric_table() -> str:
    """Return docs/metrics.md."""
    return "\n".join(
        [
            "# Metrics",
            "",
            "*Written by `make docs` from `server/sameface/metrics/definitions.py`.*",
            "",
            "Every metric of a service, besides those of its process (`process_…`) and Python (`python_gc_…`).",
            "How to read them, and the alerts, are in [monitoring](monitoring.md). The name of a histogram goes on by",
            "`_bucket`, `_sum` or `_count`. Times are seconds, timestamps seconds since 1970.",
            "",
            "No label names a caller, an identity, a template or an address. The values of every label are known",
            f"before the first call; what is not among them is counted as `{OTHER}`.",
            "",
            "| metric | kind | what it is | labels |",
            "| --- | --- | --- | --- |",
            *(
                f"| `{one.exported}` | {one.kind} | {_cell(one.meaning)} | "
                + "; ".join(f"`{label}`: {_cell(values)}" for label, values in one.labels.items())
                + " |"
                for one in METRICS
            ),
            "",
        ]
    )


def main() -> None:
    """Write the files, or compare them."""
    stale = []
    for name, text in {
        "docs/errors.md": error_table(),
        "docs/metrics.md": metric_table(),
        "docs/api.md": api_reference(),
        "docs/roles.md": role_table(),
        "docker/chart/settings.txt": settings_list(),
        # A chart holds only files of its own folder.
        **{f"docker/chart/monitoring/{one}": (ROOT / "docker" / "monitoring" / one).read_text() for one in MONITORING},
    }.items():
        path = ROOT / name
        if "--check" in sys.argv:
            stale += [] if path.is_file() and path.read_text(encoding="utf-8") == text else [name]
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.exit(f"{', '.join(stale)} is not what the code says; run: make docs")


main()
