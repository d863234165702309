"""``encenv iam-policy``: print the IAM policy that allows a role what it needs in AWS KMS, and nothing more.

The encryption context is pinned both ways: each pair must have its value, and there may be no other pair. The pair
``encenv-add=1``, which a contributor's data key has, is optional for a reader and required for a contributor.
"""

import json
from collections.abc import Iterable, Sequence
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


@click.command()
@files_argument
@click.option("--contributor", is_flag=True, help="Print the policy of a role that can only add values.")
@click.option("--region", "regions", metavar="REGION", multiple=True, help="Also allow replicas in REGION.")
@quiet
def command(files: tuple[str, ...], contributor: bool, regions: tuple[str, ...]) -> None:
    """Print the IAM policy, as JSON, that a role needs to decrypt FILE (.env); it takes no key and no network.

    It allows kms:Decrypt with the AWS KMS keys of FILE and its encryption context, and nothing else. With
    --contributor it allows kms:GenerateDataKey with that context and encenv-add=1 instead: the role can then add values
    with encenv set, and read none. Replicas of multi-Region keys are allowed in each --region that you name.

    \b
    Example:
      encenv iam-policy .env.prod > runtime-policy.json
      aws iam put-role-policy --role-name shop --policy-name encenv --policy-document file://runtime-policy.json
    """
    for region in regions:
        if not is_region(region):
            raise click.UsageError(f"--region: {region!r} is not the name of a region")
    entries = [entry for path in files for entry in _entries(path)]
    policy = iam_policy(entries, regions, contributor=contributor)
    if not policy["Statement"]:
        raise KeyEntryError(
            f"no value in {', '.join(map(place, files))} is encrypted with an AWS KMS key",
            hint="name a file that is; a local key needs no policy",
        )
    text = json.dumps(policy, indent=2)
    if len("".join(text.split())) > CHARACTERS_MAX:
        say(f"the policy is longer than IAM's {CHARACTERS_MAX:,} characters: make one for each file")
    arns = {item.reference for entry in entries for item in entry.items if item.provider == AWS_KMS}
    for arn in sorted(arn for arn in arns if ":key/mrk-" in arn and not regions):
        say(f"{arn} is a multi-Region key; to allow its replicas too: --region {aws_region(arn)} …")
    write(f"{text}\n".encode())


def _entries(path: str) -> tuple[KeyEntry, ...]:
    """Return the key entries of the file *path*; a value whose key entry is missing or malformed is an error."""
    inspection = inspect(str(read_every_line(path)))
    failures = [
        KeyEntryError(one.problem or "", hint="add the line of its key entry first", variables=[one.name])
        for one in inspection.variables
        if one.state == "unopenable"
    ]
    if failures:
        raise combine(failures, whole=place(path), done="used")
    return inspection.entries_in_use


def iam_policy(
    entries: Iterable[KeyEntry], regions: Sequence[str] = (), *, contributor: bool = False
) -> dict[str, Any]:
    """Return the policy of a role that decrypts the values of *entries*, or of a *contributor*, who only adds values.

    It has one statement for each encryption context and action; replicas in *regions* are allowed as well. A
    contributor's data key is generated with the first wrapping key of a key entry, and encrypted with the others.
    """
    sid, first, other = "EncenvOpen", "kms:Decrypt", "kms:Decrypt"
    if contributor:
        sid, first, other = "EncenvAdd", "kms:GenerateDataKey", "kms:Encrypt"
    arns: dict[tuple[Pairs, str], set[str]] = {}
    for entry in entries:
        context = tuple(sorted({*entry.context} - {ADDED_BY_WRITER}))
        for position, item in enumerate(entry.items):
            if item.provider == AWS_KMS:
                copies = {item.reference, *(replica_of(item.reference, region) for region in regions)}
                arns.setdefault((context, other if position else first), set()).update(filter(None, copies))
    groups = sorted(arns.items(), key=lambda group: (group[0][0], group[0][1] != first))
    statements = [
        {
            "Sid": f"{sid}{number}" if len(groups) > 1 else sid,
            "Effect": "Allow",
            "Action": action,
            "Resource": sorted(keys),
            "Condition": _condition(context, contributor=contributor),
        }
        for number, ((context, action), keys) in enumerate(groups, start=1)
    ]
    return {"Version": VERSION, "Statement": statements}


def _condition(context: Pairs, *, contributor: bool) -> dict[str, dict[str, Any]]:
    whole = encryption_context((*context, ADDED_BY_WRITER))
    pairs = {f"kms:EncryptionContext:{key}": value for key, value in sorted(whole.items())}
    added = f"kms:EncryptionContext:{ADDED_BY_WRITER[0]}"
    optional = {} if contributor else {"StringEqualsIfExists": {added: pairs.pop(added)}}
    return {
        "StringEquals": pairs,
        **optional,
        "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": sorted(whole)},
    }
