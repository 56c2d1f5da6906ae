//! The list of nearkin's architecture families, and look-up by name
