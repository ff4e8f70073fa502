//! One guest for many tests.

use std::sync::{Arc, OnceLock};

use crate::config::GuestConfig;
use crate::guest::Guest;

/// A guest that boots when a test first asks for it and ends with the last clone of this value.
///
/// Tests that run one after the other and hold a clone each have one guest at a time, whichever of
/// them are chosen on the command line.
#[derive(Clone, Debug)]
pub struct SharedGuest(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    config: GuestConfig,
    guest: OnceLock<Guest>,
}

impl SharedGuest {
    /// Nothing boots yet.
    #[must_use]
    pub fn new(config: GuestConfig) -> Self {
        Self(Arc::new(Slot {
            config,
            guest: OnceLock::new(),
        }))
    }

    /// The guest; boots it the first time.
    ///
    /// # Panics
    /// When it does not boot, with what [`Guest::boot`] said: a test without its guest has failed.
    #[must_use]
    pub fn get(&self) -> &Guest {
        self.0
            .guest
            .get_or_init(|| match Guest::boot(&self.0.config) {
                Ok(guest) => guest,
                #[expect(clippy::panic, reason = "a test without its guest has failed")]
                Err(error) => panic!("{error}"),
            })
    }
}
