//! The workers-ai provider.
