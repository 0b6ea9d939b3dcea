//! trust_server
