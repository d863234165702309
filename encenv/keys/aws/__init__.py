"""AWS KMS as a key provider: with the standard library where the environment says enough, else through boto3."""
