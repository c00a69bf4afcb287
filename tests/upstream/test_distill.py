import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.progress import Progress
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.distill import distill_upstream
from ser_nsl.upstream.settings import DistillationConfig, StudentConfig
from ser_nsl.upstream.student import Lesson, new_student
from ser_nsl.upstream.teacher_frames import TeacherFrames
from ser_nsl.upstream.windows import Windows, find_speech

pytest.importorskip("pyroomacoustics")

WHISPER = str(Path(__file__).parent / "fixtures" / "whisper")
STUDENT = StudentConfig(width=8, layers=1, channels=8)
CONFIG = DistillationConfig(
    layers=(1, 2), student=STUDENT, epochs=3, batch_size=4, window_seconds=0.5, learning_rate=0.01
)


@pytest.fixture(scope="module")
def distilled(tone_corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("student") / "out"
    return distill_upstream(speech=(tone_corpus,), teacher=WHISPER, out=out, config=CONFIG), out


def test_student_learns_and_is_an_upstream(distilled):
    result, out = distilled
    history = json.loads((out / "history.json").read_text())
    encoder = load_upstream(str(out)).encoder

    # Of 36 clips, one batch is kept for checking.
    assert result.counts["clips"] == 32
    assert result.counts["parameters"] == encoder.parameters
    assert len(history) == 3
    assert history[-1]["trained"][0] < 0.95 * history[0]["trained"][0]
    assert history[-1]["checked"][0] < history[0]["checked"][0]
    assert result.counts["first_loss"] == round(history[0]["checked"][0], 4)
    assert result.counts["last_loss"] == round(history[-1]["checked"][0], 4)
    assert (encoder.architecture, encoder.width, encoder.layers) == ("wav2vec2", 8, 1)
    assert encoder.hop_samples == load_upstream(WHISPER).encoder.hop_samples
    assert {path.name for path in out.iterdir()} - {"stage.json"} == {
        *("config.json", "model.safetensors", "preprocessor_config.json", "history.json")
    }


@pytest.mark.slow
def test_stopped_run_ends_with_the_same_bytes(distilled, tone_corpus, tmp_path, monkeypatch):
    save, saved = Progress.save, []

    def save_and_stop(self, measured):
        save(self, measured)
        saved.append(measured)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "save", save_and_stop)
    arguments = {"speech": (tone_corpus,), "teacher": WHISPER, "config": CONFIG}
    with pytest.raises(KeyboardInterrupt):
        distill_upstream(**arguments, out=tmp_path / "out")
    distill_upstream(**arguments, out=tmp_path / "out")

    assert len(saved) == 3
    for name in ("model.safetensors", "config.json", "history.json"):
        assert (tmp_path / "out" / name).read_bytes() == (distilled[1] / name).read_bytes(), name


@pytest.mark.slow
def test_student_of_before_goes_on(distilled, tone_corpus, tmp_path):
    result = distill_upstream(
        speech=(tone_corpus,),
        teacher=WHISPER,
        student=str(distilled[1]),
        out=tmp_path / "out",
        config=replace(CONFIG, epochs=1, learning_rate=1e-9),
    )

    before, after = (load_upstream(str(out)).encoder for out in (distilled[1], result.out))
    for name, variable in before.weights.items():
        np.testing.assert_allclose(after.weights[name], variable, atol=1e-3, err_msg=name)


def test_teacher_hears_each_window_once(tmp_path, monkeypatch):
    config = replace(CONFIG, windows=2)
    heard, answers = [], tf.random.stateless_normal((5, 2, 6, 2), (0, 0))

    def targets(clean):
        heard.append(clean)
        return tf.cast(answers[len(heard) - 1], tf.float16)

    lesson = SimpleNamespace(config=config, target_shape=(6, 2), targets=targets)
    batch = Windows(np.array([2, 0]), np.zeros((2, 8), np.float32), np.zeros((2, 8), np.float32))

    stored = TeacherFrames(lesson, 3, tmp_path)
    first, second = (stored.of(batch, epoch).numpy() for epoch in range(2))
    left = TeacherFrames(lesson, 3, tmp_path)  # of a run that was stopped
    backwards = batch._replace(rows=batch.rows[::-1])
    for again in (stored, left):
        np.testing.assert_array_equal(again.of(batch, 2), first)
        np.testing.assert_array_equal(again.of(backwards, 3), second[::-1])
    assert len(heard) == 2
    other = batch._replace(rows=np.array([0, 1]))  # of which one filled no batch of epoch 0
    third = stored.of(other, 2).numpy()
    np.testing.assert_array_equal(third, answers[2].numpy().astype("float16"))
    np.testing.assert_array_equal(left.of(other, 4), third)
    assert len(heard) == 3

    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2 * 144 - 1))
    (tmp_path / "teacher_frames.npy").unlink()
    TeacherFrames(lesson, 3, tmp_path).of(batch, 2)
    assert len(heard) == 4
    assert not list(tmp_path.iterdir())


