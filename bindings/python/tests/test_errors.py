"""Every exception is a CadenzaError and the built-in that fits, with the library's message."""

from __future__ import annotations

import pickle

import pytest

import cadenza

BUILT_INS = {
    cadenza.InvalidArgumentError: ValueError,
    cadenza.InvalidFileError: ValueError,
    cadenza.UnsupportedError: NotImplementedError,
    cadenza.NotFoundError: KeyError,
    cadenza.OperatingSystemError: OSError,
    cadenza.MissingFileError: FileNotFoundError,
    cadenza.OutOfMemoryError: MemoryError,
    cadenza.CannotStreamError: RuntimeError,
    cadenza.MismatchError: ValueError,
}


@pytest.mark.parametrize("error", BUILT_INS, ids=lambda error: error.__name__)
def test_built_ins(error):
    assert issubclass(error, cadenza.CadenzaError)
    assert issubclass(error, BUILT_INS[error])
    assert str(error("what came")) == "what came"
    assert str(pickle.loads(pickle.dumps(error("what came")))) == "what came"


def test_a_status_of_a_later_library():
    error = cadenza.errors.error_for(99, "something new")
    assert type(error) is cadenza.CadenzaError
    assert error.status == 99


def test_the_librarys_message_is_the_exceptions():
    with pytest.raises(cadenza.UnsupportedError, match="Convolutron") as caught:
        cadenza.build(None, 3, ["Convolutron"])
    assert caught.value.status == 3


def test_the_library_is_looked_for_in_places_that_are_listed(monkeypatch, tmp_path):
    from cadenza import _library

    assert _library.find() == _library.path
    monkeypatch.setenv("CADENZA_LIBRARY", str(tmp_path / "elsewhere.so"))
    with pytest.raises(ImportError, match="elsewhere.so"):
        _library.find()
    monkeypatch.delenv("CADENZA_LIBRARY")
    monkeypatch.setattr(_library, "LIBRARY_NAME", "libnothing.so")
    with pytest.raises(ImportError) as caught:
        _library.find()
    for place in _library.places():
        assert str(place) in str(caught.value)


@pytest.mark.parametrize("version", [b"1.1.0", b"0.2.0", b"0.10.0"])
def test_another_version_is_refused(version):
    from cadenza._library import require_version

    with pytest.raises(ImportError, match=version.decode()):
        require_version(version)


def test_a_patch_version_is_taken():
    from cadenza._library import require_version

    assert require_version(b"0.1.99") is None
