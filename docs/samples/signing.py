"""Signs commands (docs/PROTOCOL.md §7). `pip install cryptography rfc8785`

python signing.py new                                            prints a private key, to be kept, and its public key for the agent
python signing.py sign KEY_ID PRIVATE_KEY <command.json          prints the command with its signature
"""
import json, sys
from base64 import b64decode, b64encode
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
import rfc8785

SIGNED = ("command_id", "command_type", "payload", "priority", "timestamp", "expires_at")

def canonical(command):
    """What is signed, as bytes: these members as they are sent, without those that are absent or null; without a payload it is {}."""
    return rfc8785.dumps({"payload": {}} | {name: command[name] for name in SIGNED if command.get(name) is not None})

def sign(command, key_id, private_key):
    """The command with its signature. `private_key` is 32 bytes in base64."""
    value = Ed25519PrivateKey.from_private_bytes(b64decode(private_key)).sign(canonical(command))
    return command | {"signature": {"key_id": key_id, "value": b64encode(value).decode()}}

def public_key(private_key):
    """For `policy.signature_keys` of the agent's configuration: 32 bytes in base64."""
    return b64encode(Ed25519PrivateKey.from_private_bytes(b64decode(private_key)).public_key().public_bytes_raw()).decode()

if __name__ == "__main__":
    if sys.argv[1:] == ["new"]:
        private = b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
        print(json.dumps({"private_key": private, "public_key": public_key(private)}))
    else:
        print(json.dumps(sign(json.load(sys.stdin), *sys.argv[2:])))
