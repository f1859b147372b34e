//! dtrain.