def test_frames_whose_centres_are_nearest_belong_together():
    """The student's first frame is centred at sample 440, the teacher's second one at 320."""
    teacher = load_upstream(WHISPER).encoder
    lesson = Lesson(new_student(STUDENT, 0), teacher, CONFIG, steps=1)
    clips = np.random.default_rng(0).normal(0, 0.1, (2, 8_000)).astype(np.float32)
    frames = lesson.targets(tf.constant(clips))
    lesson.fit_scale(frames)
    wanted = np.concatenate(teacher.frames(clips, (1, 2)), axis=-1)
    mean, deviation = (lesson.constants[i].numpy() for i in (0, 1))
    # Linear layers that always give zero: the loss is that of the standardised frames themselves.
    for variable in lesson.variables[-4:]:
        variable.assign(tf.zeros_like(variable))

    losses = lesson.losses(frames, tf.constant(clips)).numpy()

    # The student has 23 frames, (8,000 - 880) // 320 + 1.
    standardised = (wanted[:, 1:24] - mean) / deviation
    expected = np.abs(standardised).mean() + np.log(2)  # a cosine of zero
    assert losses[0] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(mean, wanted.mean(axis=(0, 1)), atol=1e-4)


def test_what_does_not_fit_is_refused(tone_corpus, small_upstream, tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = {"speech": (tone_corpus,), "teacher": WHISPER, "out": tmp_path / "out"}
    slower = replace(STUDENT, strides=(80, 2, 4))
    for change, message in (
        (
            {"config": replace(CONFIG, student=slower)},
            "teacher: has 50 frames/s, and the student 25; .*--config.student.strides",
        ),
        ({"config": replace(CONFIG, layers=(1, 3))}, r"layers: .* 0 to 2,.* received \(1, 3\)"),
        ({"config": replace(CONFIG, window_seconds=0.6)}, "must be at most 0.5 s"),
        ({"config": replace(CONFIG, batch_size=19)}, "speech: .* at least 38 clips.*received 36"),
        ({"student": WHISPER}, "student: must be a wav2vec 2.0; .*whisper' is a whisper"),
        ({"teacher": "./nowhere"}, "upstream: ./nowhere is not a folder"),
        ({"speech": ()}, "speech: give one folder"),
        ({"speech": (tmp_path / "empty",)}, "speech: .*empty holds no clip"),
        ({"speech": (tmp_path / "absent",)}, "absent"),
    ):
        with pytest.raises(InputError, match=message):
            distill_upstream(**{"config": CONFIG} | arguments | change)
    assert not (tmp_path / "out").exists()


def test_all_clips_of_a_folder_and_training_clips_of_a_manifest(tone_corpus, tone_manifest):
    rows = read_manifest(tone_manifest)

    assert find_speech((tone_corpus,)) == sorted(tone_corpus.rglob("*.wav"))
    found = find_speech((tone_manifest,))
    assert found == [tone_corpus / path for path in rows["path"][rows["split"] == "train"]]


@pytest.mark.slow
def test_a_rate_that_is_too_high_is_refused(tone_corpus, tmp_path):
    with pytest.raises(InputError, match=r"learning_rate"):
        distill_upstream(
            speech=(tone_corpus,),
            teacher=WHISPER,
            out=tmp_path / "out",
            config=replace(CONFIG, epochs=1, learning_rate=1e30),
        )
