import numpy as np
import tensorflow as tf
from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2Config

from ser_nsl.upstream.checkpoint import quiet_transformers
from ser_nsl.upstream.position import fix_position_convolution


def test_groups_one_by_one_give_the_same_as_together():
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=6,
        num_conv_pos_embedding_groups=4,
    )
    with quiet_transformers():
        model = TFWav2Vec2ForSequenceClassification(config)
    model.build_in_name_scope()
    layer = model.wav2vec2.encoder.pos_conv_embed
    inputs = tf.random.stateless_normal([2, 20, 16], [1, 2])
    weights = tf.random.stateless_normal([2, 20, 16], [3, 4])

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
            loss = tf.reduce_sum(weights * outputs)
        return outputs, *tape.gradient(loss, layer.trainable_variables)

    together = gradients.get_concrete_function()()
    fix_position_convolution(model.wav2vec2)
    apart = tf.function(gradients.python_function, autograph=False)()

    assert len(together) == 4
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
