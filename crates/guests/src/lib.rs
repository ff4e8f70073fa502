//! Boots test guests.
#![forbid(unsafe_code)]
