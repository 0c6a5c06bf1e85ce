//! The conformance suite of provider plugins, and a scriptable fake upstream.
