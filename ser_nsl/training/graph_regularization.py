"""Graph regularisation on any layer, with three sources of neighbours.

| Source | A clip is compared with | Clips encoded in a step |
|---|---|---|
| `packed` | its neighbours, encoded with it, gradients through both | the batch, its neighbours |
| `batch` | those of its neighbours that are in the batch | the batch, with unlabelled clips |
| `bank` | the outputs that its neighbours had when they were last encoded | the batch |

`packed` is the way of `nsl.keras.GraphRegularization`; `batch` needs batches drawn from
neighbourhoods (arXiv 1905.07953, `neighborhood_order`); `bank` follows CARLS (research-carls).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import neural_structured_learning as nsl
import numpy as np
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.training.data import TrainingClips
from ser_nsl.training.settings import Distance, NeighborSource, TrainingConfig
from ser_nsl.training.tap import Tap, check_layer

_ROW, _NEIGHBOR_ROWS, _NEIGHBOR_WEIGHTS = "NL_row", "NL_nbr_rows", "NL_nbr_weights"
_LINKS = {_ROW: tf.int64, _NEIGHBOR_ROWS: tf.int64, _NEIGHBOR_WEIGHTS: tf.float32}
"""Inputs for `batch` and `bank`: the row of a clip, and the rows and weights of its neighbours."""


class GraphRegularization(nsl.keras.GraphRegularization):
    """`nsl.keras.GraphRegularization` on any layer, with a choice of where neighbours come from.

    The loss is that of arXiv 2210.14977: the loss of the labels plus `multiplier` times the mean
    over edges of weight x distance. As in NSL's class, evaluation, prediction and saving are those
    of the base model. Unlike there, neighbours do not update the moving statistics of batch
    normalisation; they are normalised with the statistics of their own batch.

    Inputs of training are a dictionary of the model's features, and

    - for `packed`, `NL_nbr_<i>_<feature>` and `NL_nbr_<i>_weight` of each neighbour;
    - for `batch` and `bank`, `NL_row` (int, shape `(batch,)`, a unique number of the clip),
      `NL_nbr_rows` (int, `(batch, neighbours)`) and `NL_nbr_weights` (float32, the same shape, 0
      where there is no neighbour).

    With several replicas the graph's part is that of the whole batch, not of each replica's share.

    Example:
        >>> from ser_nsl.audio import Description
        >>> from ser_nsl.training import training_clips
        >>> network = tf.keras.Sequential([
        ...     tf.keras.Input((36, 64), name="logmel"),  # frames x Mel bands
        ...     tf.keras.layers.GlobalAveragePooling1D(),
        ...     tf.keras.layers.Dense(3, name="logits"),
        ... ])
        >>> config = graph_config(neighbors=2, alpha=0.5)
        >>> model = GraphRegularization(network, config, layer="logits")
        >>> loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("adam", loss, run_eagerly=True)
        >>> description = Description.load("features")
        >>> clips = training_clips("training", ["train"], description, neighbors=2)
        >>> history = model.fit(clips.batches(), epochs=1, verbose=0).history
        >>> sorted(history)
        ['loss', 'scaled_graph_loss']
    """

    def __init__(
        self,
        base_model: tf.keras.Model,
        graph_reg_config: nsl.configs.GraphRegConfig | None = None,
        *,
        layer: str | None = None,
        neighbors: NeighborSource = "packed",
        clips: int | None = None,
    ) -> None:
        """Wraps a model.

        Args:
            base_model: Any Keras model: functional, Sequential or subclassed.
            graph_reg_config: Number of neighbours, multiplier, distance.
            layer: Name of the layer whose outputs shall be similar, flattened to one vector per
                clip (of its last call, if there are several); None for the model's output.
            neighbors: Source of neighbours.
            clips: Number of clips in a `bank`; rows are below it.

        Raises:
            InputError: If the model has no such layer, or the size of a bank is missing.
        """
        super().__init__(base_model, graph_reg_config)
        for layer_in_float32 in (self, self.regularizer):
            layer_in_float32._autocast = False  # in mixed precision only the base model rounds
        if neighbors not in ("packed", "batch", "bank"):
            raise InputError(f"neighbors: must be packed, batch or bank; received {neighbors!r}.")
        if (neighbors == "bank") != (clips is not None):
            raise InputError(
                "clips: the source bank, and no other, needs the number of clips; received "
                f"{clips!r} with {neighbors!r}."
            )
        self._neighbors, self._clips = neighbors, clips
        self._tap = None if layer is None else Tap(check_layer(base_model, layer))
        self._bank: tf.Variable | None = None

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False, **kwargs: Any
    ) -> tf.Tensor:
        """Computes the model's output and adds the graph's part to the loss.

        Args:
            inputs: Inputs as described for the class.
            training: Whether the network is in training mode.
            **kwargs: Arguments of the base model.

        Returns:
            The output of the base model for the clips.

        Raises:
            InputError: If inputs that `batch` and `bank` need are missing, or the layer is not
                called, or its outputs are not of one size.
        """
        if self._neighbors == "packed":
            features, neighbors, weights = self.nbr_features_layer.call(inputs)
        else:
            features, neighbors = _features(inputs), _links(inputs)
        output, embeddings = self._embed(features, training, **kwargs)
        loss = tf.constant(0.0)
        if self.graph_reg_config.multiplier > 0 and neighbors:
            embeddings = _of_all_replicas(embeddings)
            if self._neighbors == "packed":
                with self._kept_statistics():
                    _, others = self._embed(neighbors, training, **kwargs)
                others, weights = _of_all_replicas(others), _of_all_replicas(weights)
            elif self._neighbors == "batch":
                others, weights = _within_batch(neighbors, embeddings)
            else:
                others, weights = self._recall(neighbors, embeddings)
            if 0 not in others.shape:
                loss = self._distance(embeddings, others, weights)
        loss = self.graph_reg_config.multiplier * loss
        self.add_metric(loss, name="scaled_graph_loss", aggregation="mean")
        self.add_loss(loss)
        return output

    def _distance(self, embeddings: tf.Tensor, others: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns NSL's loss, from one row per pair of neighbours, as `sum_over_axis` expects.

        Clips are repeated here, since the sparse gradient of NSL's own repetition does not come
        back from other replicas.
        """
        targets = tf.reshape(others, (-1, embeddings.shape[1]))
        count = tf.shape(targets)[0] // tf.shape(embeddings)[0]
        sources = tf.repeat(embeddings, count, axis=0)
        return self.regularizer(sources, targets, weights=tf.reshape(weights, (-1, 1)))

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the base model, after a reset of the metrics.

        The base model shares them, but before its first step does not know which to reset, so that
        the first validation would count the clips of training too.

        Args:
            *args: Arguments of `tf.keras.Model.evaluate`.
            **kwargs: Its keyword arguments.

        Returns:
            The result of the base model.
        """
        self.reset_metrics()
        return super().evaluate(*args, **kwargs)

    def remember(self, clips: tf.data.Dataset) -> None:
        """Encodes clips that are not trained on, such as unlabelled ones, for the bank.

        Args:
            clips: Batches of inputs as in training, without neighbours if need be.
        """
        with self.distribute_strategy.scope():
            for inputs in clips:
                rows = tf.cast(tf.reshape(inputs[_ROW], [-1]), tf.int64)
                self._remember(rows, self._encode(_features(inputs)))

    @tf.function(reduce_retracing=True)
    def _encode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self._embed(features, training=False)[1]

    def _embed(
        self, features: Mapping[str, tf.Tensor], training: bool, **kwargs: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the model's output, and that of the layer as float32 vectors."""
        output = embeddings = self.base_model(features, training=training, **kwargs)
        if self._tap is not None:
            embeddings = self._tap.take()
        width = tf.TensorShape(embeddings.shape[1:]).num_elements()
        if width is None:
            raise InputError(
                f"layer: outputs must be of one size; received {embeddings.shape[1:]}. Choose a "
                "layer after pooling, or clips of one length."
            )
        vectors = tf.reshape(embeddings, (tf.shape(embeddings)[0], width))
        return output, tf.cast(vectors, tf.float32)

    def _recall(
        self, links: Mapping[str, tf.Tensor], embeddings: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns neighbours from the bank, and weights, 0 for those not encoded so far.

        Their shapes are `(batch, neighbours, width)` and `(batch, neighbours, 1)`.
        """
        others = tf.gather(self._bank_of(embeddings.shape[1]), links[_NEIGHBOR_ROWS])
        known = tf.reduce_all(tf.math.is_finite(others), axis=-1, keepdims=True)
        self._remember(links[_ROW], embeddings)
        weights = links[_NEIGHBOR_WEIGHTS][..., tf.newaxis]
        return tf.where(known, others, 0.0), tf.where(known, weights, 0.0)

    def _remember(self, rows: tf.Tensor, embeddings: tf.Tensor) -> None:
        self._bank_of(embeddings.shape[1]).scatter_update(tf.IndexedSlices(embeddings, rows))

    def _bank_of(self, width: int) -> tf.Variable:
        """Returns the bank, float32, shape `(clips, width)`: NaN for clips not encoded so far."""
        if self._bank is None:
            with tf.init_scope():
                self._bank = self.add_weight(
                    "bank",
                    (self._clips, width),
                    tf.float32,
                    tf.keras.initializers.Constant(np.nan),
                    trainable=False,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                    experimental_autocast=False,
                )
        return self._bank

    @contextmanager
    def _kept_statistics(self) -> Iterator[None]:
        """Undoes the changes of the moving statistics of batch normalisation within a block."""
        statistics = [
            getattr(layer, name)
            for layer in self.base_model.submodules
            for name in ("moving_mean", "moving_variance")
            if hasattr(layer, name)
        ]
        values = [tf.identity(statistic) for statistic in statistics]
        yield
        for statistic, value in zip(statistics, values, strict=True):
            statistic.assign(value)


def _features(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: value for name, value in inputs.items() if name not in _LINKS}


def _links(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the rows of the clips of the batch, and those of their neighbours with weights."""
    missing = _LINKS.keys() - inputs.keys()
    if missing:
        raise InputError(
            f"inputs: the sources batch and bank need {', '.join(sorted(missing))}; received "
            f"only {', '.join(inputs)}."
        )
    links = {name: tf.cast(inputs[name], dtype) for name, dtype in _LINKS.items()}
    links[_ROW] = tf.reshape(links[_ROW], [-1])
    return {name: _of_all_replicas(values) for name, values in links.items()}


def _within_batch(
    links: Mapping[str, tf.Tensor], embeddings: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the neighbours that are in the batch, and weights, 0 for those that are not.

    Their shapes are `(batch, neighbours, width)` and `(batch, neighbours, 1)`. If a clip is in the
    batch twice, where one pass over the clips ends and the next begins, the first one counts.
    """
    found = links[_NEIGHBOR_ROWS][..., tf.newaxis] == links[_ROW]  # batch x neighbours x batch
    # Not `tf.gather`, whose sparse gradient does not come back from other replicas.
    others = tf.gather_nd(embeddings, tf.argmax(found, axis=-1)[..., tf.newaxis])
    weights = tf.where(tf.reduce_any(found, axis=-1), links[_NEIGHBOR_WEIGHTS], 0.0)
    return others, weights[..., tf.newaxis]


def _of_all_replicas(values: tf.Tensor) -> tf.Tensor:
    """Returns the values of the whole batch; gradients go back to the replica of each value."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    values = tf.identity(values)  # several workers cannot gather inputs directly
    return tf.ensure_shape(replica.all_gather(values, axis=0), (None, *values.shape[1:]))


def graph_config(
    *, neighbors: int, alpha: float, distance: Distance = "cosine"
) -> nsl.configs.GraphRegConfig:
    """Returns the settings of the graph's part of the loss, for `GraphRegularization`.

    Args:
        neighbors: Largest number of neighbours per clip.
        alpha: Weight of the graph's part, 0 or more.
        distance: `cosine` as in the paper; or `jensen_shannon`, the divergence between softmaxes
            of the layer's outputs, in nats.

    Returns:
        Settings with this distance over the last axis, averaged over pairs of positive weight.

    Example:
        >>> graph_config(neighbors=3, alpha=0.1).multiplier
        0.1
    """
    if distance == "cosine":
        kind, transform = nsl.configs.DistanceType.COSINE, nsl.configs.TransformType.NONE
    else:
        kind = nsl.configs.DistanceType.JENSEN_SHANNON_DIVERGENCE
        transform = nsl.configs.TransformType.SOFTMAX
    return nsl.configs.make_graph_reg_config(
        max_neighbors=neighbors,
        multiplier=alpha,
        distance_type=kind,
        transform_fn=transform,
        sum_over_axis=-1,
    )


def regularized(
    network: tf.keras.Model, clips: TrainingClips, training: TrainingConfig
) -> GraphRegularization:
    """Wraps a network so that it learns from the graph too.

    Args:
        network: The network.
        clips: Clips opened with neighbours.
        training: Weight, distance, layer and source of neighbours.

    Raises:
        InputError: If the network has no such layer.
    """
    config = graph_config(
        neighbors=clips.weights.shape[1], alpha=training.alpha, distance=training.distance
    )
    return GraphRegularization(
        network,
        config,
        layer=training.layer,
        neighbors=training.neighbors,
        clips=len(clips.ids) if training.neighbors == "bank" else None,
    )
