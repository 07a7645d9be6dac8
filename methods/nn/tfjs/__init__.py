"""Graph models of TensorFlow.js in plain torch: the weights, the operations, the graph."""
