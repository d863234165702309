"""Find out whether the keys that files and settings name can be used here. AWS is not made to decrypt anything."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from encenv.cli.report import Finding, Severity, failure
from encenv.errors import EncenvError, KeyRefusedError, KeyUnreachableError
from encenv.files.disk import printable
from encenv.files.key_names import AWS_KMS, KeyName, Pairs
from encenv.format.envelope import DataKey
from encenv.format.sealed import ADDED_BY_WRITER, LOCAL_KEY_NAME, KeyEntry, WrappedKey, encryption_context
from encenv.keys.aws.kms import replica_of
from encenv.keys.aws.probe import KmsProbe
from encenv.keys.provider import find_provider
from encenv.keys.session import UNWRAP_SECONDS

LOCAL = "local"
SKEW_MAX = 300  # seconds: AWS refuses a signature that is older, or from the future
SKEW_ODD = 60  # seconds
_STATE_HINTS = {
    "Disabled": "enable it in AWS KMS",
    "PendingDeletion": "cancel its deletion in AWS KMS, now",
    "PendingReplicaDeletion": "cancel its deletion in AWS KMS, now",
    "PendingImport": "import its key material in AWS KMS",
    "Unavailable": "connect its custom key store in AWS KMS",
}


def key_findings(
    entries: Collection[KeyEntry], keys: Sequence[KeyName], context: Pairs, *, offline: bool
) -> Iterator[Finding]:
    """Yield whether the data keys of *entries* can be unwrapped here, and new ones made for the project.

    The project has the wrapping *keys* and the encryption *context*. If *offline*, AWS is not contacted.
    """
    yield from _local_keys(keys)
    aws_keys = [key.key for key in keys if key.provider == AWS_KMS]
    probe = None
    reason = ""
    if not aws_keys and not any(item.provider == AWS_KMS for entry in entries for item in entry.items):
        reason = ": no file and no setting names an AWS KMS key"
    elif offline:
        reason = ", because of --offline: credentials, clock and keys are not checked"
    else:
        kms = KmsProbe()
        try:
            source, owner = kms.credentials(), kms.identity()
            message = f"found ({source})" + (f"; they belong to {owner}" if owner else "")
            yield Finding("ok", "credentials", message)
            probe = kms
        except EncenvError as error:
            yield failure("credentials", error)
            reason = " without credentials: clock and keys are not checked"
        if kms.region is None and any(key.startswith("alias/") for key in aws_keys):
            yield Finding("error", "region", "none is set, and an alias needs one", "set AWS_REGION")
        else:
            yield Finding("ok", "region", kms.region or "none is set; ARNs need none")
    if probe is None:
        yield Finding("skipped", "AWS", f"not contacted{reason}")
    for entry in entries:
        yield from _data_key(entry, probe)
    if probe is not None:
        for aws_key in aws_keys:
            yield _encrypting(aws_key, context, probe)
        yield _clock(probe)


def _local_keys(keys: Iterable[KeyName]) -> Iterator[Finding]:
    """Yield whether this machine has the local keys among *keys*."""
    if os.environ.get(LOCAL_KEY_NAME):
        yield Finding("ok", "local key", f"{LOCAL_KEY_NAME} is set, and is used instead of any key file")
    for key in keys:
        if key.provider == LOCAL:
            try:
                item = find_provider(LOCAL, os.environ).generate(key.key, encryption_context(()))[1]
            except EncenvError as error:
                yield failure("local key", error)
            else:
                yield Finding("ok", "local key", f"{item.reference} is here")


def _data_key(entry: KeyEntry, probe: KmsProbe | None) -> Iterator[Finding]:
    """Yield which wrapping keys unwrap the data key of *entry* here. One is enough, so others then only warn."""
    findings = [finding for item in entry.items for finding in _unwrapping(item, entry, probe)]
    is_open = any(one.severity == "ok" for one in findings)
    for one in findings:
        if is_open and one.severity == "error":
            yield replace(one, severity="warning", message=f"{one.message}; another key opens it")
        else:
            yield one


def _unwrapping(item: WrappedKey, entry: KeyEntry, probe: KmsProbe | None) -> Iterator[Finding]:
    where = f"data key {entry.kid}"
    context = encryption_context(entry.context)
    try:
        if item.provider == AWS_KMS:
            if probe is not None:
                yield from _dry_run(item, context, probe, where)
            return
        provider = find_provider(item.provider, os.environ)
        if item.provider != LOCAL:  # its calls may cost money
            yield Finding("skipped", where, f"{item.provider} is installed; it was not tried")
        elif DataKey(provider.unwrap(item, context, UNWRAP_SECONDS)).matches(entry.commitment):
            yield Finding("ok", where, f"{item.wrapping_key} opens it")
        else:
            message, hint = f"{item.wrapping_key} gives another data key", "restore the key entry from git"
            yield Finding("error", where, message, hint)
    except EncenvError as error:
        yield failure(where, error)


def _dry_run(item: WrappedKey, context: dict[str, str], probe: KmsProbe, where: str) -> Iterator[Finding]:
    replica = replica_of(item.reference, probe.region)
    for key in (item.reference,) if replica is None else (replica, item.reference):
        try:
            probe.may_unwrap(item._replace(reference=key), context)
        except EncenvError as error:
            # The state says more than a refusal: nobody can use a key that is disabled or about to be deleted.
            yield _bad_state(key, probe) or failure(where, error)
        else:
            yield Finding("ok", where, f"{key} opens it (dry run)")


def _bad_state(key: str, probe: KmsProbe) -> Finding | None:
    """Return what is wrong with the state of *key*; None if nothing is, or the role may not ask, as is usual."""
    with suppress(EncenvError):
        state = probe.state(key)
        if state in _STATE_HINTS:
            return Finding("error", "AWS KMS key", f"{key} is in the state {state}", _STATE_HINTS[state])
    return None


def _encrypting(key: str, context: Pairs, probe: KmsProbe) -> Finding:
    """Return whether values can be added under *key*, as one who can decrypt or as a contributor."""
    try:
        probe.may_generate(key, encryption_context(context))
    except KeyUnreachableError as error:
        return failure("encrypting", error)
    except KeyRefusedError as error:
        refusal = error
    else:
        return Finding("ok", "encrypting", f"under {printable(key)} is permitted (dry run)")
    try:
        probe.may_generate(key, encryption_context((*context, ADDED_BY_WRITER)))
    except EncenvError:
        return _bad_state(key, probe) or failure("encrypting", refusal, "warning")
    return Finding("ok", "encrypting", f"under {printable(key)} is permitted to a contributor (dry run)")


def _clock(probe: KmsProbe) -> Finding:
    skew = probe.skew
    if skew is None:
        return Finding("skipped", "clock", "AWS gave no answer to compare it with")
    if abs(skew) <= SKEW_ODD:
        return Finding("ok", "clock", "the same as AWS's")
    severity: Severity = "error" if abs(skew) > SKEW_MAX else "warning"
    message = f"{abs(skew):,.0f} seconds {'ahead of' if skew > 0 else 'behind'} AWS's"
    return Finding(severity, "clock", message, "set this machine's clock, for example by NTP")
