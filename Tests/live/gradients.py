"""What TensorFlow says of a Keras model's gradients, for comparing Cadenza with it.

    with_outputs, weights, inputs = gradients(model, inputs, output_gradients, training)

Needs keras with the TensorFlow backend.
"""

import keras
import numpy as np
import tensorflow as tf


def listed(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def forward(model, inputs, training):
    given = inputs if len(inputs) > 1 else inputs[0]
    return listed(model(given, training=training))


def gradients(model, inputs, output_gradients, training=False):
    """The outputs, and the gradients of Σ outputs · output_gradients: of the trainable weights by their order, and of
    the inputs (None for ids)."""
    tensors = [tf.convert_to_tensor(value) for value in inputs]
    watched = [tensor for tensor in tensors if tensor.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs = forward(model, tensors, training)
        loss = tf.add_n([tf.reduce_sum(output * gradient) for output, gradient in zip(outputs, output_gradients)])
    variables = [variable.value for variable in model.trainable_weights]
    zero = tf.UnconnectedGradients.ZERO
    by_weight, by_input = tape.gradient(loss, [variables, watched], unconnected_gradients=zero)
    by_weight = [tf.convert_to_tensor(gradient).numpy() for gradient in by_weight]
    found = iter(by_input)
    by_input = [next(found).numpy() if tensor.dtype.is_floating else None for tensor in tensors]
    return [output.numpy() for output in outputs], by_weight, by_input
