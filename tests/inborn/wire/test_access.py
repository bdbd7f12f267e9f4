"""Who may call what: every method of every service against every class of caller."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2

from inborn._internal.wire.access import ACCESS, CallerClass, CallNotAllowed, check
from inborn._internal.wire.methods import rpc_methods
from inborn_proto.workload_descriptor import FILE_DESCRIPTOR_SET

# What is meant, said once more by service, apart from the table: a slip in either shows here.
EXPECTED = {
    "inborn.v1.Bootstrap": {CallerClass.ANONYMOUS},
    "inborn.v1.Authority": {CallerClass.AGENT, CallerClass.DAEMON},
    "inborn.signer.v1.Signing": {CallerClass.FRONT},
    "inborn.signer.v1.Fronting": {CallerClass.SIGNER},
    "inborn.admin.v1.Admin": {CallerClass.LOCAL_ADMIN},
    "inborn.agent.v1.Local": {CallerClass.LOCAL_WORKLOAD},
    "inborn.agent.v1.AgentAdmin": {CallerClass.AGENT_ADMIN},
    "SpiffeWorkloadAPI": {CallerClass.LOCAL_WORKLOAD},
}
NARROWER = {f"/inborn.v1.Authority/{name}": {CallerClass.AGENT} for name in ("Issue", "IssueStream", "Report")}


def workload_methods() -> list[str]:
    files = descriptor_pb2.FileDescriptorSet.FromString(FILE_DESCRIPTOR_SET)
    return [
        f"/{f'{file.package}.' if file.package else ''}{service.name}/{method.name}"
        for file in files.file
        for service in file.service
        for method in service.method
    ]


METHODS = sorted([method.name for method in rpc_methods()] + workload_methods())


def test_every_method_of_every_service_has_a_row_and_no_row_names_another() -> None:
    assert sorted(ACCESS) == METHODS


@pytest.mark.parametrize("caller", CallerClass)
@pytest.mark.parametrize("method", METHODS)
def test_method_is_open_to_exactly_the_callers_it_is_meant_for(method: str, caller: CallerClass) -> None:
    service = method.split("/")[1]
    if caller in NARROWER.get(method, EXPECTED[service]):
        check(method, caller)
    else:
        with pytest.raises(CallNotAllowed, match="may not call"):
            check(method, caller)


@pytest.mark.parametrize("caller", CallerClass)
@pytest.mark.parametrize("method", ["", "/", "/inborn.v1.Authority/issue", "/inborn.v1.Authority/Issue/", "\n"])
def test_method_without_a_row_is_refused_to_everybody(method: str, caller: CallerClass) -> None:
    with pytest.raises(CallNotAllowed):
        check(method, caller)
