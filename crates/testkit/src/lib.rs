//! Fixtures, tolerances and the conformance suite shared by nearkin's tests
