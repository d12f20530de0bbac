//! Tests of stripes, expiry and passes.
