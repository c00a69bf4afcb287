import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file
from transformers import (
    TFHubertModel,
    TFWav2Vec2ForSequenceClassification,
    TFWav2Vec2Model,
    TFWhisperModel,
)
from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model
from transformers.utils import logging

from ser_nsl.errors import InputError
from ser_nsl.upstream import checkpoint as module
from ser_nsl.upstream.checkpoint import (
    load_for_finetuning,
    load_upstream,
    quiet_transformers,
    save_encoder,
)

FIXTURES = Path(__file__).parent / "fixtures"
OWN_CLASSES = ("anger", "joy", "sadness")
HEAD = ("projector", "classifier")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A checkpoint of PyTorch with a head for `OWN_CLASSES`."""
    return shutil.copytree(FIXTURES / "group", tmp_path / "checkpoint")


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(checkpoint: Path, change) -> None:
    """Applies `change`, from one dict of arrays to another, to the saved weights."""
    path = checkpoint / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def without(*starts: str):
    return lambda weights: {k: v for k, v in weights.items() if not k.startswith(starts)}


def assert_equal(layer: tf.keras.layers.Layer, other: tf.keras.layers.Layer) -> None:
    for variable, value in zip(layer.weights, other.weights, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.name)


def test_projector_and_classifier_are_the_head(checkpoint):
    head = load_upstream(str(checkpoint)).require_head()

    weights = load_file(checkpoint / "model.safetensors")
    for ours, theirs in (("fc1", "projector"), ("classifier", "classifier")):
        np.testing.assert_array_equal(head.arrays[f"{ours}.kernel"], weights[f"{theirs}.weight"].T)
        np.testing.assert_array_equal(head.arrays[f"{ours}.bias"], weights[f"{theirs}.bias"])
    assert (head.classes, head.layers) == (OWN_CLASSES, (2,))
    assert (head.pooling, head.activation, head.width) == ("mean", "linear", 256)


def test_own_head_is_trained_on_for_its_very_classes(checkpoint):
    model, _ = load_for_finetuning(str(checkpoint), OWN_CLASSES)

    weights = load_file(checkpoint / "model.safetensors")
    for name in HEAD:
        layer = getattr(model, name)
        np.testing.assert_array_equal(layer.kernel, weights[f"{name}.weight"].T)
        np.testing.assert_array_equal(layer.bias, weights[f"{name}.bias"])
    assert tuple(model.config.id2label.values()) == OWN_CLASSES


@pytest.mark.parametrize("classes", [("joy", "anger", "sadness"), ("anger", "joy")])
def test_other_classes_get_a_new_classifier_only(classes, checkpoint):
    own, _ = load_for_finetuning(str(checkpoint), OWN_CLASSES)
    model, _ = load_for_finetuning(str(checkpoint), classes)

    assert model.config.id2label == dict(enumerate(classes))
    assert model.config.label2id == {name: i for i, name in enumerate(classes)}
    assert_equal(model.wav2vec2, own.wav2vec2)
    assert_equal(model.projector, own.projector)
    assert model.classifier.kernel.shape == (256, len(classes))
    fresh = tf.initializers.GlorotUniform(seed=0)((256, len(classes)))
    assert np.std(model.classifier.kernel) == pytest.approx(np.std(fresh), rel=0.2)


def test_encoder_and_model_in_training_have_the_same_weights(checkpoint):
    model, _ = load_for_finetuning(str(checkpoint), OWN_CLASSES)

    assert_equal(load_upstream(str(checkpoint)).encoder.body, model.wav2vec2)


@pytest.mark.parametrize("form", ["hubert", "whisper"])
def test_only_wav2vec2_is_trained_as_a_whole(form):
    with pytest.raises(InputError, match=f"is a {form}, .*only a wav2vec 2.0 .*train-head"):
        load_for_finetuning(str(FIXTURES / form), OWN_CLASSES)


def test_projector_of_another_width_is_replaced_for_classes_and_kept_without(checkpoint):
    change_json(checkpoint / "config.json", classifier_proj_size=32)
    change_weights(
        checkpoint,
        lambda weights: (
            weights
            | {
                "projector.weight": weights["projector.weight"][:32],
                "projector.bias": weights["projector.bias"][:32],
                "classifier.weight": np.ascontiguousarray(weights["classifier.weight"][:, :32]),
            }
        ),
    )

    model, _ = load_for_finetuning(str(checkpoint), OWN_CLASSES)
    assert model.projector.kernel.shape == (16, 256)
    assert model(np.zeros((1, 800), np.float32)).logits.shape == (1, 3)
    assert load_upstream(str(checkpoint)).require_head().width == 32


def test_head_of_another_width_than_in_config_is_refused(checkpoint):
    change_json(checkpoint / "config.json", classifier_proj_size=32)

    with pytest.raises(InputError, match=r"3 weights .*projector.bias, projector"):
        load_upstream(str(checkpoint))


def test_missing_head_is_refused_where_it_is_needed(checkpoint):
    change_weights(checkpoint, without(*HEAD))
    upstream = load_upstream(str(checkpoint))

    assert upstream.head is None
    for use in (upstream.require_head, lambda: upstream.fingerprint(with_head=True)):
        with pytest.raises(InputError, match=r"upstream: .*checkpoint.*no emotion head"):
            use()


def of_base(weights):
    """As Wav2Vec2Model saves them."""
    body = without(*HEAD)(weights)
    return {name.removeprefix("wav2vec2."): value for name, value in body.items()}


def of_pretraining(weights):
    """As Wav2Vec2ForPreTraining saves them."""
    extra = ("quantizer.codevectors", "project_hid.weight", "project_q.bias")
    return without(*HEAD)(weights) | {name: np.ones((1, 2), np.float32) for name in extra}


def of_ctc(weights):
    """As Wav2Vec2ForCTC saves them."""
    return without(*HEAD)(weights) | {"lm_head.weight": np.ones((32, 16), np.float32)}


@pytest.mark.parametrize("save", [of_base, of_pretraining, of_ctc])
def test_body_of_models_for_other_tasks_is_used(save, checkpoint):
    own = load_upstream(str(checkpoint))
    change_weights(checkpoint, save)
    found = load_upstream(str(checkpoint))

    assert_equal(found.encoder.body, own.encoder.body)
    assert found.head is None


@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder."])
def test_encoder_of_a_whisper_without_decoder_is_used(prefix, tmp_path):
    """As WhisperForConditionalGeneration, and WhisperModel, name it."""
    own = load_upstream(str(FIXTURES / "whisper"))
    folder = shutil.copytree(FIXTURES / "whisper", tmp_path / "whisper")
    change_weights(
        folder,
        lambda weights: {
            name.replace("encoder.", prefix, 1): value
            for name, value in weights.items()
            if name.startswith("encoder.")
        },
    )

    assert_equal(load_upstream(str(folder)).encoder.body, own.encoder.body)


def test_weights_that_are_lacking_are_named(checkpoint):
    change_weights(checkpoint, without("wav2vec2.masked_spec_embed", "projector"))
    with pytest.raises(InputError, match=r"2 weights .*\(first: projector.bias, projector"):
        load_upstream(str(checkpoint))
    load_for_finetuning(str(checkpoint), OWN_CLASSES)

    change_weights(checkpoint, without("wav2vec2.encoder.layer_norm.bias"))
    with pytest.raises(InputError, match=r"1 weights .*\(first: encoder.layer_norm.bias\)"):
        load_upstream(str(checkpoint))


def test_weights_of_another_size_are_named(checkpoint):
    change_json(checkpoint / "config.json", intermediate_size=12)

    with pytest.raises(InputError, match=r"6 weights .*first: .*\.feed_forward\."):
        load_for_finetuning(str(checkpoint), OWN_CLASSES)


def test_as_many_numbers_in_another_shape_are_not_taken(checkpoint):
    name = "encoder.layers.0.feed_forward.intermediate_dense.weight"

    def turn(weights):
        full = f"wav2vec2.{name}"
        return weights | {full: np.ascontiguousarray(weights[full].T)}

    change_weights(checkpoint, turn)

    with pytest.raises(InputError, match=rf"1 weights .*first: {name}"):
        load_upstream(str(checkpoint))


def test_weights_that_are_not_in_config_are_named(checkpoint):
    change_json(checkpoint / "config.json", num_hidden_layers=1)

    with pytest.raises(InputError, match=r"16 weights .*first: encoder\.layers\.1\."):
        load_upstream(str(checkpoint))


def test_weights_of_another_architecture_are_refused(checkpoint):
    change_weights(
        checkpoint,
        lambda weights: {k.replace("wav2vec2.", "hubert."): v for k, v in weights.items()},
    )

    with pytest.raises(InputError, match=r"lacks \d\d weights"):
        load_upstream(str(checkpoint))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("conv_dim", [8, 8, 8, 8, 8, 8, 4]),
        ("layer_norm_eps", 1e-6),
        ("add_adapter", True),
        ("adapter_attn_dim", 16),
        ("use_weighted_layer_sum", True),
    ],
)
def test_what_tensorflow_computes_differently_is_refused(setting, value, checkpoint):
    change_json(checkpoint / "config.json", **{setting: value})

    with pytest.raises(InputError, match=rf"upstream: {setting} of .*/checkpoint'"):
        load_upstream(str(checkpoint))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("hidden_act", "relu2"),
        ("feat_extract_activation", "nothing"),
        ("feat_extract_norm", "batch"),
        ("num_attention_heads", 3),
        ("num_conv_pos_embedding_groups", 5),
    ],
)
def test_what_tensorflow_cannot_make_is_refused(setting, value, checkpoint):
    change_json(checkpoint / "config.json", **{setting: value})

    with pytest.raises(InputError, match="upstream: config.json .*/checkpoint'"):
        load_upstream(str(checkpoint))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_attention_heads", 0),
        ("num_attention_heads", True),
        ("hidden_size", 65_536),
        ("hidden_size", "16"),
        ("hidden_size", 16.0),
        ("intermediate_size", -1),
        ("num_hidden_layers", 2_000),
        ("conv_kernel", [10, 3, 3, 3, 3, 2, 0]),
        ("conv_stride", "5222222"),
        ("hidden_dropout", 2),
        ("layerdrop", float("nan")),
        ("do_stable_layer_norm", "false"),
        ("id2label", {"0": 1}),
    ],
)
def test_setting_out_of_its_range_is_refused_before_anything_is_built(
    setting, value, checkpoint, monkeypatch
):
    monkeypatch.setattr(module, "new_encoder", None)
    change_json(checkpoint / "config.json", **{setting: value})

    with pytest.raises(InputError, match=rf"upstream: config.json of .*/checkpoint'.*{setting}"):
        load_upstream(str(checkpoint))


def test_settings_of_a_much_larger_model_than_the_weights_are_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(module, "new_encoder", None)
    change_json(checkpoint / "config.json", hidden_size=8_192, num_hidden_layers=500)

    with pytest.raises(
        InputError, match=r"lacks weights .* more than [\d,]+ numbers, but there are"
    ):
        load_upstream(str(checkpoint))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value, checkpoint):
    name = "wav2vec2.encoder.layer_norm.bias"
    change_weights(checkpoint, lambda weights: weights | {name: np.full_like(weights[name], value)})

    with pytest.raises(InputError, match=rf"NaN or infinite \(1; first: {name}\)"):
        load_upstream(str(checkpoint))


def test_another_kind_of_model_is_refused(checkpoint):
    change_json(checkpoint / "config.json", model_type="wavlm")

    with pytest.raises(InputError, match=r"/checkpoint' is a wavlm.*wav2vec2.*hubert.*whisper"):
        load_upstream(str(checkpoint))


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_unreadable_config_is_refused(text, checkpoint):
    (checkpoint / "config.json").write_text(text)

    with pytest.raises(InputError, match=r"config.json of .*/checkpoint'"):
        load_upstream(str(checkpoint))


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        load_upstream(str(tmp_path))


def test_code_of_a_checkpoint_is_not_run(checkpoint):
    (checkpoint / "own.py").write_text("raise SystemExit('ran')")
    change_json(checkpoint / "config.json", auto_map={"AutoConfig": "own.Config"})
    load_upstream(str(checkpoint))


def test_input_settings_are_the_checkpoints(checkpoint):
    change_json(checkpoint / "preprocessor_config.json", do_normalize=False)
    assert not load_upstream(str(checkpoint)).encoder.extractor.do_normalize
    (checkpoint / "preprocessor_config.json").unlink()
    assert load_upstream(str(checkpoint)).encoder.extractor.do_normalize  # as published


def test_input_settings_of_transformers_5_are_read(checkpoint):
    old = checkpoint / "preprocessor_config.json"
    settings = json.loads(old.read_text()) | {"do_normalize": False}
    new = {"feature_extractor": settings, "processor_class": "Wav2Vec2Processor"}
    (checkpoint / "processor_config.json").write_text(json.dumps(new))
    assert load_upstream(str(checkpoint)).encoder.extractor.do_normalize  # of the old file
    old.unlink()
    assert not load_upstream(str(checkpoint)).encoder.extractor.do_normalize
    # transformers 4 writes the file too, with other things.
    (checkpoint / "processor_config.json").write_text('{"processor_class": "Wav2Vec2Processor"}')
    assert load_upstream(str(checkpoint)).encoder.extractor.do_normalize


@pytest.mark.parametrize("standardises", [False, True])
def test_input_settings_may_be_in_the_form_of_transformers_5(standardises, checkpoint):
    (checkpoint / "preprocessor_config.json").unlink()
    extractor = {"do_normalize": standardises, "sampling_rate": 16_000}
    path = checkpoint / "processor_config.json"
    path.write_text(json.dumps({"feature_extractor": extractor, "processor_class": "any"}))
    assert load_upstream(str(checkpoint)).encoder.extractor.do_normalize == standardises

    path.write_text(json.dumps({"feature_extractor": extractor | {"sampling_rate": 8_000}}))
    with pytest.raises(InputError, match="/checkpoint' .*16000 Hz.*8000 Hz"):
        load_upstream(str(checkpoint))


def test_input_settings_that_cannot_be_met_are_refused(checkpoint):
    change_json(checkpoint / "preprocessor_config.json", sampling_rate=8_000)
    with pytest.raises(InputError, match="/checkpoint' .*16000 Hz.*8000 Hz"):
        load_upstream(str(checkpoint))

    for text in ("{", "[]", "3"):
        (checkpoint / "preprocessor_config.json").write_text(text)
        with pytest.raises(InputError, match="preprocessor_config.json of .*/checkpoint'"):
            load_upstream(str(checkpoint))


def test_whisper_needs_its_input_settings(tmp_path):
    folder = shutil.copytree(FIXTURES / "whisper", tmp_path / "whisper")
    change_json(folder / "preprocessor_config.json", feature_size=128)
    with pytest.raises(InputError, match="/whisper' asks for 80 mels .*makes 128"):
        load_upstream(str(folder))

    change_json(folder / "preprocessor_config.json", feature_size=80, chunk_length=None)
    with pytest.raises(InputError, match="preprocessor_config.json of .*chunk_length"):
        load_upstream(str(folder))

    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text('{"processor_class": "WhisperProcessor"}')
    with pytest.raises(InputError, match=r"/whisper' lacks preprocessor_config\.json"):
        load_upstream(str(folder))


def test_fingerprint_is_that_of_the_numbers(checkpoint):
    upstream = load_upstream(str(checkpoint))
    encoder, head = upstream.encoder, upstream.require_head()
    whole, body = (upstream.fingerprint(with_head=each) for each in (True, False))
    assert len(whole) == len(body) == 16
    assert whole != body

    # From another file, without a mask.
    change_weights(checkpoint, without("wav2vec2.masked_spec_embed"))
    assert load_upstream(str(checkpoint)).fingerprint(with_head=True) == whole
    for name, array in head.arrays.items():
        other = replace(upstream, head=replace(head, arrays=head.arrays | {name: array + 1e-3}))
        # An embedding does not depend on the classifier.
        assert (other.fingerprint(with_head=True) == whole) == name.startswith("classifier")
        assert other.fingerprint(with_head=False) == body
    for change in ({"layers": (1,)}, {"activation": "relu"}):
        other = replace(upstream, head=replace(head, **change))
        assert other.fingerprint(with_head=True) != whole
    for name, variable in encoder.weights.items():
        value = variable.numpy()
        other = value.copy()
        other.flat[-1] += 1e-3
        variable.assign(other)
        assert upstream.fingerprint(with_head=False) != body, name
        variable.assign(value)
    encoder.settings = {**encoder.settings, "num_attention_heads": 2}
    assert upstream.fingerprint(with_head=False) != body


@pytest.mark.parametrize(
    ("form", "fingerprint"),
    [
        ("group", "53e5423001be6e48"),
        ("hubert", "8d4d4ae4fedaa8dd"),
        ("whisper", "4334dac9c26e8dd4"),
    ],
)
def test_fingerprint_is_the_same_in_every_process_and_on_every_machine(form, fingerprint):
    assert load_upstream(str(FIXTURES / form)).fingerprint(with_head=False) == fingerprint


@pytest.mark.parametrize("safe", [True, False])
def test_tensorflow_reads_back_what_it_saves(safe, checkpoint, tmp_path):
    model, _ = load_for_finetuning(str(checkpoint), OWN_CLASSES)
    model.save_pretrained(tmp_path / "saved", safe_serialization=safe)

    saved = {path.name for path in (tmp_path / "saved").iterdir()}
    assert saved == {"config.json", "model.safetensors" if safe else "tf_model.h5"}
    again, _ = load_for_finetuning(str(tmp_path / "saved"), OWN_CLASSES)
    assert_equal(again, model)
    official = TFWav2Vec2ForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert_equal(again, official)
    found, expected = (load_upstream(str(each)) for each in (tmp_path / "saved", checkpoint))
    assert found.fingerprint(with_head=True) == expected.fingerprint(with_head=True)


@pytest.mark.parametrize(
    ("form", "official"),
    [("group", TFWav2Vec2Model), ("hubert", TFHubertModel), ("whisper", TFWhisperModel)],
)
def test_encoder_is_written_in_halves_and_read_back(form, official, tmp_path):
    encoder = load_upstream(str(FIXTURES / form)).encoder

    save_encoder(encoder, tmp_path, half=True)

    whole = (FIXTURES / form / "model.safetensors").stat().st_size
    made = (tmp_path / "model.safetensors").stat()
    assert made.st_size < 0.7 * whole
    assert made.st_mode == (tmp_path / "config.json").stat().st_mode  # others may read both
    again = load_upstream(str(tmp_path))
    assert again.head is None
    for name, variable in encoder.weights.items():
        half = variable.numpy().astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(again.encoder.weights[name], half, err_msg=name)
    assert again.encoder.settings == encoder.settings
    # transformers' own loader cannot iterate the archive of the present safetensors.
    with quiet_transformers():
        model = official(official.config_class.from_pretrained(tmp_path))
        model.build_in_name_scope()
        load_pytorch_state_dict_in_tf2_model(
            model, load_file(tmp_path / "model.safetensors"), allow_missing_keys=form == "whisper"
        )
    inner = model.model.encoder if form == "whisper" else getattr(model, encoder.architecture)
    assert_equal(inner, again.encoder.body)


def test_transformers_speaks_again_afterwards():
    level = logging.get_verbosity()
    with pytest.raises(ZeroDivisionError), quiet_transformers():
        assert logging.get_verbosity() == logging.ERROR
        1 / 0  # noqa: B018
    assert logging.get_verbosity() == level != logging.ERROR
