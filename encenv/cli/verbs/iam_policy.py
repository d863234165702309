"""``encenv iam-policy``: what a role has to be allowed in AWS KMS, and nothing more.

The encryption context is pinned both ways: each pair must have its value, and there may be no other pair. A pair that
a contributor's data key has (``encenv-add=1``) may be missing, but for a contributor.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from encenv.cli.files import parsed, place, read_text
from encenv.cli.options import files_argument, quiet
from encenv.cli.terminal import say, write
from encenv.errors import KeyEntryError, combine
from encenv.files.inspect import survey
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, aws_region, encryption_context, is_region
from encenv.keys.aws.kms import replica_of

AWS_KMS = "aws-kms"
VERSION = "2012-10-17"  # IAM user guide, "IAM JSON policy elements: Version"
CHARACTERS_MAX = 6144  # IAM and AWS STS quotas: a managed policy, white space not counted
_PAIR = "kms:EncryptionContext:"
_KEYS = "kms:EncryptionContextKeys"

Pairs = tuple[tuple[str, str], ...]


@click.command()
@files_argument
@click.option("--contributor", is_flag=True, help="For a role that adds values and cannot read any.")
@click.option(
    "--region",
    "regions",
    metavar="REGION",
    multiple=True,
    help="Where replicas of multi-Region keys may be used as well; repeat it for several.",
)
@quiet
def command(files: tuple[str, ...], contributor: bool, regions: tuple[str, ...]) -> None:
    """Write the IAM policy that a role needs to open FILE (.env), as JSON; no key and no network is needed.

    It allows kms:Decrypt under the wrapping keys of FILE with its encryption context, and nothing else. With
    --contributor it allows kms:GenerateDataKey with that context and encenv-add=1: such a role can add
    values with encenv set, and read none.

    \b
    Example:
      encenv iam-policy .env.prod > runtime-policy.json
      aws iam put-role-policy --role-name shop --policy-name encenv --policy-document file://runtime-policy.json
    """
    for region in regions:
        if not is_region(region):
            raise click.UsageError(f"--region: {region!r} is not the name of a region")
    entries = [entry for path in files for entry in _entries(path)]
    policy = contributor_policy(entries, regions) if contributor else runtime_policy(entries, regions)
    if not policy["Statement"]:
        names = ", ".join(map(place, files))
        raise KeyEntryError(
            f"no value in {names} is under an AWS KMS key",
            hint="name a file that is; a local key needs no policy: who has the key file may open",
        )
    text = json.dumps(policy, indent=2)
    if len("".join(text.split())) > CHARACTERS_MAX:
        say(
            f"the policy is longer than the {CHARACTERS_MAX:,} characters that IAM takes: make one for each file"
        )
    others = sorted({arn for arn in _arns(entries) if _is_multi_region(arn)}) if not regions else []
    for arn in others:
        say(
            f"{arn} is a multi-Region key: to use its replicas too, name their regions: --region {aws_region(arn)} …"
        )
    write(f"{text}\n".encode())


def runtime_policy(entries: Iterable[KeyEntry], regions: Sequence[str] = ()) -> dict[str, Any]:
    """Return the policy of a role that opens values under *entries*.

    Args:
        entries: Key entries; their copies of other providers than AWS KMS are left out.
        regions: Where replicas of multi-Region keys may be used as well.
    """
    arns: dict[Pairs, set[str]] = {}
    for entry in entries:
        context = tuple(sorted({*entry.context} - {ADDED_BY_WRITER}))
        arns.setdefault(context, set()).update(_arns([entry]))
    statements = [
        _statement("kms:Decrypt", _with_replicas(keys, regions), _may_be_added(context))
        for context, keys in sorted(arns.items())
        if keys
    ]
    return _policy("EncenvOpen", statements)


def contributor_policy(entries: Iterable[KeyEntry], regions: Sequence[str] = ()) -> dict[str, Any]:
    """Return the policy of a role that adds values to a file with *entries*, and opens none.

    A data key is generated under the first wrapping key and encrypted under the others.
    """
    arns: dict[tuple[Pairs, str], set[str]] = {}
    for entry in entries:
        context = tuple(sorted({*entry.context} - {ADDED_BY_WRITER}))
        for index, item in enumerate(entry.items):
            if item.provider == AWS_KMS:
                action = "kms:GenerateDataKey" if index == 0 else "kms:Encrypt"
                arns.setdefault((context, action), set()).add(item.reference)
    statements = [
        _statement(action, _with_replicas(keys, regions), _is_added(context))
        for (context, action), keys in sorted(
            arns.items(), key=lambda one: (one[0][0], one[0][1] == "kms:Encrypt")
        )
    ]
    return _policy("EncenvAdd", statements)


def _entries(path: str) -> tuple[KeyEntry, ...]:
    """Return the key entries of the file *path*.

    Raises:
        EncenvError: If it cannot be read, or a key entry in it is malformed.
    """
    text = read_text(path)
    parsed(text, place(path))
    found = survey(text)
    used = {variable.kid for variable in found.variables}
    failures = [
        KeyEntryError(
            variable.problem or "", hint="add the line of its key entry first", variables=[variable.name]
        )
        for variable in found.variables
        if variable.state == "unopenable"
    ]
    if failures:
        raise combine(failures, whole=place(path), done="judged")
    return tuple(entry for entry in found.entries if entry.kid in used)


def _arns(entries: Iterable[KeyEntry]) -> set[str]:
    return {item.reference for entry in entries for item in entry.items if item.provider == AWS_KMS}


def _is_multi_region(arn: str) -> bool:
    return ":key/mrk-" in arn


def _with_replicas(arns: Iterable[str], regions: Sequence[str]) -> list[str]:
    """Return *arns* and, of multi-Region keys, those in *regions*: they differ in the region alone."""
    found = {*arns}
    return sorted(found | {near for arn in found for region in regions if (near := replica_of(arn, region))})


def _may_be_added(context: Pairs) -> dict[str, dict[str, Any]]:
    added, value = ADDED_BY_WRITER
    keys = sorted([*encryption_context(context), added])
    return {
        "StringEquals": _pairs(encryption_context(context)),
        "StringEqualsIfExists": _pairs({added: value}),
        "ForAllValues:StringEquals": {_KEYS: keys},
    }


def _is_added(context: Pairs) -> dict[str, dict[str, Any]]:
    whole = encryption_context((*context, ADDED_BY_WRITER))
    return {"StringEquals": _pairs(whole), "ForAllValues:StringEquals": {_KEYS: sorted(whole)}}


def _pairs(context: Mapping[str, str]) -> dict[str, str]:
    return {_PAIR + key: value for key, value in sorted(context.items())}


def _statement(action: str, arns: list[str], condition: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": arns, "Condition": condition}


def _policy(sid: str, statements: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a policy of *statements*, each under a name of its own."""
    several = len(statements) > 1
    return {
        "Version": VERSION,
        "Statement": [
            {"Sid": f"{sid}{number}" if several else sid, **statement}
            for number, statement in enumerate(statements, start=1)
        ],
    }
