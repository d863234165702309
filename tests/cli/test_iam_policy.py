"""``encenv iam-policy``: a valid policy that allows what encenv needs, and nothing else."""

import json
import re

import pytest
from moto.iam.policy_validation import IAMPolicyDocumentValidator
from support.workspace import in_words

from encenv.cli.verbs.iam_policy import iam_policy
from encenv.format.sealed import KeyEntry, WrappedKey
from encenv.testing import Call, KmsServer

ARN = "arn:aws:kms:eu-west-1:111122223333:key/1"


@pytest.fixture
def kms(workspace):
    """A KMS that the workspace's environment leads to."""
    with KmsServer() as server:
        workspace.environ |= server.environ() | {"AWS_MAX_ATTEMPTS": "1"}
        yield server


def allows(policy: dict, call: Call) -> bool:
    """Return whether IAM would allow *call*, for the operators that the policy uses."""
    values = {f"kms:encryptioncontext:{key}".lower(): value for key, value in call.context.items()}

    def holds(operator: str, key: str, wanted: object) -> bool:
        if operator == "ForAllValues:StringEquals":
            assert key == "kms:EncryptionContextKeys"
            return set(call.context) <= set(wanted)
        if operator == "StringEqualsIfExists" and key.lower() not in values:
            return True
        assert operator in {"StringEquals", "StringEqualsIfExists"}
        return values.get(key.lower()) == wanted

    return any(
        statement["Action"] == f"kms:{call.operation}"
        and call.key in statement["Resource"]
        and all(
            holds(operator, key, wanted)
            for operator, pairs in statement["Condition"].items()
            for key, wanted in pairs.items()
        )
        for statement in policy["Statement"]
    )


