"""Keys of a simulation."""

from __future__ import annotations

from boltzmann.ports import Keys, Verify
from boltzmann.simulate.keys import Keyring


def test_a_signature_is_the_owners_over_the_message_alone() -> None:
    ring = Keyring(bytes(32))
    verify: Verify = ring.verify
    anna: Keys = ring.keys("anna")
    bert = ring.keys("bert")
    signature = anna.sign(b"message")
    assert len(signature) == 64
    assert verify(anna.hotkey, b"message", signature)
    assert not verify(anna.hotkey, b"another", signature)
    assert not verify(bert.hotkey, b"message", signature)
    assert not verify(anna.hotkey, b"message", signature[:-1] + b"\x00")
    assert not verify(anna.hotkey, b"message", b"")
    assert not verify("5Nobody", b"message", signature)


def test_one_seed_gives_the_same_keys_and_bytes_and_another_seed_others() -> None:
    one, again, other = Keyring(bytes(32)), Keyring(bytes(32)), Keyring(b"\x01" * 32)
    assert one.keys("anna").sign(b"x") == again.keys("anna").sign(b"x")
    assert one.keys("anna").hotkey == again.keys("anna").hotkey != other.keys("anna").hotkey
    assert again.verify(one.keys("anna").hotkey, b"x", one.keys("anna").sign(b"x"))


def test_hotkeys_look_like_the_chains_and_hide_their_secret() -> None:
    keys = Keyring(bytes(32)).keys("anna")
    assert (len(keys.hotkey), keys.hotkey[0]) == (48, "5")
    assert keys.secret.hex() not in repr(keys)
    assert repr(keys.secret) not in repr(keys)
