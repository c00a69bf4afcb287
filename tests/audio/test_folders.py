import os

from ser_nsl.audio.folders import find_audio


def test_audio_is_found_and_the_rest_is_counted_and_named(tmp_path):
    names = ["b.opus", "A/a.AIFF", "A/deep/memo.m4a", "notes.txt", "A/more.TXT", "plain"]
    for name in [*names, ".DS_Store", ".Trash-1/c.wav", "A/._a.wav", "folder.wav/d.caf"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link").symlink_to(tmp_path / "A")

    found = find_audio(tmp_path)

    clips = [path.relative_to(tmp_path).as_posix() for path in found.clips]
    assert clips == ["A/a.AIFF", "A/deep/memo.m4a", "b.opus", "folder.wav/d.caf"]
    assert found.not_read == {
        ".txt": 2,
        "links to folders": 1,
        "no suffix": 1,
        ".wav": 1,
        "hidden folders": 1,
        "hidden files": 1,  # the one with a suffix of audio
    }
    assert str(found).endswith("(first: more.TXT, link, notes.txt)")
