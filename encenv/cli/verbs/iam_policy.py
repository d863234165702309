"""``encenv iam-policy``: print the IAM policy that allows a role what it needs in AWS KMS, and nothing more.

The encryption context is pinned both ways: each pair must have its value, and there may be no other pair. The pair
``encenv-add=1``, which a contributor's data key has, is optional for a reader and required for a contributor.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from encenv.cli.files import place, read_every_line
from encenv.cli.options import files_argument, quiet
from encenv.cli.terminal import say, write
from encenv.errors import KeyEntryError, combine
from encenv.files.inspect import inspect
from encenv.files.key_names import AWS_KMS, Pairs
from encenv.format.sealed import ADDED_BY_WRITER, KeyEntry, aws_region, encryption_context, is_region
from encenv.keys.aws.kms import replica_of

VERSION = "2012-10-17"  # IAM user guide, "IAM JSON policy elements: Version"
CHARACTERS_MAX = 6144  # IAM and AWS STS quotas: a managed policy, white space not counted
_PAIR = "kms:EncryptionContext:"
_KEYS = "kms:EncryptionContextKeys"


@click.command()
@files_argument
@click.option(
    "--contributor", is_flag=True, help="Print the policy of a role that adds values and cannot read any."
)
@click.option(
    "--region",
    "regions",
    metavar="REGION",
    multiple=True,
    help="Also allow the replicas of multi-Region keys in REGION; repeat it for several.",
)
@quiet
def command(files: tuple[str, ...], contributor: bool, regions: tuple[str, ...]) -> None:
    """Print the IAM policy, as JSON, that a role needs to decrypt FILE (.env); no key and no network is needed.

    It allows kms:Decrypt with the AWS KMS keys of FILE and its encryption context, and nothing else. With
    --contributor it allows kms:GenerateDataKey with that context and encenv-add=1 instead: such a role can add values
    with encenv set, and read none.

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
            f"no value in {names} is encrypted with an AWS KMS key",
            hint="name a file that is; a local key needs no policy",
        )
    text = json.dumps(policy, indent=2)
    if len("".join(text.split())) > CHARACTERS_MAX:
        say(
            f"the policy is longer than the {CHARACTERS_MAX:,} characters that IAM takes: make one policy for each file"
        )
    for arn in [] if regions else sorted(arn for arn in _arns(entries) if ":key/mrk-" in arn):
        say(
            f"{arn} is a multi-Region key: to allow its replicas too, name their regions: --region {aws_region(arn)} …"
        )
    write(f"{text}\n".encode())


def runtime_policy(entries: Iterable[KeyEntry], regions: Sequence[str] = ()) -> dict[str, Any]:
    """Return the policy of a role that decrypts values.

    Args:
        entries: The key entries of the values; wrapped keys of other providers than AWS KMS are ignored.
        regions: Where replicas of multi-Region keys are allowed as well.
    """
    return _policy("EncenvOpen", entries, regions, ("kms:Decrypt", "kms:Decrypt"), _optionally_added)


def contributor_policy(entries: Iterable[KeyEntry], regions: Sequence[str] = ()) -> dict[str, Any]:
    """Return the policy of a role that adds values and decrypts none; arguments as for `runtime_policy`.

    A data key is generated with the first wrapping key, and encrypted with the others.
    """
    return _policy("EncenvAdd", entries, regions, ("kms:GenerateDataKey", "kms:Encrypt"), _added)


def _entries(path: str) -> tuple[KeyEntry, ...]:
    """Return the key entries of the file *path*.

    Raises:
        EncenvError: If it cannot be read, or the key entry of a value is missing or malformed.
    """
    inspection = inspect(str(read_every_line(path)))
    used = {variable.kid for variable in inspection.variables}
    failures = [
        KeyEntryError(
            variable.problem or "", hint="add the line of its key entry first", variables=[variable.name]
        )
        for variable in inspection.variables
        if variable.state == "unopenable"
    ]
    if failures:
        raise combine(failures, whole=place(path), done="used")
    return tuple(entry for entry in inspection.entries if entry.kid in used)


def _arns(entries: Iterable[KeyEntry]) -> set[str]:
    return {item.reference for entry in entries for item in entry.items if item.provider == AWS_KMS}


def _with_replicas(arns: Iterable[str], regions: Sequence[str]) -> list[str]:
    """Return *arns* and their replicas in *regions*, whose ARNs differ in the region alone."""
    keys = {*arns}
    return sorted(
        keys | {replica for arn in keys for region in regions if (replica := replica_of(arn, region))}
    )


def _optionally_added(context: Pairs) -> dict[str, dict[str, Any]]:
    added, value = ADDED_BY_WRITER
    keys = sorted([*encryption_context(context), added])
    return {
        "StringEquals": _conditions(encryption_context(context)),
        "StringEqualsIfExists": _conditions({added: value}),
        "ForAllValues:StringEquals": {_KEYS: keys},
    }


def _added(context: Pairs) -> dict[str, dict[str, Any]]:
    whole = encryption_context((*context, ADDED_BY_WRITER))
    return {"StringEquals": _conditions(whole), "ForAllValues:StringEquals": {_KEYS: sorted(whole)}}


def _conditions(context: Mapping[str, str]) -> dict[str, str]:
    return {_PAIR + key: value for key, value in sorted(context.items())}


def _policy(
    sid: str,
    entries: Iterable[KeyEntry],
    regions: Sequence[str],
    actions: tuple[str, str],
    condition: Callable[[Pairs], dict[str, dict[str, Any]]],
) -> dict[str, Any]:
    """Return a policy with one statement for each encryption context and action, each with a name of its own.

    Args:
        sid: The name of the statement, or its beginning if there are several.
        entries: The key entries.
        regions: Where replicas of multi-Region keys are allowed as well.
        actions: The action with the first wrapping key of a key entry, and that with the others.
        condition: The condition for an encryption context.
    """
    arns: dict[tuple[Pairs, str], set[str]] = {}
    for entry in entries:
        context = tuple(sorted({*entry.context} - {ADDED_BY_WRITER}))
        for position, item in enumerate(entry.items):
            if item.provider == AWS_KMS:
                action = actions[0] if position == 0 else actions[1]
                arns.setdefault((context, action), set()).add(item.reference)
    groups = sorted(arns.items(), key=lambda group: (group[0][0], actions.index(group[0][1])))
    statements = [
        {
            "Sid": f"{sid}{number}" if len(groups) > 1 else sid,
            "Effect": "Allow",
            "Action": action,
            "Resource": _with_replicas(keys, regions),
            "Condition": condition(context),
        }
        for number, ((context, action), keys) in enumerate(groups, start=1)
    ]
    return {"Version": VERSION, "Statement": statements}
