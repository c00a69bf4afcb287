"""The official graph regularisation, on a layer of choice."""

import neural_structured_learning as nsl
import tensorflow as tf

from ser_nsl.errors import InputError


class GraphRegularization(nsl.keras.GraphRegularization):
    """`nsl.keras.GraphRegularization` that makes neighbours alike at a named layer.

    The official class takes the output of the base model for the embedding of a clip; this one
    takes the output of any layer of a functional or Sequential model. For the last layer both
    are the same. As in the official class, neighbours pass through the network in training
    mode, so that they too update the statistics of batch normalisation.

    The loss of arXiv 2210.14977: cross entropy plus `multiplier` times the mean over clips and
    neighbours of weight x (1 - cosine similarity).
    """

    def __init__(
        self,
        base_model: tf.keras.Model,
        graph_reg_config: nsl.configs.GraphRegConfig,
        *,
        layer: str,
    ) -> None:
        """Wraps a model.

        Args:
            base_model: Model whose layers have outputs (functional or Sequential).
            graph_reg_config: Number of neighbours, multiplier, distance.
            layer: Name of the layer.

        Raises:
            InputError: If the model has no such layer.
        """
        super().__init__(base_model, graph_reg_config)
        check_layer(base_model, layer)
        outputs = (base_model.get_layer(layer).output, base_model.output)
        self._tapped = tf.keras.Model(base_model.inputs, outputs)

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Computes logits and adds the graph's part to the loss.

        Args:
            inputs: The model's features, and for each neighbour `NL_nbr_<i>_<feature>` and
                `NL_nbr_<i>_weight`.
            training: Whether the network is in training mode.

        Returns:
            Logits of the clips, shape `(batch, classes)`.
        """
        clips, neighbors, weights = self.nbr_features_layer.call(inputs)
        embeddings, logits = self._tapped(clips, training=training)
        loss = tf.constant(0.0)
        if neighbors and self.graph_reg_config.multiplier > 0:
            neighbor_embeddings, _ = self._tapped(neighbors, training=training)
            loss = self.graph_reg_config.multiplier * self.regularizer(
                sources=embeddings, targets=neighbor_embeddings, weights=weights
            )
        self.add_metric(loss, name="graph_loss", aggregation="mean")
        self.add_loss(loss)
        return logits


def check_layer(model: tf.keras.Model, layer: str) -> None:
    """Checks that a model has a layer.

    Args:
        model: The model.
        layer: Name of the layer.

    Raises:
        InputError: If it has not; the message lists those that it has.
    """
    names = [each.name for each in model.layers]
    if layer not in names:
        raise InputError(f"layer: {model.name} has no layer {layer!r}; it has {', '.join(names)}.")


def graph_config(*, neighbors: int, alpha: float) -> nsl.configs.GraphRegConfig:
    """Settings of the paper's loss.

    Args:
        neighbors: Most neighbours of a clip.
        alpha: Weight of the graph's part.

    Returns:
        Cosine distance over the last axis, averaged over pairs of positive weight.
    """
    return nsl.configs.make_graph_reg_config(
        max_neighbors=neighbors,
        multiplier=alpha,
        distance_type=nsl.configs.DistanceType.COSINE,
        sum_over_axis=-1,
    )
