"""Graph regularisation on a layer of choice, with three sources of neighbours.

| Source | What a clip is compared with | Clips encoded in a step |
|---|---|---|
| `packed` | its neighbours, encoded with it, gradients through both | the batch, its neighbours |
| `batch` | those of its neighbours that are in the batch | the batch, with unlabelled clips |
| `bank` | what the layer last gave for its neighbours | the batch |

`packed` is that of `nsl.keras.GraphRegularization`; `batch` wants batches drawn from neighbourhoods
(arXiv 1905.07953, `ser_nsl.training.neighborhoods`); `bank` follows CARLS (research-carls).
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import neural_structured_learning as nsl
import numpy as np
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.training.settings import Distance, NeighborSource

ROW, NEIGHBOR_ROWS, NEIGHBOR_WEIGHTS = "NL_row", "NL_nbr_rows", "NL_nbr_weights"
"""Inputs that say which clip this is and who its neighbours are, for `batch` and `bank`."""


class GraphRegularization(nsl.keras.GraphRegularization):
    """`nsl.keras.GraphRegularization` on any layer, with neighbours from where they are cheap.

    The loss of arXiv 2210.14977: that of the labels plus `multiplier` times the mean over edges of
    weight x distance. As in the official class, evaluation, prediction and saving are those of the
    base model.

    Inputs of training are a dictionary with the model's features, and

    - for `packed`, `NL_nbr_<i>_<feature>` and `NL_nbr_<i>_weight` of each neighbour;
    - for `batch` and `bank`, `NL_row` (int, shape `(batch,)`, a number of the clip's own),
      `NL_nbr_rows` (int, `(batch, neighbours)`) and `NL_nbr_weights` (float32, likewise, 0 where
      there is no neighbour).

    With several replicas the graph's part is that of the whole batch, not of each replica's share.
    """

    def __init__(
        self,
        base_model: tf.keras.Model,
        graph_reg_config: nsl.configs.GraphRegConfig | None = None,
        *,
        layer: str | None = None,
        neighbors: NeighborSource = "packed",
        clips: int | None = None,
        update_statistics: bool = False,
    ) -> None:
        """Wraps a model.

        Args:
            base_model: Any Keras model: functional, Sequential or subclassed.
            graph_reg_config: Number of neighbours, multiplier, distance.
            layer: Name of the layer whose outputs (the last, if it is called more than once) shall
                be alike, flattened to one vector a clip; None for the model's output.
            neighbors: Where neighbours come from.
            clips: How many clips a `bank` holds; rows are below it.
            update_statistics: Whether neighbours update the moving statistics of batch
                normalisation too, as they do in the official class (`packed` only). In either case
                they are normalised with the statistics of their own batch.

        Raises:
            InputError: If the model has no such layer, or a bank's size is not given.
        """
        super().__init__(base_model, graph_reg_config)
        for each in (self, self.regularizer):
            each._autocast = False  # in mixed precision only the base model rounds
        if neighbors not in ("packed", "batch", "bank"):
            raise InputError(f"neighbors: must be packed, batch or bank; received {neighbors!r}.")
        if (neighbors == "bank") != (clips is not None):
            raise InputError(
                f"clips: a bank, and no other source of neighbours, needs to know how many clips "
                f"there are; received {clips!r} with {neighbors!r}."
            )
        self._layer, self._neighbors, self._clips = layer, neighbors, clips
        self._tap = None if layer is None else _tap(check_layer(base_model, layer))
        self._update_statistics = update_statistics
        self._bank: tf.Variable | None = None

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: bool = False, **kwargs: Any
    ) -> tf.Tensor:
        """Computes the model's output and adds the graph's part to the loss.

        Args:
            inputs: As the class says.
            training: Whether the network is in training mode.
            **kwargs: Of the base model.

        Returns:
            The output of the base model for the clips.

        Raises:
            InputError: If inputs that `batch` and `bank` need are missing, or the layer gives
                nothing, or no vectors of one size.
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
        """The official loss, in its shape of one row a pair, which `sum_over_axis` is about.

        Clips are repeated here, since the sparse gradient of the official way to do so does not
        come back from other replicas.
        """
        targets = tf.reshape(others, (-1, embeddings.shape[1]))
        count = tf.shape(targets)[0] // tf.shape(embeddings)[0]
        sources = tf.repeat(embeddings, count, axis=0)
        return self.regularizer(sources, targets, weights=tf.reshape(weights, (-1, 1)))

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Has the base model evaluate, from metrics that are empty.

        The base model shares them, but before its first step does not know which to reset, so that
        the first validation would count the clips of training too.

        Args:
            *args: Of `tf.keras.Model.evaluate`.
            **kwargs: Likewise.

        Returns:
            What the base model gives.
        """
        self.reset_metrics()
        return super().evaluate(*args, **kwargs)

    def remember(self, clips: tf.data.Dataset) -> None:
        """Encodes clips that training does not visit, such as unlabelled ones, for the bank.

        Args:
            clips: Batches of inputs as in training; neighbours may be missing.
        """
        with self.distribute_strategy.scope():
            for inputs in clips:
                self._remember(_rows(inputs[ROW]), self._encode(_features(inputs)))

    @tf.function(reduce_retracing=True)
    def _encode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self._embed(features, training=False)[1]

    def _embed(
        self, features: Mapping[str, tf.Tensor], training: bool, **kwargs: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The model's output, and that of the layer as float32 vectors."""
        output = embeddings = self.base_model(features, training=training, **kwargs)
        if self._tap is not None:
            embeddings, self._tap.output = self._tap.output, None
            if embeddings is None:
                raise InputError(f"layer: the model does not call {self._layer!r}.")
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
        """Neighbours as last seen, `(batch, neighbours, width)`, and weights, 0 for the unseen."""
        others = tf.gather(self._bank_of(embeddings.shape[1]), links[NEIGHBOR_ROWS])
        seen = tf.reduce_all(tf.math.is_finite(others), axis=-1, keepdims=True)
        self._remember(links[ROW], embeddings)
        weights = links[NEIGHBOR_WEIGHTS][..., tf.newaxis]
        return tf.where(seen, others, 0.0), tf.where(seen, weights, 0.0)

    def _remember(self, rows: tf.Tensor, embeddings: tf.Tensor) -> None:
        self._bank_of(embeddings.shape[1]).scatter_update(tf.IndexedSlices(embeddings, rows))

    def _bank_of(self, width: int) -> tf.Variable:
        """The bank, float32 of shape `(clips, width)`: NaN for clips that were not seen yet."""
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
        """Puts the moving statistics of batch normalisation back where neighbours may not count."""
        variables = [
            getattr(layer, name)
            for layer in self.base_model.submodules
            for name in ("moving_mean", "moving_variance")
            if hasattr(layer, name) and not self._update_statistics
        ]
        values = [tf.identity(each) for each in variables]
        yield
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _features(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    links = (ROW, NEIGHBOR_ROWS, NEIGHBOR_WEIGHTS)
    return {name: value for name, value in inputs.items() if name not in links}


def _links(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Which clips the batch holds, and their neighbours."""
    missing = {ROW, NEIGHBOR_ROWS, NEIGHBOR_WEIGHTS} - inputs.keys()
    if missing:
        raise InputError(
            f"inputs: the sources batch and bank need {', '.join(sorted(missing))}; received "
            f"{', '.join(inputs)}."
        )
    return {
        ROW: _of_all_replicas(_rows(inputs[ROW])),
        NEIGHBOR_ROWS: _of_all_replicas(tf.cast(inputs[NEIGHBOR_ROWS], tf.int64)),
        NEIGHBOR_WEIGHTS: _of_all_replicas(tf.cast(inputs[NEIGHBOR_WEIGHTS], tf.float32)),
    }


def _rows(numbers: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reshape(numbers, [-1]), tf.int64)


def _within_batch(
    links: Mapping[str, tf.Tensor], embeddings: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Neighbours in the batch, `(batch, neighbours, width)`, and weights, 0 for those that are not.

    Of a clip that is there twice, where one pass over the clips ends and the next begins, the first
    counts.
    """
    found = links[NEIGHBOR_ROWS][..., tf.newaxis] == links[ROW]  # batch x neighbours x batch
    # Not `tf.gather`, whose sparse gradient does not come back from other replicas.
    others = tf.gather_nd(embeddings, tf.argmax(found, axis=-1)[..., tf.newaxis])
    weights = tf.where(tf.reduce_any(found, axis=-1), links[NEIGHBOR_WEIGHTS], 0.0)
    return others, weights[..., tf.newaxis]


def _of_all_replicas(values: tf.Tensor) -> tf.Tensor:
    """The values of the whole batch; a gradient goes back to the replica that it belongs to."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    values = tf.identity(values)  # several workers cannot gather what was only read
    return tf.ensure_shape(replica.all_gather(values, axis=0), (None, *values.shape[1:]))


class _Tap(threading.local):
    """What a layer last returned; replicas are traced in threads of their own, by turns."""

    output: tf.Tensor | None = None


def _tap(layer: tf.keras.layers.Layer) -> _Tap:
    """Makes a layer, in a model of any kind, leave what it returns."""
    call, tap = layer.call, _Tap()

    def tapped(*args: Any, **kwargs: Any) -> tf.Tensor:
        tap.output = call(*args, **kwargs)
        return tap.output

    layer.call = tapped
    return tap


def check_layer(model: tf.keras.Model, layer: str) -> tf.keras.layers.Layer:
    """Checks that a model has a layer.

    Args:
        model: Any Keras model.
        layer: Name of the layer, which may be part of another one; of namesakes the outer counts.

    Returns:
        The layer.

    Raises:
        InputError: If it has not; the message lists those that it has.
    """
    layers = {each.name: each for each in model.layers}
    for each in model.submodules:
        if isinstance(each, tf.keras.layers.Layer):
            layers.setdefault(each.name, each)
    if layer not in layers:
        raise InputError(f"layer: {model.name} has no layer {layer!r}; it has {', '.join(layers)}.")
    return layers[layer]


def graph_config(
    *, neighbors: int, alpha: float, distance: Distance = "cosine"
) -> nsl.configs.GraphRegConfig:
    """Settings of the loss.

    Args:
        neighbors: Most neighbours of a clip.
        alpha: Weight of the graph's part.
        distance: `cosine` is the paper's; `jensen_shannon` the divergence of what a softmax makes
            of the layer, in nats.

    Returns:
        That distance over the last axis, averaged over pairs of positive weight.
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
