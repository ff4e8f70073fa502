//! Real guests' memory, corrupted on purpose, and every command of vread run against it.
//!
//! There is nothing here but the test `forged_images`; it is a package of its own because it is the one
//! place that builds `physmem` with the feature `trace-reads`. How to run it is told there.
#![forbid(unsafe_code)]