def valid_policy(text: str) -> dict:
    """Return the policy in *text*, after checking that it is one."""
    IAMPolicyDocumentValidator(text).validate()
    policy = json.loads(text)
    assert set(policy) == {"Version", "Statement"}
    sids = [statement["Sid"] for statement in policy["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
    for statement in policy["Statement"]:
        assert set(statement) == {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert not any("*" in arn for arn in statement["Resource"])
    return policy


def test_runtime(workspace, kms):
    """A runtime role may do what a load does, but no other operation, and not with another key or context."""
    key, other = kms.create_key(), kms.create_key()
    workspace.write(".env", "A=1\n")
    assert workspace.call("encrypt", "--key", key, "--context", "stage=prod").code == 0
    result = workspace.call("iam-policy")
    policy = valid_policy(result.out)
    assert result.err == ""
    kms.clear()
    assert workspace.call("decrypt").code == 0
    calls = kms.calls
    assert [call.operation for call in calls] == ["Decrypt"]
    assert all(allows(policy, call) for call in calls)
    context = {"encenv": "1", "stage": "prod"}
    assert allows(
        policy, Call("Decrypt", key, "", context | {"encenv-add": "1"}, None)
    )  # what a contributor added
    for refused in (
        Call("Decrypt", other, "", context, None),
        Call("Decrypt", key, "", {"encenv": "1"}, None),
        Call("Decrypt", key, "", {"stage": "prod"}, None),
        Call("Decrypt", key, "", context | {"stage": "dev"}, None),
        Call("Decrypt", key, "", context | {"more": "1"}, None),
        Call("Decrypt", key, "", context | {"encenv-add": "2"}, None),
        Call("GenerateDataKey", key, "", context, None),
        Call("Encrypt", key, "", context, None),
    ):
        assert not allows(policy, refused), refused


def test_contributor(workspace, kms):
    """A contributor may add values, but neither read any nor make a data key without the contributor mark."""
    key, second = kms.create_key(), kms.create_key()
    workspace.write(".env", "A=1\n")
    workspace.call("encrypt", "--key", key, "--key", second, "--context", "stage=prod")
    policy = valid_policy(workspace.call("iam-policy", "--contributor").out)
    kms.deny("Decrypt")
    kms.deny("GenerateDataKey", unless_context={"encenv-add": "1"})
    kms.deny("Encrypt", unless_context={"encenv-add": "1"})
    with (workspace.folder / ".env").open("a") as file:
        file.write("B=2\n")
    # Nothing but the project's own word says that both keys belong there: who may not decrypt cannot see it.
    assert "nothing shows that aws-kms:" in in_words(workspace.call("encrypt"))[0]
    workspace.write("pyproject.toml", f'[tool.encenv]\nkeys = ["{key}", "{second}"]\n')
    kms.clear()
    result = workspace.call("encrypt")
    assert result.code == 0, result
    done = [call for call in kms.calls if call.error is None]
    assert {call.operation for call in done} == {"GenerateDataKey", "Encrypt"}
    assert all(allows(policy, call) for call in done)
    context = {"encenv": "1", "stage": "prod"}
    for refused in (
        Call("Decrypt", key, "", context | {"encenv-add": "1"}, None),
        Call("GenerateDataKey", key, "", context, None),
        Call("Encrypt", second, "", context, None),
        Call("GenerateDataKey", key, "", context | {"encenv-add": "1", "more": "1"}, None),
    ):
        assert not allows(policy, refused), refused
    # The file holds the contributor's entry now, and the runtime role needs nothing new for it.
    assert len(valid_policy(workspace.call("iam-policy").out)["Statement"]) == 1


def entry(*references: str, context: tuple[tuple[str, str], ...] = (), seed: int = 0) -> KeyEntry:
    """Return a key entry under *references*."""
    return KeyEntry(
        bytes([seed]) * 32, context, tuple(WrappedKey("aws-kms", b"x", one) for one in references)
    )


def test_several_entries():
    """Each context has one statement, and the order of the key entries does not matter."""
    entries = [
        entry(f"{ARN}2", context=(("stage", "b"),)),
        entry(ARN, context=(("stage", "a"),), seed=1),
        entry(f"{ARN}3", context=(("stage", "a"), ("encenv-add", "1")), seed=2),
    ]
    policy = valid_policy(json.dumps(iam_policy(entries)))
    assert policy == iam_policy(entries[::-1])
    assert [one["Sid"] for one in policy["Statement"]] == ["EncenvOpen1", "EncenvOpen2"]
    assert [one["Resource"] for one in policy["Statement"]] == [[ARN, f"{ARN}3"], [f"{ARN}2"]]
    assert iam_policy(entries, contributor=True) == iam_policy(entries[::-1], contributor=True)


def test_multi_region():
    """--region allows replicas of multi-Region keys, in these regions and of no other key."""
    multi = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"
    (statement,) = iam_policy([entry(ARN, multi)], ["us-east-1"])["Statement"]
    assert statement["Resource"] == [ARN, multi, multi.replace("eu-west-1", "us-east-1")]
    (statement,) = iam_policy([entry(ARN, multi)], ["cn-north-1"])["Statement"]
    assert statement["Resource"] == [ARN, multi]  # another partition has no replicas


def test_messages(workspace, kms):
    """It points out multi-Region keys; a file without an AWS KMS key and a bad region are errors."""
    key = kms.create_key(multi_region=True)
    workspace.write(".env", "A=1\n")
    workspace.call("encrypt", "--key", key)
    assert f"{key} is a multi-Region key" in workspace.call("iam-policy").err
    result = workspace.call("iam-policy", "--region", "eu-central-1")
    assert result.err == ""
    assert key.replace("us-east-1", "eu-central-1") in result.out
    assert workspace.call("iam-policy", "--region", "*").code == 2
    workspace.call("keygen")
    workspace.write("local.env", "A=1\n")
    workspace.call("encrypt", "--key", "local", "local.env")
    assert (
        in_words(workspace.call("iam-policy", "local.env"))[0]
        == "no value in local.env is encrypted with an AWS KMS key"
    )
    both = workspace.call("iam-policy", "local.env", ".env")
    assert both.code == 0
    path = workspace.folder / ".env"
    path.write_text(path.read_text().split("\n", 1)[1])  # without its key entry
    assert "A: its key entry ENCENV_KEY_" in in_words(workspace.call("iam-policy"))[0]
